"""Sparse matrices of which some rows change: the others stay where they are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Self

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from llmrec.types import Int64Array

__all__ = ["SparseRows", "replaced_rows"]

ROUNDING = 1e-12
"""What is left of a sum from which all was taken away again."""

Row = tuple[NDArray[np.integer[Any]], NDArray[np.float64]]


@dataclass(frozen=True, slots=True, eq=False)
class SparseRows:
    """A Float64 matrix [n, n] to which little is added at a time, in time that goes with the rows it touches.

    Attributes:
        base: Float64 CSR [m, m], m <= n.
        changed: row number to columns and values, for rows that are not as in `base`.
    """

    base: sp.csr_matrix
    changed: Mapping[int, Row] = field(default_factory=dict)

    def take(self, rows: Int64Array, n: int) -> sp.csr_matrix:
        """Return some rows, Float64 CSR [len(rows), n]; rows and columns that are not there are empty."""
        found = [self._row(row) for row in rows.tolist()]
        offsets = np.cumsum([0, *(len(values) for _, values in found)])
        columns = np.concatenate([np.empty(0, np.int64), *(columns for columns, _ in found)]).astype(np.int64)
        values = np.concatenate([np.empty(0), *(values for _, values in found)])
        return sp.csr_matrix((values, columns, offsets), shape=(len(rows), n))

    def adding(self, more: sp.csr_matrix) -> Self:
        """Return the matrix plus Float64 CSR [n, n] of which most rows are empty."""
        rows = np.flatnonzero(np.diff(more.indptr)).astype(np.int64)
        sums = sp.csr_matrix(self.take(rows, more.shape[1]) + more[rows])
        sums.data[np.abs(sums.data) < ROUNDING] = 0
        sums.eliminate_zeros()
        ends = sums.indptr
        # copied: a slice would hold all rows of this sum in memory for as long as one of them is current
        fresh = {
            row: (sums.indices[ends[i] : ends[i + 1]].copy(), sums.data[ends[i] : ends[i + 1]].copy())
            for i, row in enumerate(rows.tolist())
        }
        return replace(self, changed={**self.changed, **fresh})

    def _row(self, row: int) -> Row:
        if row in self.changed:
            return self.changed[row]
        if row >= self.base.shape[0]:
            return np.empty(0, np.int64), np.empty(0)
        start, stop = self.base.indptr[row : row + 2]
        return self.base.indices[start:stop], self.base.data[start:stop]


def replaced_rows(matrix: sp.csr_matrix, rows: Int64Array, fresh: sp.csr_matrix) -> sp.csr_matrix:
    """Return a CSR [m, m] with some rows replaced by those of CSR [len(rows), n], n >= m: CSR [n, n].

    Args:
        matrix: the old one; it stays as it is.
        rows: Int64[r], distinct; those from m on are new.
        fresh: one row for each of them.
    """
    m, n = matrix.shape[0], fresh.shape[1]
    empty = sp.csr_matrix((1, n), dtype=matrix.dtype)
    # the parts are copied: to give a matrix another shape would change it in place, under those who read it
    old = sp.csr_matrix((matrix.data, matrix.indices, matrix.indptr), shape=(m, n))
    stacked = sp.csr_matrix(sp.vstack([old, empty, fresh], format="csr"))
    source = np.full(n, m, dtype=np.int64)
    source[:m] = np.arange(m)
    source[rows] = m + 1 + np.arange(len(rows))
    return sp.csr_matrix(stacked[source])
