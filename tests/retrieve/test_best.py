"""The k best of each row, and candidates in order, against plain Python."""

import math

import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from llmrec.retrieve.best import Ties, best_of, order_by_score, top_k
from llmrec.types import Csr

SCORES = st.sampled_from([0.0, -0.0, 1.0, -1.0, 2.5, 1e-45, -1e-45, 3e38, -3e38, -math.inf, math.nan])


def test_top_k_of_many_is_a_sort_too(rng):
    """Of wide rows only the best are put in order; some rows have nothing to show, some have ties at the end."""
    scores = rng.standard_normal((40, 600)).astype(np.float32)
    scores[3], scores[4, 5:] = -np.inf, np.nan
    scores[5:20] = np.round(scores[5:20], 1)
    scores[20, :300] = 0.5
    ties = rng.permutation(600).astype(np.uint64)
    for rows in (np.arange(20), np.arange(40)):  # without and with a row of many ties
        found = top_k(scores[rows], 10, ties)
        for row, items in zip(scores[rows], found.items, strict=True):
            expected = naive_top_k(row.tolist(), 10, ties.tolist())
            assert [item for item in items.tolist() if item >= 0] == expected


def naive_top_k(row, k, ties):
    known = [i for i, s in enumerate(row) if s > -math.inf]  # NaN is not
    return sorted(known, key=lambda i: (-row[i], ties[i]))[:k]


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_top_k_is_a_sort(data):
    n, m = data.draw(st.integers(0, 4)), data.draw(st.integers(0, 9))
    scores = data.draw(hnp.arrays(np.float32, (n, m), elements=SCORES.map(lambda x: float(np.float32(x)))))
    hashes = st.integers(0, 2**64 - 1)
    ties = np.array(data.draw(st.lists(hashes, min_size=m, max_size=m, unique=True)), dtype=np.uint64)
    k = data.draw(st.integers(0, m + 3))
    before = scores.copy()
    found = top_k(scores, k, ties)
    np.testing.assert_array_equal(scores, before)
    assert found.items.shape == (n, min(k, m))
    for row, items, out in zip(scores.tolist(), found.items.tolist(), found.scores.tolist(), strict=True):
        expected = naive_top_k(row, k, ties.tolist())
        assert items == expected + [-1] * (len(items) - len(expected))
        assert out == [row[i] for i in expected] + [0.0] * (len(items) - len(expected))


def test_top_k_over_a_large_catalog_is_a_sort(rng):
    scores = rng.integers(0, 50, (3, 5000)).astype(np.float32)
    ties = rng.integers(0, 2**63, 5000).astype(np.uint64)
    for k in (1, 17, 4999, 5000):
        expected = [naive_top_k(row, k, ties) for row in scores]
        np.testing.assert_array_equal(top_k(scores, k, ties).items, expected)


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_order_by_score_is_a_sort(data):
    m = data.draw(st.integers(0, 8))
    items = np.array([data.draw(st.permutations(range(8)))[:m]], dtype=np.int32).reshape(1, m)
    items = np.where(data.draw(hnp.arrays(np.bool_, (1, m))), -1, items)
    scores = data.draw(hnp.arrays(np.float32, (1, m), elements=st.sampled_from([0.0, -0.0, 1.0, -2.0])))
    ties = np.array(data.draw(st.permutations(range(8))), dtype=np.uint64)
    order = order_by_score(scores, items, ties)[0]
    assert sorted(order) == list(range(m))
    keys = [(i < 0, -s, ties[i]) if i >= 0 else (True, 0.0, 0) for i, s in zip(items[0], scores[0], strict=True)]
    ordered = [keys[place] for place in order]
    assert ordered == sorted(ordered)


@pytest.mark.parametrize("k", [1, 7, 60])
@pytest.mark.parametrize("n", [3, 40])  # few queries: ties are ordered among those that contend
def test_what_is_excluded_costs_no_place(rng, n, k):
    """Dense rows, rows with little to show, rows of ties, and rows of which nearly all is excluded."""
    scores = rng.standard_normal((n, 900)).astype(np.float32)
    scores[0, rng.random(900) < 0.97] = np.nan
    scores[1] = np.round(scores[1])
    scores[2, 4:] = -np.inf
    ties = rng.permutation(900).astype(np.uint64)
    sizes = [5, 30, 3, *rng.integers(0, 300, n - 3)]
    banned = [np.argsort(-row)[:size].tolist() for row, size in zip(scores, sizes, strict=True)]
    found = best_of(scores, k, Ties.of(ties, n), Csr.from_lists(banned))
    for row, out, items in zip(scores, banned, found.items, strict=True):
        left = row.copy()
        left[out] = np.nan
        expected = naive_top_k(left.tolist(), k, ties.tolist())
        assert items.tolist() == expected + [-1] * (k - len(expected))


def test_what_is_infinite_is_no_score(rng):
    scores = rng.standard_normal((20, 700)).astype(np.float32)
    scores[:, ::9] = np.inf
    found = top_k(scores, 5, np.arange(700, dtype=np.uint64))
    np.testing.assert_array_equal(
        found.items, top_k(np.where(scores == np.inf, np.nan, scores), 5, np.arange(700, dtype=np.uint64)).items
    )


def test_a_row_is_the_same_beside_others(rng):
    scores = np.round(rng.standard_normal((60, 800)), 1).astype(np.float32)
    scores[7] = 0  # as many contend as there are items
    ties = rng.integers(0, 2**63, 800).astype(np.uint64)
    whole = top_k(scores, 12, ties).items
    for row in range(len(scores)):
        np.testing.assert_array_equal(top_k(scores[row : row + 1], 12, ties).items[0], whole[row])
