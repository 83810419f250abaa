"""From outcomes to a report: what is counted, what is claimed, what is said."""

from __future__ import annotations

import json

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from llmrec.evaluate.significance import holm
from llmrec.serve.experiments import Experiment, Experiments, analyse

AB = Experiment("titles", {"old": "default", "new": "tuned"}, {"old": 0.5, "new": 0.5}, "salt")
BOTH = Experiment("drawn", {"old": "default", "new": "tuned"}, {"old": 0.5, "new": 0.5}, "salt", "interleave")
THREE = Experiment("three", dict.fromkeys("abc", "x"), dict.fromkeys("abc", 1 / 3), "salt")


def people(outcome, seed, rates, users=1500, lists=5):
    """Outcomes of people who come back."""
    rng, rows = np.random.default_rng(seed), []
    for variant, chance in rates.items():
        for user in range(users):
            n = int(rng.geometric(1 / lists))
            clicks = int(rng.binomial(n, rng.beta(chance * 20, (1 - chance) * 20)))
            rows.append(outcome(f"{variant}{user}", variant, n, clicks, int(rng.binomial(clicks, 0.2))))
    return rows


def test_nothing_is_no_error():
    report = analyse(AB, [])
    assert report.verdict.startswith("It cannot be told yet: that needs at least 50 people")
    assert report.warnings == ()
    assert [(one.difference, one.low, one.p_value) for one in report.comparisons] == [(None, None, 1.0)] * 2
    assert analyse(BOTH, []).verdict.startswith("It cannot be told yet: that needs at least 50 people and 40 clicks")
    json.dumps(report.to_dict(), allow_nan=False)


def test_what_is_better_is_found_with_its_size(outcome):
    report = analyse(AB, people(outcome, 0, {"old": 0.10, "new": 0.15}))
    clicks, conversions = report.comparisons
    assert (clicks.metric, clicks.variant, clicks.against, clicks.verdict) == ("clicks", "new", "old", "better")
    assert 0 < clicks.low < 0.05 < clicks.high
    assert report.verdict.startswith(f"new is better than old by {clicks.difference:+.4f} clicks a list [+")
    assert report.sample_ratio is not None
    assert not report.sample_ratio.off
    old, new = report.variants
    assert (old.users, new.users, report.users) == (1500, 1500, 3000)
    assert old.ctr.low < 0.10 < old.ctr.high
    assert new.ctr.value == new.clicks / new.impressions
    assert conversions.metric == "conversions"
    assert json.loads(json.dumps(report.to_dict(), allow_nan=False))["variants"][1]["ctr"]["value"] == new.ctr.value


def test_what_is_worse_is_said_to_be(outcome):
    report = analyse(AB, people(outcome, 0, {"old": 0.15, "new": 0.10}))
    assert report.comparisons[0].verdict == "worse"
    assert "new is worse than old by -0.0" in report.verdict


def test_what_is_the_same_is_not_told(outcome):
    report = analyse(AB, people(outcome, 0, {"old": 0.1, "new": 0.1}))
    assert {one.verdict for one in report.comparisons} == {"unknown"}
    assert report.verdict.startswith("It cannot be told yet whether new differs from old: new has ")


def test_all_others_are_compared_with_the_first_and_corrected(outcome):
    report = analyse(THREE, people(outcome, 1, {"a": 0.1, "b": 0.1, "c": 0.2}))
    assert [(one.variant, one.metric) for one in report.comparisons] == [
        ("b", "clicks"),
        ("b", "conversions"),
        ("c", "clicks"),
        ("c", "conversions"),
    ]
    claimed = [one for one in report.comparisons if one.verdict != "unknown"]
    assert {one.variant for one in claimed} == {"c"}
    # The i-th claim was decided at a fourth, a third ... of 5%, whatever is left at what the next would have been.
    levels = sorted(one.level for one in report.comparisons)
    steps = [0.05 / (4 - min(step, len(claimed))) for step in range(4)]
    assert levels == pytest.approx(sorted(steps))


RATES = st.lists(st.sampled_from([0.05, 0.1, 0.13, 0.2]), min_size=3, max_size=3)


