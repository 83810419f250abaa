"""Cleaning a log chunk by chunk: ids become rows at once, so that a long log needs little memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from llmrec.data._assemble import LogOrder, LogRows, order_rows
from llmrec.data._blocks import Chunk
from llmrec.data._clean_times import TimeReader
from llmrec.data._encode import EncodedIds, encode_ids, encode_kinds, read_reals
from llmrec.data._rows import Rows
from llmrec.data._tally import Tally
from llmrec.data.columns import InteractionColumns
from llmrec.data.sources import Source
from llmrec.data.vocab import Vocab
from llmrec.errors import DataError
from llmrec.types import BoolArray, Float32Array, Int32Array, Int64Array

__all__ = ["MOST_KINDS", "CleanLog", "LogShape", "clean_log"]

_REPAIRS = ("padded_id", "control_characters", "not_nfc")
MOST_KINDS = 127
"""As many kinds as an Int8 can number."""


@dataclass(frozen=True, slots=True)
class LogShape:
    """What a log must look like.

    Attributes:
        columns: what its columns hold.
        kinds: weight of each kind; empty: all kinds weigh 1.
        fold: keep only the oldest row of each user and item.
    """

    columns: InteractionColumns
    kinds: Mapping[str, float]
    fold: bool


@dataclass(frozen=True, slots=True)
class CleanLog:
    """A log that can be used.

    Attributes:
        rows: its rows in the order of the source, later repeats included.
        order: which of them stay, by user and time.
        users: the users' ids.
        kind_names: names of the kinds.
    """

    rows: LogRows
    order: LogOrder
    users: Vocab
    kind_names: tuple[str, ...]


def clean_log(source: Source, items: Vocab, shape: LogShape, tally: Tally) -> CleanLog:
    """Read a log and keep the rows that can be used.

    Args:
        source: the rows.
        items: the catalog's ids.
        shape: what the log must look like.
        tally: told of every row.

    Raises:
        DataError: a column is missing or of a type it cannot have.
    """
    reader = _Reader(items, shape, source.what, tally)
    for chunk in source.read(None if tally.sink is not None else shape.columns.names):
        reader.add(chunk)
    rows = reader.rows()
    order = order_rows(rows, shape.fold, without_duplicates=True)
    users = Vocab(tuple(reader.users))
    _tell(reader, rows, order, users)
    return CleanLog(rows, order, users, tuple(reader.kinds))


class _Reader:
    """Collects the rows of a log that can be used."""

    def __init__(self, items: Vocab, shape: LogShape, what: str, tally: Tally) -> None:
        self.items, self.shape, self.what, self.tally = items, shape, what, tally
        self.users: dict[str, int] = {}
        self.kinds: dict[str, int] = {name: at for at, name in enumerate(n for n, w in shape.kinds.items() if w)}
        self.places: list[tuple[int, int, Int64Array | None]] = []
        self.repairs: list[NDArray[np.uint8]] = []
        self._times = TimeReader(f"column {shape.columns.time!r} of the {what}")
        self._parts: dict[str, list[NDArray[Any]]] = {}

    def add(self, chunk: Chunk) -> None:
        """Take the next rows."""
        self.tally.read += chunk.table.num_rows
        self.tally.reject_bad(chunk.bad)
        if not chunk.table.num_rows:
            return
        columns, table = self.shape.columns, chunk.table
        rows = Rows(table, chunk.places, self.tally)
        kinds = self._read_kinds(table, rows)
        users = encode_ids(self._column(table, columns.user), self._where(columns.user))
        rows.reject("missing_user", users.missing, self._column(table, columns.user))
        rows.reject("bad_id", users.bad, self._column(table, columns.user))
        items = encode_ids(self._column(table, columns.item), self._where(columns.item))
        item_rows = self._read_items(table, rows, items)
        read = {"items": item_rows, **self._read_rest(table, rows, kinds)}
        for name, values in read.items():
            self._keep(name, values if rows.kept.all() else values[rows.kept])
        self._keep("users", _number(users, rows.kept, self.users))
        if kinds is not None:
            self._keep("kinds", self._number_kinds(kinds, rows.kept))
        self.repairs.append(_repairs(users, items)[rows.kept])
        self._keep_places(chunk, rows.kept)

    def rows(self) -> LogRows:
        """Return all rows taken."""
        joined = {name: np.concatenate(self._parts.pop(name)) for name in list(self._parts)}
        empty = np.zeros(0, np.int32)
        return LogRows(
            users=joined.get("users", empty),
            items=joined.get("items", empty),
            exact=joined.get("exact", None if self.shape.columns.time is None else np.zeros(0, np.int64)),
            per_second=self._times.per_second,
            weights=joined.get("weights"),
            kinds=joined.get("kinds"),
            ratings=joined.get("ratings"),
        )

    def places_of(self, rows: Int64Array) -> Int64Array:
        """Return the places in the source of some of the rows taken."""
        ends = np.cumsum([count for count, _, _ in self.places])
        found = np.empty(len(rows), dtype=np.int64)
        for part, (count, first, exact) in enumerate(self.places):
            inside = (rows < ends[part]) & (rows >= ends[part] - count)
            local = rows[inside] - (ends[part] - count)
            found[inside] = local + first if exact is None else exact[local]
        return found

    def _where(self, name: str) -> str:
        return f"column {name!r} of the {self.what}"

    def _column(self, table: Any, name: str) -> Any:
        if name not in table.column_names:  # JSON lines may leave fields out
            return pa.nulls(table.num_rows, pa.string())
        column = table.column(name)
        return column.chunk(0) if column.num_chunks == 1 else pa.concat_arrays(column.chunks)

    def _keep(self, name: str, values: NDArray[Any]) -> None:
        self._parts.setdefault(name, []).append(values)

    def _keep_places(self, chunk: Chunk, kept: BoolArray) -> None:
        count = int(kept.sum())
        if chunk.exact is None and count == len(kept):
            self.places.append((count, chunk.first, None))
        else:
            self.places.append((count, 0, chunk.places(np.flatnonzero(kept).astype(np.int64))))

    def _read_kinds(self, table: Any, rows: Rows) -> EncodedIds | None:
        name = self.shape.columns.kind
        if name is None:
            return None
        column = self._column(table, name)
        kinds = encode_kinds(column, self._where(name))
        rows.reject("missing_kind", kinds.missing, column)
        if self.shape.kinds:
            weights = [self.shape.kinds.get(text, -1.0) for text in kinds.texts]
            known = np.array([*weights, 1.0])[kinds.codes]
            rows.reject("unknown_kind", known < 0, column)
            rows.reject("dropped_kind", known == 0, column)
        return kinds

    def _number_kinds(self, kinds: EncodedIds, kept: BoolArray) -> NDArray[np.int8]:
        numbers = _number(kinds, kept, self.kinds)
        if len(self.kinds) > MOST_KINDS:
            raise DataError(
                f"{self._where(self.shape.columns.kind or '')} holds more than {MOST_KINDS} kinds, among them "
                f"{list(self.kinds)[:5]}; it is hardly a kind of interaction. Name another column, or none (false)."
            )
        return numbers.astype(np.int8)

    def _read_items(self, table: Any, rows: Rows, items: EncodedIds) -> Int32Array:
        column = self._column(table, self.shape.columns.item)
        rows.reject("missing_item", items.missing, column)
        rows.reject("bad_id", items.bad, column)
        found: Int32Array = np.append(self.items.get(items.texts), np.int32(-1))[items.codes]
        rows.reject("unknown_item", found < 0, column)
        return found

    def _read_rest(self, table: Any, rows: Rows, kinds: EncodedIds | None) -> dict[str, NDArray[Any]]:
        columns = self.shape.columns
        read: dict[str, NDArray[Any]] = {}
        if columns.time is not None:
            column = self._column(table, columns.time)
            times = self._times.read(column)
            rows.reject("missing_time", times.missing, column)
            rows.reject("bad_time", times.bad, column)
            read["exact"] = times.exact
        weights = self._weights_of(kinds)
        if columns.weight is not None:
            column = self._column(table, columns.weight)
            own, bad = read_reals(column, self._where(columns.weight))
            with np.errstate(over="ignore", invalid="ignore"):
                weights = own if weights is None else own * weights
            rows.reject("bad_weight", bad | ~np.isfinite(weights), column)
        if weights is not None:
            read["weights"] = weights
        if columns.rating is not None:
            column = self._column(table, columns.rating)
            read["ratings"], bad = read_reals(column, self._where(columns.rating))
            rows.reject("bad_rating", bad, column)
        return read

    def _weights_of(self, kinds: EncodedIds | None) -> Float32Array | None:
        """Return the weight of each row's kind, Float32[n]; None if all weigh 1."""
        if kinds is None or all(weight in (0.0, 1.0) for weight in self.shape.kinds.values()):
            return None
        weights = [self.shape.kinds.get(text, 0.0) for text in kinds.texts]
        found: Float32Array = np.array([*weights, 0.0], dtype=np.float32)[kinds.codes]
        return found


