"""Popularity: how often each item was interacted with in training. The floor, and the fallback."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from llmrec.component import Component, ComponentConfig, FitContext
from llmrec.data import Catalog, Interactions
from llmrec.retrieve.base import gather, retrieve_dense_scores
from llmrec.types import BoolArray, Float32Array, Int32Array, Queries, Ranking, State

__all__ = ["COMPONENT", "Popularity", "PopularityConfig", "fit_popularity"]


class PopularityConfig(ComponentConfig):
    """Popularity has nothing to set."""


@dataclass(frozen=True, slots=True, eq=False)
class Popularity:
    """Ranks every item by its count in training; the same for all queries.

    Attributes:
        name: the score column.
        counts: Float32[n_items], interactions in training; 0 for items never seen.
        active: Bool[n_items], False for deleted items.
        tie_order: UInt64[n_items].
    """

    component: ClassVar[str] = "popularity"
    name: str
    counts: Float32Array
    active: BoolArray
    tie_order: NDArray[np.uint64]

    def retrieve(self, queries: Queries, k: int) -> Ranking:
        """Return the k most popular items each query may get; unseen items come last, in hash order."""
        return retrieve_dense_scores(self._all, queries, k, self.active, self.tie_order)

    def score(self, queries: Queries, items: Int32Array) -> Float32Array:
        """Return counts, Float32[n, k]; NaN for an item never seen in training."""
        known = np.where(self.counts > 0, self.counts, np.float32(np.nan)).astype(np.float32)
        return gather(np.broadcast_to(known, (len(queries), len(known))), items)

    def with_items(self, catalog: Catalog) -> Self:
        """Return the same counts over a grown catalog; new items have none."""
        grown = np.zeros(len(catalog), dtype=np.float32)
        grown[: len(self.counts)] = self.counts
        return type(self)(self.name, grown, catalog.active, catalog.tie_order)

    def state(self) -> State:
        """Return the counts."""
        return State(arrays={"counts": self.counts})

    def _all(self, queries: Queries) -> Float32Array:
        return np.broadcast_to(self.counts, (len(queries), len(self.counts)))


def fit_popularity(interactions: Interactions, catalog: Catalog, *, name: str = "popularity") -> Popularity:
    """Count each item's interactions."""
    counts = np.bincount(interactions.items, minlength=len(catalog)).astype(np.float32)
    return Popularity(name, counts, catalog.active, catalog.tie_order)


def _fit(context: FitContext, _: PopularityConfig) -> Popularity:
    return fit_popularity(context.train, context.catalog, name=context.name)


def _load(name: str, state: State, catalog: Catalog) -> Popularity:
    return Popularity(name, state.arrays["counts"], catalog.active, catalog.tie_order)


COMPONENT = Component("retriever", PopularityConfig, _fit, _load)
