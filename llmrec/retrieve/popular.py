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

__all__ = ["COMPONENT", "Fading", "Popularity", "PopularityConfig", "fit_popularity"]


DAY = 86_400
"""Seconds."""


class PopularityConfig(ComponentConfig):
    """Settings of popularity.

    Attributes:
        half_life: days in which an interaction loses half its weight, counted back from the newest one in training;
            none: all count alike.
    """

    half_life: float | None = Field(default=None, gt=0)


@dataclass(frozen=True, slots=True)
class Fading:
    """How interactions lose weight with age.

    Attributes:
        half_life: days in which half of it goes.
        newest: seconds; when an interaction of weight 1 was made, in sums that are kept.
        now: seconds; when one of weight 1 was made, in counts that are shown: the newest of all.
    """

    half_life: float
    newest: int
    now: int

    def weights(self, times: Int64Array) -> NDArray[np.float64]:
        """Float64[nnz]: what interactions of these times weigh in sums that are kept; never zero."""
        ages = (self.newest - times) / DAY
        return np.asarray(np.maximum(np.exp2(-ages / self.half_life), np.finfo(np.float64).tiny), dtype=np.float64)

    @property
    def since(self) -> float:
        """What an interaction of weight 1 in sums that are kept weighs now."""
        return float(np.exp2(-(self.now - self.newest) / DAY / self.half_life))


@dataclass(frozen=True, slots=True, eq=False)
class Popularity:
    """Ranks every item by its count in training; the same for all queries.

    Attributes:
        name: the score column.
        counts: Float32[n_items], interactions in training, faded by age if so set; 0 for items never seen.
        active: Bool[n_items], False for deleted items.
        tie_order: UInt64[n_items].
        fading: how interactions lose weight; None: they do not, or a bundle of before it was kept does not say.
        exact: Float64[n_items], the counts before they were rounded, as they stood at `fading.newest`, once something
            was learned; None: they are `counts`.
    """

    component: ClassVar[str] = "popularity"
    name: str
    counts: Float32Array
    active: BoolArray
    tie_order: NDArray[np.uint64]
    fading: Fading | None = None
    exact: NDArray[np.float64] | None = None

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
        exact = None if self.exact is None else np.pad(self.exact, (0, len(catalog) - len(self.exact)))
        return replace(self, counts=grown, active=catalog.active, tie_order=catalog.tie_order, exact=exact)

    def forgetting(self, items: BoolArray) -> Self:
        """Return the same counts but for some items, which then nobody took."""
        exact = None if self.exact is None else np.where(items, 0.0, self.exact)
        return replace(self, counts=np.where(items, np.float32(0), self.counts), exact=exact)

    @property
    def learns(self) -> bool:
        """Whether it learns: always."""
        return True

    def with_counts(self, log: Interactions) -> Self:
        """Return itself: its state is all it needs."""
        return self

    def learning(self, before: Interactions, after: Interactions) -> Self:
        """Return the counts with what users did since.

        Where a bundle of before it was kept does not say how interactions fade, new ones count 1 and fade no more. Ages
        are counted from the newest interaction there has ever been, be it gone since: that scales all counts alike.
        """
        fading, exact = self.fading, self.counts.astype(np.float64) if self.exact is None else self.exact
        if fading is None:
            exact = np.maximum(exact + _counted(after, None) - _counted(before, None), 0)
            return replace(self, counts=exact.astype(np.float32), exact=exact)
        exact = np.maximum(exact + _counted(after, fading) - _counted(before, fading), 0)
        times = np.empty(0, dtype=np.int64) if after.times is None else after.times
        now = replace(fading, now=int(times.max(initial=fading.now)))
        return replace(self, counts=_rounded(exact * now.since), fading=now, exact=exact)

    def state(self) -> State:
        """Return the counts, and how they fade if they do."""
        if self.fading is None:
            return State(arrays={"counts": self.counts})
        return State({"half_life": self.fading.half_life, "newest": self.fading.now}, {"counts": self.counts})

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
    fading = None if config is None or config.half_life is None else _fading(interactions, config.half_life)
    counts = _counted(interactions, fading, len(catalog))
    return Popularity(name, _rounded(counts), catalog.active, catalog.tie_order, fading)


def _fading(interactions: Interactions, half_life: float) -> Fading:
    if interactions.times is None:
        raise ConfigError(
            "popularity.half_life fades interactions by their age, but these have no times; name the time column of "
            "the interactions, or leave half_life out"
        )
    newest = int(interactions.times.max(initial=0))
    return Fading(half_life, newest, newest)


def _counted(interactions: Interactions, fading: Fading | None, n_items: int | None = None) -> NDArray[np.float64]:
    """Float64[n_items]: what the interactions with each item weigh together, as of `fading.newest`."""
    weights = None if fading is None or interactions.times is None else fading.weights(interactions.times)
    counts = np.bincount(interactions.items, weights, minlength=n_items or interactions.catalog_size)
    return counts.astype(np.float64)


def _rounded(counts: NDArray[np.float64]) -> Float32Array:
    """Float32[n_items]; faded, but not unseen."""
    return np.where(counts > 0, np.maximum(counts, np.finfo(np.float32).tiny), 0).astype(np.float32)


def _fit(context: FitContext, config: PopularityConfig) -> Popularity:
    return fit_popularity(context.train, context.catalog, config, name=context.name)


def _load(name: str, state: State, catalog: Catalog) -> Popularity:
    config, fading = state.config, None
    if "half_life" in config:
        fading = Fading(config["half_life"], config["newest"], config["newest"])
    return Popularity(name, state.arrays["counts"], catalog.active, catalog.tie_order, fading)


COMPONENT = Component("retriever", PopularityConfig, _fit, _load)
