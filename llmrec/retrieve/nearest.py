"""The k nearest items of query vectors: exact, or approximate with a recall that was measured.

Whatever finds the candidates, they are scored again from the vectors themselves, so a score is always the exact cosine.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from llmrec.data import Catalog
from llmrec.retrieve.base import blocks, is_excluded
from llmrec.retrieve.best import order_by_score
from llmrec.retrieve.faiss_index import ApproximateIndex, ExactIndex
from llmrec.retrieve.stored import StoredVectors
from llmrec.retrieve.vectors import Vectors
from llmrec.types import BoolArray, Float32Array, Int32Array, Int64Array, Queries, Ranking, State

__all__ = ["RECALL_AT", "ROUNDING", "SPARE", "Nearest", "fetched", "fingerprint", "places_of"]

SPARE = 8
"""Neighbours fetched beyond k at first; more are fetched where scores at the cut are equal but for rounding."""

ROUNDING = np.float32(1e-5)
"""Cosines that FAISS and we compute differ by less than this."""

RECALL_AT = 100
"""List length at which recall is measured, and up to which the effort found for it is used as it is."""

REFINED = 10
"""Candidates fetched for each one wanted where the index knows compressed vectors only."""

STRICT = 0.1
"""Share of the items below which a filter is answered exactly, from the allowed items alone."""

MANY = 32
"""Queries from which copying the allowed vectors costs less than a filter, with which FAISS does without BLAS."""

TAIL = 1024
"""Items that may wait outside the index, whatever the size of the catalog."""

TAIL_SHARE = 0.02
"""Share of the catalog that may wait outside the index, if that is more."""


@dataclass(frozen=True, slots=True, eq=False)
class Nearest:
    """Item vectors and an index over them. New and changed vectors wait in the tail, where all are looked at.

    Attributes:
        vectors: all vectors, the truth.
        index: over the vectors that are not in the tail.
        rows: Int32[len(index)], the item at each place of the index.
        live: Bool[len(index)], False at places whose item has a newer vector at a later place.
        report: how the index was chosen, its effort and its measured recall; JSON values.
    """

    vectors: Vectors
    index: ExactIndex | ApproximateIndex
    rows: Int32Array
    live: BoolArray
    report: Mapping[str, Any]

    def search(self, vectors: Float32Array, queries: Queries, k: int, catalog: Catalog) -> Ranking:
        """Rank items by their cosine with query vectors.

        Args:
            vectors: Float32[m, dim], of length one, or zero where nothing is to be found.
            queries: the same m queries, for what they exclude and allow.
            k: list length, at most the number of items.
            catalog: what may be found, and how ties are broken.

        Returns:
            A Ranking of width k. It is short only where fewer items may come back.
        """
        allowed = catalog.active if queries.allow is None else catalog.active & queries.allow
        n_allowed = int(np.count_nonzero(allowed))  # once: a sum over a million flags takes as long as the search
        asked = np.flatnonzero(vectors.any(axis=1) & (k > 0))
        items, scores = np.full((len(queries), k), -1, np.int32), np.zeros((len(queries), k), np.float32)
        work = _Work(self.vectors, catalog.tie_order, k)
        if isinstance(self.index, ExactIndex):
            copied = len(asked) >= MANY and n_allowed < len(allowed)
            shelf = self._allowed_only(allowed) if copied else self._everything(self.index, allowed)
            items[asked], scores[asked] = work.exact(shelf, vectors, queries, asked)
            return Ranking(items, scores)
        if n_allowed >= STRICT * len(allowed):
            ask = self._asker(self.index, queries, k, allowed, n_allowed)
            for part in blocks(len(asked), ask.width + len(ask.beside)):
                rows = asked[part]
                items[rows], scores[rows] = work.best(vectors[rows], ask.candidates(vectors[rows], queries.take(rows)))
            asked = asked[(items[asked] >= 0).sum(axis=1) < min(k, n_allowed)]
        if len(asked):
            items[asked], scores[asked] = work.exact(self._allowed_only(allowed), vectors, queries, asked)
        return Ranking(items, scores)

    def grown(self, vectors: Float32Array, rows: Int32Array) -> Self:
        """Return the same with new and changed vectors; see `Vectors.grown`. This one stays as it is."""
        more = replace(self, vectors=self.vectors.grown(vectors, rows))
        return more.folded() if len(more.vectors.tail) > max(TAIL, TAIL_SHARE * len(more.vectors)) else more

    def folded(self) -> Self:
        """Return the same with all vectors in the index."""
        tail, full = self.vectors, self.vectors.folded()
        if full is tail:
            return self
        if isinstance(self.index, ExactIndex):
            return replace(self, vectors=full, index=ExactIndex(full.base), **places_of(np.arange(len(full))))
        rows = np.concatenate([self.rows, tail.tail_rows])
        return replace(self, vectors=full, index=self.index.extended(tail.tail.floats()), **places_of(rows))

    def state(self) -> State:
        """Return the report and the vectors, and an index that takes long to build."""
        whole = self.folded()
        arrays = whole.vectors.base.arrays()
        if isinstance(whole.index, ExactIndex):
            return State(dict(self.report), arrays)
        arrays |= {"index": whole.index.to_bytes(), "index_rows": whole.rows}
        return State({**self.report, "vectors": fingerprint(whole.vectors.base)}, arrays)

    def _open(self, allowed: BoolArray) -> BoolArray | None:
        """Bool[len(index)]: places that hold the current vector of an allowed item; None for all."""
        changed = self.vectors.tail_rows < len(self.vectors.base)
        if allowed.all() and not changed.any() and self.live.all():
            return None
        free = allowed.copy()
        free[self.vectors.tail_rows] = False
        return np.asarray(self.live & free[self.rows])

    def _everything(self, index: ExactIndex, allowed: BoolArray) -> _Shelf:
        tail = self.vectors.tail_rows
        return _Shelf(index, self.rows, self._open(allowed), tail[allowed[tail]])

    def _allowed_only(self, allowed: BoolArray) -> _Shelf:
        rows = np.flatnonzero(allowed).astype(np.int32)
        return _Shelf(ExactIndex(self.vectors.pick(rows)), rows, None, np.empty(0, np.int32))

    def _asker(self, index: ApproximateIndex, queries: Queries, k: int, allowed: BoolArray, n_allowed: int) -> _Asker:
        harder = max(1.0, k / RECALL_AT) * len(allowed) / max(1, n_allowed)
        tail = self.vectors.tail_rows
        return _Asker(
            index=index,
            rows=self.rows,
            open=self._open(allowed),
            beside=tail[allowed[tail]],
            n_items=len(self.vectors),
            width=fetched(index, k + _longest_exclude(queries) + SPARE),
            effort=min(int(np.ceil(self.report["effort"] * harder)), index.efforts[-1]),
        )


@dataclass(frozen=True, slots=True)
class _Asker:
    """How an approximate index is asked: for how many, how hard, and which rows are looked at beside it."""

    index: ApproximateIndex
    rows: Int32Array
    open: BoolArray | None
    beside: Int32Array
    n_items: int
    width: int
    effort: int

    def candidates(self, vectors: Float32Array, queries: Queries) -> Int32Array:
        """Int32[m, width + beside]: about the nearest of each query, -1 for what must not come back."""
        _, places = self.index.search(vectors, self.width, self.effort, self.open)
        found = np.where(places >= 0, self.rows[places], -1)
        found = np.concatenate([found, np.broadcast_to(self.beside, (len(vectors), len(self.beside)))], axis=1)
        return np.where(is_excluded(found, queries, self.n_items), -1, found).astype(np.int32)


@dataclass(frozen=True, slots=True)
class _Shelf:
    """What an exact search looks at: the open places of an index (None: all), and some rows beside it."""

    index: ExactIndex
    rows: Int32Array
    open: BoolArray | None
    beside: Int32Array


@dataclass(frozen=True, slots=True)
class _Work:
    """One search: what is looked for, apart from where."""

    vectors: Vectors
    tie_order: NDArray[np.uint64]
    k: int

    def exact(
        self, shelf: _Shelf, vectors: Float32Array, queries: Queries, asked: Int64Array
    ) -> tuple[Int32Array, Float32Array]:
        """Search for the rows `asked` of Float32[m, dim]: Int32[a, k] and Float32[a, k].

        FAISS decides freely between equal scores; the lists must not depend on that, nor on the batch. So more is
        fetched until every item that may belong into the k best is among the found.
        """
        items = np.full((len(asked), self.k), -1, dtype=np.int32)
        scores = np.zeros((len(asked), self.k), dtype=np.float32)
        beside = self.vectors.take(shelf.beside)
        for block in blocks(len(asked), len(self.vectors)):
            waiting, width = block, self.k + _longest_exclude(queries) + SPARE
            while len(waiting):
                rows = asked[waiting]
                found, done = self._exact_round(shelf, beside, vectors[rows], queries.take(rows), width)
                ready = waiting[done]
                items[ready], scores[ready] = self.best(vectors[asked[ready]], found[done])
                waiting, width = waiting[~done], 4 * width
        return items, scores

    def _exact_round(
        self, shelf: _Shelf, beside: Float32Array, vectors: Float32Array, queries: Queries, width: int
    ) -> tuple[Int32Array, BoolArray]:
        """Int32[m, width + beside] items that may be among the k best, -1 elsewhere; Bool[m]: none is missing."""
        near, places = shelf.index.search(vectors, width, shelf.open)
        found = shelf.rows[places] if len(shelf.rows) else places
        found = np.where(places >= 0, found, -1)
        complete = np.full(len(vectors), places.shape[1] == len(shelf.index))
        last = near[:, -1] if near.shape[1] else np.full(len(vectors), -np.inf, np.float32)
        complete |= (places[:, -1:] < 0).any(axis=1)
        near = np.concatenate([near, vectors @ beside.T], axis=1)
        found = np.concatenate([found, np.broadcast_to(shelf.beside, (len(vectors), len(shelf.beside)))], axis=1)
        banned = (found < 0) | is_excluded(found, queries, len(self.vectors))
        floor = _at_place(np.where(banned, -np.inf, near), self.k) - ROUNDING
        found = np.where(banned | (near < floor[:, None]), -1, found).astype(np.int32)
        return found, complete | (last < floor)

    def best(self, vectors: Float32Array, items: Int32Array) -> tuple[Int32Array, Float32Array]:
        """Order found items by exact cosine, ties by hash, and cut; Int32[n, k] and Float32[n, k], padded."""
        order = np.argsort(items < 0, axis=1, kind="stable")[:, : int((items >= 0).sum(axis=1).max(initial=0))]
        items = np.take_along_axis(items, order, axis=1)
        scores = np.nan_to_num(self.vectors.cosines(vectors, items), nan=0.0)
        order = order_by_score(scores, items, self.tie_order)[:, : self.k]
        pads = ((0, 0), (0, self.k - order.shape[1]))
        return (
            np.pad(np.take_along_axis(items, order, axis=1), pads, constant_values=-1),
            np.pad(np.take_along_axis(scores, order, axis=1), pads),
        )


def places_of(rows: Any) -> dict[str, Any]:
    """The item at each place of an index, and whether no later place has a newer vector of it."""
    last = np.zeros(int(rows.max(initial=-1)) + 1, dtype=np.int64)
    last[rows] = np.arange(len(rows))
    return {"rows": np.asarray(rows, dtype=np.int32), "live": last[rows] == np.arange(len(rows))}


def fetched(index: ApproximateIndex, width: int) -> int:
    """How many candidates to fetch where `width` are wanted: more where the index knows compressed vectors only."""
    return min(len(index), width * (REFINED if index.kind == "ivfpq" else 1))


def fingerprint(vectors: StoredVectors) -> str:
    """Sha256 (hex) of vectors as they are stored, to know whether an index is still theirs."""
    return hashlib.sha256(np.ascontiguousarray(vectors.codes).data).hexdigest()


def _longest_exclude(queries: Queries) -> int:
    return 0 if queries.exclude is None else int(np.diff(queries.exclude.offsets).max(initial=0))


def _at_place(scores: Float32Array, k: int) -> Float32Array:
    """Float32[n]: the k-th highest score of each row, -inf where a row has fewer columns."""
    if scores.shape[1] < k:
        return np.full(len(scores), -np.inf, dtype=np.float32)
    return np.partition(scores, scores.shape[1] - k, axis=1)[:, scores.shape[1] - k]
