"""JSON lines: Arrow reads what is well formed, a loop finds what is wrong with the rest."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from llmrec.data._arrow import ARROW_ERRORS
from llmrec.data._blocks import Block, Chunk, encoding_problem, read_blocks, text_of
from llmrec.data._tally import BadRow
from llmrec.errors import DataError

__all__ = ["concat_chunks", "read_json_chunks"]


def read_json_chunks(path: Path) -> Iterator[Chunk]:
    """Read a file with one JSON object a line; empty lines are left out.

    Text stays text, dates included. Values of a column that differ in type within a block become text.

    Raises:
        DataError: the file is missing or damaged. Rows that cannot be read do not raise, see `Chunk.bad`.
    """
    for block in read_blocks(path, quotes=False):
        lines = block.data.count(b"\n") + (not block.data.endswith(b"\n"))
        table = _read_fast(block)
        if table is not None and table.num_rows == lines:
            yield Chunk(table, block.line)
        else:
            yield _read_slowly(block)


def concat_chunks(tables: Sequence[Any], what: str) -> Any:
    """Join tables whose columns may differ in names, and in type where one is text.

    Raises:
        DataError: a column has types that do not fit together.
    """
    if len(tables) == 1:
        return tables[0]
    try:
        return pa.concat_tables(tables, promote_options="permissive")
    except (pa.ArrowInvalid, pa.ArrowTypeError):
        pass
    kinds: dict[str, set[Any]] = {}
    for table in tables:
        for field in table.schema:
            kinds.setdefault(field.name, set()).add(field.type)
    mixed = {name for name, types in kinds.items() if pa.string() in types and len(types - {pa.null()}) > 1}
    try:
        return pa.concat_tables([_as_text(table, mixed) for table in tables], promote_options="permissive")
    except ARROW_ERRORS as error:
        raise DataError(f"the rows of the {what} do not fit together: {error}") from error


def _as_text(table: Any, names: set[str]) -> Any:
    for at, name in enumerate(table.column_names):
        if name in names:
            table = table.set_column(at, name, table.column(name).cast(pa.string()))
    return table


def _read_fast(block: Block) -> Any:
    """Return the rows of a block without a fault, or None."""
    from pyarrow import json as arrow_json

    options = arrow_json.ReadOptions(block_size=max(1, len(block.data)))
    try:
        table = arrow_json.read_json(pa.BufferReader(block.data), read_options=options)
        if any(_holds_time(field.type) for field in table.schema):
            # Arrow takes text that looks like a time for one; the type of a column must not hang on how it looks.
            schema = pa.schema([pa.field(field.name, _timeless(field.type)) for field in table.schema])
            table = arrow_json.read_json(
                pa.BufferReader(block.data),
                read_options=options,
                parse_options=arrow_json.ParseOptions(explicit_schema=schema),
            )
        table.validate(full=True)
    except pa.ArrowInvalid:
        return None
    return table if table.num_columns else None


def _holds_time(kind: Any) -> bool:
    return pa.types.is_timestamp(kind) or any(_holds_time(kind.field(at).type) for at in range(kind.num_fields))


def _timeless(kind: Any) -> Any:
    if pa.types.is_timestamp(kind):
        return pa.string()
    if pa.types.is_list(kind):
        return pa.list_(_timeless(kind.value_type))
    if pa.types.is_struct(kind):
        parts = [kind.field(at) for at in range(kind.num_fields)]
        return pa.struct([pa.field(part.name, _timeless(part.type)) for part in parts])
    return kind


def _read_slowly(block: Block) -> Chunk:
    """Read a block line by line and set aside what cannot be read."""
    rows: list[dict[str, Any]] = []
    lines: list[int] = []
    bad: list[BadRow] = []
    breaks = np.flatnonzero(np.frombuffer(block.data, dtype=np.uint8) == ord("\n")) + 1
    ends = [0, *breaks.tolist(), len(block.data)]
    for number, (start, stop) in enumerate(pairwise(ends)):
        raw, line = block.data[start:stop], block.line + number
        if not raw.strip():
            continue
        row = _object(raw, line, block.offset + start)
        if isinstance(row, BadRow):
            bad.append(row)
        else:
            rows.append(row)
            lines.append(line)
    names = list(dict.fromkeys(name for row in rows for name in row))
    table = pa.table({name: _column([row.get(name) for row in rows]) for name in names})
    places = np.array(lines, dtype=np.int64)
    return Chunk(table, block.line, lambda: places, tuple(bad))


def _object(raw: bytes, line: int, offset: int) -> dict[str, Any] | BadRow:
    if problem := encoding_problem(raw, line, offset):
        return BadRow("not_utf8", line, problem, text_of(raw))
    try:
        row = json.loads(raw)
        if b"\\u" in raw:
            json.dumps(row, ensure_ascii=False).encode()  # half a surrogate pair is no text
    except (ValueError, RecursionError) as error:
        return BadRow("bad_json", line, str(error), text_of(raw))
    if not isinstance(row, Mapping) or not row:
        kind = "an empty object" if isinstance(row, Mapping) else f"a {type(row).__name__}"
        return BadRow("bad_json", line, f"{kind}, not an object with fields", text_of(raw))
    return dict(row)


def _column(values: list[Any]) -> Any:
    try:
        return pa.array(values)
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):
        texts = [v if v is None or isinstance(v, str) else json.dumps(v, ensure_ascii=False) for v in values]
        return pa.array(texts, pa.string())