@settings(max_examples=25, deadline=None)
@given(RATES, st.integers(0, 1000))
def test_intervals_agree_with_verdicts(rates, seed):
    from dataclasses import make_dataclass

    row = make_dataclass("Row", ["user_id", "variant", "impressions", "clicks", "conversions"])
    row.source_clicks = {}
    report = analyse(THREE, people(row, seed, dict(zip("abc", rates, strict=True)), users=300))
    for one in report.comparisons:
        if one.low is not None:
            assert (one.low > 0 or one.high < 0) == (one.verdict != "unknown")
            assert (one.difference > 0) == (one.verdict == "better") or one.verdict != "better"
    corrected = [one.p_value for one in report.comparisons]
    assert all(p >= 0 for p in corrected)
    assert (holm(corrected) >= np.array(corrected)).all()


def test_an_unequal_division_is_warned_of_and_nothing_claimed(outcome):
    rows = people(outcome, 0, {"old": 0.10, "new": 0.2})
    report = analyse(AB, [row for row in rows if row.variant == "old" or int(row.user_id[3:]) < 1200])
    assert report.sample_ratio.off
    assert "new 44.4% instead of 50.0%" in report.warnings[0]
    assert report.verdict.startswith("Nothing can be told: people are not divided as asked")


def test_lists_whose_person_is_not_clear_count_nowhere(outcome):
    rows = people(outcome, 0, {"old": 0.1, "new": 0.1}, users=100)
    extra = [
        *(outcome(None, "old", 3, 3) for _ in range(4)),
        outcome("x", "old", 2, 1),
        outcome("x", "new", 3, 3),
        outcome("y", "gone", 7, 7),
        outcome("z", "new", 0, 0),
    ]
    clean, report = analyse(AB, rows), analyse(AB, rows + extra)
    assert report.variants == clean.variants
    assert report.comparisons == clean.comparisons
    assert report.left_out == 12 + 5 + 7
    unknown, crossed = report.warnings
    assert unknown.startswith("19 lists are left out, shown to nobody known")
    assert crossed.startswith("1 person is left out who had more than one variant")


def drawn(outcome, seed, chance, users=600):
    rng, rows = np.random.default_rng(seed), []
    for user in range(users):
        clicks = int(rng.geometric(0.4))
        won = int(rng.binomial(clicks, rng.beta(chance * 10, (1 - chance) * 10)))
        rows.append(outcome(f"u{user}", "", clicks * 2, clicks, 0, {"new": won, "old": clicks - won, "": 3}))
    return rows


def test_interleaved_clicks_tell_which_is_better(outcome):
    report = analyse(BOTH, drawn(outcome, 0, 0.65))
    (preference,) = report.comparisons
    assert (preference.metric, preference.verdict, report.sample_ratio) == ("preference", "better", None)
    assert 0 < preference.low < 0.15 < preference.high
    old, new = report.variants
    assert preference.difference == pytest.approx(new.clicks / (new.clicks + old.clicks) - 0.5)
    assert report.verdict.startswith("new is better than old: it wins 6")
    assert "of the clicks [" in report.verdict
    assert analyse(BOTH, drawn(outcome, 0, 0.5)).comparisons[0].verdict == "unknown"


def test_people_who_click_nothing_say_nothing(outcome):
    rows = drawn(outcome, 0, 0.6)
    silent = [outcome(f"s{number}", "", 5, 0, 0, {}) for number in range(500)]
    one, other = analyse(BOTH, rows), analyse(BOTH, rows + silent)
    assert one.comparisons == other.comparisons
    assert other.users == one.users + 500


def test_the_report_of_a_store(store, outcome):
    experiments = Experiments(store)
    experiments.create("titles", {"old": "default", "new": "tuned"})
    store.rows["titles"] = people(outcome, 0, {"old": 0.10, "new": 0.15})
    report = experiments.report("titles")
    assert (report.experiment, report.state) == ("titles", "running")
    assert report.comparisons[0].verdict == "better"
    experiments.stop("titles")
    assert experiments.report("titles").state == "stopped"
