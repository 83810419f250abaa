"""How sure a mean over users is, and whether one recommender beats another.

Both answers depend on the multiset of values alone: shuffling the users changes nothing, not even the last
bit. Memory is bounded by a fixed number of cells, whatever the number of users.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

from llmrec.errors import ConfigError, DataError
from llmrec.evaluate.metrics import Float64Array
from llmrec.types import Int64Array

__all__ = ["Interval", "PairedResult", "bootstrap_interval", "holm", "paired_test"]

# Float64 cells held at once by a resampling loop: 16 MB.
_CELLS = 2**21
# Up to this many distinct values, counts per value are drawn instead of one value per user.
_DISTINCT = 512
_PERMUTATIONS = 9_999


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean over users with its confidence interval.

    Attributes:
        mean: the mean.
        low: lower end.
        high: upper end.
    """

    mean: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.mean:.4f} [{self.low:.4f}, {self.high:.4f}]"

    def to_dict(self) -> dict[str, float]:
        """Return plain values for JSON; ``Interval(**values)`` is the interval again."""
        return {"mean": self.mean, "low": self.low, "high": self.high}


@dataclass(frozen=True, slots=True)
class PairedResult:
    """What a paired comparison of two recommenders over the same users found.

    Attributes:
        difference: mean over users of a - b.
        low: lower end of the 95% interval of the difference.
        high: upper end.
        p_value: two-sided; the chance of a difference this large if a and b were exchangeable.
        n: number of users.
    """

    difference: float
    low: float
    high: float
    p_value: float
    n: int

    def __str__(self) -> str:
        return f"{self.difference:+.4f} [{self.low:+.4f}, {self.high:+.4f}], p = {self.p_value:.4f}"


def bootstrap_interval(values: Float64Array, *, level: float = 0.95, resamples: int = 2000, seed: int = 0) -> Interval:
    """Percentile bootstrap interval of the mean over users.

    Source: Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13.

    Args:
        values: Float64[n], one value per user, finite.
        level: share of the bootstrap distribution inside the interval.
        resamples: number of bootstrap samples.
        seed: of the resampling; same values and seed, same interval.

    Returns:
        The mean and its interval; of no width when all values are equal.

    Raises:
        ConfigError: `level` is not inside (0, 1), or `resamples` is below 1.
        DataError: there is no value, or a value is not finite.
    """
    if not 0.0 < level < 1.0 or resamples < 1:
        raise ConfigError(f"level must be inside (0, 1), resamples at least 1; got {level}, {resamples}")
    ordered = _ordered(values)
    means = _resampled_means(ordered, resamples, np.random.default_rng(seed))
    tail = (1.0 - level) / 2.0
    low, high = np.quantile(means, [tail, 1.0 - tail])
    return Interval(_mean(ordered), float(low), float(high))


def paired_test(a: Float64Array, b: Float64Array, *, seed: int = 0) -> PairedResult:
    """Compare two recommenders over the same users.

    The p-value is that of the two-sided sign-flip permutation test (Fisher's randomization test) of the mean
    difference: 9,999 random flips and the observed one. The interval is a percentile bootstrap over users.

    Args:
        a: Float64[n], the metric of each user under the first recommender.
        b: Float64[n], the same users, same order, under the second.
        seed: of the resampling.

    Returns:
        The mean of a - b, its 95% interval, the p-value and n.

    Raises:
        DataError: lengths differ, there is no user, or a value is not finite.
    """
    if np.shape(a) != np.shape(b):
        raise DataError(f"a paired test needs the same users on both sides, got {np.shape(a)} and {np.shape(b)} values")
    differences = _ordered(np.asarray(a, dtype=np.float64) - np.asarray(b, dtype=np.float64))
    interval = bootstrap_interval(differences, seed=seed)
    p_value = _flip_p_value(differences, np.random.default_rng([seed, 1]))
    return PairedResult(interval.mean, interval.low, interval.high, p_value, len(differences))


