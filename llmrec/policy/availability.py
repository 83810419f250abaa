"""The availability policy: which items may be shown at all, by id and by what stands in their fields."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar, Self

import numpy as np
from pydantic import Field

from llmrec.component import Component, ComponentConfig, FitContext
from llmrec.data import Catalog
from llmrec.errors import ConfigError
from llmrec.policy.fields import FieldValue, FieldValues
from llmrec.policy.ids import known_ids
from llmrec.policy.lists import first
from llmrec.types import BoolArray, Int32Array, Queries, Ranking, State

__all__ = ["COMPONENT", "Availability", "AvailabilityConfig"]


class AvailabilityConfig(ComponentConfig):
    """Settings of availability. An item may be shown if everything allows it and nothing denies it.

    Attributes:
        allow_ids: only these items; none: any.
        deny_ids: not these items.
        allow: by field, the values of which an item must have at least one; an item must do so in every field named.
        deny: by field, the values of which an item must have none.
        separator: splits a text of these fields into several values; none: a text is one value.
    """

    allow_ids: tuple[str, ...] | None = None
    deny_ids: tuple[str, ...] = ()
    allow: dict[str, tuple[FieldValue, ...]] = Field(default_factory=dict)
    deny: dict[str, tuple[FieldValue, ...]] = Field(default_factory=dict)
    separator: str | None = Field(default=None, min_length=1)


@dataclass(frozen=True, slots=True, eq=False)
class Availability:
    """Narrows what retrievers may propose; they spend no depth on what may not be shown.

    Attributes:
        name: the policy's name in this pipeline.
        config: its settings.
        fields: what items have in each field that a rule names.
        mask: Bool[n_items], True for what may be shown.
    """

    component: ClassVar[str] = "availability"
    name: str
    config: AvailabilityConfig
    fields: Mapping[str, FieldValues]
    mask: BoolArray

    def prepare(self, queries: Queries) -> Queries:
        """Return the queries with everything else not allowed, beside what they did not allow themselves."""
        return replace(queries, allow=self.mask if queries.allow is None else queries.allow & self.mask)

    def depth(self, k: int) -> int:
        """Return k: what may not be shown is not among the candidates."""
        return k

    def apply(self, queries: Queries, ranking: Ranking, k: int) -> Ranking:
        """Return the first k: everything else was kept out before."""
        return first(ranking, k)

    def with_items(self, catalog: Catalog, changed: Int32Array) -> Self:
        """Return the same rules over a catalog that has grown or changed."""
        fields = {name: values.with_items(catalog, changed) for name, values in self.fields.items()}
        return replace(self, fields=fields, mask=_mask(self.config, catalog, fields))

    def state(self) -> State:
        """Return the settings: the catalog knows the rest."""
        return State({"settings": self.config.model_dump(mode="json")})


def _mask(config: AvailabilityConfig, catalog: Catalog, fields: Mapping[str, FieldValues]) -> BoolArray:
    mask = np.full(len(catalog), config.allow_ids is None, dtype=np.bool_)
    mask[catalog.items.rows(config.allow_ids or ())] = True
    for name, values in config.allow.items():
        mask &= fields[name].have_any(values)
    for name, values in config.deny.items():
        mask &= ~fields[name].have_any(values)
    mask[catalog.items.rows(config.deny_ids)] = False
    return mask


def _over(name: str, config: AvailabilityConfig, catalog: Catalog) -> Availability:
    known_ids(catalog, (*(config.allow_ids or ()), *config.deny_ids), name)
    named = sorted({*config.allow, *config.deny})
    fields = {field: FieldValues.read(catalog, field, config.separator, name) for field in named}
    return Availability(name, config, fields, _mask(config, catalog, fields))


def _fit(context: FitContext, config: AvailabilityConfig) -> Availability:
    policy = _over(context.name, config, context.catalog)
    if not (policy.mask & context.catalog.active).any():
        raise ConfigError(f"{context.name}: no item of the catalog may be shown by these rules; loosen them")
    for rules in (config.allow, config.deny):
        for field, values in rules.items():
            if missing := policy.fields[field].missing(values):
                context.progress(f"{context.name}: no item has {field} = {', '.join(missing)}")
    return policy


def _load(name: str, state: State, catalog: Catalog) -> Availability:
    return _over(name, AvailabilityConfig.model_validate(state.config["settings"]), catalog)


COMPONENT = Component("policy", AvailabilityConfig, _fit, _load)
