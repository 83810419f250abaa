"""Which stages are well: what they take, and whether to ask them at all."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

__all__ = ["Stages"]

FAILURES = 3
"""So many failures in a row, and a stage is left alone for a while."""

COOL_S = 10.0
"""For so long; then one batch tries it."""

WEIGHT = 0.2
"""Of the newest measurement in a moving average."""


@dataclass(slots=True)
class _Stage:
    """What is known of one stage of one alias."""

    failures: int = 0
    closed_until: float = 0.0
    measured: float = float("-inf")
    seconds: dict[int, float] = field(default_factory=dict)


class Stages:
    """How the stages of all aliases do; safe for threads.

    A stage that fails again and again is left out for `COOL_S`; then one batch tries it while the others still go
    without. A stage that takes too long for what is left of a deadline is left out too, but tried again after as long,
    for its time is only known while it is asked.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._stages: dict[tuple[str, str], _Stage] = {}

    def may_run(self, alias: str, stage: str, size: int, left_s: float) -> bool:
        """Whether to ask a stage for a batch of `size` queries that has `left_s` seconds left.

        Where this says yes to a stage that failed before, it says no to others until the outcome is told.
        """
        now = self._clock()
        with self._lock:
            known = self._stages.setdefault((alias, stage), _Stage())
            if known.failures >= FAILURES:
                if now < known.closed_until:
                    return False
                known.closed_until = now + COOL_S  # this batch tries; the next one may after another while
                return True
            expected = _expected(known.seconds, size)
            return expected <= left_s or now - known.measured > COOL_S

    def took(self, alias: str, stage: str, size: int, seconds: float) -> None:
        """Say that a stage did its work, and how long it took."""
        bucket = _bucket(size)
        with self._lock:
            known = self._stages.setdefault((alias, stage), _Stage())
            known.failures, known.measured = 0, self._clock()
            before = known.seconds.get(bucket, seconds)
            known.seconds[bucket] = before + WEIGHT * (seconds - before)

    def failed(self, alias: str, stage: str) -> None:
        """Say that a stage raised, or did not come back in time."""
        with self._lock:
            known = self._stages.setdefault((alias, stage), _Stage())
            known.failures += 1
            known.closed_until = self._clock() + COOL_S

    def milliseconds(self) -> dict[str, float]:
        """Moving averages by "alias/stage", of the size of batch that takes longest."""
        with self._lock:
            found = {key: max(known.seconds.values()) for key, known in self._stages.items() if known.seconds}
        return {f"{alias}/{stage}": 1000 * seconds for (alias, stage), seconds in found.items()}

    def open(self) -> list[str]:
        """Stages that are left alone now, as "alias/stage"."""
        with self._lock:
            return sorted("/".join(key) for key, known in self._stages.items() if known.failures >= FAILURES)


def _bucket(size: int) -> int:
    return (size - 1).bit_length()


def _expected(seconds: dict[int, float], size: int) -> float:
    """What a batch takes: as batches of that size do, else those of the size below; 0 where nothing is known."""
    bucket = _bucket(size)
    smaller = [known for known in seconds if known <= bucket]
    if smaller:
        return seconds[max(smaller)]
    return min(seconds.values(), default=0.0)
