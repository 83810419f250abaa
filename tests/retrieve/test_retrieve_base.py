"""The array work under every retriever, against plain Python."""

import numpy as np
import pytest

from llmrec.retrieve.base import blocks, gather, recency_matrix
from llmrec.retrieve.reading import AllScores, best_in_blocks
from llmrec.types import Csr, Queries


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


@pytest.mark.parametrize("cells", [1, 1_000_000])
def test_retrieving_masks_what_must_not_come_back(monkeypatch, cells):
    monkeypatch.setattr("llmrec.retrieve.reading.THREAD_CELLS", cells)
    queries = Queries(
        offsets=np.zeros(3, np.int64),
        items=np.empty(0, np.int32),
        exclude=Csr.from_lists([[4], []]),
        allow=np.array([True, True, True, True, True, False]),
    )
    scores = np.float32([0, 1, 2, np.nan, 4, 5])
    active = np.array([True, True, False, True, True, True])
    read = AllScores.of(lambda q: np.broadcast_to(scores, (len(q), 6)), queries, active, np.arange(6, dtype=np.uint64))
    found = best_in_blocks(read, 6)
    np.testing.assert_array_equal(found.items, [[1, 0, -1, -1, -1, -1], [4, 1, 0, -1, -1, -1]])
    np.testing.assert_array_equal(scores, np.float32([0, 1, 2, np.nan, 4, 5]))


def test_recency_leaves_the_queries_alone():
    """Scipy sorts the indices of a matrix in place, as `abs` does."""
    queries = Queries.from_lists([[3, 1, 2]])
    abs(recency_matrix(queries, 0.5, 4))
    assert queries.items.tolist() == [3, 1, 2]
