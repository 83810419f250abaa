"""Tables from files: .csv, .tsv and .parquet, read strictly, with errors that name the line."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from llmrec.data._arrow import as_table
from llmrec.errors import DataError

__all__ = ["read_delimited", "read_table"]

_DELIMITERS = {".csv": ",", ".tsv": "\t"}
_KNOWN = (*_DELIMITERS, ".parquet")

# Only plain spellings become numbers: "007", "1e5" and numbers too long to be held exactly stay text.
_WHOLE = r"^-?(0|[1-9][0-9]{0,17})$"
_REAL = r"^-?(0|[1-9][0-9]{0,14})(\.[0-9]+)?$"


def read_table(path: str | Path, ids: Sequence[str] = ("item_id", "user_id")) -> Any:
    """Read a table from a file, by its extension.

    A .csv or .tsv file is UTF-8 with a header line and double quotes around values where needed; an empty
    value is null. A column becomes whole numbers or reals if all of its values are plainly written numbers,
    otherwise it stays text, and columns named in `ids` always do ("007" stays "007").

    Args:
        path: the file.
        ids: columns that are never parsed as numbers; names that are not there are ignored.

    Returns:
        A pa.Table.

    Raises:
        DataError: the file is missing, of another kind, damaged, not UTF-8, or has a row of the wrong length;
            names the line where there is one.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in _KNOWN:
        raise DataError(f"cannot read {path}: its extension is {suffix or 'missing'}, expected {', '.join(_KNOWN)}.")
    _check_exists(path)
    if suffix == ".parquet":
        return _read_parquet(path)
    table = read_delimited(path, delimiter=_DELIMITERS[suffix], quotes=True)
    columns = {name: _typed(table.column(name), name in ids) for name in table.column_names}
    return pa.table(columns)


def read_delimited(path: Path, delimiter: str, quotes: bool) -> Any:
    """Read a delimited UTF-8 file with a header as a pa.Table of strings; an empty value is null.

    Args:
        path: the file.
        delimiter: what separates values.
        quotes: whether double quotes wrap values that hold the delimiter or a line break; else they are text.

    Raises:
        DataError: the file is missing, empty, not UTF-8, or has a row of the wrong length; names the line.
    """
    from pyarrow import csv as arrow_csv

    _check_exists(path)
    names = _header(path, delimiter, quotes)
    try:
        table = arrow_csv.read_csv(
            path,
            parse_options=arrow_csv.ParseOptions(
                delimiter=delimiter, quote_char='"' if quotes else False, newlines_in_values=quotes
            ),
            convert_options=arrow_csv.ConvertOptions(
                column_types={name: pa.string() for name in names},
                null_values=[""],
                strings_can_be_null=True,
                quoted_strings_can_be_null=False,
            ),
        )
    except pa.ArrowInvalid as error:
        raise DataError(_diagnose(path, delimiter, quotes, len(names)) or f"cannot read {path}: {error}") from error
    return as_table(table, f"file {path}")


def _check_exists(path: Path) -> None:
    if not path.is_file():
        near = sorted(p.name for p in path.parent.glob("*"))[:10] if path.parent.is_dir() else []
        there = f"; its folder holds {', '.join(near)}" if near else ""
        raise DataError(f"there is no file {path}{there}.")


def _read_parquet(path: Path) -> Any:
    from pyarrow import parquet

    try:
        return as_table(parquet.read_table(path), f"file {path}")
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, OSError) as error:
        raise DataError(f"{path} is not a readable Parquet file: {error}") from error


def _header(path: Path, delimiter: str, quotes: bool) -> list[str]:
    """Return the names in a file's first line."""
    names = next((row for _, row in _rows(path, delimiter, quotes)), None)
    if any("\udc80" <= letter <= "\udcff" for letter in "".join(names or [])):
        raise DataError(_encoding_problem(path, 1))
    if not names:
        raise DataError(f"{path} is empty; its first line must name the columns.")
    if len(set(names)) < len(names) or "" in names:
        raise DataError(f"the first line of {path} must name every column, each differently; it reads {names}.")
    return names


def _rows(path: Path, delimiter: str, quotes: bool) -> Iterator[tuple[int, list[str]]]:
    """Yield line number and values of each row, slowly; bytes that are not UTF-8 become surrogates."""
    with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as lines:
        reader = csv.reader(lines, delimiter=delimiter, quoting=csv.QUOTE_MINIMAL if quotes else csv.QUOTE_NONE)
        for row in reader:
            yield reader.line_num, row


def _diagnose(path: Path, delimiter: str, quotes: bool, width: int) -> str:
    """Say which line makes a file unreadable, or nothing if no line seems to."""
    with path.open("rb") as raw:
        for line, text in enumerate(raw, start=1):
            try:
                text.decode()
            except UnicodeDecodeError:
                return _encoding_problem(path, line)
    hint = "Quote values that hold the delimiter." if quotes else "Values must not hold a tab."
    for line, row in _rows(path, delimiter, quotes):
        if row and len(row) != width:
            return f"line {line} of {path} has {len(row)} values, the header names {width} columns. {hint}"
    return ""


def _encoding_problem(path: Path, line: int) -> str:
    return f"line {line} of {path} is not UTF-8; save the file as UTF-8."


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
