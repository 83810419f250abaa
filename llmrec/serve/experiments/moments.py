"""What the people of one variant did, in six sums: all that a ratio over people and its variance need."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["Floats", "Moments"]

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Moments:
    """Sums over people, each of whom tried something so often and succeeded so often.

    Each field is a number or an array of the same shape, for instance the sums as they stood after every list.

    Attributes:
        units: people who tried at all.
        tries: sum of tries, such as lists shown.
        hits: sum of successes, such as clicks; may be more than tries.
        tries_squared: sum over people of their tries squared.
        hits_squared: of their successes squared.
        products: of their tries times their successes.
    """

    units: Floats
    tries: Floats
    hits: Floats
    tries_squared: Floats
    hits_squared: Floats
    products: Floats

    @classmethod
    def of(cls, tries: ArrayLike, hits: ArrayLike) -> Moments:
        """Return the sums of people.

        Args:
            tries: Float64[n], at least 1 of each.
            hits: Float64[n], at least 0.
        """
        x, y = np.asarray(tries, dtype=np.float64), np.asarray(hits, dtype=np.float64)
        sums = (x, y, x * x, y * y, x * y)
        return cls(np.asarray(float(len(x))), *(np.asarray(part.sum()) for part in sums))

    def __add__(self, other: Moments) -> Moments:
        """The sums of both groups of people."""
        return Moments(
            self.units + other.units,
            self.tries + other.tries,
            self.hits + other.hits,
            self.tries_squared + other.tries_squared,
            self.hits_squared + other.hits_squared,
            self.products + other.products,
        )

    def ratio(self) -> Floats:
        """Successes a try, over all people; NaN without tries."""
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray(self.hits / self.tries)

    def variance(self, around: float | None = None) -> Floats:
        """Variance of `ratio` when people are drawn at random: the delta method; NaN below two people.

        A person's tries depend on each other, and are not counted as if each were a person of its own.

        Source: Deng, Knoblich and Lu, Applying the Delta Method in Metric Analytics, KDD 2018.

        Args:
            around: the ratio that is taken for true; None: the one found.
        """
        with np.errstate(invalid="ignore", divide="ignore"):
            ratio = self.ratio() if around is None else around
            residuals = self.hits_squared - 2.0 * ratio * self.products + ratio**2 * self.tries_squared
            return np.asarray(np.maximum(residuals, 0.0) / self.tries**2 * self.units / (self.units - 1.0))
