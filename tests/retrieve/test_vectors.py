import hypothesis.strategies as st
import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings

from llmrec.retrieve.stored import StoredVectors
from llmrec.retrieve.vectors import Vectors

DIM = 3


@given(st.data())
@settings(max_examples=100, deadline=None)
def test_growing_is_writing_into_an_array(data):
    """Whatever is changed and added, whenever it is folded, and however stored, it is what an array would hold."""
    storage = data.draw(st.sampled_from(["float32", "float16", "int8"]))
    rng = np.random.default_rng(data.draw(st.integers(0, 9)))
    truth = rng.standard_normal((data.draw(st.integers(1, 6)), DIM)).astype(np.float32)
    vectors = Vectors.of(StoredVectors.pack(truth, storage))
    for _ in range(data.draw(st.integers(0, 4))):
        before, old = vectors.array().copy(), vectors
        changed = data.draw(st.lists(st.integers(0, len(truth) - 1), unique=True).map(sorted))
        fresh = data.draw(st.integers(0, 3))
        rows = np.concatenate([changed, np.arange(len(truth), len(truth) + fresh)]).astype(np.int32)
        new = rng.standard_normal((len(rows), DIM)).astype(np.float32)
        truth = np.concatenate([truth, np.zeros((fresh, DIM), np.float32)])
        truth[rows] = new
        vectors = vectors.grown(new, rows)
        np.testing.assert_array_equal(old.array(), before)
        if data.draw(st.booleans()):
            vectors = vectors.folded()
            assert len(vectors.tail) == 0
    assert len(vectors) == len(truth)
    truth = StoredVectors.pack(truth, storage).floats()
    np.testing.assert_array_equal(vectors.array(), truth)
    rows = rng.integers(0, len(truth), (2, 5))
    np.testing.assert_array_equal(vectors.take(rows), truth[rows])
    weights = sp.csr_matrix(rng.random((4, len(truth)), dtype=np.float32) * (rng.random((4, len(truth))) < 0.5))
    sums = vectors.weighted_sums(weights)
    np.testing.assert_array_equal(sums, weights @ truth)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("llmrec.retrieve.vectors.BLOCK_CELLS", data.draw(st.integers(1, 30)))
        np.testing.assert_array_equal(vectors.weighted_sums(weights), sums)
    for row in range(4):
        np.testing.assert_array_equal(vectors.weighted_sums(weights[row]), sums[row : row + 1])


def test_a_base_is_shared_not_copied(rng):
    base = rng.standard_normal((5, DIM)).astype(np.float32)
    vectors = Vectors.of(base)
    assert vectors.base.codes is base
    assert vectors.array() is base
    assert vectors.grown(base[:1], np.int32([5])).base.codes is base


def test_cosines_by_hand_in_blocks(monkeypatch):
    vectors = Vectors.of(np.eye(3, dtype=np.float32)).grown(np.float32([[0.6, 0.8, 0]]), np.int32([1]))
    items = np.int32([[0, 1, -1], [2, -1, 1]])
    queries = np.float32([[1, 0, 0], [0, 1, 0]])
    for cells in (1, 8_000_000):
        monkeypatch.setattr("llmrec.retrieve.base.BLOCK_CELLS", cells)
        found = vectors.cosines(queries, items)
        np.testing.assert_allclose(found, np.float32([[1, 0.6, np.nan], [0, np.nan, 0.8]]))
