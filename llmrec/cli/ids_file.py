"""Ids given to an option: separated by commas, in a file, or on standard input."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path

from llmrec.cli.source import split_ids
from llmrec.errors import DataError

__all__ = ["read_ids"]

TABLES = (".csv", ".tsv", ".parquet", ".jsonl")
"""Files with a column; others hold one id a line."""


def read_ids(text: str, option: str, column: str = "user_id") -> list[str]:
    """Read the ids an option names.

    Args:
        text: `-`: standard input, one id a line; a file: one id a line, or the column of a .csv, .tsv, .parquet or
            .jsonl file; anything else: ids separated by commas.
        option: for messages.
        column: of a file with columns.

    Returns:
        The ids in their order; an id that a file names twice is returned once.

    Raises:
        ConfigError: an id is empty.
        DataError: the file cannot be read, or holds no ids.
    """
    if text == "-":
        return _unique(_stripped(sys.stdin), "standard input")
    path = Path(text).expanduser()
    if path.suffix.lower() in TABLES:
        return _unique(_column(path, column), str(path))
    if path.suffix.lower() == ".txt" or ("," not in text and path.is_file()):
        try:
            return _unique(_stripped(path.read_text(encoding="utf-8-sig").splitlines()), str(path))
        except OSError as error:
            raise DataError(f"cannot read the ids in {path}: {error.strerror or error}") from error
        except UnicodeDecodeError as error:
            raise DataError(f"the ids in {path} are not UTF-8: {error}") from error
    return split_ids(text, option)


def _stripped(lines: Iterable[str]) -> list[str]:
    return [line.strip() for line in lines if line.strip()]


def _column(path: Path, name: str) -> list[str]:
    from llmrec.data import read_table

    table = read_table(path, ids=(name,))
    if name not in table.column_names:
        raise DataError(f"{path} has no column {name!r}; it has {', '.join(table.column_names)}")
    values = table.column(name).to_pylist()
    if None in values:
        raise DataError(f"row {values.index(None) + 1} of {path} has no {name}")
    return [str(value) for value in values]


def _unique(ids: list[str], source: str) -> list[str]:
    if not ids:
        raise DataError(f"{source} holds no ids; write one a line")
    return list(dict.fromkeys(ids))
