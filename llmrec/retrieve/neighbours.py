"""Item-kNN: items that the same users took as those of the history."""

from __future__ import annotations

from collections.abc import Iterator
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
from llmrec.retrieve.recut import recut
from llmrec.retrieve.ridge import known_items
from llmrec.retrieve.row_store import SparseRows, replaced_rows
from llmrec.types import Float32Array, Int64Array

__all__ = ["COMPONENT", "ItemKnnConfig", "SharedUsers", "count_shared_users", "fit_item_knn"]

BLOCK_PRODUCTS = 16_000_000
"""Pairs of interactions looked at once: bounds memory, whatever the catalog."""


class ItemKnnConfig(ComponentConfig):
    """Settings of item-kNN.

    Attributes:
        neighbours: how many most similar items are kept for each item.
        shrinkage: added to the denominator of the cosine, so that few common users count less than many.
        decay: weight of an interaction relative to the one after it when scoring; 1 weighs all alike.
    """

    neighbours: int = Field(default=200, ge=1)
    shrinkage: float = Field(default=20.0, ge=0)
    decay: float = Field(default=0.8, gt=0, le=1)


def fit_item_knn(
    interactions: Interactions, catalog: Catalog, config: ItemKnnConfig, *, name: str = "item_knn"
) -> ItemItem:
    """Find each item's nearest neighbours by the shrunk cosine of their users.

    After Sarwar et al., "Item-based Collaborative Filtering Recommendation Algorithms", WWW 2001: items i and j with
    weight vectors x over users have similarity `<x_i, x_j> / (|x_i| |x_j| + shrinkage)`; only positive ones count.
    Work and memory go with the pairs of interactions that share a user, a block at a time.

    Args:
        interactions: what users did; the order within a history does not matter for fitting.
        catalog: all items.
        config: its settings.
        name: the score column.

    Returns:
        The fitted model; column j of its weights holds the nearest neighbours of item j, not itself.
    """
    by_user = interactions.matrix()
    by_item = by_user.T.tocsr()
    norms = np.sqrt(np.asarray(by_user.multiply(by_user).sum(axis=0)).ravel())
    parts = [
        keep_highest(
            _similarities(by_item, by_user, norms, rows, config.shrinkage), config.neighbours, catalog.tie_order
        )
        for rows in _row_blocks(by_item, by_user)
    ]
    kept = _by_history_item(sp.vstack(parts, format="csr"))
    known = known_items(interactions)
    return ItemItem(
        "item_knn", name, config, kept, known, catalog.active, catalog.tie_order, counter=count_shared_users
    )


def _row_blocks(by_item: sp.csr_matrix, by_user: sp.csr_matrix) -> Iterator[Int64Array]:
    """Yield items in runs for whose similarities at most about `BLOCK_PRODUCTS` products are summed."""
    work = np.cumsum(by_item.astype(np.bool_).astype(np.float64) @ np.diff(by_user.indptr).astype(np.float64))
    start = 0
    while start < len(work):
        done = work[start - 1] if start else 0.0
        stop = max(start + 1, int(np.searchsorted(work, done + BLOCK_PRODUCTS, side="right")))
        yield np.arange(start, stop, dtype=np.int64)
        start = stop


def _by_history_item(lists: sp.csr_matrix) -> sp.csr_matrix:
    """Float32 CSR whose column j is row j of `lists`, the nearest neighbours of item j."""
    weights = sp.csr_matrix(lists.T)
    weights.sort_indices()
    return weights


def _similarities(
    by_item: sp.csr_matrix, by_user: sp.csr_matrix, norms: Float32Array, rows: Int64Array, shrinkage: float
) -> sp.csr_matrix:
    """Positive shrunk cosines of some items with all others: Float32 CSR [len(rows), n_items]."""
    return _cosines(sp.csr_matrix(by_item[rows] @ by_user), norms, rows, shrinkage)


def _cosines(shared: sp.csr_matrix, norms: Float32Array, rows: Int64Array, shrinkage: float) -> sp.csr_matrix:
    """Turn inner products of some items with all others into positive shrunk cosines, in place."""
    own = np.repeat(rows, np.diff(shared.indptr))
    values = shared.data / (norms[own] * norms[shared.indices] + np.float32(shrinkage))
    shared.data = np.where((shared.indices != own) & (shared.data > 0), values, 0).astype(np.float32)
    shared.eliminate_zeros()
    return shared


