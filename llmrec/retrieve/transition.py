"""Transitions: what users took soon after the items of the recent history."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import Self

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from pydantic import Field

from llmrec.component import Component, ComponentConfig, FitContext
from llmrec.data import Catalog, Interactions
from llmrec.retrieve.item_item import ItemItem, keep_highest, load_item_item
from llmrec.retrieve.memory import affordable
from llmrec.retrieve.pairs import sum_pairs
from llmrec.retrieve.recut import recut
from llmrec.retrieve.ridge import known_items
from llmrec.retrieve.row_store import SparseRows, replaced_rows
from llmrec.types import Float32Array, Int64Array

__all__ = ["COMPONENT", "CountedPairs", "TransitionConfig", "count_pairs", "fit_transition"]


class TransitionConfig(ComponentConfig):
    """Settings of transitions.

    Attributes:
        neighbours: how many of the likeliest next items are kept for each item.
        window: an item counts as next after at most so many interactions.
        gap_decay: weight of a next item relative to one that came one interaction sooner.
        backward: weight of the transitions the other way round; 0: order is all, 1: there is none.
        popularity: how far popular items are held back, from 0, not at all, to 1, in proportion.
        shrinkage: added to how often the first item was left, so that few transitions count less than many.
        decay: weight of an interaction relative to the one after it when scoring.
    """

    neighbours: int = Field(default=300, ge=1)
    window: int = Field(default=10, ge=1)
    gap_decay: float = Field(default=0.9, gt=0, le=1)
    backward: float = Field(default=0.6, ge=0, le=1)
    popularity: float = Field(default=0.2, ge=0, le=1)
    shrinkage: float = Field(default=50.0, ge=0)
    decay: float = Field(default=0.75, gt=0, le=1)


def fit_transition(
    interactions: Interactions, catalog: Catalog, config: TransitionConfig, *, name: str = "transition"
) -> ItemItem:
    """Count which items follow which, and how soon.

    The weight from item i to item j is c_ij / ((sum_j c_ij + shrinkage) * n_j ** popularity), where c_ij sums
    gap_decay ** (gap - 1) over the times that j came after i, and `backward` times as much over those that it came
    before, and n_j is how often j was taken. Work and memory go with `window` times the length of the log, whatever the
    catalog.

    Args:
        interactions: what users did, oldest first.
        catalog: all items.
        config: its settings.
        name: the score column.
    """
    found = _pairs(interactions, config)
    every = np.arange(len(catalog), dtype=np.int64)
    taken = np.bincount(interactions.items, minlength=len(catalog))
    weights = _likeliest(sp.csr_matrix(found + found.T * config.backward), every, taken, config)
    kept = keep_highest(weights, config.neighbours, catalog.tie_order)
    known = known_items(interactions)
    return ItemItem("transition", name, config, kept, known, catalog.active, catalog.tie_order, counter=count_pairs)


def _pairs(interactions: Interactions, config: TransitionConfig) -> sp.csr_matrix:
    """Float64 CSR [n_items, n_items]: how often, and how soon, one item came after another."""

    def sooner_counts_more(gap: int, after: Int64Array) -> NDArray[np.float64]:
        return np.full(len(after), config.gap_decay ** (gap - 1.0))

    return sum_pairs(interactions, range(1, config.window + 1), sooner_counts_more)


def _likeliest(counts: sp.csr_matrix, rows: Int64Array, taken: Int64Array, config: TransitionConfig) -> sp.csr_matrix:
    """Float32 CSR [len(rows), n_items] of weights: from c_ij of some items, those of an item to itself left out."""
    own = np.repeat(rows, np.diff(counts.indptr))
    counts.data[(counts.indices == own) | (counts.data < 0)] = 0
    counts.eliminate_zeros()
    left = np.asarray(counts.sum(axis=1)).ravel() + config.shrinkage
    held = np.maximum(taken, 1.0) ** config.popularity
    own = np.repeat(np.arange(len(rows)), np.diff(counts.indptr))
    values = (counts.data / (left[own] * held[counts.indices])).astype(np.float32)
    return sp.csr_matrix((values, counts.indices, counts.indptr), shape=counts.shape)


@dataclass(frozen=True, slots=True, eq=False)
class CountedPairs:
    """What the weights of transitions are made of; see `PairCounts`.

    Attributes:
        config: its settings.
        onward: Float64 [n, n], sums over times that the column's item came after the row's.
        back: Float64 [n, n], the same by the item that came after.
        taken: Int64[n], how often each item was taken.
        left: Float64[n], how often each item was left for another one.
        weights: Float32 CSR [n, n], by items of the history.
    """

    config: TransitionConfig
    onward: SparseRows
    back: SparseRows
    taken: Int64Array
    left: NDArray[np.float64]
    weights: sp.csr_matrix

    def learning(self, before: Interactions, after: Interactions, tie_order: NDArray[np.uint64]) -> Self:
        """Add the pairs that some users made since; weights from their items, and to what they took, are made again.

        Of each history, only the pairs that end behind what is as it was are looked at. An item that was taken more
        often weighs less wherever it follows: lists of other items see only such items move, see `recut`.
        """
        n, same = after.catalog_size, _unchanged(before, after)
        more = sp.csr_matrix(_new_pairs(after, same, self.config) - _new_pairs(before, same, self.config))
        more.eliminate_zeros()
        old = np.pad(self.taken, (0, n - len(self.taken)))
        taken = old + np.bincount(after.items, minlength=n) - np.bincount(before.items, minlength=n)
        counted = replace(
            self,
            onward=self.onward.adding(more),
            back=self.back.adding(sp.csr_matrix(more.T)),
            taken=taken,
            left=np.pad(self.left, (0, n - len(self.left))),
        )
        moved = np.flatnonzero(taken != old) if self.config.popularity else np.empty(0, dtype=np.int64)
        rows = np.union1d(np.flatnonzero(np.diff(more.indptr)), more.indices).astype(np.int64)
        return counted._cut(moved.astype(np.int64), rows, tie_order)

    def _cut(self, moved: Int64Array, rows: Int64Array, tie_order: NDArray[np.uint64]) -> Self:
        """Make some rows again, and in all others the weights of some items."""
        count, n = self.config.neighbours, len(self.taken)
        led = sp.csr_matrix(self.back.take(moved, n) + self.onward.take(moved, n) * self.config.backward)
        found = led.tocoo()  # row: which of `moved`, column: what it came after
        near = np.setdiff1d(found.col, rows).astype(np.int64)
        before, after = found.col.astype(np.int64), moved[found.row]
        values = self._weights(found.data, before, after)
        values[(found.data <= 0) | (before == after)] = 0
        entries = sp.csr_matrix((values, (before, after)), shape=(n, n))[near]
        entries.eliminate_zeros()
        weights = replaced_rows(self.weights, np.empty(0, np.int64), sp.csr_matrix(np.empty((0, n), np.float32)))
        cut, doubtful = recut(weights[near], moved, entries, count, tie_order)
        weights = replaced_rows(weights, near[~doubtful], cut[np.flatnonzero(~doubtful)])
        again = np.union1d(rows, near[doubtful]).astype(np.int64)
        counts = sp.csr_matrix(self.onward.take(again, n) + self.back.take(again, n) * self.config.backward)
        whole = _likeliest(counts, again, self.taken, self.config)
        left = self.left.copy()
        left[again] = np.asarray(counts.sum(axis=1)).ravel()  # what `_likeliest` left of them
        return replace(self, left=left, weights=replaced_rows(weights, again, keep_highest(whole, count, tie_order)))

    def _weights(self, counts: NDArray[np.float64], rows: Int64Array, columns: Int64Array) -> Float32Array:
        """Float32[p]: what some c_ij come to."""
        held = np.maximum(self.taken[columns], 1.0) ** self.config.popularity
        return (counts / ((self.left[rows] + self.config.shrinkage) * held)).astype(np.float32)


def count_pairs(log: Interactions, config: TransitionConfig, weights: sp.csr_matrix) -> CountedPairs | None:
    """Count what transitions learn from; None where all pairs in histories would take too much memory."""
    if not affordable(2 * config.window * len(log)):
        return None
    found, n = _pairs(log, config), log.catalog_size
    taken = np.bincount(log.items, minlength=n)
    counts = sp.csr_matrix(found + found.T * config.backward)
    _likeliest(counts, np.arange(n, dtype=np.int64), taken, config)  # which takes out what does not count
    left = np.asarray(counts.sum(axis=1), dtype=np.float64).ravel()
    return CountedPairs(config, SparseRows(found), SparseRows(sp.csr_matrix(found.T)), taken, left, weights)


def _unchanged(before: Interactions, after: Interactions) -> Int64Array:
    """Int64[n_users]: how many interactions at the beginning of each history are the same in both logs."""
    shorter = np.minimum(np.diff(before.offsets), np.diff(after.offsets))
    user = np.repeat(np.arange(before.n_users), shorter)
    place = np.arange(len(user)) - np.repeat(np.cumsum(shorter) - shorter, shorter)
    old, new = before.offsets[:-1][user] + place, after.offsets[:-1][user] + place
    differ = before.items[old] != after.items[new]
    if before.weights is not None or after.weights is not None:
        differ |= _weights(before)[old] != _weights(after)[new]
    same = shorter.astype(np.int64)
    np.minimum.at(same, user[differ], place[differ])
    return same


def _new_pairs(log: Interactions, same: Int64Array, config: TransitionConfig) -> sp.csr_matrix:
    """Like `_pairs`, of pairs whose second is behind the first `same` interactions of its history."""
    n, lengths = log.catalog_size, np.diff(log.offsets)
    starts = log.offsets[:-1] + same
    second, place = _places(starts, lengths - same), _places(same, lengths - same)
    weights = _weights(log)
    values, firsts, seconds = [np.empty(0)], [np.empty(0, np.int32)], [np.empty(0, np.int32)]
    for gap in range(1, config.window + 1):
        later = second[place >= gap]
        values.append(config.gap_decay ** (gap - 1.0) * weights[later - gap] * weights[later])
        firsts.append(log.items[later - gap])
        seconds.append(log.items[later])
    pairs = np.concatenate(firsts), np.concatenate(seconds)
    return sp.csr_matrix((np.concatenate(values), pairs), shape=(n, n), dtype=np.float64)


def _places(starts: Int64Array, counts: Int64Array) -> Int64Array:
    """Int64[sum of counts]: so many numbers from each start on."""
    places: Int64Array = np.arange(counts.sum()) + np.repeat(starts - (np.cumsum(counts) - counts), counts)
    return places


def _weights(log: Interactions) -> NDArray[np.float64]:
    return np.ones(len(log)) if log.weights is None else log.weights.astype(np.float64)


def _fit(context: FitContext, config: TransitionConfig) -> ItemItem:
    return fit_transition(context.train, context.catalog, config, name=context.name)


COMPONENT = Component(
    "retriever", TransitionConfig, _fit, partial(load_item_item, "transition", TransitionConfig, counter=count_pairs)
)
