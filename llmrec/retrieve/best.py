"""The k best columns of each row, in an order that nothing but the scores and the items' hashes decides."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from llmrec.types import BoolArray, Csr, Float32Array, Int32Array, Int64Array, Ranking

__all__ = [
    "Ties",
    "at_least",
    "best_among",
    "best_of",
    "descending_bits",
    "least_of",
    "longest",
    "order_by_score",
    "rank_ties",
    "top_k",
]

GROUPS = 4
"""The k-th highest maximum of so many times k groups of columns is a bound that few columns reach."""

FEW = 16
"""Up to so many queries, only the items that contend are put in the order of their hashes."""

WIDE = 4
"""Rows of more than so many times k contenders are cut before they are put in order."""

LAST = np.iinfo(np.uint64).max
"""The key of a pad: behind all others."""


@dataclass(frozen=True, slots=True, eq=False)
class Ties:
    """How equal scores are ordered.

    Attributes:
        hashes: UInt64[n_items], a fixed hash of the item ids; the lower one comes first.
        ranks: UInt64[n_items], each item's place among all by its hash, below 2 ** 32; None: not worth the sorting.
        items: Int32[n_items], the item at each place; or None.
    """

    hashes: NDArray[np.uint64]
    ranks: NDArray[np.uint64] | None = None
    items: Int32Array | None = None

    @classmethod
    def of(cls, hashes: NDArray[np.uint64], queries: int) -> Self:
        """Order ties for so many queries: of many, all items are put in order once; of few, those that contend."""
        return cls(hashes, *_places(hashes)) if queries > FEW else cls(hashes)

    def among(self, columns: Int64Array) -> tuple[NDArray[np.uint64], Int32Array]:
        """Return UInt64[c], the ranks of some columns, rising with their hashes; and the column of each rank."""
        if self.ranks is not None and self.items is not None:
            return self.ranks[columns], self.items
        ranks, order = _places(self.hashes[columns])
        return ranks, columns.astype(np.int32)[order]


def _places(hashes: NDArray[np.uint64]) -> tuple[NDArray[np.uint64], Int32Array]:
    """UInt64[c], the place of each hash among these, and Int32[c], which one is at each place."""
    order = np.argsort(hashes, kind="stable")
    ranks = np.empty(len(hashes), dtype=np.uint64)
    ranks[order] = np.arange(len(hashes), dtype=np.uint64)
    return ranks, order.astype(np.int32)


def rank_ties(tie_order: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """UInt64[n_items]: each item's place among all by its hash, below 2 ** 32."""
    return _places(tie_order)[0]


def descending_bits(scores: Float32Array) -> NDArray[np.uint64]:
    """Map float32 to integers that sort the other way round: higher scores become smaller numbers."""
    bits = (scores + np.float32(0)).astype(np.float32).view(np.int32)  # + 0 makes -0.0 equal 0.0
    ascending = np.where(bits < 0, ~bits, bits | np.int32(-0x80000000)).view(np.uint32)
    return (~ascending).astype(np.uint64)


def top_k(scores: Float32Array, k: int, tie_order: NDArray[np.uint64]) -> Ranking:
    """Take the k best columns of each row; equal scores are ordered by `tie_order`, whatever the batch.

    Args:
        scores: Float32[n, n_items]; -inf or NaN where an item must not come back.
        k: how many.
        tie_order: UInt64[n_items], a fixed hash of the item ids.

    Returns:
        A Ranking of width min(k, n_items).
    """
    return best_of(scores, k, Ties.of(tie_order, len(scores)))


def best_of(scores: Float32Array, k: int, ties: Ties, exclude: Csr | None = None) -> Ranking:
    """Take the k best columns of each row.

    Args:
        scores: Float32[n, n_items], contiguous; NaN or infinite where an item must not come back.
        k: how many.
        ties: the order of equal scores.
        exclude: n rows of columns that must not come back, or None.

    Returns:
        A Ranking of width min(k, n_items).
    """
    n, m = scores.shape
    k = min(k, m)
    if k == 0 or n == 0:
        return Ranking(np.empty((n, k), np.int32), np.empty((n, k), np.float32))
    flat = np.flatnonzero(at_least(scores, least_of(scores, k + longest(exclude)), exclude))
    items = best_among(scores.ravel()[flat], flat, (n, m), k, ties)
    found = scores.ravel().take(np.arange(n)[:, None] * m + np.maximum(items, 0))
    return Ranking(items, np.where(items < 0, np.float32(0), found))


