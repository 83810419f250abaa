"""Popularity: how often each item was interacted with in training. The floor, and the fallback."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from llmrec.component import Component, ComponentConfig, FitContext
from llmrec.data import Catalog, Interactions
from llmrec.errors import ConfigError
from llmrec.retrieve.base import blocks, stack
from llmrec.retrieve.best import longest, top_k
from llmrec.types import BoolArray, Float32Array, Int32Array, Int64Array, Queries, Ranking, State

__all__ = ["COMPONENT", "Popularity", "PopularityConfig", "fit_popularity"]


DAY = 86_400
"""Seconds."""


class PopularityConfig(ComponentConfig):
    """Settings of popularity.

    Attributes:
        half_life: days in which an interaction loses half its weight, counted back from the newest one in training;
            none: all count alike.
    """

    half_life: float | None = Field(default=None, gt=0)


@dataclass(frozen=True, slots=True, eq=False)
class Popularity:
    """Ranks every item by its count in training; the same for all queries.

    Attributes:
        name: the score column.
        counts: Float32[n_items], interactions in training, faded by age if so set; 0 for items never seen.
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
        width = min(k, len(self.counts))
        allowed = self.active if queries.allow is None else self.active & queries.allow
        counts = np.where(allowed, self.counts, np.float32(-np.inf))[None]  # once: they are the same for all queries
        best = top_k(counts, width + longest(queries.exclude), self.tie_order).items[0]
        best = best[best >= 0]
        places = np.full(len(self.counts), -1, dtype=np.int64)
        places[best] = np.arange(len(best))
        parts = [
            self._first(best, places, queries.take(rows), width) for rows in blocks(len(queries), 8 * max(1, len(best)))
        ]
        return stack(parts, width)

    def score(self, queries: Queries, items: Int32Array) -> Float32Array:
        """Return counts, Float32[n, k]; NaN for an item never seen in training."""
        known = np.where(self.counts > 0, self.counts, np.float32(np.nan))
        if len(known) == 0:
            return np.full(items.shape, np.nan, dtype=np.float32)
        return np.where(items >= 0, known[np.maximum(items, 0)], np.float32(np.nan)).astype(np.float32)

    def with_items(self, catalog: Catalog, changed: Int32Array) -> Self:
        """Return the same counts over a grown catalog; new items have none."""
        grown = np.zeros(len(catalog), dtype=np.float32)
        grown[: len(self.counts)] = self.counts
        return type(self)(self.name, grown, catalog.active, catalog.tie_order)

    def forgetting(self, items: BoolArray) -> Self:
        """Return the same counts but for some items, which then nobody took."""
        return replace(self, counts=np.where(items, np.float32(0), self.counts))

    def state(self) -> State:
        """Return the counts."""
        return State(arrays={"counts": self.counts})

    def _first(self, best: Int32Array, places: Int64Array, queries: Queries, width: int) -> Ranking:
        """The first `width` of `best` that each query does not exclude, padded; `places` of items there, or -1."""
        free = np.ones((len(queries), len(best)), dtype=np.bool_)
        if queries.exclude is not None:
            banned = places[queries.exclude.values]
            owners = np.repeat(np.arange(len(queries)), np.diff(queries.exclude.offsets))
            free[owners[banned >= 0], banned[banned >= 0]] = False
        left = np.cumsum(free, axis=1)
        free &= left <= width
        rows, columns = np.nonzero(free)
        items = np.full((len(queries), width), -1, dtype=np.int32)
        items[rows, left[free] - 1] = best[columns]
        scores = np.where(items >= 0, self.counts[items], np.float32(0)).astype(np.float32)
        return Ranking(items, scores)


def fit_popularity(
    interactions: Interactions, catalog: Catalog, config: PopularityConfig | None = None, *, name: str = "popularity"
) -> Popularity:
    """Count each item's interactions.

    Args:
        interactions: what users did.
        catalog: all items.
        config: its settings; the defaults if None.
        name: the score column.

    Raises:
        ConfigError: a half-life is set and the interactions have no times.
    """
    half_life = None if config is None else config.half_life
    weights = None if half_life is None else _faded(interactions, half_life)
    counts = np.bincount(interactions.items, weights, minlength=len(catalog))
    counts = np.where(counts > 0, np.maximum(counts, np.finfo(np.float32).tiny), 0)  # faded, but not unseen
    return Popularity(name, counts.astype(np.float32), catalog.active, catalog.tie_order)


def _faded(interactions: Interactions, half_life: float) -> NDArray[np.float64]:
    """Float64[nnz]: 1 for the newest interaction, half of it a half-life before; never zero."""
    if interactions.times is None:
        raise ConfigError(
            "popularity.half_life fades interactions by their age, but these have no times; name the time column of "
            "the interactions, or leave half_life out"
        )
    ages = (interactions.times.max(initial=0) - interactions.times) / DAY
    return np.asarray(np.maximum(np.exp2(-ages / half_life), np.finfo(np.float64).tiny), dtype=np.float64)


def _fit(context: FitContext, config: PopularityConfig) -> Popularity:
    return fit_popularity(context.train, context.catalog, config, name=context.name)


def _load(name: str, state: State, catalog: Catalog) -> Popularity:
    return Popularity(name, state.arrays["counts"], catalog.active, catalog.tie_order)


COMPONENT = Component("retriever", PopularityConfig, _fit, _load)
