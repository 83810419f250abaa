"""Ids at the edge, rows inside: the one place where the two are exchanged."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from llmrec.errors import DataError, UnknownIdError
from llmrec.types import Int32Array, Int64Array

__all__ = ["Vocab"]

_SHOWN = 5
_SEARCHED = 20_000


@dataclass(frozen=True, slots=True, repr=False)
class Vocab:
    """Distinct ids in row order: the id at place i has row i.

    Attributes:
        ids: the ids; distinct, none empty.

    Raises:
        DataError: an id is empty or occurs twice.
    """

    ids: tuple[str, ...]
    _rows: dict[str, int] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        rows = dict(zip(self.ids, range(len(self.ids)), strict=True))
        if len(rows) < len(self.ids):
            seen: set[str] = set()
            twice = [i for i in self.ids if i in seen or seen.add(i)]  # type: ignore[func-returns-value]
            raise DataError(f"{len(twice)} ids occur more than once, among them {_shown(twice)}; keep one row an id.")
        if "" in rows:
            raise DataError(f"row {rows['']} has an empty id; give every row an id or leave the row out.")
        object.__setattr__(self, "_rows", rows)

    def __len__(self) -> int:
        return len(self.ids)

    def __repr__(self) -> str:
        return f"Vocab({len(self):,} ids)"

    def __contains__(self, an_id: object) -> bool:
        return an_id in self._rows

    def __getitem__(self, row: int) -> str:
        """Return the id of a row.

        Raises:
            IndexError: no such row; negative rows (pads) are refused too.
        """
        if row < 0:
            raise IndexError(f"row {row} is a pad, it has no id")
        return self.ids[row]

    def get(self, ids: Sequence[str]) -> Int32Array:
        """Return the row of each id, Int32[len(ids)], -1 where the id is unknown."""
        rows = self._rows
        return np.fromiter((rows.get(i, -1) for i in ids), dtype=np.int32, count=len(ids))

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
        return [self[row] for row in np.asarray(rows).tolist()]

    def extended(self, ids: Sequence[str]) -> Vocab:
        """Return a vocab with more ids at its end; rows of the old ids stay.

        Raises:
            DataError: an id is there already, or twice among the new ones.
        """
        rows = self._rows | dict(zip(ids, range(len(self), len(self) + len(ids)), strict=True))
        if len(rows) < len(self) + len(ids) or "" in rows:
            return Vocab((*self.ids, *ids))  # which says what is wrong
        grown = object.__new__(Vocab)  # copying the dict takes a thirtieth of the time that building it does
        object.__setattr__(grown, "ids", (*self.ids, *ids))
        object.__setattr__(grown, "_rows", rows)
        return grown

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
        alike = (known for known in self.ids if abs(len(known) - len(an_id)) <= 2)
        tried = [known for known, _ in zip(alike, range(_SEARCHED), strict=False)]
        found = difflib.get_close_matches(an_id, tried, n=1, cutoff=0.5)
        return found[0] if found else None


def _shown(ids: Sequence[str]) -> str:
    """List the first few distinct ids for a message."""
    distinct = list(dict.fromkeys(ids))
    more = ", ..." if len(distinct) > _SHOWN else ""
    return ", ".join(repr(i) for i in distinct[:_SHOWN]) + more
