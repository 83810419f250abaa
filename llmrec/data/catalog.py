"""The catalog: every item there is, its text fields, and its row."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from llmrec.data._arrow import (
    ARROW_ERRORS,
    as_table,
    bytes_to_table,
    read_ids,
    rename_columns,
    row_numbers,
    table_to_bytes,
    vocab_of,
)
from llmrec.data._clean_table import TableShape, clean_table
from llmrec.data._tally import Tally
from llmrec.data.requests import check_items, check_list
from llmrec.data.sources import open_source
from llmrec.data.vocab import Vocab
from llmrec.errors import DataError
from llmrec.types import BoolArray, Int32Array, Item, State

__all__ = ["Catalog"]

_ID = "item_id"
_PART = 10_000


@dataclass(frozen=True, eq=False, repr=False)
class Catalog:
    """All items, in rows that never move. Made by `from_table` or `from_file`; every change makes a new one.

    Attributes:
        table: pa.Table, column "item_id" (string) first, then the fields, one row an item; one chunk a column.
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
        """Build from a file; see `from_table`, and `read_table` for the kinds of files.

        Texts and ids are repaired as `load_data` repairs them; that also reports what it found and can leave bad rows
        out.

        Raises:
            DataError: rows that cannot be used, by class, with the first lines of each.
        """
        source = open_source(path, "catalog")
        tally = Tally("catalog", source.name, source.unit)
        table = clean_table(source, TableShape(id_column, _ID, rename or {}), tally)
        tally.check()
        return cls._build(table, _ID, None, source.what)

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
        table = fields.add_column(0, _ID, ids).combine_chunks()
        vocab = Vocab.of_column(table.column(0).chunk(0))  # the column itself: one copy of the ids, not two
        return cls(table, vocab, np.ones(len(vocab), dtype=np.bool_), _hashes(vocab))

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
        return list(self.take(rows, self.columns).to_pylist())

    def take(self, rows: Int32Array, columns: Sequence[str]) -> Any:
        """Return some columns of the given rows as a pa.Table."""
        return self.table.select(list(columns)).take(row_numbers(rows))

    def items_of(self, table: Any, id_column: str = _ID) -> list[Item]:
        """Turn rows of a table into items for `with_items` or `with_changes`.

        Args:
            table: anything `from_table` reads; columns named as the catalog's fields, read as their types are here.
            id_column: the column of item ids.

        Returns:
            An item a row; a null is no field of its item, so that a change leaves that field as it is.

        Raises:
            DataError: a missing column of ids, an unknown column, or one that cannot be read as the field's type.
        """
        source = as_table(table, "items")
        ids = read_ids(source, id_column, "items").to_pylist()
        names = [name for name in source.column_names if name != id_column]
        if unknown := sorted(set(names) - set(self.columns[1:])):
            raise DataError(f"the items have unknown columns {unknown}; the catalog has {self.columns[1:]}.")
        columns = {name: _cast(source.column(name), self.table.schema.field(name)).to_pylist() for name in names}
        records = zip(*columns.values(), strict=True) if columns else [()] * len(ids)
        given = [{n: v for n, v in zip(columns, record, strict=True) if v is not None} for record in records]
        return [Item(an_id, fields) for an_id, fields in zip(ids, given, strict=True)]

    def with_items(self, items: Sequence[Item]) -> Catalog:
        """Return a catalog with more items at its end. A field an item does not name is null.

        An id that was removed comes back in its old row, active again, with the fields given now: rows never move,
        and histories that hold the id mean the same item.

        Raises:
            DataError: an id is there already or comes twice, is empty or is not text, a field is unknown, or a value
                does not fit its column.
        """
        ids = self._check(items)
        rows = self.items.get(ids)
        back = rows >= 0
        if taken := [i for i, row in zip(ids, rows, strict=True) if row >= 0 and self.active[row]]:
            raise DataError(
                f"{len(taken)} item ids are already in the catalog, among them {', '.join(map(repr, taken[:5]))}; "
                "add new items under new ids, or change the fields of those there."
            )
        fresh = [i for i, known in zip(ids, back, strict=True) if not known]
        columns: list[list[Any]] = [ids, *([item.fields.get(name) for item in items] for name in self.columns[1:])]
        given = [_column(values, field) for values, field in zip(columns, self.table.schema, strict=True)]
        source = np.concatenate([np.arange(len(self)), len(self) + np.flatnonzero(~back)])
        source[rows[back]] = len(self) + np.flatnonzero(back)
        active = np.concatenate([self.active, np.ones(len(fresh), dtype=np.bool_)])
        active[rows[back]] = True
        return Catalog(
            table=_pick(pa.concat_tables([self.table, pa.table(given, schema=self.table.schema)]), source),
            items=self.items.extended(fresh),
            active=active,
            tie_order=np.concatenate([self.tie_order, _hashes(fresh)]),
        )

    def with_changes(self, items: Sequence[Item]) -> Catalog:
        """Return a catalog where the given fields of known items have the given values; None empties a field.

        Raises:
            UnknownIdError: an id is not in the catalog.
            DataError: an id was removed or comes twice, a field is unknown, or a value does not fit its column.
        """
        ids = self._check(items)
        rows = self.items.rows(ids)
        if gone := [i for i, row in zip(ids, rows, strict=True) if not self.active[row]]:
            raise DataError(
                f"{len(gone)} of the items to change were removed, among them {', '.join(map(repr, gone[:5]))}; "
                "to bring one back, add it again with all its fields."
            )
        table = self.table
        for place, field in enumerate(self.table.schema):
            givers = [k for k, item in enumerate(items) if field.name in item.fields]
            if givers:
                values = _column([items[k].fields[field.name] for k in givers], field)
                source = np.arange(len(self))
                source[rows[givers]] = len(self) + np.arange(len(givers))
                given = pa.table([values], schema=pa.schema([field]))
                changed = _pick(pa.concat_tables([self.table.select([place]), given]), source)
                table = table.set_column(place, field, changed.column(0))
        return replace(self, table=table)

    def _check(self, items: Sequence[Item]) -> list[str]:
        """Return the items' ids, if every id comes once and every field is one of the catalog's."""
        check_items(items)
        ids = [item.id for item in items]
        if twice := [i for i, times in Counter(ids).items() if times > 1]:
            raise DataError(f"{len(twice)} item ids are given more than once, among them {twice[:5]}; give each once.")
        for item in items:
            if unknown := sorted(set(item.fields) - set(self.columns[1:])):
                raise DataError(f"item {item.id!r} has unknown fields {unknown}; the catalog has {self.columns[1:]}.")
        return ids

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
        table = bytes_to_table(state.arrays["table"])
        if table.column_names[:1] != [_ID] or not pa.types.is_string(table.schema.field(0).type):
            raise DataError(f"the stored catalog has no column {_ID!r} of ids; save it again from the source.")
        if any(column.num_chunks > 1 for column in table.columns):
            table = table.combine_chunks()
        items, active = Vocab.of_column(table.column(0).chunk(0)), np.asarray(state.arrays["active"], dtype=np.bool_)
        if active.shape != (len(items),):
            raise DataError(f"the stored catalog has {len(items)} items but {active.shape} active flags.")
        return cls(table, items, active, _hashes(items))


