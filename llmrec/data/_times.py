"""Times of interactions from whatever a source writes them as."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from llmrec.data._arrow import first_bad_row, first_true
from llmrec.errors import DataError
from llmrec.types import Int64Array

__all__ = ["PER_SECOND", "Times", "read_times"]

PER_SECOND = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}


@dataclass(frozen=True, slots=True)
class Times:
    """When each interaction was.

    Attributes:
        exact: Int64[n], what is sorted by: finer than seconds where the source is.
        per_second: how many units of `exact` make a second.
    """

    exact: Int64Array
    per_second: int = 1


def read_times(column: Any, where: str) -> Times:
    """Read a column of times: whole numbers (kept as they are), timestamps, dates, or ISO 8601 text.

    Args:
        column: a pa.ChunkedArray.
        where: which column, for messages.

    Raises:
        DataError: a value is missing, not whole, or not a time; names its row.
    """
    if column.null_count:
        row = first_true(pc.is_null(column))
        raise DataError(f"{where} has no time in {column.null_count} rows, first in row {row + 1}; fill or drop them.")
    kind = column.type
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        whole = _cast(column, pa.int64(), where)
        return Times(whole)
    if pa.types.is_date(kind):
        column = column.cast(pa.timestamp("s" if pa.types.is_date32(kind) else "ms"))
    elif pa.types.is_string(kind):
        column = pa.chunked_array([_iso(column, where)])
    elif not pa.types.is_timestamp(kind):
        raise DataError(f"{where} is of type {kind}; times must be whole numbers, timestamps, dates or ISO 8601 text.")
    exact = _cast(column, pa.int64(), where)
    return Times(exact, PER_SECOND[column.type.unit])


def _cast(column: Any, kind: Any, where: str) -> Int64Array:
    def convert(part: Any) -> Any:
        return part.cast(kind)

    try:
        values: Int64Array = np.asarray(convert(column).to_numpy(), dtype=np.int64)
    except pa.ArrowInvalid as error:
        row = first_bad_row(column, convert)
        raise DataError(f"{where} holds {column[row].as_py()!r} in row {row + 1}, not a whole number.") from error
    return values


def _iso(column: Any, where: str) -> Any:
    """Parse ISO 8601 text; with an offset it becomes UTC, without one it is taken as it is."""
    furthest = (-1, None)
    for kind in (pa.timestamp("us"), pa.timestamp("us", tz="UTC")):

        def convert(part: Any, kind: Any = kind) -> Any:
            return part.cast(kind)

        try:
            return convert(column).combine_chunks()
        except pa.ArrowInvalid as error:
            furthest = max(furthest, (first_bad_row(column, convert), error), key=lambda found: found[0])
    row, problem = furthest
    raise DataError(
        f"{where} holds {column[row].as_py()!r} in row {row + 1}, not a time; use whole seconds or ISO 8601."
    ) from problem
