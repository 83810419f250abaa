"""Ids at the edge, rows inside: the one place where the two are exchanged."""

from __future__ import annotations

import difflib
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from llmrec.errors import DataError, UnknownIdError
from llmrec.types import Int32Array, Int64Array

__all__ = ["Vocab"]

_SHOWN = 5
_SEARCHED = 20_000
_PART = 10_000
_LATER = 4_096


@dataclass(frozen=True, slots=True)
class _Places:
    """Where to look for an id: rows in the order of a hash. Eight bytes an id; a dict of strings takes 150.

    Attributes:
        hashes: UInt32[n], ascending.
        rows: Int32[n], the row of each.
    """

    hashes: NDArray[np.uint32]
    rows: Int32Array


class Vocab:
    """Distinct ids in row order: the id at place i has row i. Never changes.

    The ids are one Arrow column, so that a million of them take the bytes of their letters and twelve more each. The
    order by hash, which finds rows, is made when it is first asked for.

    Args:
        ids: the ids, or a pa.StringArray of them; distinct, none empty.

    Raises:
        DataError: an id is empty or occurs twice.
    """

    __slots__ = ("_later", "_places", "column")

    column: Any
    """The ids as a pa.StringArray."""

    def __init__(self, ids: Sequence[str] | Any) -> None:
        names = ids.to_pylist() if isinstance(ids, pa.StringArray) else list(ids)
        if len(set(names)) < len(names):
            twice = [an_id for an_id, times in Counter(names).items() if times > 1]
            raise DataError(f"{len(twice)} ids occur more than once, among them {_shown(twice)}; keep one row an id.")
        if "" in names:
            raise DataError(f"row {names.index('')} has an empty id; give every row an id or leave the row out.")
        self.column = ids if isinstance(ids, pa.StringArray) else _column(names)
        self._places: _Places | None = None
        self._later: dict[str, int] = {}

    @classmethod
    def of_column(cls, column: Any) -> Vocab:
        """Hold a pa.StringArray of ids that are known to be distinct and not empty, without a copy."""
        return cls._make(column, None, {})

    @classmethod
    def _make(cls, column: Any, places: _Places | None, later: dict[str, int]) -> Vocab:
        vocab = object.__new__(cls)
        vocab.column, vocab._places, vocab._later = column, places, later
        return vocab

    @property
    def ids(self) -> tuple[str, ...]:
        """All ids, made anew each time: to go through them once, iterate over the vocab."""
        return tuple(self.column.to_pylist())

    def __len__(self) -> int:
        return len(self.column)

    def __iter__(self) -> Iterator[str]:
        for start in range(0, len(self), _PART):
            yield from self.column.slice(start, _PART).to_pylist()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Vocab) and bool(self.column.equals(other.column))

    def __hash__(self) -> int:
        return hash((len(self), *self.column.slice(0, 1).to_pylist()))

    def __repr__(self) -> str:
        return f"Vocab({len(self):,} ids)"

    def __contains__(self, an_id: object) -> bool:
        return isinstance(an_id, str) and int(self.get([an_id])[0]) >= 0

    def __getitem__(self, row: int) -> str:
        """Return the id of a row.

        Raises:
            IndexError: no such row; negative rows (pads) are refused too.
        """
        return self.decode([row])[0]

    def get(self, ids: Sequence[str]) -> Int32Array:
        """Return the row of each id, Int32[len(ids)], -1 where the id is unknown."""
        places = self._places_of_all()
        hashes = np.fromiter(map(_hash, ids), dtype=np.uint32, count=len(ids))
        at = np.searchsorted(places.hashes, hashes)
        rows = np.fromiter((self._later.get(i, -1) for i in ids), dtype=np.int32, count=len(ids))
        open_ = np.flatnonzero(rows < 0)
        while len(open_ := open_[_holds(places.hashes, at[open_], hashes[open_])]):
            found = places.rows[at[open_]]
            known = self._taken(found)
            same = np.fromiter((ids[i] == k for i, k in zip(open_.tolist(), known, strict=True)), np.bool_, len(open_))
            rows[open_[same]] = found[same]
            open_ = open_[~same]
            at[open_] += 1  # another id of the same hash
        return rows

    def _places_of_all(self) -> _Places:
        if self._places is None:
            hashes = np.fromiter(map(_hash, self), dtype=np.uint32, count=len(self))
            order = np.argsort(hashes, kind="stable")
            self._places = _Places(hashes[order], order.astype(np.int32))
        return self._places

    def rows(self, ids: Sequence[str]) -> Int32Array:
        """Return the row of each id, Int32[len(ids)].

        Raises:
            UnknownIdError: names the first few unknown ids and the nearest known one.
        """
        rows = self.get(ids)
        if (rows < 0).any():
            raise self.unknown_error([ids[i] for i in np.flatnonzero(rows < 0).tolist()])
        return rows

    def decode(self, rows: Int32Array | Int64Array | Sequence[int]) -> list[str]:
        """Return the id of each row; see `__getitem__` for what is refused."""
        rows = np.asarray(rows, dtype=np.int64)
        if len(rows) and not 0 <= (least := rows.min()) <= rows.max() < len(self):
            wrong = "is a pad, it has no id" if least < 0 else f"is beyond the {len(self)} there are"
            raise IndexError(f"row {least if least < 0 else rows.max()} {wrong}")
        return self._taken(rows)

    def _taken(self, rows: NDArray[np.integer[Any]]) -> list[str]:
        wanted = pa.py_buffer(np.ascontiguousarray(rows, dtype=np.int64))
        names: list[str] = self.column.take(pa.Array.from_buffers(pa.int64(), len(rows), [None, wanted])).to_pylist()
        return names

    def extended(self, ids: Sequence[str]) -> Vocab:
        """Return a vocab with more ids at its end; rows of the old ids stay.

        Raises:
            DataError: an id is there already, or twice among the new ones.
        """
        later = self._later | dict(zip(ids, range(len(self), len(self) + len(ids)), strict=True))
        if len(later) < len(self._later) + len(ids) or "" in later or (self.get(ids) >= 0).any():
            return Vocab((*self.ids, *ids))  # which says what is wrong
        column = pa.concat_arrays([self.column, _column(ids)])
        return Vocab.of_column(column) if len(later) > _LATER else self._make(column, self._places, later)

    def unknown_error(self, unknown: Sequence[str]) -> UnknownIdError:
        """Describe ids that are not here, with the known id nearest to the first of them."""
        near = self.nearest(str(unknown[0]))
        hint = f"; the nearest known id is {near!r}" if near is not None else ""
        return UnknownIdError(
            f"{len(unknown)} of the given ids are not among the {len(self)} known ones: "
            f"{_shown(unknown)}{hint}. "
            "Ids are compared as text, exactly."
        )

    def nearest(self, an_id: str) -> str | None:
        """Return the known id that looks most like a given one; None if none does."""
        # Comparing is slow, so of a huge vocab only some ids of about the same length are tried.
        tried = list(islice((known for known in self if abs(len(known) - len(an_id)) <= 2), _SEARCHED))
        found = difflib.get_close_matches(an_id, tried, n=1, cutoff=0.5)
        return found[0] if found else None