def best_among(values: Float32Array, flat: Int64Array, shape: tuple[int, int], k: int, ties: Ties) -> Int32Array:
    """Order some cells of a matrix, row by row, and cut.

    Args:
        values: Float32[c], finite.
        flat: Int64[c], the cell of each, rising: row times the number of columns, plus column.
        shape: of the matrix, [n, m].
        k: how many to keep of each row.
        ties: the order of equal values.

    Returns:
        Int32[n, k]: columns, best first; -1 pads.
    """
    n, m = shape
    starts = np.searchsorted(flat, np.arange(n + 1) * m)
    counts = np.diff(starts)
    ranks, columns = ties.among(flat - np.repeat(np.arange(n) * m, counts))
    keys = (descending_bits(values) << np.uint64(32)) | ranks
    best = np.full((n, k), LAST)
    wide = counts > WIDE * k  # apart, so that a row of many ties makes no work for the others
    for rows in (np.flatnonzero(wide), np.flatnonzero(~wide)):
        if len(rows):
            best[rows] = _least_keys(keys, starts[rows], counts[rows], k)
    if len(columns) == 0:
        return np.full((n, k), -1, dtype=np.int32)
    items = columns.take((best & np.uint64(0xFFFFFFFF)).astype(np.int64), mode="clip")
    return np.where(best == LAST, np.int32(-1), items)


def _least_keys(keys: NDArray[np.uint64], starts: Int64Array, counts: Int64Array, k: int) -> NDArray[np.uint64]:
    """UInt64[r, k]: the least of each run of keys, in order, `LAST` at pads."""
    width = max(k, int(counts.max()))
    grid = np.full((len(counts), width), LAST)
    within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    grid.ravel()[within + np.repeat(np.arange(len(counts)) * width, counts)] = keys[within + np.repeat(starts, counts)]
    if width > WIDE * k:
        grid = np.partition(grid, k - 1, axis=1)[:, :k]
    return np.sort(grid, axis=1)[:, :k]


def least_of(scores: Float32Array, k: int) -> Float32Array:
    """Float32[n, 1]: a score that at least k columns of the row reach; -inf where there may be fewer than k.

    Columns are taken in groups, of which the highest score is looked at: k groups reach the k-th highest of these.
    """
    n, m = scores.shape
    size = m // (GROUPS * k)
    if size < 2:
        return np.full((n, 1), -np.inf, dtype=np.float32)
    whole = m // size * size
    highest = np.fmax.reduce(scores[:, :whole].reshape(n, size, -1), axis=1, initial=np.float32(-np.inf))
    if np.isposinf(highest).any():
        highest[np.isposinf(highest)] = -np.inf
    places = highest.shape[1] - k
    least: Float32Array = np.partition(highest, places, axis=1)[:, places, None]
    return least


def at_least(scores: Float32Array, least: Float32Array, exclude: Csr | None = None) -> BoolArray:
    """Bool[n, m]: True for finite scores that reach Float32[n, 1], of items that are not excluded."""
    finite = np.finfo(np.float32)
    keep = scores >= np.maximum(least, finite.min)
    keep &= scores <= finite.max
    if exclude is not None:
        keep[np.repeat(np.arange(len(exclude)), np.diff(exclude.offsets)), exclude.values] = False
    return keep


def longest(exclude: Csr | None) -> int:
    """Return how many columns a row excludes at most."""
    return 0 if exclude is None else int(np.diff(exclude.offsets).max(initial=0))


def order_by_score(scores: NDArray[np.floating], items: Int32Array, tie_order: NDArray[np.uint64]) -> Int64Array:
    """Order candidates by score, best first; ties by item hash; pads (-1) last.

    Args:
        scores: Float[n, k], finite.
        items: Int32[n, k].
        tie_order: UInt64[n_items].

    Returns:
        Int64[n, k] positions along the candidate axis.
    """
    keys = np.where(items >= 0, -scores, np.inf)
    order = np.argsort(keys, axis=1)
    if order.shape[1] < 2:
        return order.astype(np.int64)
    ordered = np.take_along_axis(keys, order, axis=1)
    tied = np.flatnonzero(((ordered[:, 1:] == ordered[:, :-1]) & np.isfinite(ordered[:, 1:])).any(axis=1))
    if len(tied):
        ties = tie_order[np.maximum(items[tied], 0)]
        order[tied] = np.lexsort((ties, keys[tied]), axis=1)
    return order.astype(np.int64)
