"""Times of a log that is read in chunks, with a mark where there is none."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from llmrec.data._times import PER_SECOND
from llmrec.errors import DataError
from llmrec.types import BoolArray, Int64Array

__all__ = ["ReadTimes", "TimeReader"]

_WHOLE = r"^-?[0-9]{1,18}(\.0*)?$"
_NUMBER = r"^[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?$"
_DAY = r"^[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])"
_CLOCK = r"[ T]([01][0-9]|2[0-3])(:[0-5][0-9](:[0-5][0-9](\.[0-9]{1,6})?)?)?"
_FORMS = {
    "number": _NUMBER,
    "naive": rf"{_DAY}({_CLOCK})?$",
    "zoned": rf"{_DAY}{_CLOCK}(Z|[-+]([01][0-9]|2[0-3])(:?[0-5][0-9])?)$",
}


@dataclass(frozen=True, slots=True)
class ReadTimes:
    """The times of a chunk.

    Attributes:
        exact: Int64[n], in the unit of the source; anything where `missing` or `bad`.
        missing: Bool[n], no time.
        bad: Bool[n], something that is not a time.
    """

    exact: Int64Array
    missing: BoolArray
    bad: BoolArray


class TimeReader:
    """Reads a column of times chunk by chunk, all rows in one form.

    The form of times written as text (whole numbers; ISO 8601 without, or with an offset) is that of the first time
    that can be read; times in another form are bad.
    """

    def __init__(self, where: str) -> None:
        """Begin a column; `where` says which, for messages."""
        self._where = where
        self._form: str | None = None
        self.per_second = 1
        """How many of the units of `ReadTimes.exact` make a second."""

    def read(self, column: Any) -> ReadTimes:
        """Read the next rows.

        Args:
            column: a pa.Array of numbers, timestamps, dates or text.

        Raises:
            DataError: the column is of another type, or of another type than before.
        """
        kind = column.type
        if pa.types.is_string(kind):
            return self._read_text(column)
        if pa.types.is_date(kind):
            column = column.cast(pa.timestamp("s" if pa.types.is_date32(kind) else "ms"))
            kind = column.type
        if pa.types.is_timestamp(kind):
            self._set_form(str(kind), PER_SECOND[kind.unit])
            return _marked(column.cast(pa.int64()), np.zeros(len(column), dtype=np.bool_))
        if pa.types.is_decimal(kind) or pa.types.is_uint64(kind):
            column = column.cast(pa.float64(), safe=False)
            kind = column.type
        if pa.types.is_floating(kind):
            self._set_form("number", 1)
            return _from_reals(column)
        if not pa.types.is_integer(kind):
            raise DataError(
                f"{self._where} is of type {kind}; times must be whole numbers, timestamps, dates or ISO 8601 text."
            )
        self._set_form("number", 1)
        return _marked(column.cast(pa.int64()), np.zeros(len(column), dtype=np.bool_))

    def _set_form(self, form: str, per_second: int) -> None:
        if self._form not in (None, form):
            raise DataError(f"{self._where} holds times of two kinds, {self._form} and {form}; write all alike.")
        self._form, self.per_second = form, per_second

    def _read_text(self, column: Any) -> ReadTimes:
        missing = pc.is_null(column).to_numpy(zero_copy_only=False) | pc.fill_null(
            pc.equal(column, ""), False
        ).to_numpy(zero_copy_only=False)
        if self._form is None:
            self._form = _first_form(column)
        if self._form is None:
            return ReadTimes(np.zeros(len(column), np.int64), missing, ~missing)
        if self._form not in _FORMS:
            raise DataError(f"{self._where} holds times of two kinds, {self._form} and text; write all alike.")
        if self._form == "number":
            read = _numbers(column)
        else:
            self.per_second = PER_SECOND["us"]
            read = _stamps(column, self._form)
        return ReadTimes(read.exact, missing, read.bad & ~missing)


def _first_form(column: Any) -> str | None:
    """Return the form of the first value that is a time in any form."""
    found: dict[str, int] = {}
    for form in _FORMS:
        if (at := _first_of_form(column, form)) >= 0:
            found[form] = at
    return min(found, key=lambda form: found[form]) if found else None


def _first_of_form(column: Any, form: str) -> int:
    places = np.flatnonzero(_matches(column, _FORMS[form]))
    for start in range(0, len(places), 1000):  # "2001-02-30" looks like a time
        part = places[start : start + 1000]
        values = column.take(pa.array(part))
        read = _numbers(values) if form == "number" else _stamps(values, form)
        if not read.bad.all():
            return int(part[np.argmin(read.bad)])
    return -1


def _matches(column: Any, pattern: str) -> BoolArray:
    found: BoolArray = pc.fill_null(pc.match_substring_regex(column, pattern), False).to_numpy(zero_copy_only=False)
    return found


def _numbers(column: Any) -> ReadTimes:
    whole = _matches(column, _WHOLE)
    texts = column if whole.all() else pc.if_else(pa.array(whole), column, pa.scalar(None, pa.string()))
    if pc.any(pc.match_substring(texts, "."), min_count=0).as_py():
        texts = pc.replace_substring_regex(texts, r"\.0*$", "")
    read = _marked(texts.cast(pa.int64()), ~whole)
    rest = _matches(column, _NUMBER) & ~whole
    if rest.any():
        rows = np.flatnonzero(rest)
        reals = _from_reals(column.take(pa.array(rows)).cast(pa.float64()))
        read.exact[rows], read.bad[rows] = reals.exact, reals.bad
    return read


def _from_reals(column: Any) -> ReadTimes:
    values = pc.fill_null(column, 0).to_numpy(zero_copy_only=False).astype(np.float64)
    bad = ~((np.floor(values) == values) & (np.abs(values) < 2.0**63))
    return ReadTimes(np.where(bad, 0, values).astype(np.int64), pc.is_null(column).to_numpy(zero_copy_only=False), bad)


def _stamps(column: Any, form: str) -> ReadTimes:
    looks = _matches(column, _FORMS[form])
    texts = column if looks.all() else pc.if_else(pa.array(looks), column, pa.scalar(None, pa.string()))
    kind = pa.timestamp("us", tz="UTC" if form == "zoned" else None)
    parts = [part.cast(pa.int64()) for part in _cast(texts, kind)]
    read = _marked(pa.concat_arrays(parts) if parts else pa.array([], pa.int64()), ~looks)
    return ReadTimes(read.exact, read.missing, read.missing)


def _cast(texts: Any, kind: Any) -> list[Any]:
    """Cast to timestamps in pieces, null where it does not work (the 30th of February)."""
    try:
        return [texts.cast(kind)]
    except pa.ArrowInvalid:
        if len(texts) == 1:
            return [pa.array([None], kind)]
        middle = len(texts) // 2
        return _cast(texts.slice(0, middle), kind) + _cast(texts.slice(middle), kind)


def _marked(column: Any, bad: BoolArray) -> ReadTimes:
    missing = pc.is_null(column).to_numpy(zero_copy_only=False)
    exact = np.array(pc.fill_null(column, 0).to_numpy(zero_copy_only=False), dtype=np.int64)
    return ReadTimes(exact, missing, bad.copy())