def _column(ids: Sequence[str]) -> Any:
    """A pa.StringArray from its buffers: `pa.array` imports pandas where it is installed, a quarter of a second."""
    texts = [an_id.encode() for an_id in ids]
    ends = np.cumsum([0, *map(len, texts)]).astype(np.int32)
    return pa.StringArray.from_buffers(len(texts), pa.py_buffer(ends), pa.py_buffer(b"".join(texts)))


def _hash(an_id: str) -> int:
    """A hash that is the same in every process; 0 for what is not text, which equals no id."""
    return zlib.crc32(an_id.encode("utf-8", "surrogatepass")) if isinstance(an_id, str) else 0


def _holds(hashes: NDArray[np.uint32], at: Int64Array, wanted: NDArray[np.uint32]) -> NDArray[np.bool_]:
    """Bool[m]: whether the hash at each place, which may be one beyond the end, is the wanted one."""
    inside = at < len(hashes)
    inside[inside] = hashes[at[inside]] == wanted[inside]
    return inside


def _shown(ids: Sequence[str]) -> str:
    """List the first few distinct ids for a message."""
    distinct = list(dict.fromkeys(ids))
    more = ", ..." if len(distinct) > _SHOWN else ""
    return ", ".join(repr(i) for i in distinct[:_SHOWN]) + more
