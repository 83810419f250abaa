"""The retriever protocol, and the array work every retriever shares: masks, deterministic top-k, recency."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Protocol

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from llmrec.types import BoolArray, Float32Array, Int32Array, Int64Array, Queries, Ranking

__all__ = [
    "Retriever",
    "Scorer",
    "blocks",
    "descending_bits",
    "gather",
    "is_excluded",
    "order_by_score",
    "rank_ties",
    "recency_matrix",
    "retrieve_dense_scores",
    "score_dense_scores",
    "top_k",
]

BLOCK_CELLS = 8_000_000
"""How many (query, item) scores are held at once: 32 MB of float32."""


class Scorer(Protocol):
    """Scores given items for a batch of queries."""

    @property
    def name(self) -> str:
        """Name of the score column."""

    def score(self, queries: Queries, items: Int32Array) -> Float32Array:
        """Score items.

        Args:
            queries: n queries.
            items: Int32[n, k], catalog rows; -1 pads.

        Returns:
            Float32[n, k]; NaN where the scorer has no evidence, and at pads.
        """


class Retriever(Scorer, Protocol):
    """Proposes items, and can score any given ones."""

    def retrieve(self, queries: Queries, k: int) -> Ranking:
        """Return the k best items per query, never one that is excluded, not allowed or deleted."""


def blocks(n: int, width: int) -> Iterator[Int64Array]:
    """Yield row numbers 0..n in runs short enough that run x width stays within bounded memory."""
    size = max(1, BLOCK_CELLS // max(1, width))
    for start in range(0, n, size):
        yield np.arange(start, min(n, start + size), dtype=np.int64)


def recency_matrix(queries: Queries, decay: float, n_items: int) -> sp.csr_matrix:
    """Histories as a sparse matrix in which an interaction of age a (0 = newest) weighs decay ** a.

    Args:
        queries: n queries.
        decay: in (0, 1]; 1 weighs all alike.
        n_items: columns of the result.

    Returns:
        Float32 CSR [n, n_items]; times `queries.weights` where there are any.
    """
    ages = np.repeat(queries.offsets[1:], np.diff(queries.offsets)) - 1 - np.arange(len(queries.items))
    values = np.power(np.float32(decay), ages.astype(np.float32))
    if queries.weights is not None:
        values = values * queries.weights
    shape = (len(queries), n_items)
    # copied: scipy sorts the indices of a matrix in place, now and then, and these are the queries' own
    return sp.csr_matrix((values.astype(np.float32), queries.items, queries.offsets), shape=shape, copy=True)


def top_k(scores: Float32Array, k: int, tie_order: NDArray[np.uint64]) -> Ranking:
    """Take the k best columns of each row; equal scores are ordered by `tie_order`, whatever the batch.

    Args:
        scores: Float32[n, n_items]; -inf or NaN where an item must not come back.
        k: how many.
        tie_order: UInt64[n_items], a fixed hash of the item ids.

    Returns:
        A Ranking of width min(k, n_items).
    """
    k = min(k, scores.shape[1])
    if k == 0 or len(scores) == 0:
        return Ranking(np.empty((len(scores), k), np.int32), np.empty((len(scores), k), np.float32))
    scores = np.where(np.isnan(scores), np.float32(-np.inf), scores)
    keys, places = _contenders(scores, k, rank_ties(tie_order))
    if k < keys.shape[1]:
        best = np.argpartition(keys, k - 1, axis=1)[:, :k]
        keys, places = np.take_along_axis(keys, best, axis=1), np.take_along_axis(places, best, axis=1)
    items = np.take_along_axis(places, np.argsort(keys, axis=1), axis=1)
    found = np.take_along_axis(scores, np.maximum(items, 0), axis=1)
    return Ranking(items.astype(np.int32), np.where(items >= 0, found, np.float32(0)).astype(np.float32))


def _contenders(
    scores: Float32Array, k: int, tie_rank: NDArray[np.uint64]
) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    """All that may be among the k best of a row: what is no worse than the k-th. Few are left to be put in order.

    Where many are as good as the k-th, all of the row contend.

    Args:
        scores: Float32[n, m], no NaN; what is infinite does not contend.
        k: how many are wanted, 1 to m.
        tie_rank: UInt64[m].

    Returns:
        UInt64[n, c] keys, smaller ones first, and Int64[n, c] columns, -1 at pads, which come last; c is at least k.
    """
    n, m = scores.shape
    least = np.partition(scores, m - k, axis=1)[:, m - k, None]
    keep = (scores >= least) & np.isfinite(scores)
    counts = keep.sum(axis=1)
    if 4 * counts.max() > m:
        keys = (descending_bits(scores) << np.uint64(32)) | tie_rank
        return keys, np.where(np.isfinite(scores), np.arange(m), -1)
    flat = np.flatnonzero(keep)
    rows = np.repeat(np.arange(n), counts)
    columns = flat - rows * m
    spots = np.arange(len(flat)) - np.repeat(np.cumsum(counts) - counts, counts)
    shape = (n, max(k, int(counts.max())))
    keys, places = np.full(shape, np.iinfo(np.uint64).max), np.full(shape, -1)
    keys[rows, spots] = (descending_bits(scores.ravel()[flat]) << np.uint64(32)) | tie_rank[columns]
    places[rows, spots] = columns
    return keys, places


def rank_ties(tie_order: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """UInt64[n_items]: each item's place among all by its hash, below 2 ** 32."""
    ranks = np.empty(len(tie_order), dtype=np.uint64)
    ranks[np.argsort(tie_order)] = np.arange(len(tie_order), dtype=np.uint64)
    return ranks


