"""The boost policy: items move up or down by a number of places, by id and by what stands in their fields."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from llmrec.component import Component, ComponentConfig, FitContext
from llmrec.data import Catalog
from llmrec.policy.fields import FieldValues
from llmrec.policy.ids import known_ids
from llmrec.policy.lists import moved_up
from llmrec.types import Int32Array, Queries, Ranking, State

__all__ = ["COMPONENT", "Boost", "BoostConfig"]

Places = Annotated[float, Field(ge=-1000, le=1000)]


class BoostConfig(ComponentConfig):
    """Settings of boosting. An item that several entries name moves by their sum.

    Attributes:
        ids: item id to places; 3 moves an item up past three others, -3 down.
        fields: field to value to places.
        separator: splits a text of these fields into several values; none: a text is one value.
    """

    ids: dict[str, Places] = Field(default_factory=dict)
    fields: dict[str, dict[str, Places]] = Field(default_factory=dict)
    separator: str | None = Field(default=None, min_length=1)


@dataclass(frozen=True, slots=True, eq=False)
class Boost:
    """Moves items by places, so that a boost means the same whatever scale the scores are on.

    An item that moves up by p passes the p items before it, but for those that move as far or farther themselves;
    items that move alike keep their order.

    Attributes:
        name: the policy's name in this pipeline.
        config: its settings.
        fields: what items have in each field that is boosted.
        places: Float64[n_items], how far each item moves.
    """

    component: ClassVar[str] = "boost"
    name: str
    config: BoostConfig
    fields: Mapping[str, FieldValues]
    places: NDArray[np.float64]

    def prepare(self, queries: Queries) -> Queries:
        """Return the queries unchanged."""
        return queries

    def depth(self, k: int) -> int:
        """Return enough that whatever can move into the first k is seen."""
        return k + math.ceil(float(self.places.max(initial=0) - self.places.min(initial=0))) + 1

    def apply(self, queries: Queries, ranking: Ranking, k: int) -> Ranking:
        """Move the items, and cut."""
        return moved_up(ranking, np.where(ranking.items >= 0, self.places[ranking.items], 0.0), k)

    def with_items(self, catalog: Catalog, changed: Int32Array) -> Self:
        """Return the same boosts over a catalog that has grown or changed."""
        fields = {name: values.with_items(catalog, changed) for name, values in self.fields.items()}
        return replace(self, fields=fields, places=_places(self.config, catalog, fields))

    def state(self) -> State:
        """Return the settings: the catalog knows the rest."""
        return State({"settings": self.config.model_dump(mode="json")})


def _places(config: BoostConfig, catalog: Catalog, fields: Mapping[str, FieldValues]) -> NDArray[np.float64]:
    places = np.zeros(len(catalog))
    places[catalog.items.rows(list(config.ids))] = list(config.ids.values())
    for name, boosts in sorted(config.fields.items()):  # sums of floats depend on the order, lists must not
        for value, moved in sorted(boosts.items()):
            places[fields[name].have_any([value])] += moved
    return places


def _over(name: str, config: BoostConfig, catalog: Catalog) -> Boost:
    known_ids(catalog, list(config.ids), name)
    fields = {field: FieldValues.read(catalog, field, config.separator, name) for field in config.fields}
    return Boost(name, config, fields, _places(config, catalog, fields))


def _fit(context: FitContext, config: BoostConfig) -> Boost:
    policy = _over(context.name, config, context.catalog)
    for field, boosts in config.fields.items():
        if missing := policy.fields[field].missing(boosts):
            context.progress(f"{context.name}: no item has {field} = {', '.join(missing)}")
    return policy


def _load(name: str, state: State, catalog: Catalog) -> Boost:
    return _over(name, BoostConfig.model_validate(state.config["settings"]), catalog)


COMPONENT = Component("policy", BoostConfig, _fit, _load)
