"""Item-kNN: items that the same users took as those of the history."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np
import scipy.sparse as sp
from pydantic import Field

from llmrec.component import Component, ComponentConfig, FitContext
from llmrec.data import Catalog, Interactions
from llmrec.retrieve.item_item import ItemItem, keep_highest, load_item_item
from llmrec.retrieve.ridge import known_items
from llmrec.types import Float32Array, Int64Array

__all__ = ["COMPONENT", "ItemKnnConfig", "fit_item_knn"]

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
    kept = sp.csr_matrix(sp.vstack(parts, format="csr").T)
    kept.sort_indices()
    return ItemItem("item_knn", name, config, kept, known_items(interactions), catalog.active, catalog.tie_order)


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


def _fit(context: FitContext, config: ItemKnnConfig) -> ItemItem:
    return fit_item_knn(context.train, context.catalog, config, name=context.name)


COMPONENT = Component("retriever", ItemKnnConfig, _fit, partial(load_item_item, "item_knn", ItemKnnConfig))
