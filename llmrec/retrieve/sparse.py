"""Products of sparse matrices whose results are looked at whole."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp

from llmrec.types import Float32Array

__all__ = ["dense_product", "mark_no_evidence"]

TERMS = 500_000
"""Products that are held before they are summed: with their columns 4 MB, which stay in a core's caches."""


def dense_product(left: sp.csr_matrix, right: sp.csr_matrix) -> Float32Array:
    """Multiply sparse matrices into a dense one; where rows come out nearly full, several times faster than scipy.

    A row's products are laid out one behind the other and added to it in that order, which is the order of scipy's own
    product: the sums have the same bits.

    Args:
        left: Float32 CSR [n, m].
        right: Float32 CSR [m, p].

    Returns:
        Float32[n, p].
    """
    out = np.zeros((left.shape[0], right.shape[1]), dtype=np.float32)
    lengths = np.diff(right.indptr)[left.indices]
    ends = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])[left.indptr]
    start = 0
    while start < len(out):
        stop = max(start + 1, int(np.searchsorted(ends, ends[start] + TERMS, side="right")) - 1)
        part = slice(left.indptr[start], left.indptr[stop])
        terms = right[left.indices[part]]
        terms.data *= np.repeat(left.data[part], lengths[part])
        shape = (stop - start, right.shape[1])
        offsets = ends[start : stop + 1] - ends[start]
        sp.csr_matrix((terms.data, terms.indices, offsets), shape=shape).toarray(out=out[start:stop])
        start = stop
    return out


def mark_no_evidence(scores: Float32Array) -> None:
    """Turn zeros of Float32[n, p] into NaN, in place; other scores keep their bits.

    By a division, which takes a twentieth of the time of a mask: processors cannot foresee where zeros are.
    """
    with np.errstate(invalid="ignore"):
        np.divide(scores, scores != 0, out=scores)
