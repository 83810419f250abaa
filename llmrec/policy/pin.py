"""The pin policy: some items stand at given places of every list that may hold them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, ClassVar, Self

import numpy as np
from pydantic import Field, field_validator

from llmrec.component import Component, ComponentConfig, FitContext
from llmrec.data import Catalog
from llmrec.policy.ids import known_ids
from llmrec.policy.lists import may_be_shown, reordered
from llmrec.retrieve.merge import align
from llmrec.types import BoolArray, Int32Array, Queries, Ranking, State

__all__ = ["COMPONENT", "Pin", "PinConfig"]


class PinConfig(ComponentConfig):
    """Settings of pinning.

    Attributes:
        items: item id to place, 1 = first; no two at one place.
    """

    items: dict[str, Annotated[int, Field(ge=1, le=1000)]] = Field(min_length=1)

    @field_validator("items")
    @classmethod
    def _check_places(cls, items: dict[str, int]) -> dict[str, int]:
        if len(set(items.values())) < len(items):
            raise ValueError("two items are pinned to one place; give each its own")
        return items


@dataclass(frozen=True, slots=True, eq=False)
class Pin:
    """Puts items at their places, and moves the rest down; an item that a query may not be shown is left out.

    An item that the query excludes (by what was seen, for one) or does not allow, or that was deleted, is not pinned,
    and the others close up. In a list too short for its place a pinned item stands last.

    Attributes:
        name: the policy's name in this pipeline.
        config: its settings.
        rows: Int32[m], the pinned items, by place.
        places: Int32[m], where each stands, 0 = first.
        active: Bool[n_items], False for deleted items.
    """

    component: ClassVar[str] = "pin"
    name: str
    config: PinConfig
    rows: Int32Array
    places: Int32Array
    active: BoolArray

    def inserted(self, queries: Queries) -> Int32Array:
        """Int32[n, m]: the pinned items, -1 for those that a query may not be shown."""
        pins = np.broadcast_to(self.rows, (len(queries), len(self.rows)))
        return np.where(may_be_shown(pins, queries, self.active), pins, np.int32(-1))

    def prepare(self, queries: Queries) -> Queries:
        """Return the queries unchanged."""
        return queries

    def depth(self, k: int) -> int:
        """Return enough that a list is full also where pinned items stand below the first k."""
        return k + len(self.rows)

    def apply(self, queries: Queries, ranking: Ranking, k: int) -> Ranking:
        """Put the pinned items at their places, and cut; their propensity is 1, for they are always there."""
        pins = self.inserted(queries)
        pinned = pins >= 0
        kept = (ranking.items >= 0) & (align(ranking.items, pins, np.ones_like(pins), np.int32(0)) == 0)
        taken = np.zeros((len(queries), ranking.items.shape[1] + int(self.places.max()) + 1), dtype=np.bool_)
        taken[:, self.places] = pinned
        free = np.argsort(taken, axis=1, kind="stable")  # the places left for the others, in order
        others = np.take_along_axis(free, np.maximum(np.cumsum(kept, axis=1) - 1, 0), axis=1)
        keys = np.concatenate([others, np.broadcast_to(self.places, pins.shape)], axis=1)
        kept = np.concatenate([kept, pinned], axis=1)
        order = np.argsort(np.where(kept, keys, np.iinfo(np.int64).max), axis=1, kind="stable").astype(np.int64)
        return reordered(_with_pins(ranking, pins), order, np.take_along_axis(kept, order, axis=1), k)

    def with_items(self, catalog: Catalog, changed: Int32Array) -> Self:
        """Return the same pins over a catalog that has grown or lost items."""
        return replace(self, active=catalog.active)

    def state(self) -> State:
        """Return the settings."""
        return State({"settings": self.config.model_dump(mode="json")})


def _with_pins(ranking: Ranking, pins: Int32Array) -> Ranking:
    """The lists with the pins behind them, each with the score it has in the list, else with the list's lowest."""
    lowest = np.where(ranking.items >= 0, ranking.scores, np.inf).min(axis=1, initial=np.inf, keepdims=True)
    own = align(pins, ranking.items, ranking.scores, np.float32(np.nan))
    scores = np.where(np.isnan(own), np.where(np.isfinite(lowest), lowest, 0), own).astype(np.float32)
    shown = ranking.propensities
    return Ranking(
        np.concatenate([ranking.items, pins], axis=1),
        np.concatenate([ranking.scores, scores], axis=1),
        None if shown is None else np.concatenate([shown, np.ones_like(scores)], axis=1),
    )


def _over(name: str, config: PinConfig, catalog: Catalog) -> Pin:
    ids = sorted(config.items, key=config.items.__getitem__)  # files do not keep the order of a table's keys
    places = np.array([config.items[item] for item in ids], dtype=np.int32) - 1
    return Pin(name, config, known_ids(catalog, ids, name), places, catalog.active)


def _fit(context: FitContext, config: PinConfig) -> Pin:
    return _over(context.name, config, context.catalog)


def _load(name: str, state: State, catalog: Catalog) -> Pin:
    return _over(name, PinConfig.model_validate(state.config["settings"]), catalog)


COMPONENT = Component("policy", PinConfig, _fit, _load)
