"""Transitions: what users took soon after the items of the recent history."""

from __future__ import annotations

from functools import partial

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from pydantic import Field

from llmrec.component import Component, ComponentConfig, FitContext
from llmrec.data import Catalog, Interactions
from llmrec.retrieve.item_item import ItemItem, keep_highest, load_item_item
from llmrec.retrieve.pairs import sum_pairs
from llmrec.retrieve.ridge import known_items
from llmrec.types import Int64Array

__all__ = ["COMPONENT", "TransitionConfig", "fit_transition"]


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
    counts = _counts(interactions, config)
    left = np.asarray(counts.sum(axis=1)).ravel() + config.shrinkage
    taken = np.maximum(np.bincount(interactions.items, minlength=len(catalog)), 1.0) ** config.popularity
    own = np.repeat(np.arange(len(catalog)), np.diff(counts.indptr))
    values = (counts.data / (left[own] * taken[counts.indices])).astype(np.float32)
    weights = sp.csr_matrix((values, counts.indices, counts.indptr), shape=counts.shape)
    kept = keep_highest(weights, config.neighbours, catalog.tie_order)
    return ItemItem("transition", name, config, kept, known_items(interactions), catalog.active, catalog.tie_order)


def _counts(interactions: Interactions, config: TransitionConfig) -> sp.csr_matrix:
    """Float64 CSR [n_items, n_items] of the positive c_ij without those of an item to itself."""

    def sooner_counts_more(gap: int, after: Int64Array) -> NDArray[np.float64]:
        return np.full(len(after), config.gap_decay ** (gap - 1.0))

    found = sum_pairs(interactions, range(1, config.window + 1), sooner_counts_more)
    counts = sp.csr_matrix(found + found.T * config.backward if config.backward else found)
    own = np.repeat(np.arange(counts.shape[0]), np.diff(counts.indptr))
    counts.data[(counts.indices == own) | (counts.data < 0)] = 0
    counts.eliminate_zeros()
    return counts


def _fit(context: FitContext, config: TransitionConfig) -> ItemItem:
    return fit_transition(context.train, context.catalog, config, name=context.name)


COMPONENT = Component("retriever", TransitionConfig, _fit, partial(load_item_item, "transition", TransitionConfig))
