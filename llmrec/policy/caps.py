"""The caps policy: at most so many items of one category in a list."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, ClassVar, Self

import numpy as np
from pydantic import Field

from llmrec.component import Component, ComponentConfig, FitContext
from llmrec.data import Catalog
from llmrec.errors import ConfigError
from llmrec.policy.fields import FieldValues
from llmrec.policy.lists import without
from llmrec.retrieve.base import blocks
from llmrec.types import BoolArray, Int32Array, Int64Array, Queries, Ranking, State, select_rows

__all__ = ["COMPONENT", "Caps", "CapsConfig"]

PER_PLACE = 2
"""Candidates looked at for each place at first; `llmrec.policy.finish` looks further down where they do not do."""

UNLIMITED = np.iinfo(np.int32).max

Count = Annotated[int, Field(ge=0)]


class CapsConfig(ComponentConfig):
    """Settings of caps.

    Attributes:
        field: the catalog's field that says what an item is.
        at_most: so many items of each value in one list; none: any number.
        values: other limits for some values; 0 keeps them out.
        separator: splits a text of the field into several values; an item counts for each of them.
    """

    field: str
    at_most: Count | None = None
    values: dict[str, Count] = Field(default_factory=dict)
    separator: str | None = Field(default=None, min_length=1)


@dataclass(frozen=True, slots=True, eq=False)
class Caps:
    """Takes items from the top of the list as long as none of their values is at its limit; the rest are left out.

    Items without a value are not limited. The limits hold for the list that is asked for: where a later policy asks for
    more than is shown in the end, they hold for that longer list.

    Attributes:
        name: the policy's name in this pipeline.
        config: its settings.
        values: what every item has in the field.
    """

    component: ClassVar[str] = "caps"
    name: str
    config: CapsConfig
    values: FieldValues

    def prepare(self, queries: Queries) -> Queries:
        """Return the queries unchanged."""
        return queries

    def depth(self, k: int) -> int:
        """Return some candidates for each place, to fill the places of those that are left out."""
        return PER_PLACE * k

    def apply(self, queries: Queries, ranking: Ranking, k: int) -> Ranking:
        """Leave out what is over a limit, and cut; a list is short where nothing else is left."""
        kept = np.zeros(ranking.items.shape, dtype=np.bool_)
        for rows in blocks(len(ranking), ranking.items.shape[1] + len(self.values.codes)):
            kept[rows] = self._within(ranking.items[rows], k)
        return without(ranking, ~kept, k)

    def with_items(self, catalog: Catalog, changed: Int32Array) -> Self:
        """Return the same limits over a catalog that has grown or changed."""
        return replace(self, values=self.values.with_items(catalog, changed))

    def state(self) -> State:
        """Return the settings: the catalog knows the rest."""
        return State({"settings": self.config.model_dump(mode="json")})

    def _within(self, items: Int32Array, k: int) -> BoolArray:
        """Bool[n, m]: the first k of each list that stay within all limits."""
        limits = self._limits()
        counts = np.zeros((len(items), len(limits)), dtype=np.int32)
        kept = np.zeros(items.shape, dtype=np.bool_)
        taken = np.zeros(len(items), dtype=np.int64)
        for place in range(items.shape[1]):
            rows = np.flatnonzero((items[:, place] >= 0) & (taken < k))
            if len(rows) == 0:
                break
            offsets, entries = select_rows(self.values.rows.offsets, items[rows, place].astype(np.int64))
            owners, codes = np.repeat(rows, np.diff(offsets)), self.values.rows.values[entries]
            over = counts[owners, codes] >= limits[codes]
            kept[rows, place] = True
            kept[owners[over], place] = False
            counted = kept[owners, place]
            counts[owners[counted], codes[counted]] += 1  # an item has a value once: no cell occurs twice
            taken += kept[:, place]
        return kept

    def _limits(self) -> Int64Array:
        """Int64[n_codes]: how many items of each value a list may hold."""
        usual = UNLIMITED if self.config.at_most is None else self.config.at_most
        return np.array([self.config.values.get(text, usual) for text in self.values.codes], dtype=np.int64)


def _over(name: str, config: CapsConfig, catalog: Catalog) -> Caps:
    return Caps(name, config, FieldValues.read(catalog, config.field, config.separator, name))


def _fit(context: FitContext, config: CapsConfig) -> Caps:
    if config.at_most is None and not config.values:
        raise ConfigError(f"{context.name}: set at_most, values, or both; as it is nothing is limited")
    policy = _over(context.name, config, context.catalog)
    if missing := policy.values.missing(config.values):
        context.progress(f"{context.name}: no item has {config.field} = {', '.join(missing)}")
    return policy


def _load(name: str, state: State, catalog: Catalog) -> Caps:
    return _over(name, CapsConfig.model_validate(state.config["settings"]), catalog)


COMPONENT = Component("policy", CapsConfig, _fit, _load)
