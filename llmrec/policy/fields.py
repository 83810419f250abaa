"""What items have in a field, as policies compare it: values as text, none, one or several per item."""

from __future__ import annotations

import datetime
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np

from llmrec.data import Catalog
from llmrec.errors import ConfigError
from llmrec.types import BoolArray, Csr, Int32Array, Int64Array

__all__ = ["FieldValue", "FieldValues", "check_field", "rows_to_read", "value_text"]

FieldValue = bool | int | float | str
"""A value as a configuration gives it."""


def value_text(value: FieldValue | datetime.date) -> str:
    """Write a value as text: true and false, whole numbers without a point, dates as in ISO 8601."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, datetime.date):
        return value.isoformat()
    return str(value)


def check_field(catalog: Catalog, field: str, where: str) -> None:
    """Check that the catalog has a field.

    Raises:
        ConfigError: it has not; the message names those it has.
    """
    if field not in catalog.columns[1:]:
        known = ", ".join(catalog.columns[1:])
        raise ConfigError(f"{where}: the catalog has no field {field!r}; it has: {known}")


def rows_to_read(known: int, catalog: Catalog, changed: Int32Array) -> Int32Array:
    """The rows whose fields are not known yet: the changed ones, and those after the first `known`; sorted."""
    return np.concatenate([changed, np.arange(known, len(catalog), dtype=np.int32)]).astype(np.int32)


@dataclass(frozen=True, slots=True, eq=False)
class FieldValues:
    """The values every item has in one field.

    Attributes:
        field: the catalog's field.
        separator: splits a text into several values; none: a text is one value.
        codes: each value's code, its place in order of first appearance.
        rows: the codes of every item, n_items rows, each code once per item.
    """

    field: str
    separator: str | None
    codes: Mapping[str, int]
    rows: Csr

    @classmethod
    def read(cls, catalog: Catalog, field: str, separator: str | None, where: str) -> Self:
        """Read a field of all items.

        Args:
            catalog: all items.
            field: the field; text, numbers, true and false, dates, or lists of these. Null is no value.
            separator: splits a text into several values, or None.
            where: for messages.

        Raises:
            ConfigError: the catalog has no such field.
        """
        check_field(catalog, field, where)
        nothing = cls(field, separator, {}, Csr(np.zeros(1, np.int64), np.empty(0, np.int32)))
        return nothing.with_items(catalog, np.empty(0, np.int32))

    def with_items(self, catalog: Catalog, changed: Int32Array) -> Self:
        """Return the values of a catalog that has grown, or in which the given rows changed."""
        rows = rows_to_read(len(self.rows), catalog, changed)
        codes = dict(self.codes)
        column = catalog.table.column(self.field).take(rows).to_pylist()
        lists = [[codes.setdefault(t, len(codes)) for t in _texts(value, self.separator)] for value in column]
        fresh = Csr.from_lists(lists)
        both = Csr(
            np.concatenate([self.rows.offsets, self.rows.offsets[-1] + fresh.offsets[1:]]),
            np.concatenate([self.rows.values, fresh.values]),
        )
        source = np.arange(len(catalog), dtype=np.int64)
        source[rows] = len(self.rows) + np.arange(len(rows))
        return replace(self, codes=codes, rows=both.take(source))

    def have_any(self, values: Iterable[FieldValue]) -> BoolArray:
        """Bool[n_items]: whether an item has one of the values."""
        wanted = [self.codes[t] for t in map(value_text, values) if t in self.codes]
        found = np.zeros(len(self.rows), dtype=np.bool_)
        found[self.owners[np.isin(self.rows.values, wanted)]] = True
        return found

    def missing(self, values: Iterable[FieldValue]) -> list[str]:
        """The values that no item has, as text."""
        return [t for t in map(value_text, values) if t not in self.codes]

    @property
    def owners(self) -> Int64Array:
        """Int64[nnz]: the item of each entry of `rows.values`."""
        return np.repeat(np.arange(len(self.rows), dtype=np.int64), np.diff(self.rows.offsets))


def _texts(value: Any, separator: str | None) -> list[str]:
    """The distinct values of one item, in their order; empty texts and NaN are none."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return []
    if isinstance(value, list):
        return list(dict.fromkeys(t for part in value for t in _texts(part, separator)))
    parts = value.split(separator) if isinstance(value, str) and separator else [value_text(value)]
    return list(dict.fromkeys(stripped for part in parts if (stripped := part.strip())))
