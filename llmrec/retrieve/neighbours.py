"""Item-kNN: items that the same users took as those of the history."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from pydantic import Field

from llmrec.component import Component, ComponentConfig, FitContext
from llmrec.data import Catalog, Interactions
from llmrec.retrieve.base import descending_bits, rank_ties, recency_matrix, retrieve_dense_scores, score_dense_scores
from llmrec.types import BoolArray, Float32Array, Int32Array, Int64Array, Queries, Ranking, State

__all__ = ["COMPONENT", "ItemKnn", "ItemKnnConfig", "fit_item_knn"]

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


@dataclass(frozen=True, slots=True, eq=False)
class ItemKnn:
    """Scores an item by the recency-weighted sum of its similarity to the items of the history.

    Attributes:
        name: the score column.
        config: its settings.
        similarities: Float32 CSR [m, m] over the m items of the catalog at fit time: column j holds the nearest
            neighbours of item j; the diagonal is empty.
        active: Bool[n_items], False for deleted items.
        tie_order: UInt64[n_items].
    """

    component: ClassVar[str] = "item_knn"
    name: str
    config: ItemKnnConfig
    similarities: sp.csr_matrix
    active: BoolArray
    tie_order: NDArray[np.uint64]

    def retrieve(self, queries: Queries, k: int) -> Ranking:
        """Return the k best items per query, of those with a neighbour in the history."""
        return retrieve_dense_scores(self._all, queries, k, self.active, self.tie_order)

    def score(self, queries: Queries, items: Int32Array) -> Float32Array:
        """Score items, Float32[n, k]; NaN at pads and for items without a neighbour in the history."""
        return score_dense_scores(self._all, queries, items, len(self.active))

    def with_items(self, catalog: Catalog, changed: Int32Array) -> Self:
        """Return the same model over a grown catalog; it has no evidence on the new items."""
        return type(self)(self.name, self.config, self.similarities, catalog.active, catalog.tie_order)

    def state(self) -> State:
        """Return the neighbours and settings."""
        kept = self.similarities
        arrays = {"values": kept.data, "columns": kept.indices.astype(np.int32), "offsets": kept.indptr.astype("i8")}
        return State(self.config.model_dump(), arrays)

    def _all(self, queries: Queries) -> Float32Array:
        m = self.similarities.shape[0]
        history = recency_matrix(queries, self.config.decay, len(self.active))
        scores = np.full((len(queries), len(self.active)), np.nan, dtype=np.float32)
        scores[:, :m] = (history[:, :m] @ self.similarities).toarray()
        scores[scores == 0] = np.nan
        return scores


def fit_item_knn(
    interactions: Interactions, catalog: Catalog, config: ItemKnnConfig, *, name: str = "item_knn"
) -> ItemKnn:
    """Find each item's nearest neighbours by the shrunk cosine of their users.

    After Sarwar et al., "Item-based Collaborative Filtering Recommendation Algorithms", WWW 2001: items i and j with
    weight vectors x over users have similarity `<x_i, x_j> / (|x_i| |x_j| + shrinkage)`; only positive ones count.
    Work and memory go with the pairs of interactions that share a user, a block at a time.

    Args:
        interactions: what users did; the order within a history does not matter for fitting.
        catalog: all items.
        config: its settings.
        name: the score column.
    """
    by_user = interactions.matrix()
    by_item = by_user.T.tocsr()
    norms = np.sqrt(np.asarray(by_user.multiply(by_user).sum(axis=0)).ravel())
    ties = rank_ties(catalog.tie_order)
    parts = [
        _nearest(_similarities(by_item, by_user, norms, rows, config.shrinkage), config.neighbours, ties)
        for rows in _row_blocks(by_item, by_user)
    ]
    kept = sp.csr_matrix(sp.vstack(parts, format="csr").T)
    kept.sort_indices()
    return ItemKnn(name, config, kept, catalog.active, catalog.tie_order)


def _row_blocks(by_item: sp.csr_matrix, by_user: sp.csr_matrix) -> Iterator[Int64Array]:
    """Yield items in runs for whose similarities at most about `BLOCK_PRODUCTS` products are summed."""
    work = np.cumsum(by_item.astype(np.bool_).astype(np.float64) @ np.diff(by_user.indptr).astype(np.float64))
    start = 0
    while start < len(work):
        done = work[start - 1] if start else 0.0
        stop = max(start + 1, int(np.searchsorted(work, done + BLOCK_PRODUCTS, side="right")))
        yield np.arange(start, stop, dtype=np.int64)
        start = stop


def _similarities(
    by_item: sp.csr_matrix, by_user: sp.csr_matrix, norms: Float32Array, rows: Int64Array, shrinkage: float
) -> sp.csr_matrix:
    """Positive shrunk cosines of some items with all others: Float32 CSR [len(rows), n_items]."""
    shared = sp.csr_matrix(by_item[rows] @ by_user)
    own = np.repeat(rows, np.diff(shared.indptr))
    values = shared.data / (norms[own] * norms[shared.indices] + np.float32(shrinkage))
    shared.data = np.where((shared.indices != own) & (shared.data > 0), values, 0).astype(np.float32)
    shared.eliminate_zeros()
    return shared


def _nearest(similar: sp.csr_matrix, count: int, ties: NDArray[np.uint64]) -> sp.csr_matrix:
    """Keep the `count` highest of each row; equal ones by `ties`, lowest first."""
    keys = (descending_bits(similar.data) << np.uint64(32)) | ties[similar.indices]
    keep = np.ones(len(keys), dtype=np.bool_)
    for row in np.flatnonzero(np.diff(similar.indptr) > count):
        start, stop = similar.indptr[row : row + 2]
        keep[start + np.argpartition(keys[start:stop], count - 1)[count:]] = False
    lengths = np.add.reduceat(np.append(keep, False), similar.indptr[:-1]) * (np.diff(similar.indptr) > 0)
    offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])
    return sp.csr_matrix((similar.data[keep], similar.indices[keep], offsets), shape=similar.shape)


def _fit(context: FitContext, config: ItemKnnConfig) -> ItemKnn:
    return fit_item_knn(context.train, context.catalog, config, name=context.name)


def _load(name: str, state: State, catalog: Catalog) -> ItemKnn:
    arrays = state.arrays
    m = len(arrays["offsets"]) - 1
    kept = sp.csr_matrix((arrays["values"], arrays["columns"], arrays["offsets"]), shape=(m, m))
    config = ItemKnnConfig.model_validate(state.config)
    return ItemKnn(name, config, kept, catalog.active, catalog.tie_order)


COMPONENT = Component("retriever", ItemKnnConfig, _fit, _load)
