"""How old items are: a field of dates, years or plain numbers as one number per item."""

from __future__ import annotations

import math
from collections.abc import Collection
from datetime import UTC, date, datetime
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from llmrec.data import Catalog
from llmrec.errors import DataError
from llmrec.types import Int32Array

__all__ = ["SECONDS_PER_DAY", "AgeKind", "read_moments"]

AgeKind = Literal["time", "year", "number"]
"""What stands in the field: dates and times, years, or numbers that only compare with each other."""

SECONDS_PER_DAY = 86_400


def read_moments(
    catalog: Catalog, field: str, kind: AgeKind, rows: Int32Array, no_value: Collection[str] = ()
) -> NDArray[np.float64]:
    """Read when items are from.

    Args:
        catalog: all items.
        field: the field; it exists.
        kind: `"time"`: dates, timestamps, ISO 8601 text (UTC unless it says otherwise) or seconds since the epoch;
            `"year"`: years, which begin on January 1; `"number"`: any numbers.
        rows: Int32[n], the items to read.
        no_value: texts that stand for null, as empty text does.

    Returns:
        Float64[n]: days since the epoch, or the numbers themselves; NaN for null.

    Raises:
        DataError: a value cannot be read; the message names the first such items.
    """
    read = {"time": _days, "year": _days_of_year, "number": _number}[kind]
    moments = np.full(len(rows), np.nan)
    wrong = []
    for place, value in enumerate(catalog.table.column(field).take(rows).to_pylist()):
        if value is None or (isinstance(value, str) and value.strip() in ("", *no_value)):
            continue
        try:
            moments[place] = read(value)
        except (TypeError, ValueError, OverflowError):
            wrong.append(f"{value!r} (item {catalog.items[int(rows[place])]!r})")
    if wrong:
        raise DataError(
            f"{len(wrong)} items have no {kind} in field {field!r} but {', '.join(wrong[:5])}; correct these, leave "
            "them empty, name them in no_value of the policy, or name the right kind there: time, year or number"
        )
    return moments


def _days(value: Any) -> float:
    if isinstance(value, str):
        value = datetime.fromisoformat(value.strip())
    if isinstance(value, datetime):
        aware = value if value.tzinfo is not None else value.replace(tzinfo=UTC)
        return aware.timestamp() / SECONDS_PER_DAY
    if isinstance(value, date):
        return float(value.toordinal() - date(1970, 1, 1).toordinal())
    return _number(value) / SECONDS_PER_DAY


def _days_of_year(value: Any) -> float:
    year = value.year if isinstance(value, date) else _number(value)
    if year != int(year):
        raise ValueError("not a whole year")
    return float(date(int(year), 1, 1).toordinal() - date(1970, 1, 1).toordinal())


def _number(value: Any) -> float:
    if isinstance(value, bool):
        raise TypeError("true and false are no numbers")
    number = float(value)
    if math.isinf(number):
        raise ValueError("not finite")
    return number
