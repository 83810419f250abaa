"""Scores that are products of a query's vector with the items': fast to rank by, and the same bits in any batch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from llmrec.retrieve.base import blocks, gather
from llmrec.retrieve.best import Ties, at_least, best_among, least_of, longest
from llmrec.retrieve.reading import Scored
from llmrec.types import BoolArray, Csr, Float32Array, Int32Array, Int64Array, Queries, Ranking

__all__ = ["ItemSide", "Products"]

GATHERED = 250_000
"""Numbers of item vectors that are copied at once: 1 MB of float32, which stay in a core's caches."""

MANY = 8
"""Rows from which products are worth loading torch for."""

UNIT = 2.0**-24
"""The relative error of one operation on float32."""


@dataclass(frozen=True, slots=True, eq=False)
class ItemSide:
    """What stands for the items.

    Attributes:
        vectors: Float32[m, f], of the first m items of the catalog.
        offsets: Float32[n_items], added to the products; NaN for items of which nothing is known, as from m on.
        longest: the greatest length of a vector.
        highest: the greatest offset, by size.
    """

    vectors: Float32Array
    offsets: Float32Array
    longest: float
    highest: float

    @classmethod
    def of(cls, vectors: Float32Array, bias: Float32Array, known: BoolArray) -> ItemSide:
        """Hold vectors, Float32[m, f] and Float32[m], of which some are known: Bool[n_items], n_items >= m."""
        offsets = np.full(len(known), np.nan, dtype=np.float32)
        offsets[: len(bias)] = np.where(known[: len(bias)], bias, np.float32(np.nan))
        longest = float(np.sqrt(np.einsum("mf,mf->m", vectors, vectors).max(initial=0)))
        return cls(vectors, offsets, longest, float(np.abs(bias).max(initial=0)))


@dataclass(frozen=True, slots=True, eq=False)
class Products:
    """Queries read by a model that makes a vector of each; see `llmrec.retrieve.reading.Read`.

    Attributes:
        users: Float32[n, f].
        usable: Bool[n], False where there was nothing to read.
        items: what stands for the items.
        queries: the queries.
        allowed: Bool[n_items], what may come back; None: everything.
        ties: how equal scores are ordered.
    """

    users: Float32Array
    usable: BoolArray
    items: ItemSide
    queries: Queries
    allowed: BoolArray | None
    ties: Ties

    @property
    def n_queries(self) -> int:
        """How many queries were read."""
        return len(self.queries)

    @property
    def n_items(self) -> int:
        """The catalog's size."""
        return len(self.items.offsets)

    def some(self, rows: Int64Array) -> Scored:
        """Take some of the queries."""
        exclude = None if self.queries.exclude is None else self.queries.exclude.take(rows)
        return _SomeProducts(self.users[rows], self.usable[rows], self.items, exclude, self.allowed, self.ties)


@dataclass(frozen=True, slots=True, eq=False)
class _SomeProducts:
    """Some queries of `Products`.

    BLAS says which items come into question: what it makes of a row depends, in the last bits, on the other rows. The
    scores of these are then summed one by one, in an order that depends on nothing, and decide.
    """

    users: Float32Array
    usable: BoolArray
    items: ItemSide
    exclude: Csr | None
    allowed: BoolArray | None
    ties: Ties

    def best(self, k: int) -> Ranking:
        shape = len(self.users), len(self.items.offsets)
        k = min(k, shape[1])
        about = self._about()
        least = least_of(about, k + longest(self.exclude)) - self._doubt()
        flat = np.flatnonzero(at_least(about, least, self.exclude))
        counts = np.diff(np.searchsorted(flat, np.arange(shape[0] + 1) * shape[1]))
        grid = np.full((shape[0], int(counts.max(initial=0))), -1, dtype=np.int32)
        there = np.arange(grid.shape[1]) < counts[:, None]
        grid[there] = flat - np.repeat(np.arange(shape[0]) * shape[1], counts)
        exact = self.score(grid)[there]
        about.ravel()[flat] = exact
        items = best_among(exact, flat, shape, k, self.ties)
        return Ranking(items, np.nan_to_num(gather(about, items), nan=0.0))

    def score(self, items: Int32Array) -> Float32Array:
        scores = np.empty(items.shape, dtype=np.float32)
        if scores.size == 0 or len(self.items.vectors) == 0:
            return np.full(items.shape, np.nan, dtype=np.float32)
        places, f = np.maximum(items, 0), self.users.shape[1]
        parts = list(blocks(len(items), items.shape[1] * f, GATHERED))
        buffer = np.empty((len(parts[0]), items.shape[1], f), dtype=np.float32)
        for rows in parts:
            vectors = buffer[: len(rows)]
            self.items.vectors.take(places[rows], axis=0, out=vectors, mode="clip")  # beyond them, offsets are NaN
            # einsum, not BLAS: the result for one query must not depend on how many others are in the batch.
            scores[rows] = np.einsum("nd,nkd->nk", self.users[rows], vectors)
        scores += self.items.offsets[places]
        scores[(items < 0) | ~self.usable[:, None]] = np.nan
        return scores

    def _about(self) -> Float32Array:
        """Float32[n, n_items], the scores but for rounding; NaN where nothing may come back."""
        offsets, m = self.items.offsets, len(self.items.vectors)
        if self.allowed is not None:
            offsets = np.where(self.allowed, offsets, np.float32(np.nan))
        about = _product(self.users, self.items.vectors)
        if m < len(offsets):
            about = np.pad(about, ((0, 0), (0, len(offsets) - m)))
        about += offsets
        about[~self.usable] = np.nan
        return about

    def _doubt(self) -> Float32Array:
        """Float32[n, 1]: twice what two ways of summing a score may differ by at most."""
        lengths = np.sqrt(np.einsum("nf,nf->n", self.users, self.users))
        largest = lengths * self.items.longest + self.items.highest
        return np.asarray(4 * (self.users.shape[1] + 2) * UNIT * largest, dtype=np.float32)[:, None]


def _product(users: Float32Array, vectors: Float32Array) -> Float32Array:
    """Float32[n, m], products but for rounding: of many rows by torch, whose threads `in_threads` knows to bound."""
    if len(users) < MANY:
        exact: Float32Array = np.einsum("nf,mf->nm", users, vectors)
        return exact
    import torch

    # torch takes no read-only arrays, such as those of a bundle that was opened: these are copied for the moment
    left, right = (torch.from_numpy(np.require(part, requirements="W")) for part in (users, vectors))
    product: Float32Array = (left @ right.T).numpy()
    return product