def _hashes(ids: Iterable[str]) -> NDArray[np.uint64]:
    """Return a fixed 64-bit hash of each id, UInt64[n], the same on every machine."""
    parts = [np.empty(0, dtype=np.uint64)]
    left = iter(ids)
    while some := list(islice(left, _PART)):  # a million digests at once would take more memory than the catalog
        raw = b"".join(hashlib.blake2b(i.encode(), digest_size=8).digest() for i in some)
        parts.append(np.frombuffer(raw, dtype="<u8").astype(np.uint64))
    return np.concatenate(parts)


def _column(values: Sequence[Any], field: Any) -> Any:
    """Return values of one field of given items, as its type in the catalog demands."""
    try:
        return pa.array(values, type=field.type)
    except (ValueError, TypeError, OverflowError) as error:  # Arrow's own errors are among these
        raise DataError(
            f"the given items' field {field.name!r} does not fit the catalog's type {field.type}: {error}"
        ) from error


def _cast(column: Any, field: Any) -> Any:
    try:
        return column.cast(field.type)
    except ARROW_ERRORS as error:
        raise DataError(f"the items' column {field.name!r} cannot be read as {field.type}: {error}") from error


def _pick(table: Any, rows: NDArray[np.int64]) -> Any:
    """Return rows of a table, every column in one piece: taking a few rows of pieces would copy all of them."""
    if len(rows) == len(table) and (rows == np.arange(len(rows))).all():
        return table.combine_chunks()
    return table.take(pa.array(rows))
