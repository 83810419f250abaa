"""Intervals and p-values that hold at all moments at once, so that one may look at any time and stop when one likes.

The interval is the Gaussian mixture asymptotic confidence sequence of Waudby-Smith, Arbour, Sinha, Kennedy and Ramdas,
Time-uniform central limit theory and asymptotic confidence sequences, Annals of Statistics 2024 (arXiv 2103.06476), in
its form for terms whose variances change: an estimate with standard error s and intrinsic time t (the variance of the
sum behind it, in units of a fixed scale) lies within

    s * sqrt((1 + 1 / (t r)) * log((1 + t r) / level^2))

of the truth at all times at once, but with probability `level`. It is Robbins' normal mixture (1970), which is also
what a mixture sequential probability ratio test inverts: the p-value is one over that mixture. r decides at which t
the interval is narrowest compared with one for a single look; it is fixed in advance.

Time is counted by variance and not by people because people come back: the sum then moves on without anybody new.
The theorem wants increments that nothing before predicts, and people who return are not like that: who clicked more
than others so far goes on to. What each adds later then leans to the side of what they added before, the sum is
more alike from one moment to the next than a martingale of the same variance, and by Slepian's inequality (1962) a
Gaussian process that is more alike crosses a boundary less often. So the error stays below the level. Only people
who make up for earlier successes later (who clicked more than others will click less) fall outside of this;
`scripts/bench/aa_experiments.py` measures both kinds.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from llmrec.serve.experiments.moments import Floats, Moments

__all__ = ["ENOUGH_HITS", "ENOUGH_UNITS", "HORIZON", "Estimate", "difference", "rate", "share"]

HORIZON = 10_000.0
"""Tries at which intervals are narrowest compared with one for a single look; they are little wider for 20 times
fewer or more."""

ENOUGH_UNITS, ENOUGH_HITS = 50, 20
"""People and successes in each variant before anything is claimed: sums are nearly normal then. The error is that of
the level only where the first look is not too early."""

_TUNED_FOR = 0.05
_LISTS_A_CLICK = 10.0


@dataclass(frozen=True, slots=True)
class Estimate:
    """A value and how sure it is; fields are numbers or arrays of one shape.

    Attributes:
        value: the estimate; NaN: there is none.
        error: its standard error.
        time: intrinsic time, about the number of tries that tell as much about the spread as these do.
        enough: whether there is enough for the theorem.
    """

    value: Floats
    error: Floats
    time: Floats
    enough: NDArray[np.bool_]

    def reach(self, level: float) -> Floats:
        """How far the truth may be from the value, at all moments at once, but with probability `level`.

        Infinite where there is not enough.
        """
        with np.errstate(invalid="ignore", divide="ignore"):
            grown = self.time * _mixing()
            wide = self.error * np.sqrt((1.0 + 1.0 / grown) * (np.log1p(grown) - 2.0 * math.log(level)))
        return np.where(self.enough & (self.time > 0.0), wide, np.inf)

    def p_value(self, truth: float = 0.0) -> Floats:
        """Smallest level whose interval leaves out `truth`; 1 where there is not enough.

        Under `truth`, it is ever below a level with at most that probability.
        """
        with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
            grown = self.time * _mixing()
            z = (self.value - truth) / self.error
            log_mixture = 0.5 * z**2 * grown / (1.0 + grown) - 0.5 * np.log1p(grown)
            p = np.exp(-np.maximum(log_mixture, 0.0))
        return np.where(self.enough & (self.time > 0.0), p, 1.0)


def rate(moments: Moments) -> Estimate:
    """Estimate the successes a try of one group."""
    value, variance = moments.ratio(), moments.variance()
    with np.errstate(invalid="ignore", divide="ignore"):
        time = variance * moments.tries**2 / value
    return Estimate(value, np.sqrt(variance), time, _enough(moments))


def share(moments: Moments) -> Estimate:
    """Estimate a share that is one half where nothing differs, such as that of clicks won by one of two lists.

    The variance is that around one half: it does not vanish where all people agree. A click on interleaved lists says
    more than a list that may or may not be clicked, so its time runs faster.
    """
    value, variance = moments.ratio(), moments.variance(around=0.5)
    time = variance * moments.tries**2 / 0.25 * _LISTS_A_CLICK
    enough = np.asarray((moments.units >= ENOUGH_UNITS) & (moments.tries >= 2 * ENOUGH_HITS))
    return Estimate(value, np.sqrt(variance), time, enough)


def difference(a: Moments, b: Moments) -> Estimate:
    """Estimate how many more successes a try group b has than group a.

    The scale of time is the variance that the difference would have if every try were a person's own and successes
    came like those of a Poisson process.
    """
    variance = a.variance() + b.variance()
    both = a + b
    with np.errstate(invalid="ignore", divide="ignore"):
        time = both.tries * variance / (both.ratio() * (1.0 / a.tries + 1.0 / b.tries))
    return Estimate(b.ratio() - a.ratio(), np.sqrt(variance), time, _enough(a) & _enough(b))


def _enough(moments: Moments) -> NDArray[np.bool_]:
    return np.asarray((moments.units >= ENOUGH_UNITS) & (moments.hits >= ENOUGH_HITS))


def _mixing() -> float:
    """The r of this module's formula: close to the one that is best for 5% at `HORIZON`, as the paper has it."""
    wanted = -2.0 * math.log(_TUNED_FOR)
    return (wanted + math.log(wanted + 1.0)) / HORIZON
