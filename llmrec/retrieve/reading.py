"""Reading queries once: what a retriever proposes, and how it scores what others propose, comes of the same work."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from llmrec.models import in_threads
from llmrec.retrieve.base import Retriever, blocks, gather, stack
from llmrec.retrieve.best import Ties, best_of
from llmrec.types import BoolArray, Csr, Float32Array, Int32Array, Int64Array, Queries, Ranking

__all__ = [
    "AllScores",
    "Read",
    "ReadsOnce",
    "Scored",
    "allowed_items",
    "best_in_blocks",
    "score_in_blocks",
    "thread_blocks",
]

THREAD_CELLS = 2_000_000
"""How many (query, item) scores a thread holds at once: 8 MB of float32, which stay in the caches."""


class Scored(Protocol):
    """Some queries, with what a retriever knows of every item for them."""

    def best(self, k: int) -> Ranking:
        """Return the k best items per query, as `Retriever.retrieve` does."""

    def score(self, items: Int32Array) -> Float32Array:
        """Score given items, as `Scorer.score` does."""


class Read(Protocol):
    """Queries that a retriever has read: the work that is done for all of them at once is done."""

    @property
    def n_queries(self) -> int:
        """How many queries were read."""

    @property
    def n_items(self) -> int:
        """The catalog's size: how much is held per query once it is scored."""

    def some(self, rows: Int64Array) -> Scored:
        """Score the catalog for some of the queries; may be called from several threads at once."""


@runtime_checkable
class ReadsOnce(Retriever, Protocol):
    """A retriever that scores the whole catalog to propose items; then it has the scores of any given ones too."""

    def read(self, queries: Queries) -> Read:
        """Read queries; `retrieve` and `score` give what the result gives."""


def best_in_blocks(read: Read, k: int) -> Ranking:
    """Return the k best items of all queries, in bounded memory: a Ranking of width min(k, n_items)."""
    parts = in_threads(lambda rows: read.some(rows).best(k), thread_blocks(read.n_queries, read.n_items))
    return stack(parts, min(k, read.n_items))


def score_in_blocks(read: Read, items: Int32Array) -> Float32Array:
    """Score given items, Int32[n, k], for all queries, in bounded memory: Float32[n, k], NaN at pads."""
    out = np.full(items.shape, np.nan, dtype=np.float32)

    def score(rows: Int64Array) -> None:
        out[rows] = read.some(rows).score(items[rows])

    in_threads(score, thread_blocks(read.n_queries, read.n_items))
    return out


def thread_blocks(n: int, width: int) -> list[Int64Array]:
    """Row numbers 0..n in runs for threads, at least one: so few rows that run x width stays in a core's caches."""
    return list(blocks(n, width, THREAD_CELLS)) or [np.empty(0, dtype=np.int64)]


@dataclass(frozen=True, slots=True, eq=False)
class AllScores:
    """Queries read by a retriever that scores the whole catalog with one function.

    Attributes:
        score_all: m queries to Float32[m, n_items], NaN or -inf where it has nothing to say.
        queries: the queries.
        allowed: Bool[n_items], what may come back; None: everything.
        ties: how equal scores are ordered.
    """

    score_all: Callable[[Queries], Float32Array]
    queries: Queries
    allowed: BoolArray | None
    ties: Ties

    @classmethod
    def of(
        cls,
        score_all: Callable[[Queries], Float32Array],
        queries: Queries,
        active: BoolArray,
        tie_order: NDArray[np.uint64],
    ) -> AllScores:
        """Hold queries for a function that scores the catalog; `active` is False for deleted items."""
        return cls(score_all, queries, allowed_items(active, queries), Ties.of(tie_order, len(queries)))

    @property
    def n_queries(self) -> int:
        """How many queries were read."""
        return len(self.queries)

    @property
    def n_items(self) -> int:
        """The catalog's size."""
        return len(self.ties.hashes)

    def some(self, rows: Int64Array) -> Scored:
        """Score the catalog for some of the queries."""
        queries = self.queries.take(rows)
        scores = np.ascontiguousarray(self.score_all(queries), dtype=np.float32)
        return _ScoredAll(scores, queries.exclude, self.allowed, self.ties)


@dataclass(frozen=True, slots=True, eq=False)
class _ScoredAll:
    """Scores of the whole catalog, Float32[n, n_items]."""

    scores: Float32Array
    exclude: Csr | None
    allowed: BoolArray | None
    ties: Ties

    def best(self, k: int) -> Ranking:
        scores = self.scores if self.allowed is None else np.where(self.allowed, self.scores, np.float32(-np.inf))
        return best_of(scores, k, self.ties, self.exclude)

    def score(self, items: Int32Array) -> Float32Array:
        return gather(self.scores, items)


def allowed_items(active: BoolArray, queries: Queries) -> BoolArray | None:
    """Bool[n_items], what may come back of what is not deleted; None: everything."""
    allowed = active if queries.allow is None else active & queries.allow
    return None if allowed.all() else allowed
