"""The array work under every retriever, against plain Python."""

import math

import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from llmrec.retrieve.base import blocks, gather, order_by_score, recency_matrix, retrieve_dense_scores, top_k
from llmrec.types import Csr, Queries

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


def test_recency_by_hand():
    queries = Queries.from_lists([[2, 0, 1], [], [3, 3]])
    found = recency_matrix(queries, 0.5, 4).toarray()
    np.testing.assert_array_equal(found, np.float32([[0.5, 1, 0.25, 0], [0, 0, 0, 0], [0, 0, 0, 1.5]]))
    assert found.dtype == np.float32


def test_recency_times_weights():
    queries = Queries(np.array([0, 2]), np.array([1, 0], np.int32), weights=np.float32([4, 3]))
    np.testing.assert_array_equal(recency_matrix(queries, 0.5, 2).toarray(), [[3, 2]])
    np.testing.assert_array_equal(recency_matrix(queries, 1.0, 2).toarray(), [[3, 4]])


def test_blocks_cover_everything_once(monkeypatch):
    monkeypatch.setattr("llmrec.retrieve.base.BLOCK_CELLS", 10)
    for n, width in ((0, 3), (1, 3), (7, 3), (7, 100), (6, 0)):
        rows = [r.tolist() for r in blocks(n, width)]
        assert [i for r in rows for i in r] == list(range(n))
        assert all(len(r) * width <= 10 or len(r) == 1 for r in rows)


def test_gather_has_nan_at_pads():
    scores = np.float32([[1, 2, 3]])
    np.testing.assert_array_equal(gather(scores, np.int32([[2, -1, 0]])), np.float32([[3, np.nan, 1]]))
    np.testing.assert_array_equal(gather(np.empty((1, 0), np.float32), np.int32([[-1]])), [[np.nan]])


@pytest.mark.parametrize("cells", [1, 8_000_000])
def test_retrieving_masks_what_must_not_come_back(monkeypatch, cells):
    monkeypatch.setattr("llmrec.retrieve.base.BLOCK_CELLS", cells)
    queries = Queries(
        offsets=np.zeros(3, np.int64),
        items=np.empty(0, np.int32),
        exclude=Csr.from_lists([[4], []]),
        allow=np.array([True, True, True, True, True, False]),
    )
    scores = np.float32([0, 1, 2, np.nan, 4, 5])
    active = np.array([True, True, False, True, True, True])
    found = retrieve_dense_scores(
        lambda q: np.broadcast_to(scores, (len(q), 6)), queries, 6, active, np.arange(6, dtype=np.uint64)
    )
    np.testing.assert_array_equal(found.items, [[1, 0, -1, -1, -1, -1], [4, 1, 0, -1, -1, -1]])
    np.testing.assert_array_equal(scores, np.float32([0, 1, 2, np.nan, 4, 5]))


def test_recency_leaves_the_queries_alone():
    """Scipy sorts the indices of a matrix in place, as `abs` does."""
    queries = Queries.from_lists([[3, 1, 2]])
    abs(recency_matrix(queries, 0.5, 4))
    assert queries.items.tolist() == [3, 1, 2]
