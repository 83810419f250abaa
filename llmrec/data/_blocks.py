"""Text files in blocks of whole rows, plain or gzipped."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from llmrec.data._tally import BadRow
from llmrec.errors import DataError
from llmrec.types import Int64Array

__all__ = ["Block", "Chunk", "check_exists", "encoding_problem", "read_blocks", "text_of"]

_BLOCK = 1 << 25
_BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class Block:
    """Some whole rows of a text file.

    Attributes:
        data: the bytes.
        line: the line of the file they begin in, from 1.
        offset: the byte of the file they begin at, from 0.
    """

    data: bytes
    line: int
    offset: int


@dataclass(frozen=True, slots=True)
class Chunk:
    """Some rows of a source.

    Attributes:
        table: pa.Table.
        first: the place (line or row, from 1) of the first row.
        exact: the place of every row, Int64[n]; None if rows follow each other without a gap.
        bad: rows among them that cannot be read and are not in the table.
    """

    table: Any
    first: int
    exact: Callable[[], Int64Array] | None = None
    bad: tuple[BadRow, ...] = ()

    def places(self, rows: Int64Array) -> Int64Array:
        """Return the places of the given rows of the table, Int64[m]."""
        if self.exact is None or not len(rows):
            return rows.astype(np.int64) + self.first
        places: Int64Array = self.exact()[rows]
        return places


def check_exists(path: Path) -> None:
    """Raise DataError unless a path is a file; names the files beside it."""
    if not path.is_file():
        near = sorted(p.name for p in path.parent.glob("*"))[:10] if path.parent.is_dir() else []
        there = f"; its folder holds {', '.join(near)}" if near else ""
        raise DataError(f"there is no file {path}{there}.")


def read_blocks(path: Path, quotes: bool, size: int | None = None) -> Iterator[Block]:
    """Read a text file in blocks that end where a row ends.

    Args:
        path: the file; gzipped if its name ends in ".gz".
        quotes: whether a line break inside double quotes ends no row.
        size: bytes to read at a time; None: 32 MiB.

    Raises:
        DataError: the file is missing or damaged.
    """
    check_exists(path)
    line, offset, rest = 1, 0, b""
    with _open(path) as file:
        while True:
            more = _read(file, size or _BLOCK, path)
            data = rest + more
            if not offset and data.startswith(_BOM):
                data, offset = data[len(_BOM) :], len(_BOM)
            cut = _cut(data, quotes) if more else len(data)
            if cut:
                yield Block(data[:cut], line, offset)
                line, offset = line + data.count(b"\n", 0, cut), offset + cut
            rest = data[cut:]
            if not more:
                return


def encoding_problem(data: bytes, line: int, offset: int) -> str:
    """Say where the first byte of a row is that is not UTF-8, or nothing.

    Args:
        data: the row's bytes.
        line: the line it begins in.
        offset: the byte of the file it begins at.
    """
    try:
        data.decode()
    except UnicodeDecodeError as error:
        line += data.count(b"\n", 0, error.start)
        return f"line {line}, byte {offset + error.start} of the file is 0x{data[error.start]:02x}"
    return ""


def text_of(data: bytes) -> str:
    r"""Return a row as text, bytes that are not UTF-8 as \xNN."""
    return data.rstrip(b"\r\n").decode(errors="backslashreplace")


def _open(path: Path) -> IO[bytes]:
    if path.suffix.lower() != ".gz":
        return path.open("rb")
    return gzip.open(path, "rb")  # type: ignore[return-value]


def _read(file: IO[bytes], size: int, path: Path) -> bytes:
    try:
        return file.read(size)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"cannot read {path}: {error}") from error


def _cut(data: bytes, quotes: bool) -> int:
    """Return the length of the whole rows at the beginning; 0 if no row ends."""
    if not quotes or b'"' not in data:
        return data.rfind(b"\n") + 1
    # A row ends at a line break with an even number of quotes before it: quotes inside quotes are doubled.
    letters = np.frombuffer(data, dtype=np.uint8)
    inside = np.cumsum(letters == ord('"'), dtype=np.uint8) & 1
    ends = np.flatnonzero((letters == ord("\n")) & (inside == 0))
    return int(ends[-1]) + 1 if len(ends) else 0
