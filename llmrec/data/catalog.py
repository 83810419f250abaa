"""The catalog: every item there is, its text fields, and its row."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from llmrec.data._arrow import as_table, bytes_to_table, read_ids, rename_columns, table_to_bytes, vocab_of
from llmrec.data.requests import check_items, check_list
from llmrec.data.tables import read_table
from llmrec.data.vocab import Vocab
from llmrec.errors import DataError
from llmrec.types import BoolArray, Int32Array, Item, State

__all__ = ["Catalog"]

_ID = "item_id"


@dataclass(frozen=True, eq=False, repr=False)
class Catalog:
    """All items, in rows that never move. Made by `from_table` or `from_file`.

    Attributes:
        table: pa.Table, column "item_id" (string) first, then the fields, one row an item.
        items: the item ids, in row order.
        active: Bool[n]; False for items that were taken out. They keep their row, but are not recommended.
        tie_order: UInt64[n], a fixed hash of each id (BLAKE2b, 8 bytes). Ties of scores are broken by it,
            lowest first, because the order of rows leaks popularity.
    """

    table: Any
    items: Vocab
    active: BoolArray
    tie_order: NDArray[np.uint64]

    @classmethod
    def from_table(cls, table: Any, id_column: str = _ID, rename: Mapping[str, str] | None = None) -> Catalog:
        """Build from a table with one row an item.

        Args:
            table: a pa.Table, a pandas or polars data frame, a Hugging Face data set, anything with an Arrow
                C stream, a mapping of columns, or a list of row dicts.
            id_column: the column of item ids: text, or whole numbers, which become text.
            rename: old to new names of fields.

        Raises:
            DataError: no rows, a missing column, a missing, empty or repeated id.
        """
        return cls._build(as_table(table, "catalog"), id_column, rename, "catalog")

    @classmethod
    def from_file(cls, path: str | Path, id_column: str = _ID, rename: Mapping[str, str] | None = None) -> Catalog:
        """Build from a .csv, .tsv or .parquet file; see `from_table` and `read_table`."""
        return cls._build(read_table(path, ids=(id_column,)), id_column, rename, f"catalog {path}")

    @classmethod
    def _build(cls, table: Any, id_name: str, rename: Mapping[str, str] | None, what: str) -> Catalog:
        ids = read_ids(table, id_name, what)
        if len(ids) == 0:
            raise DataError(f"the {what} has no rows; a catalog needs at least one item.")
        fields = rename_columns(table.drop_columns([id_name]), rename, what)
        if _ID in fields.column_names:
            raise DataError(f"the {what} has both {id_name!r} as its id and a field {_ID!r}; rename the field.")
        items, rows = vocab_of(ids)
        if len(items) < len(rows):
            twice = np.flatnonzero(np.bincount(rows) > 1)
            shown = ", ".join(repr(i) for i in items.decode(twice[:5]))
            raise DataError(f"the {what} has {len(twice)} ids in more than one row, among them {shown}; keep one each.")
        table = fields.add_column(0, _ID, ids)
        return cls(table, items, np.ones(len(items), dtype=np.bool_), _hashes(items.ids))

    def __len__(self) -> int:
        return len(self.items)

    def __repr__(self) -> str:
        return f"Catalog({len(self):,} items, columns: {', '.join(self.columns)})"

    @property
    def columns(self) -> list[str]:
        """The names of all columns, "item_id" first."""
        return list(self.table.column_names)

    def records(self, rows: Int32Array) -> list[dict[str, Any]]:
        """Return the given rows as dicts of Python values, "item_id" included; null is None."""
        taken = self.table.take(pa.array(np.asarray(rows, dtype=np.int64)))
        return list(taken.to_pylist())

    def with_items(self, items: Sequence[Item]) -> Catalog:
        """Return a catalog with more items at its end. A field an item does not name is null.

        Raises:
            DataError: an id is there already (a removed id stays taken) or is not text, a field is unknown, or a
                value does not fit its column.
        """
        check_items(items)
        ids = [item.id for item in items]
        if taken := [i for i in ids if i in self.items]:
            raise DataError(
                f"{len(taken)} item ids are already in the catalog, removed ones included, among them "
                f"{', '.join(map(repr, taken[:5]))}; add new items under new ids."
            )
        for item in items:
            if unknown := sorted(set(item.fields) - set(self.columns[1:])):
                raise DataError(f"item {item.id!r} has unknown fields {unknown}; the catalog has {self.columns[1:]}.")
        columns = {_ID: pa.array(ids, pa.string())}
        columns.update({f.name: _values(items, f) for f in self.table.schema if f.name != _ID})
        return Catalog(
            table=pa.concat_tables([self.table, pa.table(columns, schema=self.table.schema)]),
            items=self.items.extended(ids),
            active=np.concatenate([self.active, np.ones(len(ids), dtype=np.bool_)]),
            tie_order=np.concatenate([self.tie_order, _hashes(ids)]),
        )

    def without_items(self, ids: Sequence[str]) -> Catalog:
        """Return a catalog where the given items are inactive; rows never move.

        Raises:
            UnknownIdError: an id is not in the catalog.
            DataError: one string was given for a list.
        """
        check_list(ids, "item_ids")
        active = self.active.copy()
        active[self.items.rows(ids)] = False
        return replace(self, active=active)

    @cached_property
    def fingerprint(self) -> str:
        """Sha256 (hex) over ids and fields in row order; the same from whatever source they came."""
        digest = hashlib.sha256()
        for name in self.columns:
            values = self.table.column(name).to_pylist()
            digest.update(json.dumps([name, values], default=str, sort_keys=True).encode())
        return digest.hexdigest()

    def state(self) -> State:
        """Everything needed to come back: the table as an Arrow IPC stream, and which items are active."""
        return State(arrays={"table": table_to_bytes(self.table), "active": self.active})

    @classmethod
    def from_state(cls, state: State) -> Catalog:
        """Rebuild what `state` returned.

        Raises:
            DataError: the state is damaged.
        """
        catalog = cls._build(bytes_to_table(state.arrays["table"]), _ID, None, "stored catalog")
        active = np.asarray(state.arrays["active"], dtype=np.bool_)
        if active.shape != (len(catalog),):
            raise DataError(f"the stored catalog has {len(catalog)} items but {active.shape} active flags.")
        return replace(catalog, active=active)


def _hashes(ids: Sequence[str]) -> NDArray[np.uint64]:
    """Return a fixed 64-bit hash of each id, UInt64[n], the same on every machine."""
    raw = b"".join(hashlib.blake2b(i.encode(), digest_size=8).digest() for i in ids)
    return np.frombuffer(raw, dtype="<u8").astype(np.uint64)


def _values(items: Sequence[Item], field: Any) -> Any:
    """Return one column of new items, as its type in the catalog demands."""
    values = [item.fields.get(field.name) for item in items]
    try:
        return pa.array(values, type=field.type)
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise DataError(
            f"the new items' field {field.name!r} does not fit the catalog's type {field.type}: {error}"
        ) from error
