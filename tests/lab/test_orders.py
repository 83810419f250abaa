"""Position bias: nothing for a scorer that reads one by one, everything for one that repeats what it is shown."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from llmrec.lab import Shortlists, order_test
from llmrec.lab.orders import OrderTest, kendall


@dataclass
class ByItem:
    name: str = "by item"

    def score(self, queries, items):
        return np.where(items >= 0, -items, np.nan).astype(np.float32)


@dataclass
class ByPlace:
    name: str = "by place"

    def score(self, queries, items):
        return np.where(items >= 0, -np.arange(items.shape[1]), np.nan).astype(np.float32)


@pytest.fixture
def lists(ground):
    rng = np.random.default_rng(0)
    items = np.stack([rng.permutation(30)[:8] for _ in range(len(ground.cases))]).astype(np.int32)
    items[0, 5:] = -1
    return Shortlists(ground.cases, items, "chance")


def test_who_reads_one_by_one_has_no_order(ground, lists):
    found = order_test(ByItem(), lists, ground.catalog.tie_order, count=3, seed=0)
    assert (found.orders, found.tau) == (4, pytest.approx(1.0))
    assert found.low == found.high


def test_who_repeats_what_is_shown_is_found_out(ground, lists):
    found = order_test(ByPlace(), lists, ground.catalog.tie_order, count=3, seed=0)
    assert abs(found.tau) < 0.1
    assert found.high > found.low
    assert found == order_test(ByPlace(), lists, ground.catalog.tie_order, count=3, seed=0)
    assert found == OrderTest.from_dict(found.to_dict())


def test_kendall_counts_pairs():
    a = np.array([[1, 2, 3], [4, -1, -1]], np.int32)
    assert kendall(a, np.array([[3, 2, 1], [4, -1, -1]], np.int32)) == pytest.approx(0.0)  # mean of -1 and 1
    assert kendall(a[:1], np.array([[1, 3, 2]], np.int32)) == pytest.approx(1 / 3)
