"""How fast the worker is, how long a newcomer would wait, and how long it may."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass

__all__ = ["Pace"]

WEIGHT = 0.2
"""Of the newest measurement in a moving average."""

EASE = 1.8
"""In an overload an answer may take so many times as long as 95 % of answers do that find nobody before them."""

BURST_S = 1.0
"""As long as more did not come than can be done but for a moment, an answer may take as long as this."""

WINDOW_S = 0.02
"""The shortest time over which what comes is held against what can be done; else what an answer may take."""

ROOM = 1.5
"""A batch of up to twice the size is tried if it may take so many times as long."""

HOLD_S = 1.0
"""An overload counts as over when there were no signs of it for so long."""

SAMPLES = 256
CALM_S = 0.2
"""While there is no overload a batch may take as long as this: larger ones answer more."""

LEAST = 10
"""Answers without a wait that must have been seen before their time says anything."""

Lane = str
"""Requests of one alias and kind: these take alike."""


@dataclass(slots=True)
class _Window:
    """What came lately, in seconds of work."""

    began: float
    work: float = 0.0
    was_over: bool = False

    def moved(self, now: float, length: float) -> None:
        """Begin another window where this one is over."""
        passed = now - self.began
        if passed >= length:
            self.was_over = passed < 2 * length and self.work > passed
            self.began, self.work = now, 0.0


class Pace:
    """Measures batches, and foretells waits; safe for threads.

    What a batch takes is a moving average by lane and size, for sizes from one power of two to the next. Sizes that
    were not seen count as so many times the next smaller one: too long rather than too short.
    """

    def __init__(self, batch: int, clock: Callable[[], float]) -> None:
        """Know nothing yet.

        Args:
            batch: requests of a batch at most.
            clock: seconds that only grow.
        """
        self._batch, self._clock = batch, clock
        self._lock = threading.Lock()
        self._seconds: dict[Lane, dict[int, float]] = {}
        self._alone: dict[Lane, deque[float]] = {}
        self._easy_s: dict[Lane, float] = {}
        self._fill = 1.0
        self._now: tuple[Lane, float, float] | None = None
        self._window = _Window(began=clock())
        self._overloaded_until = float("-inf")

    def arrived(self, lane: Lane) -> None:
        """Say that a request came, whether or not it is let in.

        Where in each of two windows one after the other more work came than the window was long, it is an overload;
        a burst is not, for the second window sees nothing of it.
        """
        with self._lock:
            easy, now = self._easy_s.get(lane), self._clock()
            if easy is None:
                return
            length = max(WINDOW_S, easy)
            self._window.moved(now, length)
            self._window.work += (self._batch_seconds(lane, self._batch) or 0.0) / self._batch
            if self._window.was_over and self._window.work > length:
                self._overloaded_until = now + HOLD_S

    @property
    def overloaded(self) -> bool:
        """Whether more comes than can be done."""
        return self._clock() < self._overloaded_until

    def began(self, lane: Lane, size: int, waiting: int) -> None:
        """Say that a batch is begun: of which lane and size, and how many of that lane were there to choose from."""
        with self._lock:
            filled = size / max(1, min(waiting, self._batch))
            self._fill += WEIGHT * (filled - self._fill)
            self._now = lane, self._clock(), self._batch_seconds(lane, size) or 0.0

    def ended(self, lane: Lane, size: int) -> None:
        """Say that it is done."""
        with self._lock:
            if self._now is None:
                return
            took = self._clock() - self._now[1]
            known, bucket = self._seconds.setdefault(lane, {}), _bucket(size)
            known[bucket] = known.get(bucket, took) + WEIGHT * (took - known.get(bucket, took))
            self._now = None

    def dropped(self) -> None:
        """Say that the batch was given up: it tells nothing."""
        with self._lock:
            self._now = None

    def alone(self, lane: Lane, seconds: float) -> None:
        """Say how long an answer took that found nobody before it."""
        with self._lock:
            seen = self._alone.setdefault(lane, deque(maxlen=SAMPLES))
            seen.append(seconds)
            if len(seen) >= LEAST:  # found here, where there is time, and not for every request that is refused
                self._easy_s[lane] = EASE * sorted(seen)[min(len(seen) - 1, int(0.95 * len(seen)))]

    def expected(self, waiting: Mapping[Lane, int]) -> float:
        """Return after how many seconds the last of those who wait will be answered; 0 where nothing is known."""
        with self._lock:
            ahead = 0.0
            if self._now is not None:
                _, began, takes = self._now
                done = self._clock() - began
                ahead = takes - done if done < takes else min(done, takes)  # late already: who knows how long still
            return ahead + sum(self._lane_seconds(lane, count) for lane, count in waiting.items() if count)

    def takes(self, lane: Lane, size: int) -> float:
        """Return how many seconds a batch takes; 0 where nothing is known."""
        with self._lock:
            return self._batch_seconds(lane, size) or 0.0

    def most(self, lane: Lane) -> int:
        """Return how many requests of a lane to answer together at most.

        A batch must not take longer than an answer may: all in it wait for the last one. The next larger size is tried
        while the largest that was seen leaves room for it.
        """
        with self._lock:
            easy, known = self._easy_s.get(lane), self._seconds.get(lane, {})
            if easy is None or not known:
                return self._batch
            easy = easy if self.overloaded else max(CALM_S, easy)
            fits = [bucket for bucket, seconds in known.items() if seconds <= easy]
            largest = max(fits, default=0)
            room = largest == max(known) and ROOM * known.get(largest, easy) <= easy
            return int(min(self._batch, 1 << (largest + room)))

    def patience(self, lanes: list[Lane]) -> float:
        """Return how many seconds an answer may take now, with these lanes in the line or at work.

        Args:
            lanes: that are there; the slowest decides, for who waits behind it must be allowed to.

        Returns:
            Seconds; infinite as long as it is not known what a lane takes that nobody waits in.
        """
        with self._lock:
            known = [self._easy_s.get(lane) for lane in dict.fromkeys([*lanes, *([self._now[0]] if self._now else [])])]
        if not known or None in known:
            return float("inf")
        easy = max(one for one in known if one is not None)
        return easy if self.overloaded else max(BURST_S, easy)

    def _lane_seconds(self, lane: Lane, count: int) -> float:
        size = max(1, round(self._fill * min(count, self._batch)))
        return count / size * (self._batch_seconds(lane, size) or 0.0)

    def _batch_seconds(self, lane: Lane, size: int) -> float | None:
        known, bucket = self._seconds.get(lane, {}), _bucket(size)
        smaller = [one for one in known if one <= bucket]
        if smaller:
            nearest = max(smaller)
            return known[nearest] * (1 << (bucket - nearest))
        return min(known.values(), default=None)


def _bucket(size: int) -> int:
    return (size - 1).bit_length()
