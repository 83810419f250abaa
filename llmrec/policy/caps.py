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
from llmrec.policy.lists import anything_left, without
from llmrec.retrieve.base import blocks
from llmrec.types import BoolArray, Int32Array, Int64Array, Queries, Ranking, State, select_rows

__all__ = ["COMPONENT", "Caps", "CapsConfig"]

PER_PLACE = 2
"""Candidates looked at for each place at first; `llmrec.policy.finish` looks further down where they do not do."""

UNLIMITED = np.iinfo(np.int32).max

COLUMNS = 256
"""So many candidates of each list are looked at at once, before they are taken one after the other."""

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
        limits: Int64[n_codes], how many items of each value a list may hold.
        active: Bool[n_items], False for deleted items.
    """

    component: ClassVar[str] = "caps"
    name: str
    config: CapsConfig
    values: FieldValues
    limits: Int64Array
    active: BoolArray

    def prepare(self, queries: Queries) -> Queries:
        """Return the queries unchanged."""
        return queries

    def depth(self, k: int) -> int:
        """Return some candidates for each place, to fill the places of those that are left out."""
        return PER_PLACE * k

    def apply(self, queries: Queries, ranking: Ranking, k: int) -> Ranking:
        """Leave out what is over a limit, and cut; a list is short where nothing else is left."""
        kept = np.zeros(ranking.items.shape, dtype=np.bool_)
        for rows in blocks(len(ranking), ranking.items.shape[1] + len(self.limits)):
            kept[rows] = self._within(ranking.items[rows], k)
        return without(ranking, ~kept, k)

    def may_grow(self, queries: Queries, ranking: Ranking) -> BoolArray:
        """Bool[n]: whether the catalog has any item for a list none of whose values is at its limit."""
        owners_of_all = self.values.owners

        def fitting(rows: Int64Array) -> BoolArray:
            lists, places = np.nonzero(ranking.items[rows] >= 0)
            owners, codes = self._codes(ranking.items[rows[lists], places])
            counts = np.zeros((len(rows), len(self.limits)), dtype=np.int32)
            np.add.at(counts, (lists[owners], codes), 1)
            fits = np.ones((len(rows), len(self.active)), dtype=np.bool_)
            for row, full in enumerate(counts >= self.limits):
                fits[row, owners_of_all[full[self.values.rows.values]]] = False
            return fits

        return anything_left(ranking, queries, self.active, fitting)

    def with_items(self, catalog: Catalog, changed: Int32Array) -> Self:
        """Return the same limits over a catalog that has grown or changed."""
        values = self.values.with_items(catalog, changed)
        return replace(self, values=values, limits=_limits(self.config, values), active=catalog.active)

    def state(self) -> State:
        """Return the settings: the catalog knows the rest."""
        return State({"settings": self.config.model_dump(mode="json")})

    def _within(self, items: Int32Array, k: int) -> BoolArray:
        """Bool[n, m]: the first k of each list that stay within all limits."""
        counts = np.zeros((len(items), len(self.limits)), dtype=np.int32)
        kept = np.zeros(items.shape, dtype=np.bool_)
        taken = np.zeros(len(items), dtype=np.int64)
        everybody = np.arange(len(items), dtype=np.int64)
        for start in range(0, items.shape[1], COLUMNS):
            # limits only ever close: what does not fit now will not fit later, and is not looked at again
            fits = self._fit(everybody, items[:, start : start + COLUMNS], counts)
            for place in start + np.flatnonzero((fits & (taken < k)[:, None]).any(axis=0)):
                rows = np.flatnonzero(fits[:, place - start] & (taken < k))
                rows = rows[self._fit(rows, items[rows, place, None], counts)[:, 0]]
                kept[rows, place] = True
                taken[rows] += 1
                owners, codes = self._codes(items[rows, place])
                counts[rows[owners], codes] += 1  # an item has a value once: no cell occurs twice
        return kept

    def _fit(self, rows: Int64Array, items: Int32Array, counts: Int32Array) -> BoolArray:
        """Bool[n, m]: which of Int32[n, m] items have no value at its limit, after the counts of the given rows."""
        owners, codes = self._codes(np.maximum(items, 0).ravel())
        over = counts[rows[owners // max(items.shape[1], 1)], codes] >= self.limits[codes]
        fits = (items >= 0).ravel()
        fits[owners[over]] = False
        return fits.reshape(items.shape)

    def _codes(self, items: Int32Array) -> tuple[Int64Array, Int32Array]:
        """The codes of Int32[m] items, no pads, and which of the m each belongs to."""
        offsets, entries = select_rows(self.values.rows.offsets, items.astype(np.int64))
        owners = np.repeat(np.arange(len(items), dtype=np.int64), np.diff(offsets))
        return owners, self.values.rows.values[entries]


def _limits(config: CapsConfig, values: FieldValues) -> Int64Array:
    """Int64[n_codes]: how many items of each value a list may hold."""
    usual = UNLIMITED if config.at_most is None else config.at_most
    return np.array([config.values.get(text, usual) for text in values.codes], dtype=np.int64)


def _over(name: str, config: CapsConfig, catalog: Catalog) -> Caps:
    values = FieldValues.read(catalog, config.field, config.separator, name)
    return Caps(name, config, values, _limits(config, values), catalog.active)


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
