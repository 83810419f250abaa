"""The freshness policy: newer items move up, and those that are too old are left out."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from llmrec.component import Component, ComponentConfig, FitContext
from llmrec.data import Catalog
from llmrec.errors import ConfigError
from llmrec.policy.ages import SECONDS_PER_DAY, AgeKind, read_moments
from llmrec.policy.fields import check_field, rows_to_read
from llmrec.policy.lists import anything_left, first, moved_up, without
from llmrec.types import BoolArray, Int32Array, Int64Array, Queries, Ranking, State

__all__ = ["COMPONENT", "Freshness", "FreshnessConfig"]

PER_PLACE = 2
"""Candidates looked at for each place at first where old items are left out of the finished list."""

LATEST_YEAR = 10_000
"""Numbers below it that are meant to be times are years, or something else."""


class FreshnessConfig(ComponentConfig):
    """Settings of freshness.

    Attributes:
        field: the catalog's field that says when an item is from.
        kind: what stands there: `"time"` (dates, timestamps, ISO 8601 text, seconds since the epoch), `"year"`, or
            `"number"` (an issue, a version). Ages count in days, of numbers in their own unit.
        max_age: older items are left out; none: none are.
        half_life: an item of this age moves up half as far as one of age 0; none: nothing moves.
        places: how far an item of age 0 moves up.
        reference: when age is 0: `"at"`: at the query's time (seconds since the epoch) where it has one, else as
            `"newest"`; `"newest"`: at the newest item of the catalog. Numbers are always compared with the newest.
        missing: whether an item of unknown age counts as `"old"` (too old for any `max_age`, never moved up) or
            as `"new"` (of age 0).
        no_value: texts in the field that stand for "not known", as empty text does.
    """

    field: str
    kind: AgeKind = "time"
    max_age: float | None = Field(default=None, ge=0)
    half_life: float | None = Field(default=None, gt=0)
    places: float = Field(default=10.0, gt=0, le=1000)
    reference: Literal["at", "newest"] = "at"
    missing: Literal["old", "new"] = "old"
    no_value: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Freshness:
    """Ages items, leaves out the too old ones, and moves the others up by `places * 0.5 ** (age / half_life)`.

    Items from after the query's time have age 0.

    Attributes:
        name: the policy's name in this pipeline.
        config: its settings.
        moments: Float64[n_items], when each item is from: days since the epoch, or numbers; NaN: not known.
        active: Bool[n_items], False for deleted items.
    """

    component: ClassVar[str] = "freshness"
    name: str
    config: FreshnessConfig
    moments: NDArray[np.float64]
    active: BoolArray

    def prepare(self, queries: Queries) -> Queries:
        """Return the queries with too old items not allowed, where that is the same for all of them.

        Where every query has its own time, old items are left out of the finished lists instead.
        """
        if self.config.max_age is None or self._asks_for_times(queries):
            return queries
        fresh = self._ages(np.arange(len(self.moments), dtype=np.int32)[None], self._newest()) <= self.config.max_age
        return replace(queries, allow=fresh[0] if queries.allow is None else queries.allow & fresh[0])

    def depth(self, k: int) -> int:
        """Return enough that what can move into the first k is seen, and more where items may be left out."""
        moved = 0 if self.config.half_life is None else math.ceil(self.config.places) + 1
        return (PER_PLACE * k if self.config.max_age is not None else k) + moved

    def apply(self, queries: Queries, ranking: Ranking, k: int) -> Ranking:
        """Leave out the too old items, move up the newer ones, and cut."""
        if self.config.max_age is not None:
            ages = self._ages(ranking.items, self._reference(queries))
            ranking = without(ranking, ages > self.config.max_age, ranking.items.shape[1])
        if self.config.half_life is None:
            return first(ranking, k)
        ages = self._ages(ranking.items, self._reference(queries))
        return moved_up(ranking, self.config.places * np.exp2(-ages / self.config.half_life), k)

    def may_grow(self, queries: Queries, ranking: Ranking) -> BoolArray:
        """Bool[n]: whether the catalog has any other item that is not too old for the query."""
        if self.config.max_age is None:
            return np.ones(len(ranking), dtype=np.bool_)
        everything = np.arange(len(self.moments), dtype=np.int32)[None]
        reference, max_age = self._reference(queries), self.config.max_age

        def fitting(rows: Int64Array) -> BoolArray:
            since = reference[rows] if isinstance(reference, np.ndarray) else np.full((len(rows), 1), reference)
            return self._ages(everything, since) <= max_age

        return anything_left(ranking, queries, self.active, fitting)

    def with_items(self, catalog: Catalog, changed: Int32Array) -> Self:
        """Return the same rule over a catalog that has grown or changed."""
        rows = rows_to_read(len(self.moments), catalog, changed)
        moments = np.concatenate([self.moments, np.full(len(catalog) - len(self.moments), np.nan)])
        moments[rows] = _moments(self.config, catalog, rows)
        return replace(self, moments=moments, active=catalog.active)

    def state(self) -> State:
        """Return the settings: the catalog knows the rest."""
        return State({"settings": self.config.model_dump(mode="json")})

    def _asks_for_times(self, queries: Queries) -> bool:
        return queries.at is not None and self.config.reference == "at" and self.config.kind != "number"

    def _newest(self) -> float:
        return float(self.moments[self.active & ~np.isnan(self.moments)].max(initial=-np.inf))

    def _reference(self, queries: Queries) -> NDArray[np.float64] | float:
        """When age is 0, Float64[n, 1], or one moment for all queries."""
        if self._asks_for_times(queries) and queries.at is not None:
            moments: NDArray[np.float64] = queries.at[:, None] / SECONDS_PER_DAY
            return moments
        return self._newest()

    def _ages(self, items: Int32Array, reference: NDArray[np.float64] | float) -> NDArray[np.float64]:
        """Float64[n, k]: ages, never below 0; of unknown ones as `config.missing` says."""
        ages = np.maximum(reference - self.moments[items], 0.0)
        return np.where(np.isnan(ages), np.inf if self.config.missing == "old" else 0.0, ages)


def _over(name: str, config: FreshnessConfig, catalog: Catalog) -> Freshness:
    check_field(catalog, config.field, name)
    rows = np.arange(len(catalog), dtype=np.int32)
    return Freshness(name, config, _moments(config, catalog, rows), catalog.active)


def _moments(config: FreshnessConfig, catalog: Catalog, rows: Int32Array) -> NDArray[np.float64]:
    return read_moments(catalog, config.field, config.kind, rows, config.no_value)


def _fit(context: FitContext, config: FreshnessConfig) -> Freshness:
    if config.max_age is None and config.half_life is None:
        raise ConfigError(f"{context.name}: set max_age, half_life, or both; as it is nothing changes")
    policy = _over(context.name, config, context.catalog)
    moments = policy.moments[policy.active & ~np.isnan(policy.moments)]
    if len(moments) == 0:
        raise ConfigError(
            f"{context.name}: field {config.field!r} is empty for all items; name one that says their age"
        )
    if config.kind == "time" and np.abs(moments).max() * SECONDS_PER_DAY < LATEST_YEAR:
        raise ConfigError(
            f"{context.name}: field {config.field!r} holds small numbers, which are no seconds since the epoch; "
            'for years set kind = "year", for other numbers kind = "number"'
        )
    if unknown := int(np.isnan(policy.moments).sum()):
        counts = "too old" if config.missing == "old" else "new"
        context.progress(f"{context.name}: items without {config.field}, which count as {counts}: {unknown}")
    return policy


def _load(name: str, state: State, catalog: Catalog) -> Freshness:
    return _over(name, FreshnessConfig.model_validate(state.config["settings"]), catalog)


COMPONENT = Component("policy", FreshnessConfig, _fit, _load)