def holm(p_values: Sequence[float]) -> Float64Array:
    """Correct p-values for the number of comparisons made at once.

    Comparing them with .05 keeps the chance of even one false claim among all of them below .05, however the
    comparisons depend on each other; methods measured on the same users do.

    Source: Holm, A simple sequentially rejective multiple test procedure, Scandinavian Journal of Statistics 1979.

    Args:
        p_values: n p-values, in [0, 1].

    Returns:
        Float64[n], in the same order: the i-th smallest times n - i + 1, at most 1, never below a smaller one's.

    Raises:
        DataError: a value is not a p-value.
    """
    given = np.asarray(p_values, dtype=np.float64)
    if given.ndim != 1 or not ((given >= 0.0) & (given <= 1.0)).all():
        raise DataError(f"p-values must lie between 0 and 1, got {list(p_values)}")
    order = np.argsort(given, kind="stable")
    corrected = np.empty_like(given)
    corrected[order] = np.maximum.accumulate(np.minimum(given[order] * np.arange(len(given), 0, -1), 1.0))
    return corrected


def _ordered(values: Float64Array) -> Float64Array:
    """Return the values sorted, which forgets the order of the users; checked."""
    values = np.asarray(values, dtype=np.float64)
    if values.ndim != 1 or len(values) == 0:
        raise DataError(f"need one value for each of at least one user, got an array of shape {values.shape}")
    if not np.isfinite(values).all():
        row = int(np.argmin(np.isfinite(values)))
        raise DataError(f"the value of row {row} is {values[row]}; every user needs a finite value")
    # Adding 0.0 turns -0.0 into 0.0: equal values must also be the same bits.
    return np.sort(values) + 0.0


def _mean(values: Float64Array) -> float:
    return math.fsum(values) / len(values)


def _resampled_means(ordered: Float64Array, resamples: int, rng: Generator) -> Float64Array:
    """Float64[resamples] of means of bootstrap samples of sorted values."""
    n = len(ordered)
    distinct, counts = np.unique(ordered, return_counts=True)
    if len(distinct) <= _DISTINCT:
        # How often each value is drawn is multinomial: the same distribution, n / distinct times faster.
        drawn = rng.multinomial(n, counts / n, size=resamples)
        return np.asarray((drawn * distinct).sum(axis=1) / n)
    means = np.empty(resamples)
    step = max(1, _CELLS // n)
    for start in range(0, resamples, step):
        picked = rng.integers(0, n, size=(min(step, resamples - start), n))
        means[start : start + step] = ordered[picked].mean(axis=1)
    return means


def _flip_p_value(ordered: Float64Array, rng: Generator) -> float:
    """Two-sided p-value of the mean of sorted differences under random signs."""
    # A difference of zero is the same under both signs.
    sizes, counts = np.unique(np.abs(ordered[ordered != 0.0]), return_counts=True)
    if len(sizes) == 0:
        return 1.0
    if len(sizes) > _DISTINCT:
        sizes, counts = np.repeat(sizes, counts), np.ones(int(counts.sum()), dtype=np.int64)
    # A flip that restores the observed sum must count as reaching it, whatever the rounding.
    bound = abs(math.fsum(ordered)) - 1e-12 * math.fsum(sizes * counts)
    step, extreme = max(1, _CELLS // len(sizes)), 0
    for start in range(0, _PERMUTATIONS, step):
        sums = _flipped_sums(sizes, counts, min(step, _PERMUTATIONS - start), rng)
        extreme += int((np.abs(sums) >= bound).sum())
    return (extreme + 1) / (_PERMUTATIONS + 1)


def _flipped_sums(sizes: Float64Array, counts: Int64Array, m: int, rng: Generator) -> Float64Array:
    """Float64[m] of sums of `counts[i]` terms of size `sizes[i]`, each with a random sign."""
    if len(sizes) <= _DISTINCT:
        plus = rng.binomial(counts, 0.5, size=(m, len(sizes)))
        return np.asarray(((2 * plus - counts) * sizes).sum(axis=1))
    # One term of each size: a coin each, eight from every random byte.
    row_bytes = -(-len(sizes) // 8)
    coins = np.frombuffer(rng.bytes(m * row_bytes), dtype=np.uint8).reshape(m, row_bytes)
    plus_sign = np.unpackbits(coins, axis=1, count=len(sizes)).view(np.bool_)
    return np.asarray(np.where(plus_sign, sizes, -sizes).sum(axis=1))
