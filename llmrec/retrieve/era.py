"""Era: items have a place in time, which the order of all histories tells; what is near a user's time comes first."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Self

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from pydantic import Field

from llmrec.component import Component, ComponentConfig, FitContext
from llmrec.data import Catalog, Interactions
from llmrec.retrieve.reading import AllScores, Read, best_in_blocks, score_in_blocks
from llmrec.types import BoolArray, Float32Array, Int32Array, Queries, Ranking, State

__all__ = ["COMPONENT", "Era", "EraConfig", "fit_era", "places_in_time"]

TOLERANCE = 1e-6
"""Of the solution, relative; places in time are used to three digits or so."""


class EraConfig(ComponentConfig):
    """Settings of eras.

    Attributes:
        shrinkage: how many interactions an item needs until it is believed that it is not of the middle of all time.
    """

    shrinkage: float = Field(default=3.0, gt=0)


@dataclass(frozen=True, slots=True, eq=False)
class Era:
    """Scores an item by how near its place in time is to the latest one in the history; 0 is nearest.

    Users take new things, and what they took last is not always the newest thing they know. Alone it ranks badly: it
    is a column for a fusion, which tells two alike items apart by which of them people take now.

    Attributes:
        name: the score column.
        times: Float32[n_items], each item's place, in steps of a history; NaN for items that nobody took.
        active: Bool[n_items], False for deleted items.
        tie_order: UInt64[n_items].
    """

    component: ClassVar[str] = "era"
    name: str
    times: Float32Array
    active: BoolArray
    tie_order: NDArray[np.uint64]

    def retrieve(self, queries: Queries, k: int) -> Ranking:
        """Return the k items nearest in time per query; none for a query without a usable history."""
        return best_in_blocks(self.read(queries), k)

    def score(self, queries: Queries, items: Int32Array) -> Float32Array:
        """Score items, Float32[n, k]; NaN for items that nobody took and queries without a usable history."""
        return score_in_blocks(self.read(queries), items)

    def read(self, queries: Queries) -> Read:
        """Read queries, to propose and to score from the same work."""
        return AllScores.of(self._all, queries, self.active, self.tie_order)

    def with_items(self, catalog: Catalog, changed: Int32Array) -> Self:
        """Return the same places over a grown catalog; new items have none."""
        grown = np.full(len(catalog), np.nan, dtype=np.float32)
        grown[: len(self.times)] = self.times
        return replace(self, times=grown, active=catalog.active, tie_order=catalog.tie_order)

    def forgetting(self, items: BoolArray) -> Self:
        """Return the same places but for some items, which then nobody took."""
        return replace(self, times=np.where(items, np.float32(np.nan), self.times))

    def state(self) -> State:
        """Return the places."""
        return State(arrays={"times": self.times})

    def _now(self, queries: Queries) -> Float32Array:
        """Float32[n], the latest place in each history; NaN where none is known."""
        known = np.nan_to_num(self.times[queries.items] if len(self.times) else queries.items, nan=-np.inf)
        latest = np.full(len(queries), -np.inf, dtype=np.float32)
        np.maximum.at(latest, np.repeat(np.arange(len(queries)), np.diff(queries.offsets)), known)
        return np.where(np.isfinite(latest), latest, np.float32(np.nan)).astype(np.float32)

    def _all(self, queries: Queries) -> Float32Array:
        scores: Float32Array = -np.abs(self.times[None] - self._now(queries)[:, None])
        return scores


def fit_era(interactions: Interactions, catalog: Catalog, config: EraConfig, *, name: str = "era") -> Era:
    """Find the places in time under which an item comes one step after what was taken just before it, by least squares.

    The places t minimize the sum of (t_b - t_a - 1)^2 over all neighbours a, b in histories, and shrinkage * t^2 over
    all items: HodgeRank (Jiang, Lim, Yao and Ye, "Statistical ranking and combinatorial Hodge theory", Mathematical
    Programming, 2011) with histories as comparisons. Clock times are not read, so it works on logs that have none.

    Args:
        interactions: what users did, oldest first.
        catalog: all items.
        config: its settings.
        name: the score column.
    """
    places = places_in_time(interactions, config.shrinkage)
    return Era(name, places, catalog.active, catalog.tie_order)


def places_in_time(interactions: Interactions, shrinkage: float) -> Float32Array:
    """Float32[n_items], the place of each item; NaN for items that nobody took. See `fit_era`."""
    n = interactions.catalog_size
    inside = np.ones(max(0, len(interactions) - 1), dtype=np.bool_)
    borders = interactions.offsets[1:-1]
    inside[borders[(borders > 0) & (borders < len(interactions))] - 1] = False
    before, after = interactions.items[:-1][inside], interactions.items[1:][inside]
    pulls = np.bincount(after, minlength=n) - np.bincount(before, minlength=n).astype(np.float64)
    together = sp.coo_matrix((np.ones(len(before)), (before, after)), shape=(n, n)).tocsr()
    both = together + together.T
    degrees = np.asarray(both.sum(axis=1)).ravel()
    laplacian = (sp.diags_array(degrees + shrinkage) - both).tocsr()
    times, _ = sp.linalg.cg(laplacian, pulls, rtol=TOLERANCE)
    taken = np.bincount(interactions.items, minlength=n) > 0
    return np.where(taken, times, np.nan).astype(np.float32)


def _fit(context: FitContext, config: EraConfig) -> Era:
    return fit_era(context.train, context.catalog, config, name=context.name)


def _load(name: str, state: State, catalog: Catalog) -> Era:
    return Era(name, state.arrays["times"], catalog.active, catalog.tie_order)


COMPONENT = Component("retriever", EraConfig, _fit, _load)