def _number(ids: EncodedIds, kept: BoolArray, numbers: dict[str, int]) -> Int32Array:
    """Number the texts of the rows that are kept by first appearance, Int32[kept], and remember the numbers."""
    codes, present = ids.codes, range(len(ids.texts))
    if not kept.all():
        codes = codes[kept]
        found, first = np.unique(codes, return_index=True)
        present = found[np.argsort(first)].tolist()
    table = np.zeros(len(ids.texts) + 1, dtype=np.int32)
    for code in present:  # places in `texts` are by first appearance, too
        table[code] = numbers.setdefault(ids.texts[code], len(numbers))
    return table[codes]


def _repairs(users: EncodedIds, items: EncodedIds) -> NDArray[np.uint8]:
    """Return which repairs each row had, one bit each, UInt8[n]."""
    bits = np.zeros(len(users.codes), dtype=np.uint8)
    for bit, name in enumerate(_REPAIRS):
        for ids in (users, items):
            if name in ids.repaired:
                bits |= np.append(ids.repaired[name], False)[ids.codes].astype(np.uint8) << bit
    return bits


def _tell(reader: _Reader, rows: LogRows, order: LogOrder, users: Vocab) -> None:
    """Tell the tally what is known only at the end: repeats, repairs, and the order of times."""
    tally, columns, gone = reader.tally, reader.shape.columns, order.duplicates
    if len(gone):

        def pairs(n: int) -> Sequence[Any]:
            some = gone[:n].tolist()
            return [(users[rows.users[row]], reader.items[rows.items[row]]) for row in some]

        def kept() -> list[dict[str, Any]]:
            return [{columns.user: user, columns.item: item} for user, item in pairs(len(gone))]

        tally.reject("duplicate_row", reader.places_of(gone), pairs, kept)
    bits = np.concatenate([np.zeros(0, np.uint8), *reader.repairs])
    bits[gone] = 0
    tally.repaired += int(np.count_nonzero(bits))
    if bits.any():
        for bit, name in enumerate(_REPAIRS):
            touched = np.flatnonzero(bits & (1 << bit)).astype(np.int64)
            tally.mark(name, "repaired", reader.places_of(touched))
    if rows.exact is not None:
        tally.note("unordered_times", int((rows.exact[1:] < rows.exact[:-1]).sum()))
    tally.note("folded", order.folded)