@dataclass(frozen=True, slots=True, eq=False)
class SharedUsers:
    """What the cosines of item-kNN are made of; see `PairCounts`.

    Attributes:
        config: its settings.
        pairs: Float64 [n, n], inner products of the items' weights over users.
        squares: Float64[n], those of each item with itself.
        lists: Float32 CSR [n, n]; row j: the nearest neighbours of item j.
    """

    config: ItemKnnConfig
    pairs: SparseRows
    squares: NDArray[np.float64]
    lists: sp.csr_matrix

    @property
    def weights(self) -> sp.csr_matrix:
        """Float32 CSR [n, n], by items of the history."""
        return _by_history_item(self.lists)

    def learning(self, before: Interactions, after: Interactions, tie_order: NDArray[np.uint64]) -> Self:
        """Add the pairs that some users made since, and cut the lists again that hold, or could hold, their items.

        A user's vector grows from x by d, so that the products grow by x d' + d x' + d d': work goes with the length
        of the history times what is new in it. Norms change of items in d only; lists of other items see only these
        move, see `recut`.
        """
        n = after.catalog_size
        old, new = (log.matrix().astype(np.float64) for log in (before, after))
        change = sp.csr_matrix(new - old)
        change.eliminate_zeros()
        crossed = sp.csr_matrix(old.T @ change)
        more = sp.csr_matrix(crossed + crossed.T + change.T @ change)
        more.eliminate_zeros()
        squares = np.pad(self.squares, (0, n - len(self.squares))) + _squares(new) - _squares(old)
        counted = replace(self, pairs=self.pairs.adding(more), squares=squares)
        moved = np.unique(change.indices).astype(np.int64)
        return replace(counted, lists=counted._cut(moved, np.unique(more.indices).astype(np.int64), tie_order))

    def _cut(self, moved: Int64Array, paired: Int64Array, tie_order: NDArray[np.uint64]) -> sp.csr_matrix:
        """The lists after the norms of some items changed; `paired`: all items of pairs that were added or taken."""
        n, count = len(self.squares), self.config.neighbours
        cosines = self._cosines_of(moved)
        near = np.setdiff1d(np.union1d(cosines.indices, paired), moved).astype(np.int64)
        entries = sp.csr_matrix(cosines.T)[near]
        spread = sp.csr_matrix((entries.data, moved[entries.indices], entries.indptr), shape=(len(near), n))
        lists = replaced_rows(self.lists, moved, keep_highest(cosines, count, tie_order))
        found, doubtful = recut(lists[near], moved, spread, count, tie_order)
        lists = replaced_rows(lists, near[~doubtful], found[np.flatnonzero(~doubtful)])
        whole = near[doubtful]
        return replaced_rows(lists, whole, keep_highest(self._cosines_of(whole), count, tie_order))

    def _cosines_of(self, rows: Int64Array) -> sp.csr_matrix:
        norms = np.sqrt(np.maximum(self.squares, 0).astype(np.float32))
        shared = self.pairs.take(rows, len(norms)).astype(np.float32)
        return _cosines(shared, norms, rows, self.config.shrinkage)


def count_shared_users(log: Interactions, config: ItemKnnConfig, weights: sp.csr_matrix) -> SharedUsers | None:
    """Count what item-kNN learns from; None where all pairs of items with a common user would take too much memory."""
    by_user = log.matrix()
    by_item = by_user.T.tocsr()
    work = by_item.astype(np.bool_).astype(np.float64) @ np.diff(by_user.indptr).astype(np.float64)
    if not affordable(int(np.minimum(work, log.catalog_size).sum())):
        return None
    by_item, exact = by_item.astype(np.float64), by_user.astype(np.float64)
    parts = [by_item[rows] @ exact for rows in _row_blocks(by_item, by_user)]
    pairs = SparseRows(sp.csr_matrix(sp.vstack(parts, format="csr")))
    return SharedUsers(config, pairs, _squares(exact), sp.csr_matrix(weights.T))


def _squares(matrix: sp.csr_matrix) -> NDArray[np.float64]:
    return np.asarray(matrix.multiply(matrix).sum(axis=0), dtype=np.float64).ravel()


def _fit(context: FitContext, config: ItemKnnConfig) -> ItemItem:
    return fit_item_knn(context.train, context.catalog, config, name=context.name)


COMPONENT = Component(
    "retriever", ItemKnnConfig, _fit, partial(load_item_item, "item_knn", ItemKnnConfig, counter=count_shared_users)
)
