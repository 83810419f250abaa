"""Reports: what they hold, pairs of them, and their way to JSON and back."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from llmrec.errors import ConfigError, DataError
from llmrec.evaluate import ACCURACY, Report, compare_pairs, novelty


def test_dict_is_json_in_a_fixed_order(make_report):
    found = make_report(0, strata=True).to_dict()
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert list(found) == ["protocol", "metrics", "totals", "n_short", "strata"]
    assert list(found["metrics"]) == [f"{name}@10" for name in ACCURACY]
    assert list(found["metrics"]["NDCG@10"]) == ["mean", "low", "high"]
    assert [(group["label"], group["n_users"]) for group in found["strata"]["popularity"]] == [
        ("head", 80),
        ("mid", 90),
        ("tail", 30),
    ]
    assert list(found["strata"]["history"][0]["metrics"]["MRR@10"]) == ["mean", "low", "high"]
    assert json.dumps(found) == json.dumps(make_report(0, strata=True).to_dict())
    assert make_report(0).to_dict()["strata"] == {}


def test_a_report_comes_back_from_its_dict(make_report):
    made = make_report(0, ks=(5, 10), strata=True)
    stored = json.loads(json.dumps(made.to_dict()))
    found = Report.from_dict(stored, made.values, made.user_rows)
    assert found.to_dict() == made.to_dict()
    assert found.card == made.card
    assert found.metrics == made.metrics
    assert compare_pairs(found, make_report(1, ks=(5, 10))) == compare_pairs(made, make_report(1, ks=(5, 10)))
    assert found.exposure == {}
    with pytest.raises(ConfigError, match="'a' does not hold NDCG@10 of single users"):
        compare_pairs(replace(Report.from_dict(stored), user_rows=made.user_rows), made)


@pytest.mark.parametrize("missing", ["protocol", "metrics", "totals", "n_short", "strata"])
def test_a_damaged_dict_is_refused(make_report, missing):
    stored = make_report(0).to_dict()
    del stored[missing]
    with pytest.raises(DataError, match="not a stored report"):
        Report.from_dict(stored)
    for wrong in (3, {"unknown": 1}):
        with pytest.raises(DataError, match="not a stored report"):
            Report.from_dict({**make_report(0).to_dict(), "protocol": wrong})


def test_text_names_protocol_metrics_strata_and_short_lists(make_report, reports_card):
    text = str(replace(make_report(0, strata=True), n_short=3))
    assert text.startswith(str(reports_card))
    for part in ("NDCG@10", "coverage@10", "3 lists are shorter", "NDCG@10, popularity tail (30 users)"):
        assert part in text
    assert "shorter" not in str(make_report(0))


def test_novelty_is_added_from_popularity(make_report):
    lists = np.array([[0, 1], [0, 2]], dtype=np.int32)
    popularity = np.array([5, 2, 0])
    made = replace(make_report(0), exposure={1: np.array([2, 0, 0]), 2: np.array([2, 1, 1])})
    found = made.with_novelty(popularity).totals
    for k in (1, 2):
        assert found[f"novelty@{k}"] == pytest.approx(novelty(lists, popularity, k))
    assert found["coverage@10"] == 0.25
    with pytest.raises(DataError, match="one count per item"):
        made.with_novelty(popularity[:2])


def test_pairs_need_the_same_users(make_report, reports_card):
    other = replace(make_report(1), user_rows=np.arange(200)[::-1])
    with pytest.raises(DataError, match="same users in the same order"):
        compare_pairs(make_report(0), other)
    with pytest.raises(DataError, match="seen_excluded"):
        compare_pairs(make_report(0), replace(make_report(1), card=replace(reports_card, seen_excluded=False)))
    with pytest.raises(ConfigError, match="does not hold NDCG@3"):
        compare_pairs(make_report(0), make_report(1), "NDCG@3")
    assert compare_pairs(make_report(0), make_report(1), "Recall@10").n == 200