def descending_bits(scores: Float32Array) -> NDArray[np.uint64]:
    """Map float32 to integers that sort the other way round: higher scores become smaller numbers."""
    bits = (scores + np.float32(0)).astype(np.float32).view(np.int32)  # + 0 makes -0.0 equal 0.0
    ascending = np.where(bits < 0, ~bits, bits | np.int32(-0x80000000)).view(np.uint32)
    return (~ascending).astype(np.uint64)


def order_by_score(scores: NDArray[np.floating], items: Int32Array, tie_order: NDArray[np.uint64]) -> Int64Array:
    """Order candidates by score, best first; ties by item hash; pads (-1) last.

    Args:
        scores: Float[n, k], finite.
        items: Int32[n, k].
        tie_order: UInt64[n_items].

    Returns:
        Int64[n, k] positions along the candidate axis.
    """
    ties = tie_order[np.maximum(items, 0)] if len(tie_order) else np.zeros(items.shape, np.uint64)
    keys = np.where(items >= 0, -scores, np.inf)
    return np.lexsort((ties, keys), axis=1).astype(np.int64)


def retrieve_dense_scores(
    score_all: Callable[[Queries], Float32Array],
    queries: Queries,
    k: int,
    active: BoolArray,
    tie_order: NDArray[np.uint64],
) -> Ranking:
    """Rank the whole catalog with a function that scores all of it, block by block in bounded memory.

    Args:
        score_all: n queries to Float32[n, n_items], NaN or -inf where it has nothing to say.
        queries: the queries.
        k: list length.
        active: Bool[n_items], False for deleted items.
        tie_order: UInt64[n_items].

    Returns:
        A Ranking of width min(k, n_items), padded where fewer items may come back.
    """
    parts = []
    for rows in blocks(len(queries), len(active)):
        batch = queries.take(rows)
        scores = np.array(score_all(batch), dtype=np.float32)
        scores[:, ~active if batch.allow is None else ~(active & batch.allow)] = -np.inf
        if batch.exclude is not None:
            owner = np.repeat(np.arange(len(batch)), np.diff(batch.exclude.offsets))
            scores[owner, batch.exclude.values] = -np.inf
        parts.append(top_k(scores, k, tie_order))
    return stack(parts, min(k, len(active)))


def score_dense_scores(
    score_all: Callable[[Queries], Float32Array], queries: Queries, items: Int32Array, n_items: int
) -> Float32Array:
    """Score given items with a function that scores the whole catalog, block by block; NaN at pads."""
    out = np.full(items.shape, np.nan, dtype=np.float32)
    for rows in blocks(len(queries), n_items):
        out[rows] = gather(score_all(queries.take(rows)), items[rows])
    return out


def gather(scores: Float32Array, items: Int32Array) -> Float32Array:
    """Pick Float32[n, n_items] at Int32[n, k]; NaN at pads."""
    if scores.shape[1] == 0:
        return np.full(items.shape, np.nan, dtype=np.float32)
    picked = np.take_along_axis(scores, np.maximum(items, 0).astype(np.int64), axis=1)
    return np.where(items >= 0, picked, np.float32(np.nan)).astype(np.float32)


def is_excluded(items: NDArray[np.integer[Any]], queries: Queries, n_items: int) -> BoolArray:
    """Bool[n, k]: True where an item is in its query's exclude list."""
    if queries.exclude is None:
        return np.zeros(items.shape, dtype=np.bool_)
    owner = np.repeat(np.arange(len(queries), dtype=np.int64), np.diff(queries.exclude.offsets))
    banned = owner * n_items + queries.exclude.values
    keys = np.arange(len(queries), dtype=np.int64)[:, None] * n_items + items
    return np.isin(keys, banned) & (items >= 0)


def stack(parts: list[Ranking], width: int) -> Ranking:
    """Put rankings of consecutive blocks of queries together; propensities too, where every part has them."""
    if not parts:
        return Ranking(np.empty((0, width), np.int32), np.empty((0, width), np.float32))
    shown = [p.propensities for p in parts if p.propensities is not None]
    return Ranking(
        np.concatenate([p.items for p in parts]),
        np.concatenate([p.scores for p in parts]),
        np.concatenate(shown) if len(shown) == len(parts) else None,
    )
