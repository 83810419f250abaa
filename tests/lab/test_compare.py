"""Comparisons: the statistics of llmrec.evaluate, corrected for all of them, and words that say what they mean."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from llmrec.errors import ConfigError
from llmrec.evaluate import bootstrap_interval, holm, paired_test, rank_values
from llmrec.lab import (
    Lab,
    Shortlists,
    compare_templates,
    compared_to_dict,
    difference_rows,
    remarks,
    score_rows,
    verdict,
    verdict_of,
)
from llmrec.lab.compare import unique_names
from llmrec.lab.ground import halves, ranks_of


@pytest.fixture
def found(ground, store, templates, fake):
    return compare_templates(Lab(ground, store, "tiny", 4), [fake], templates)


def test_metrics_are_those_of_evaluate(found, fake):
    (judged,) = found.judged
    for name, ranks in fake.ranks.items():
        values = rank_values(ranks, (10,))
        for metric in ("NDCG@10", "Recall@10"):
            np.testing.assert_array_equal(judged.reports[name].values[metric], values[metric])
            assert judged.reports[name].metrics[metric] == bootstrap_interval(values[metric])


def test_differences_are_paired_and_corrected_for_all_judges(ground, store, templates, fake):
    other = replace(fake, name="other", ranks={name: ranks[::-1] for name, ranks in fake.ranks.items()}, asked=[])
    found = compare_templates(Lab(ground, store), [fake, other], templates)
    base = rank_values(fake.ranks["user/recent"])["NDCG@10"]
    expected = paired_test(rank_values(fake.ranks["user/genres"])["NDCG@10"], base)
    first = found.judged[0].comparisons[0]
    assert (first.method, first.baseline, first.metric, first.result) == (
        "user/genres",
        "user/recent",
        "NDCG@10",
        expected,
    )
    every = [one for judged in found.judged for one in judged.comparisons]
    assert found.count == len(every) == 8
    np.testing.assert_array_equal([one.p_holm for one in every], holm([one.result.p_value for one in every]))


def test_words_say_which_is_better_and_whether_it_is_real(found):
    said = verdict(found)
    assert "fake, 119 users: user/genres is better than user/recent, +" in said
    assert "the difference is real" in said
    assert said.endswith("no difference to user/recent can be told from chance for user/sentence.")
    assert "\n" not in said


def test_worse_is_said_to_be_worse(ground, store, templates, fake):
    said = verdict(compare_templates(Lab(ground, store), [fake], [templates[1], templates[0]]))
    assert "user/recent is worse than user/genres, -" in said


def test_no_difference_is_not_called_one(ground, store, templates, fake):
    said = verdict(compare_templates(Lab(ground, store), [fake], [templates[0], templates[2]]))
    assert "none is better or worse than user/recent by more than chance" in said
    assert "the difference is real" not in said
    alone = verdict(compare_templates(Lab(ground, store), [fake], templates[:1]))
    assert alone.endswith("user/recent has nothing to be compared with.")


def test_tables(found):
    (judged,) = found.judged
    rows = score_rows(judged)
    assert [row[0] for row in rows] == ["template", "user/recent", "user/genres", "user/sentence"]
    assert rows[1][3:] == ("3.0", "-", "1.5")
    assert [row[0] for row in difference_rows(judged)] == ["method", "user/genres", "user/sentence"]
    assert remarks(judged)[0] == "a fake"
    told = compared_to_dict(found)
    assert (told["data"]["name"], told["seed"], told["corrected_for"]) == ("tiny", 4, 4)
    assert told["verdict"] == verdict(found)


def test_paraphrases_are_compared_and_their_spread_told(ground, store, templates, fake):
    found = compare_templates(Lab(ground, store), [fake], templates[:2], templates[2:])
    (judged,) = found.judged
    means = [judged.reports[name].metrics["NDCG@10"].mean for name in ("user/recent", "user/sentence")]
    assert judged.spread.names == ("user/recent", "user/sentence")
    assert (judged.spread.low, judged.spread.high) == (min(means), max(means))
    assert judged.spread.deviation == pytest.approx(np.std(means))
    assert any(line.startswith("paraphrases: NDCG@10 of 2 wordings") for line in remarks(judged))


def test_templates_must_be_told_apart(templates):
    with pytest.raises(ConfigError, match="write the same"):
        unique_names([templates[0], replace(templates[0], name="user/copy")])
    named = unique_names([templates[0], replace(templates[1], name="user/recent")])
    assert [template.name for template in named] == ["user/recent", "user/recent (2)"]
    with pytest.raises(ConfigError, match="at least one"):
        unique_names([])


def test_cases_are_validation_and_exclude_histories(ground):
    queries = ground.cases.queries
    np.testing.assert_array_equal(queries.exclude.values, queries.items)
    split = ground.split
    np.testing.assert_array_equal(ground.cases.targets, split.validation.targets)
    earlier = ground.earlier()
    for row, user in enumerate(earlier.cases.user_rows):
        whole = ground.interactions.queries(np.array([user])).items
        asked = earlier.cases.queries.take(np.array([row])).items
        np.testing.assert_array_equal(asked, whole[:-3])  # what it is tuned on ends before what is judged
        assert earlier.cases.targets[row] == whole[-3]
    assert len(earlier.split.train) < len(split.train)


def test_halves_share_no_user_and_lose_none(ground):
    first, second = halves(ground.cases, 5)
    assert not set(first.user_rows) & set(second.user_rows)
    assert sorted([*first.user_rows, *second.user_rows]) == sorted(ground.cases.user_rows)
    again, _ = halves(ground.cases, 5)
    np.testing.assert_array_equal(first.user_rows, again.user_rows)


def test_a_target_that_is_not_in_the_list_is_a_miss():
    lists = np.array([[3, 1, 2], [4, 5, -1], [7, 8, 9]], np.int32)
    np.testing.assert_array_equal(ranks_of(lists, np.array([2, 6, 7], np.int32)), [3, np.inf, 1])


def test_what_changes_nothing_is_said_to(ground, store, templates, fake):
    lists = Shortlists(
        ground.cases, np.stack([np.roll(np.arange(12), row % 12) for row in range(119)]).astype(np.int32), "x"
    )
    order = ranks_of(lists.items, ground.cases.targets)
    told = replace(fake, ranks={"user/recent": order, "user/genres": order[::-1]}, asked=[])
    told.lists = lists
    (judged,) = compare_templates(Lab(ground, store), [told], templates[:2]).judged
    assert judged.leaves_order("user/recent")
    assert not judged.leaves_order("user/genres")
    assert "the list of x is left as it is, nothing was found to add to it: user/recent" in remarks(judged)
    assert judged.ceiling == np.isfinite(order).mean()
    assert score_rows(judged)[-1][0] == "(order of x)"
    assert any("each is read without the others" in remark for remark in remarks(judged))


def test_templates_with_the_same_answers_are_named(ground, store, templates, fake):
    same = replace(fake, ranks=dict.fromkeys(fake.ranks, fake.ranks["user/recent"]), asked=[])
    (judged,) = compare_templates(Lab(ground, store), [same], templates[:2]).judged
    assert remarks(judged) == ["a fake", "the same for every user as user/recent: user/genres"]
    said = "every template has the same places of what was taken as user/recent, so nothing can be said of them here."
    assert verdict_of(judged) == f"fake, 119 users: {said}"


def test_what_only_looks_the_same_is_not_called_so(ground, store, templates, fake):
    """Below the tenth place no metric sees a difference."""
    lists = Shortlists(ground.cases, np.tile(np.arange(30, dtype=np.int32), (119, 1)), "x")
    order = ranks_of(lists.items, ground.cases.targets)
    moved = np.where((order > 10) & np.isfinite(order), 41 - order, order)
    told = replace(fake, ranks={"user/recent": order, "user/genres": moved}, asked=[])
    (judged,) = compare_templates(Lab(ground, store), [told], templates[:2]).judged
    assert "the same first ten places of what was taken as user/recent, not the same below: user/genres" in remarks(
        judged
    )
    assert "every template has the same first ten places of what was taken as user/recent" in verdict_of(judged)
    told.lists = lists
    (judged,) = compare_templates(Lab(ground, store), [told], templates[:2]).judged
    assert [judged.leaves_order(name) for name in ("user/recent", "user/genres")] == [True, False]
