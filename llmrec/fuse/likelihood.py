"""Weights of score columns by maximum likelihood: under which the targets are the likeliest choices."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from llmrec.types import BoolArray, Float32Array

__all__ = ["fit_weights"]

Float64Array = NDArray[np.float64]
PRIOR = 5.0
"""How strongly weights are drawn to their mean, against the likelihood of all cases."""
LARGEST = 100.0
"""Of any weight while it is sought: where one column is always right, the likelihood has no end."""
NOTHING = 0.01
"""Below so much of the largest weight, a column is ignored."""


@dataclass(frozen=True, slots=True)
class _Choices:
    """The candidates of all cases, one behind the other.

    Attributes:
        values: Float32[m, c], what each column says of each candidate.
        starts: Int64[n], where each case begins.
        chosen: Int64[n], the place of each case's target.
        owner: Int64[m], whose candidate it is.
    """

    values: Float32Array
    starts: NDArray[np.int64]
    chosen: NDArray[np.int64]
    owner: NDArray[np.int64]


def fit_weights(values: Mapping[str, Float32Array], wanted: BoolArray, there: BoolArray) -> dict[str, float]:
    """Find the weights under which the sums of the columns make the targets likeliest.

    A conditional logit (McFadden, "Conditional logit analysis of qualitative choice behavior", 1974): the chance of a
    candidate is the softmax of the weighted sums over the candidates of its case. Weights are >= 0, for a column is
    there because it speaks for items. They are drawn to their mean, so that a few cases do not say that one column is
    all there is; with thousands it makes no difference.

    Args:
        values: of each column, Float32[n, k], in [0, 1]; 0 where it has no evidence.
        wanted: Bool[n, k], True at the target; cases without one teach nothing.
        there: Bool[n, k], False at pads.

    Returns:
        A weight per column, the largest 1; all 1 where no case teaches anything, or no column says anything.
    """
    from scipy.optimize import minimize

    names = sorted(values)  # sums of floats depend on the order, weights must not
    taught = np.flatnonzero(wanted.any(axis=1))
    if len(taught) == 0:
        return dict.fromkeys(values, 1.0)
    choices = _choices([values[name] for name in names], wanted, there, taught)
    start = np.ones(len(names))
    found = minimize(_loss, start, args=(choices,), jac=True, bounds=[(0.0, LARGEST)] * len(names), method="L-BFGS-B")
    largest = found.x.max(initial=0.0)
    weights = np.round(found.x / largest, 3) if largest > 0 else start
    weights[weights < NOTHING] = 0.0
    each = dict(zip(names, weights.tolist(), strict=True))
    return {name: each[name] for name in values}


def _choices(columns: list[Float32Array], wanted: BoolArray, there: BoolArray, taught: NDArray[np.int64]) -> _Choices:
    there, wanted = there[taught], wanted[taught]
    values = np.stack([column[taught][there] for column in columns], axis=1)
    counts = there.sum(axis=1)
    starts = np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)[:-1]]).astype(np.int64)
    chosen = np.flatnonzero(wanted[there])
    return _Choices(values, starts, chosen, np.repeat(np.arange(len(taught)), counts))


def _loss(weights: Float64Array, choices: _Choices) -> tuple[float, Float64Array]:
    """The negative log-likelihood with the prior, and its gradient."""
    sums = (choices.values @ weights.astype(np.float32)).astype(np.float64)
    sums -= np.maximum.reduceat(sums, choices.starts)[choices.owner]
    lost = -float(sums[choices.chosen].sum())
    chances = np.exp(sums, out=sums)
    totals = np.add.reduceat(chances, choices.starts)
    lost += float(np.log(totals).sum())
    chances /= totals[choices.owner]
    slope = chances.astype(np.float32) @ choices.values - choices.values[choices.chosen].sum(axis=0)
    away = weights - weights.mean()
    return lost + PRIOR / 2 * float(away @ away), slope.astype(np.float64) + PRIOR * away
