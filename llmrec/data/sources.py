"""Whatever rows come from, opened as one thing: its columns, and its rows in chunks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from llmrec.data._arrow import as_table, plain_table
from llmrec.data._blocks import Chunk, check_exists
from llmrec.data._delimited import Delimited, read_delimited_chunks, read_names
from llmrec.data._json_lines import concat_chunks, read_json_chunks
from llmrec.data._tally import BadRow
from llmrec.data.columns import USUAL
from llmrec.data.recbole import SUFFIXES, reals, split_header
from llmrec.errors import DataError
from llmrec.types import Int64Array

__all__ = ["EXTENSIONS", "Source", "gather", "open_source"]

_DELIMITERS = {".csv": ",", ".tsv": "\t"}
_JSON = (".jsonl", ".ndjson")
_TEXT = (*_DELIMITERS, *_JSON)
EXTENSIONS = (*_TEXT, ".parquet", *(f"{suffix}.gz" for suffix in _TEXT))
"""The extensions of files that hold a table."""

_ROWS = 1 << 20

# Only plain spellings become numbers: "007", "1e5" and numbers too long to be held exactly stay text.
_WHOLE = r"^-?(0|[1-9][0-9]{0,17})$"
_REAL = r"^-?(0|[1-9][0-9]{0,14})(\.[0-9]+)?$"


@dataclass(frozen=True, slots=True)
class Source:
    """Rows that can be read in chunks, more than once.

    Attributes:
        name: the file, or the type of the object.
        what: the source in words, for messages.
        unit: what places of rows count.
        columns: the names of all columns; of a JSON lines file, those of its first rows.
        read: given the columns that are wanted (None: all), yields the rows; columns a chunk lacks are left out.
        finish: given a table read and the columns that are ids, gives columns of text their types.
    """

    name: str
    what: str
    unit: Literal["line", "row"]
    columns: tuple[str, ...]
    read: Callable[[Sequence[str] | None], Iterator[Chunk]]
    finish: Callable[[Any, Sequence[str]], Any]


def open_source(source: Any, part: str) -> Source:
    """Open a file or a table.

    Args:
        source: a path with one of `EXTENSIONS` or a RecBole file, or anything that `Catalog.from_table` takes.
        part: what it holds, for messages.

    Raises:
        DataError: the file is missing, damaged or of another kind, or the object is no table.
    """
    if not isinstance(source, str | Path):
        table = as_table(source, part)
        read = partial(_slices, table)
        return Source(type(source).__name__, part, "row", tuple(table.column_names), read, _as_it_is)
    path = Path(source)
    suffix = path.with_suffix("").suffix.lower() if path.suffix.lower() == ".gz" else path.suffix.lower()
    what = f"{part} {path}"
    if path.suffix.lower() == ".gz" and suffix not in _TEXT:
        suffix += ".gz"
    if suffix not in (*EXTENSIONS, *SUFFIXES):
        known = ", ".join(EXTENSIONS)
        raise DataError(f"cannot read {path}: its extension is {suffix or 'missing'}, expected {known}.")
    check_exists(path)
    if suffix == ".parquet":
        return _parquet(path, what)
    if suffix in _JSON:
        first = next(read_json_chunks(path), None)
        names = tuple(first.table.column_names) if first else ()
        return Source(str(path), what, "line", names, partial(_json_rows, path, names), _as_it_is)
    if suffix in SUFFIXES:
        return _recbole(path, what)
    form = Delimited(_DELIMITERS[suffix], quotes=True)
    names = tuple(read_names(path, form))
    return Source(str(path), what, "line", names, partial(read_delimited_chunks, path, form, names), _guess)


def gather(source: Source) -> tuple[Any, Int64Array, list[BadRow]]:
    """Read a whole source: a pa.Table, the place of each of its rows (Int64[n]), and the rows that cannot be read.

    Raises:
        DataError: the source is damaged, or chunks do not fit together.
    """
    tables: list[Any] = []
    places: list[Int64Array] = []
    bad: list[BadRow] = []
    for chunk in source.read(None):
        tables.append(chunk.table)
        places.append(chunk.places(np.arange(chunk.table.num_rows, dtype=np.int64)))
        bad += chunk.bad
    empty = pa.table({name: pa.array([], pa.string()) for name in source.columns})
    filled = [table for table in tables if table.num_rows] or tables[:1] or [empty]
    return concat_chunks(filled, source.what), np.concatenate([np.zeros(0, np.int64), *places]), bad


def _as_it_is(table: Any, _: Sequence[str]) -> Any:
    return table


def _slices(table: Any, wanted: Sequence[str] | None) -> Iterator[Chunk]:
    table = table if wanted is None else table.select(list(wanted))
    for start in range(0, table.num_rows, _ROWS):
        yield Chunk(table.slice(start, _ROWS), start + 1)


def _parquet(path: Path, what: str) -> Source:
    from pyarrow import parquet

    try:
        names = tuple(parquet.read_schema(path).names)
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path} is not a readable Parquet file: {error}") from error
    if len(set(names)) < len(names):
        raise DataError(f"the {what} has two columns of one name: {list(names)}; rename one of them.")
    return Source(str(path), what, "row", names, partial(_parquet_rows, path), _as_it_is)


def _parquet_rows(path: Path, wanted: Sequence[str] | None) -> Iterator[Chunk]:
    from pyarrow import parquet

    first = 1
    try:
        with parquet.ParquetFile(path, pre_buffer=False) as file:
            for batch in file.iter_batches(_ROWS, columns=None if wanted is None else list(wanted)):
                table = plain_table(pa.Table.from_batches([batch]))
                yield Chunk(table if wanted is None else table.select(list(wanted)), first)
                first += batch.num_rows
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path} is not a readable Parquet file: {error}") from error


def _json_rows(path: Path, known: Sequence[str], wanted: Sequence[str] | None) -> Iterator[Chunk]:
    for chunk in read_json_chunks(path):
        table = plain_table(chunk.table)
        late = sorted(USUAL.intersection(table.column_names) - set(known))
        if wanted is not None and late:
            raise DataError(
                f"{path} has the field {late[0]!r} only after line {chunk.first}, too late to know that it is there; "
                "give it to a row at the beginning, if only as null."
            )
        names = [name for name in (wanted or table.column_names) if name in table.column_names]
        yield Chunk(table.select(names), chunk.first, chunk.exact, chunk.bad)


def _recbole(path: Path, what: str) -> Source:
    form = Delimited("\t", quotes=False)
    headers = read_names(path, form)
    kinds = split_header(headers, path)
    read = partial(_recbole_rows, path, form, dict(zip(kinds, headers, strict=True)))
    return Source(str(path), what, "line", tuple(kinds), read, partial(_declared, path, kinds))


def _recbole_rows(
    path: Path, form: Delimited, headers: dict[str, str], wanted: Sequence[str] | None
) -> Iterator[Chunk]:
    names = list(headers) if wanted is None else list(wanted)
    for chunk in read_delimited_chunks(path, form, list(headers.values()), [headers[name] for name in names]):
        yield Chunk(chunk.table.rename_columns(names), chunk.first, chunk.exact, chunk.bad)


def _declared(path: Path, kinds: dict[str, str], table: Any, _: Sequence[str]) -> Any:
    columns = {name: table.column(name) for name in table.column_names}
    return pa.table(
        {name: reals(column, name, path) if kinds[name] == "float" else column for name, column in columns.items()}
    )


def _guess(table: Any, ids: Sequence[str]) -> Any:
    return pa.table({name: _typed(table.column(name), name in ids) for name in table.column_names})


def _typed(column: Any, is_id: bool) -> Any:
    """Turn a column of strings into numbers if that loses nothing."""
    if is_id or column.null_count == len(column):
        return column
    for pattern, kind in ((_WHOLE, pa.int64()), (_REAL, pa.float64())):
        # A glance at the first rows spares most text columns the full scan.
        head = column.slice(0, 100).drop_null()
        if _all_match(head, pattern) and _all_match(column, pattern):
            return column.cast(kind)
    return column


def _all_match(column: Any, pattern: str) -> bool:
    return bool(pc.all(pc.match_substring_regex(column, pattern), min_count=0).as_py())
