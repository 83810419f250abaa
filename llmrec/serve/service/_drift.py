"""How what is asked drifts away from what was asked at first."""

from __future__ import annotations

import threading
from bisect import bisect_right
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from llmrec.serve.views import DriftView
from llmrec.types import Int64Array

__all__ = ["Drift", "stability_index"]

DAY, HOUR, MINUTE = 86_400, 60, 60.0
"""Seconds of the time that is compared with, minutes of what is compared, seconds of a minute."""

FLOOR = 1e-4
"""A share is taken to be at least this: the logarithm of none has no end."""

LEAST = 100
"""With fewer requests on either side, the index would show chance, and is 0."""

LENGTHS = (1, 3, 6, 11, 21, 51)
WORDS = (1, 4, 11)

BUCKETS: Mapping[str, tuple[str, ...]] = {
    "history length": ("0", "1-2", "3-5", "6-10", "11-20", "21-50", "51+"),
    "unknown items": ("known", "unknown"),
    "wishes": ("none", "1-3 words", "4-10 words", "11+ words"),
    "unknown users": ("known", "unknown", "no user"),
}
"""What is watched, and in which buckets it is counted."""

STARTS = dict(zip(BUCKETS, np.cumsum([0, *map(len, BUCKETS.values())]).tolist(), strict=False))
TOTAL = sum(map(len, BUCKETS.values()))


def stability_index(before: Int64Array, now: Int64Array) -> float:
    """Return the population stability index: the sum over buckets of (q - p) ln(q / p), >= 0.

    That is the symmetric Kullback-Leibler divergence of the shares; Siddiqi, "Credit Risk Scorecards", 2006, calls
    below .1 no change, and above .25 another population. Shares are at least `FLOOR`.

    Args:
        before: Int64[n], counts by bucket.
        now: Int64[n], counts by bucket.

    Returns:
        The index; 0 where either side counts nothing.
    """
    if not before.sum() or not now.sum():
        return 0.0
    p, q = (np.maximum(counts / counts.sum(), FLOOR) for counts in (before, now))
    return float(((q - p) * np.log(q / p)).sum())


@dataclass(frozen=True, slots=True)
class _Minute:
    """Counts of one minute, Int64[TOTAL]."""

    number: int
    counts: Int64Array


class Drift:
    """Counts requests by what they look like, the first day's and the last hour's. Thread-safe.

    Args:
        clock: seconds.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._start = clock()
        self._first: Int64Array = np.zeros(TOTAL, dtype=np.int64)
        self._minutes: list[_Minute] = []

    def saw_history(self, length: int) -> None:
        """A request whose history holds so many items."""
        self._count("history length", bisect_right(LENGTHS, length))

    def saw_items(self, known: bool) -> None:
        """A request, or a batch of events, that names items; whether all of them are known."""
        self._count("unknown items", 0 if known else 1)

    def saw_wish(self, wish: str | None) -> None:
        """A request with a wish, or without."""
        self._count("wishes", 0 if wish is None else bisect_right(WORDS, max(1, len(wish.split()))))

    def saw_user(self, known: bool | None) -> None:
        """A request for a user of whom something is known, or nothing; None: for no user."""
        self._count("unknown users", 2 if known is None else 0 if known else 1)

    def views(self) -> tuple[DriftView, ...]:
        """What was asked in the first day and in the last hour."""
        with self._lock:
            self._forget(int(self._clock() // MINUTE))
            first = self._first.copy()
            now = np.sum([minute.counts for minute in self._minutes], axis=0, dtype=np.int64, initial=0) + 0 * first
        return tuple(_view(name, first, now) for name in BUCKETS)

    def _count(self, name: str, bucket: int) -> None:
        moment = self._clock()
        with self._lock:
            place, number = STARTS[name] + bucket, int(moment // MINUTE)
            if moment - self._start < DAY:
                self._first[place] += 1
            if not self._minutes or self._minutes[-1].number != number:
                self._forget(number)
                self._minutes.append(_Minute(number, np.zeros(TOTAL, dtype=np.int64)))
            self._minutes[-1].counts[place] += 1

    def _forget(self, number: int) -> None:
        """Drop what is older than an hour."""
        self._minutes = [minute for minute in self._minutes if number - minute.number < HOUR]


def _view(name: str, first: Int64Array, now: Int64Array) -> DriftView:
    place = slice(STARTS[name], STARTS[name] + len(BUCKETS[name]))
    enough = min(first[place].sum(), now[place].sum()) >= LEAST
    index = stability_index(first[place], now[place]) if enough else 0.0
    return DriftView(name, _shares(name, first[place]), _shares(name, now[place]), index)


def _shares(name: str, counts: Int64Array) -> dict[str, float]:
    total = max(1, int(counts.sum()))
    return {bucket: count / total for bucket, count in zip(BUCKETS[name], counts.tolist(), strict=True)}
