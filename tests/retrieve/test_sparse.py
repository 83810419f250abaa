"""The dense product of sparse matrices, against scipy's."""

import hypothesis.strategies as st
import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings

from llmrec.retrieve import sparse
from llmrec.retrieve.sparse import dense_product, mark_no_evidence


@st.composite
def matrices(draw):
    """Float32 CSR [n, m] and [m, p]; some rows and columns are empty, and indices need not be in order."""
    n, m, p = (draw(st.integers(0, 6)) for _ in range(3))
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    pair = []
    for shape in ((n, m), (m, p)):
        dense = np.where(rng.random(shape) < draw(st.sampled_from([0.0, 0.3, 1.0])), rng.normal(size=shape), 0)
        pair.append(sp.csr_matrix(dense.astype(np.float32)))
    left = pair[0]
    for row in range(n):
        part = slice(left.indptr[row], left.indptr[row + 1])
        order = rng.permutation(left.indptr[row + 1] - left.indptr[row])
        left.indices[part], left.data[part] = left.indices[part][order], left.data[part][order]
    return left, pair[1]


@pytest.mark.parametrize("terms", [1, 5, 500_000])
@given(pair=matrices())
@settings(max_examples=60, deadline=None)
def test_the_bits_are_those_of_the_sparse_product(pair, terms):
    left, right = pair
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sparse, "TERMS", terms)
        found = dense_product(left, right)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, (left @ right).toarray())


def test_many_terms_add_up_to_the_same_bits(rng):
    left = sp.random_array((9, 200), density=0.4, rng=rng, dtype=np.float32, format="csr")
    right = sp.random_array((200, 80), density=0.7, rng=rng, dtype=np.float32, format="csr")
    np.testing.assert_array_equal(dense_product(sp.csr_matrix(left), sp.csr_matrix(right)), (left @ right).toarray())


def test_zeros_become_nan_and_nothing_else_changes(rng):
    odd = np.float32([0.0, -0.0, 1e-45, -1e-45, 1.0, -3e38, 3e38, np.inf, -np.inf, np.nan])
    scores = np.concatenate([odd, rng.normal(size=990).astype(np.float32)]).reshape(10, 100)
    before = scores.copy()
    mark_no_evidence(scores)
    assert scores.dtype == np.float32
    np.testing.assert_array_equal(scores, np.where(before == 0, np.float32(np.nan), before))
