"""Groups of users."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from llmrec.data import Holdout
from llmrec.errors import DataError
from llmrec.evaluate import (
    Interval,
    ProtocolCard,
    Report,
    add_strata,
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


def report_of(values: list[float]) -> Report:
    found = np.array(values)
    return Report(
        card=ProtocolCard("LOO", "last", "file order", len(found), 9, 9, "hash"),
        metrics={"NDCG@10": bootstrap_interval(found)},
        values={"NDCG@10": found},
        totals={},
        exposure={},
        user_rows=np.arange(len(found)),
        n_short=0,
    )


def test_stratify_splits_the_values():
    report = report_of([1.0, 0.0, 1.0, 1.0])
    head, tail = stratify(report, ["b", "b", "a", "a"])
    assert (head.label, head.n_users, head.metrics["NDCG@10"]) == ("a", 2, Interval(1.0, 1.0, 1.0))
    assert (tail.label, tail.n_users, tail.metrics["NDCG@10"].mean) == ("b", 2, 0.5)
    assert [group.label for group in stratify(report, ["b", "c", "a", "b"], ["c", "x", "b"])] == ["c", "b", "a"]
    with pytest.raises(DataError, match="one label per user"):
        stratify(report, ["a"])


def test_strata_of_a_report_keep_their_natural_order():
    report = report_of([1.0, 0.0, 0.5, 0.25])
    histories = [[0] * n for n in (60, 1, 12, 2)]
    targets = np.array([3, 0, 1, 2], dtype=np.int32)
    popularity = np.array([10, 6, 1, 0])
    cases = Holdout(np.arange(4), Queries.from_lists(histories), targets)
    found = add_strata(report, cases, popularity).strata
    assert list(found) == ["popularity", "history"]
    assert [(g.label, g.metrics["NDCG@10"].mean) for g in found["popularity"]] == [
        ("head", 0.0),
        ("mid", 0.5),
        ("tail", 0.25),
        ("cold", 1.0),
    ]
    assert [(g.label, g.metrics["NDCG@10"].mean) for g in found["history"]] == [
        ("1", 0.0),
        ("2", 0.25),
        ("10-49", 0.5),
        ("50+", 1.0),
    ]
    with pytest.raises(DataError, match="other users"):
        add_strata(report, replace(cases, user_rows=np.arange(4)[::-1]), popularity)
