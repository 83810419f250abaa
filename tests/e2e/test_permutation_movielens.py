"""The permutation test on real data: where what users took says nothing about them, no method beats popularity."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import llmrec
from llmrec import Config
from llmrec.data import SPLITS, split_by
from llmrec.evaluate import cases_of, compare_pairs, judge, parts
from llmrec.testing.permute import shuffle_items, shuffle_last

METHODS = ("popularity", "ease", "item_knn", "dense")

pytestmark = pytest.mark.e2e


def over_popularity(data, log):
    """Fit one stage of these without the last interactions; each method's NDCG@10 against popularity's."""
    config = Config.from_dict({"stages": [{"name": "hybrid", "retrievers": {name: {} for name in METHODS}}]})
    fitted = llmrec.fit(config, data.catalog, log, holdout="last")
    [case] = cases_of(fitted, log).values()
    reports = judge(log, {name: replace(case, recommender=part) for name, part in parts(fitted).items()})
    base = reports.pop("popularity")
    return {name: compare_pairs(report, base) for name, report in reports.items()}


@pytest.mark.parametrize("shuffle", [shuffle_last, shuffle_items])
def test_nothing_beats_popularity_where_there_is_nothing_to_learn(data, shuffle):
    log = shuffle(data.interactions, 0)
    found = over_popularity(data, log)
    assert set(found) == {*METHODS, "hybrid"} - {"popularity"}
    for name, result in found.items():
        assert result.low <= 0, f"{name}: {result}"


def test_the_splits_of_movielens_are_those_of_the_benchmarks(data):
    split = {name: split_by(name, data.interactions, data.catalog.items) for name in SPLITS}
    assert {name: len(one.test) for name, one in split.items()} == {
        "last": 943,
        "time": 90,
        "cold-items": 98,
        "cold-users": 88,
    }
    assert int(split["cold-items"].cold.sum()) == 152
    assert split["time"].left_out == 76
    times = data.interactions.times
    assert [float(np.mean(times < cut)) for cut in split["time"].cuts] == pytest.approx([0.8, 0.9], abs=0.001)
