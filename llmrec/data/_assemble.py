"""From rows in the order of a source to histories by user, oldest first."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from llmrec.types import BoolArray, Float32Array, Int32Array, Int64Array

__all__ = ["LogOrder", "LogRows", "order_rows"]


@dataclass(frozen=True, slots=True)
class LogRows:
    """The rows of a log in the order of the source; n rows.

    Attributes:
        users: Int32[n], numbered by first appearance.
        items: Int32[n], catalog rows.
        exact: Int64[n], what is sorted by, or None: rows are in order.
        per_second: how many units of `exact` make a second.
        weights: Float32[n] or None.
        kinds: Int8[n] or None.
        ratings: Float32[n] or None.
    """

    users: Int32Array
    items: Int32Array
    exact: Int64Array | None = None
    per_second: int = 1
    weights: Float32Array | None = None
    kinds: NDArray[np.int8] | None = None
    ratings: Float32Array | None = None

    def __len__(self) -> int:
        return len(self.users)


@dataclass(frozen=True, slots=True)
class LogOrder:
    """How a log is put in order.

    Attributes:
        order: Int64[m], the rows to keep by user, then time, then place in the source.
        folded: how many rows are left out because the user has an earlier one with the same item.
        duplicates: Int64[d], rows left out because an earlier one says the same, ascending.
    """

    order: Int64Array
    folded: int
    duplicates: Int64Array


def order_rows(rows: LogRows, fold: bool, without_duplicates: bool) -> LogOrder:
    """Put rows in order and leave out what repeats.

    Args:
        rows: the log.
        fold: keep only the oldest row of each user and item.
        without_duplicates: tell rows that repeat an earlier one in every value from others that are left out, and
            leave them out even if nothing is folded. Rows without a time cannot be told apart and are no duplicates.
    """
    order = _by_user_and_time(rows)
    places = _repeated(rows, order)  # places in `order`, grouped by pair, oldest first
    none = np.zeros(0, np.int64)
    if not len(places):
        return LogOrder(order, 0, none)
    same = _duplicates(rows, order[places]) if without_duplicates and rows.exact is not None else none
    gone = np.zeros(len(order), dtype=np.bool_)
    pairs = _pairs(rows, order[places])
    if fold:
        gone[places[1:][pairs[1:] == pairs[:-1]]] = True
    left = np.zeros(len(order), dtype=np.bool_)
    left[same] = True
    gone |= left[order]
    return LogOrder(order[~gone], int(gone.sum()) - len(same), same)


def _by_user_and_time(rows: LogRows) -> Int64Array:
    users = rows.users
    if rows.exact is None or _rises(rows.exact):
        return np.argsort(users, kind="stable")
    by_time = np.argsort(rows.exact, kind="stable")
    order: Int64Array = by_time[np.argsort(users[by_time], kind="stable")]
    return order


def _rises(values: Int64Array) -> bool:
    return bool((values[1:] >= values[:-1]).all())


def _pairs(rows: LogRows, chosen: Int64Array) -> Int64Array:
    """Return a number of its own for each (user, item), Int64."""
    pairs = rows.users[chosen].astype(np.int64)
    pairs *= int(rows.items.max(initial=0)) + 1
    pairs += rows.items[chosen]
    return pairs


def _repeated(rows: LogRows, order: Int64Array) -> Int64Array:
    """Return the places in `order` of all rows whose (user, item) occurs more than once, grouped, oldest first."""
    pairs = _pairs(rows, order)
    ranked = np.sort(pairs)
    if not (ranked[1:] == ranked[:-1]).any():
        return np.zeros(0, np.int64)
    del ranked
    grouped = np.argsort(pairs, kind="stable")
    alike = pairs[grouped[1:]] == pairs[grouped[:-1]]
    inside: BoolArray = np.concatenate([alike, [False]]) | np.concatenate([[False], alike])
    chosen: Int64Array = grouped[inside]
    return chosen


def _duplicates(rows: LogRows, chosen: Int64Array) -> Int64Array:
    """Return those of the given rows that agree with an earlier row in every value, ascending."""
    chosen = np.sort(chosen)
    optional = (rows.exact, rows.weights, rows.kinds, rows.ratings)
    columns = [_pairs(rows, chosen), *(per[chosen] for per in optional if per is not None)]
    grouped = np.lexsort(columns)
    alike = np.ones(max(0, len(chosen) - 1), dtype=np.bool_)
    for column in columns:
        left, right = column[grouped[1:]], column[grouped[:-1]]
        alike &= (left == right) | ((left != left) & (right != right))  # not rated twice is the same, too
    found: Int64Array = np.sort(chosen[grouped[1:][alike]])
    return found
