"""Groups of users."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from llmrec.errors import DataError
from llmrec.evaluate import (
    Interval,
    ProtocolCard,
    Report,
    bootstrap_interval,
    history_strata,
    popularity_strata,
    stratify,
)
from llmrec.types import Queries


def test_popularity_groups_hold_a_third_of_the_interactions_each():
    popularity = np.array([10, 5, 5, 4, 3, 2, 1, 0])  # 30 interactions
    found = popularity_strata(np.arange(8, dtype=np.int32), popularity)
    assert found == ["head", "mid", "mid", "tail", "tail", "tail", "tail", "cold"]


def test_equally_popular_items_share_a_group():
    assert popularity_strata(np.array([0, 5], np.int32), np.full(6, 3)) == ["head", "head"]
    assert popularity_strata(np.array([1], np.int32), np.zeros(2, np.int64)) == ["cold"]


def test_history_groups():
    lengths = [0, 1, 2, 3, 9, 10, 49, 50, 300]
    queries = Queries.from_lists([[0] * n for n in lengths])
    assert history_strata(queries) == ["0", "1", "2", "3-9", "3-9", "10-49", "10-49", "50+", "50+"]


def test_stratify_splits_the_values():
    values = np.array([1.0, 0.0, 1.0, 1.0])
    report = Report(
        card=ProtocolCard("LOO", "last", "file order", 4, 9, 9, "hash"),
        metrics={"NDCG@10": bootstrap_interval(values)},
        values={"NDCG@10": values},
        totals={},
        exposure={},
        user_rows=np.arange(4),
        n_short=0,
    )
    tail, head = stratify(report, ["b", "b", "a", "a"])[::-1]
    assert (head.label, head.n_users, head.metrics["NDCG@10"]) == ("a", 2, Interval(1.0, 1.0, 1.0))
    assert (tail.label, tail.n_users, tail.metrics["NDCG@10"].mean) == ("b", 2, 0.5)
    with pytest.raises(DataError, match="one label per user"):
        stratify(replace(report), ["a"])
