"""Item vectors that can grow: a large base that is never copied, and a short tail of what came or changed since."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from llmrec.retrieve.base import BLOCK_CELLS, blocks
from llmrec.retrieve.stored import StoredVectors
from llmrec.types import BoolArray, Float32Array, Int32Array, Int64Array

__all__ = ["Vectors"]


@dataclass(frozen=True, slots=True, eq=False)
class Vectors:
    """One vector an item, where adding an item costs the same whatever the size of the catalog.

    Immutable: `grown` returns another object that shares the base. What is new is stored as the base is, so that
    growing, folding, saving and loading change no bit of any vector.

    Attributes:
        base: the b vectors of rows 0..b, as they were when the base was made.
        tail: the t vectors of `tail_rows`, which count instead of the base's; stored alike.
        tail_rows: Int32[t], ascending: rows that changed (below b), then all rows from b on.
    """

    base: StoredVectors
    tail: StoredVectors
    tail_rows: Int32Array

    @classmethod
    def of(cls, vectors: Float32Array | StoredVectors) -> Self:
        """Hold vectors, or Float32[n, dim] as they are, as a base without a tail."""
        base = vectors if isinstance(vectors, StoredVectors) else StoredVectors.pack(vectors, "float32")
        return cls(base, base.pick(slice(0, 0)), np.empty(0, np.int32))

    def __len__(self) -> int:
        """The number of items."""
        return max(len(self.base), int(self.tail_rows[-1]) + 1 if len(self.tail_rows) else 0)

    @property
    def dim(self) -> int:
        """Length of a vector."""
        return self.base.dim

    def grown(self, vectors: Float32Array, rows: Int32Array) -> Self:
        """Return the same vectors with some put in the place of the old ones, or at the end.

        Args:
            vectors: Float32[m, dim].
            rows: Int32[m], distinct; those that are new follow each other from `len(self)` on.
        """
        keep = np.flatnonzero(~np.isin(self.tail_rows, rows))
        tail_rows = np.concatenate([self.tail_rows[keep], rows]).astype(np.int32)
        new = StoredVectors.pack(vectors, self.base.storage)
        places = np.arange(len(keep), len(tail_rows))
        tail = self.tail.pick(keep).joined(places, new, len(tail_rows))
        order = np.argsort(tail_rows)
        return type(self)(self.base, tail.pick(order), tail_rows[order])

    def folded(self) -> Self:
        """Return the same vectors as a base without a tail; copies all of them."""
        return self if len(self.tail) == 0 else self.of(self.base.joined(self.tail_rows, self.tail, len(self)))

    def array(self) -> Float32Array:
        """Return Float32[n, dim]; the base itself where that is it and there is no tail, else a copy."""
        return self.folded().base.floats()

    def pick(self, rows: NDArray[np.integer[Any]]) -> StoredVectors:
        """Return the vectors of given rows, as they are stored, for integers [...] in 0..n."""
        if len(self.tail) == 0:
            return self.base.pick(rows)
        place, in_tail = self._in_tail(rows)
        picked = self.base.pick(np.where(in_tail, 0, rows))
        picked.codes[in_tail] = self.tail.codes[place[in_tail]]
        if picked.scales is not None and self.tail.scales is not None:
            picked.scales[in_tail] = self.tail.scales[place[in_tail]]
        return picked

    def take(self, rows: NDArray[np.integer[Any]]) -> Float32Array:
        """Return the vectors of given rows: Float32[..., dim] for integers [...] in 0..n."""
        return self.pick(rows).floats()

    def weighted_sums(self, weights: sp.csr_matrix) -> Float32Array:
        """Sum vectors by the rows of a sparse Float32[m, n], in bounded memory; the same bits with a tail and without.

        A row's sum has the same bits whatever the other rows are.
        """
        if len(self.tail) == 0 and self.base.scales is None:
            return np.asarray(weights @ self.base.codes, dtype=np.float32)
        sums = np.empty((weights.shape[0], self.dim), dtype=np.float32)
        for rows in _runs(weights.indptr, BLOCK_CELLS // self.dim):
            part = weights[rows]
            needed, places = np.unique(part.indices, return_inverse=True)
            shape = (part.shape[0], len(needed))
            narrow = sp.csr_matrix((part.data, places.astype(np.int32), part.indptr), shape=shape)
            sums[rows] = narrow @ self.take(needed)
        return sums

    def cosines(self, queries: Float32Array, items: Int32Array) -> Float32Array:
        """Cosines of Float32[m, dim] with Int32[m, k] items: Float32[m, k], in bounded memory; NaN at pads."""
        scores = np.full(items.shape, np.nan, dtype=np.float32)
        for rows in blocks(len(items), items.shape[1] * self.dim):
            picked = self.take(np.maximum(items[rows], 0))
            # einsum, not BLAS: the result for one query must not depend on how many others are in the batch.
            scores[rows] = np.einsum("nd,nkd->nk", queries[rows], picked)
        return np.where(items >= 0, scores, np.float32(np.nan)).astype(np.float32)

    def _in_tail(self, rows: NDArray[np.integer[Any]]) -> tuple[Int64Array, BoolArray]:
        """Int64[...] places in the tail, and Bool[...] where they hold."""
        place = np.minimum(np.searchsorted(self.tail_rows, rows), len(self.tail_rows) - 1)
        return place, self.tail_rows[place] == rows


def _runs(offsets: NDArray[np.integer[Any]], limit: int) -> Iterator[slice]:
    """Yield runs of rows with about `limit` entries together, by offsets Int[m + 1]; one row at least."""
    start, m = 0, len(offsets) - 1
    while start < m:
        stop = max(start + 1, int(np.searchsorted(offsets, offsets[start] + limit, side="right")) - 1)
        yield slice(start, stop)
        start = stop
