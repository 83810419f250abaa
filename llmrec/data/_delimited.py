"""Delimited text: Arrow reads what is well formed, a loop finds what is wrong with the rest."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from llmrec.data._blocks import Block, Chunk, encoding_problem, read_blocks, text_of
from llmrec.data._tally import BadRow
from llmrec.errors import DataError
from llmrec.types import Int64Array

__all__ = ["Delimited", "read_delimited_chunks", "read_names"]


@dataclass(frozen=True, slots=True)
class Delimited:
    """How the rows of a file are written.

    Attributes:
        delimiter: one byte between values.
        quotes: whether double quotes wrap values that hold the delimiter or a line break; else they are text.
    """

    delimiter: str
    quotes: bool


@dataclass(frozen=True, slots=True)
class _Record:
    """One row.

    Attributes:
        line: where it begins, from 1.
        offset: the byte of the file it begins at.
        raw: its bytes, without the line break.
        values: None if its quotes are wrong.
        after: place in the block's data, and line, of what follows.
    """

    line: int
    offset: int
    raw: bytes
    values: list[bytes | None] | None
    after: tuple[int, int]


def read_names(path: Path, form: Delimited) -> list[str]:
    """Return the column names in a file's first line.

    Raises:
        DataError: the file is missing or empty, its first line is not UTF-8, or does not name every column.
    """
    block = next(read_blocks(path, form.quotes, size=1 << 16), None)
    first = next(_records(block, form), None) if block else None
    if first is None:
        raise DataError(f"{path} is empty; its first line must name the columns.")
    if problem := encoding_problem(first.raw, first.line, first.offset):
        raise DataError(f"{path} is not UTF-8 ({problem}); save the file as UTF-8.")
    names = [(value or b"").decode() for value in first.values or []]
    if len(set(names)) < len(names) or not all(names):
        raise DataError(f"the first line of {path} must name every column, each differently; it reads {names}.")
    return names


def read_delimited_chunks(
    path: Path, form: Delimited, names: Sequence[str], wanted: Sequence[str] | None = None
) -> Iterator[Chunk]:
    """Read the rows after the first line, all values as text; an empty value without quotes is null.

    Args:
        path: the file.
        form: how it is written.
        names: all columns, from `read_names`.
        wanted: columns to keep, all by default; values of the others are not looked at, but must be there.

    Raises:
        DataError: the file is missing or damaged. Rows that cannot be read do not raise, see `Chunk.bad`.
    """
    wanted = list(names) if wanted is None else list(wanted)
    for number, block in enumerate(read_blocks(path, form.quotes)):
        rows = block if number else _after_header(block, form)
        table = _read_fast(rows, form, names, wanted) if rows.data else None
        if table is None:
            yield _read_slowly(rows, form, names, wanted)
        elif rows.data.count(b"\n") + (not rows.data.endswith(b"\n")) == table.num_rows:
            yield Chunk(table, rows.line)
        else:
            yield Chunk(table, rows.line, exact=_Lines(rows, form))


@dataclass(frozen=True, slots=True)
class _Lines:
    """The line of every row of a block whose rows are not one a line; found when asked for."""

    block: Block
    form: Delimited

    def __call__(self) -> Int64Array:
        return np.array([record.line for record in _records(self.block, self.form)], dtype=np.int64)


def _after_header(block: Block, form: Delimited) -> Block:
    at, line = next(_records(block, form)).after
    return Block(block.data[at:], line, block.offset + at)


def _read_fast(block: Block, form: Delimited, names: Sequence[str], wanted: list[str]) -> Any:
    """Return the rows of a block without a fault, or None."""
    from pyarrow import csv

    quoted = form.quotes and b'"' in block.data
    if not _is_utf8(block.data) or (quoted and not _is_well_quoted(block.data, form.delimiter)):
        return None
    try:
        return csv.read_csv(
            pa.BufferReader(block.data),
            read_options=csv.ReadOptions(column_names=list(names)),
            parse_options=csv.ParseOptions(
                delimiter=form.delimiter, quote_char='"' if form.quotes else False, newlines_in_values=quoted
            ),
            convert_options=csv.ConvertOptions(
                include_columns=wanted,
                column_types={name: pa.string() for name in names},
                null_values=[""],
                strings_can_be_null=True,
                quoted_strings_can_be_null=False,
            ),
        )
    except pa.ArrowInvalid:
        return None


def _is_utf8(data: bytes) -> bool:
    if data.isascii():
        return True
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def _is_well_quoted(data: bytes, delimiter: str) -> bool:
    """Whether every quote opens a value, closes one, or is doubled; Arrow makes something of the others, too."""
    letters = np.frombuffer(b"\n" + data + b"\n", dtype=np.uint8)
    quotes = np.flatnonzero(letters == ord('"'))
    if len(quotes) % 2:
        return False
    beside = [ord(letter) for letter in (delimiter, "\n", "\r", '"')]
    opened, closed = np.isin(letters[quotes[0::2] - 1], beside), np.isin(letters[quotes[1::2] + 1], beside)
    return bool(opened.all() and closed.all())


def _read_slowly(block: Block, form: Delimited, names: Sequence[str], wanted: list[str]) -> Chunk:
    """Read a block row by row and set aside what cannot be read."""
    good: list[list[bytes | None]] = []
    lines: list[int] = []
    bad: list[BadRow] = []
    for record in _records(block, form):
        if found := _fault(record, len(names)):
            bad.append(found)
        else:
            good.append(record.values or [])
            lines.append(record.line)
    places = np.array(lines, dtype=np.int64)
    columns = {
        name: pa.array([row[at] for row in good], pa.binary()).cast(pa.string())
        for at, name in enumerate(names)
        if name in wanted
    }
    return Chunk(pa.table({name: columns[name] for name in wanted}), block.line, lambda: places, tuple(bad))


def _fault(record: _Record, width: int) -> BadRow | None:
    raw = text_of(record.raw)
    if problem := encoding_problem(record.raw, record.line, record.offset):
        return BadRow("not_utf8", record.line, problem, raw)
    if record.values is None:
        return BadRow("bad_quotes", record.line, "quote a value as a whole, and double the quotes in it", raw)
    if len(record.values) != width:
        detail = f"{len(record.values)} values, the header names {width} columns"
        return BadRow("wrong_width", record.line, detail, raw)
    return None


def _records(block: Block, form: Delimited) -> Iterator[_Record]:
    """Yield every row of a block, empty lines left out; a row with wrong quotes ends with its line."""
    d = re.escape(form.delimiter.encode())
    rest = b"[^" + d + rb"\r\n]*"
    quoted = rb'"([^"]*(?:""[^"]*)*)"(' + rest + b")|" if form.quotes else b"()()(?!)|"
    value = re.compile(quoted + b"(" + rest + b")")
    end = re.compile(rb"\r\n|\n|\r")
    data, at, line = block.data, 0, block.line
    while at < len(data):
        start = at
        values, at = _values(data, at, value, form)
        if values is None:
            found = end.search(data, start)
            at = found.start() if found else len(data)
        after = end.match(data, at)
        stop = after.end() if after else len(data)
        next_line = line + max(1, len(end.findall(data, start, stop)))
        if values != [None]:
            yield _Record(line, block.offset + start, data[start:at], values, (stop, next_line))
        line, at = next_line, stop


def _values(data: bytes, at: int, value: re.Pattern[bytes], form: Delimited) -> tuple[list[bytes | None] | None, int]:
    """Read the values of one row; return them and where the row ends, or None for wrong quotes."""
    delimiter = form.delimiter.encode()
    values: list[bytes | None] = []
    while True:
        found = value.match(data, at)
        if found is None:  # cannot be: the last alternative matches nothing at all
            return None, at
        at = found.end()
        if found[1] is not None and not found[2]:
            values.append(found[1].replace(b'""', b'"'))
        elif found[1] is not None or (form.quotes and found[3].startswith(b'"')):
            return None, at
        else:
            values.append(found[3] or None)
        if data[at : at + 1] != delimiter:
            return values, at
        at += 1
