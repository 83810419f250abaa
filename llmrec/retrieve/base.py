"""The retriever protocol, and the array work every retriever shares: blocks, masks, recency."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol, runtime_checkable

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from llmrec.types import BoolArray, Float32Array, Int32Array, Int64Array, Queries, Ranking

__all__ = [
    "Retriever",
    "Scorer",
    "Searches",
    "blocks",
    "gather",
    "is_excluded",
    "recency_matrix",
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


@runtime_checkable
class Searches(Retriever, Protocol):
    """A retriever that understands text: it compares items with items, and free-text wishes with items."""

    def similar(self, rows: Int32Array, k: int) -> Ranking:
        """Return the k items nearest to each given one."""


def blocks(n: int, width: int, cells: int | None = None) -> Iterator[Int64Array]:
    """Yield row numbers 0..n in runs short enough that run x width stays within so many cells, at least one row."""
    size = max(1, (BLOCK_CELLS if cells is None else cells) // max(1, width))
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


def gather(scores: Float32Array, items: Int32Array) -> Float32Array:
    """Pick Float32[n, m] at Int32[n, k]; NaN at pads."""
    n, m = scores.shape
    if m == 0:
        return np.full(items.shape, np.nan, dtype=np.float32)
    picked = scores.ravel().take(np.arange(n)[:, None] * m + np.maximum(items, 0))
    return np.where(items >= 0, picked, np.float32(np.nan)).astype(np.float32, copy=False)


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
