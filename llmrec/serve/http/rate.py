"""Token buckets: so many requests at once, and so many a second after that."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable

__all__ = ["Buckets"]


class Buckets:
    """A bucket by name, each full at first. Of one event loop.

    Names that were not used for longest are forgotten when there are too many, which can only give them more.

    Args:
        most: names that are remembered.
        clock: seconds, never going back.
    """

    def __init__(self, most: int = 10_000, clock: Callable[[], float] = time.monotonic) -> None:
        self._most = most
        self._clock = clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, name: str, per_minute: float, burst: float | None = None, cost: float = 1.0) -> float:
        """Take from a bucket.

        Args:
            name: which.
            per_minute: what flows into it.
            burst: what fits into it; None: a minute's worth.
            cost: what is taken; 0 only looks.

        Returns:
            0 where it was there; else the seconds after which it will be.
        """
        now = self._clock()
        size = per_minute if burst is None else burst
        tokens, then = self._buckets.pop(name, (size, now))
        tokens = min(size, tokens + (now - then) * per_minute / 60.0)
        wanted = max(cost, 1.0)
        wait = 0.0 if tokens >= wanted else (wanted - tokens) * 60.0 / per_minute
        self._buckets[name] = (tokens if wait else tokens - cost, now)
        if len(self._buckets) > self._most:
            self._buckets.popitem(last=False)
        return wait
