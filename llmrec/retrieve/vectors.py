"""Item vectors that can grow: a large base that is never copied, and a short tail of what came or changed since."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from llmrec.retrieve.base import blocks
from llmrec.types import BoolArray, Float32Array, Int32Array, Int64Array

__all__ = ["Vectors"]


@dataclass(frozen=True, slots=True, eq=False)
class Vectors:
    """One vector an item, where adding an item costs the same whatever the size of the catalog.

    Immutable: `grown` returns another object that shares the base.

    Attributes:
        base: Float32[b, dim], the vectors of rows 0..b, as they were when the base was made.
        tail: Float32[t, dim], the vectors of `tail_rows`, which count instead of the base's.
        tail_rows: Int32[t], ascending: rows that changed (below b), then all rows from b on.
    """

    base: Float32Array
    tail: Float32Array
    tail_rows: Int32Array

    @classmethod
    def of(cls, vectors: Float32Array) -> Self:
        """Hold Float32[n, dim] as a base without a tail."""
        base = np.ascontiguousarray(vectors, dtype=np.float32)
        return cls(base, np.empty((0, base.shape[1]), np.float32), np.empty(0, np.int32))

    def __len__(self) -> int:
        """The number of items."""
        return max(len(self.base), int(self.tail_rows[-1]) + 1 if len(self.tail_rows) else 0)

    @property
    def dim(self) -> int:
        """Length of a vector."""
        return int(self.base.shape[1])

    def grown(self, vectors: Float32Array, rows: Int32Array) -> Self:
        """Return the same vectors with some put in the place of the old ones, or at the end.

        Args:
            vectors: Float32[m, dim].
            rows: Int32[m], distinct; those that are new follow each other from `len(self)` on.
        """
        keep = ~np.isin(self.tail_rows, rows)
        tail_rows = np.concatenate([self.tail_rows[keep], rows]).astype(np.int32)
        tail = np.concatenate([self.tail[keep], vectors]).astype(np.float32)
        order = np.argsort(tail_rows)
        return type(self)(self.base, tail[order], tail_rows[order])

    def folded(self) -> Self:
        """Return the same vectors as a base without a tail; copies all of them."""
        return self if len(self.tail) == 0 else self.of(self.array())

    def array(self) -> Float32Array:
        """Return Float32[n, dim]; the base itself where there is no tail, else a copy."""
        if len(self.tail) == 0:
            return self.base
        full = np.empty((len(self), self.dim), dtype=np.float32)
        full[: len(self.base)] = self.base
        full[self.tail_rows] = self.tail
        return full

    def take(self, rows: NDArray[np.integer[Any]]) -> Float32Array:
        """Return the vectors of given rows: Float32[..., dim] for integers [...] in 0..n."""
        if len(self.tail) == 0:
            whole: Float32Array = self.base[rows]
            return whole
        place, in_tail = self._in_tail(rows)
        taken: Float32Array = self.base[np.where(in_tail, 0, rows)]
        taken[in_tail] = self.tail[place[in_tail]]
        return taken

    def weighted_sums(self, weights: sp.csr_matrix) -> Float32Array:
        """Sum vectors by the rows of a sparse Float32[m, n]; the same bits with a tail and without."""
        if len(self.tail) == 0:
            return np.asarray(weights @ self.base, dtype=np.float32)
        needed, places = np.unique(weights.indices, return_inverse=True)
        shape = (weights.shape[0], len(needed))
        narrow = sp.csr_matrix((weights.data, places.astype(np.int32), weights.indptr), shape=shape)
        return np.asarray(narrow @ self.take(needed), dtype=np.float32)

    def cosines(self, queries: Float32Array, items: Int32Array) -> Float32Array:
        """Cosines of Float32[m, dim] with Int32[m, k] items: Float32[m, k], in bounded memory; NaN at pads."""
        scores = np.full(items.shape, np.nan, dtype=np.float32)
        for rows in blocks(len(items), items.shape[1] * self.dim):
            picked = self.take(np.maximum(items[rows], 0))
            # einsum, not BLAS: the result for one query must not depend on how many others are in the batch.
            scores[rows] = np.einsum("nd,nkd->nk", queries[rows], picked)
        return np.where(items >= 0, scores, np.float32(np.nan)).astype(np.float32)

    def current(self) -> BoolArray:
        """Bool[b]: True for the rows of the base that the tail does not replace."""
        mask = np.ones(len(self.base), dtype=np.bool_)
        mask[self.tail_rows[self.tail_rows < len(self.base)]] = False
        return mask

    def _in_tail(self, rows: NDArray[np.integer[Any]]) -> tuple[Int64Array, BoolArray]:
        """Int64[...] places in the tail, and Bool[...] where they hold."""
        place = np.minimum(np.searchsorted(self.tail_rows, rows), len(self.tail_rows) - 1)
        return place, self.tail_rows[place] == rows
