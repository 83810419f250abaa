"""Losses over many items at once, with their gradients: full and sampled softmax, and gBCE.

The gradients are written out because autograd keeps several copies of the scores, the largest arrays of a step:
that took half again the time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from llmrec.types import BoolArray, Float32Array, Int64Array

if TYPE_CHECKING:
    import torch

__all__ = ["Columns", "Gradients", "LossKind", "all_columns", "draw_columns", "gbce_power", "score_loss"]

LossKind = Literal["softmax", "sampled", "gbce"]

ROWS = 256
"""States scored at once: few enough that their scores stay in the processor's cache."""

CALIBRATION = 0.75
"""Of gBCE (t in the paper): 0 is plain BCE, 1 corrects fully for the sampling."""


@dataclass(frozen=True, slots=True)
class Columns:
    """The items that a step's states are scored against.

    Attributes:
        items: Int64[c], ascending, distinct; all targets are among them.
        offsets: Float32[c], added to the scores: the correction for how likely an item is to be among them.
        drawn: Bool[c], False for items that are here only as somebody's target.
    """

    items: Int64Array
    offsets: Float32Array
    drawn: BoolArray


@dataclass(frozen=True, slots=True)
class Gradients:
    """A mean loss and its derivatives.

    Attributes:
        loss: the mean over the states.
        states: Float32[n, dim].
        vectors: Float32[c, dim].
        biases: Float32[c].
    """

    loss: float
    states: torch.Tensor
    vectors: torch.Tensor
    biases: torch.Tensor


def all_columns(n_items: int) -> Columns:
    """Score against the whole catalog: no correction is due."""
    every = np.arange(n_items, dtype=np.int64)
    return Columns(every, np.zeros(n_items, np.float32), np.ones(n_items, np.bool_))


def draw_columns(
    targets: Int64Array, shares: NDArray[np.float64], negatives: int, kind: LossKind, rng: np.random.Generator
) -> Columns:
    """Draw items evenly from the catalog, and add the targets of the whole batch.

    For the sampled softmax the batch's targets are negatives for each other. An item is then among the columns with
    probability 1 - (1 - 1/n)^negatives (1 - share)^targets; its logarithm is taken off the scores (logQ: Bengio and
    Senécal, 2008; Yi et al., RecSys 2019), without which popular items would be pushed down. gBCE wants even draws.

    Args:
        targets: Int64[t], items to be foretold.
        shares: Float64[n_items], how likely an item is to be a target; sums to 1.
        negatives: how many to draw.
        kind: "sampled" or "gbce".
        rng: draws.
    """
    n = len(shares)
    drawn = np.zeros(n, dtype=np.bool_)
    drawn[rng.integers(0, n, negatives)] = True
    taken = drawn.copy()
    taken[targets] = True
    items = np.flatnonzero(taken)
    if kind == "gbce":
        return Columns(items, np.zeros(len(items), np.float32), drawn[items])
    missed = negatives * np.log1p(-1 / max(n, 2)) + len(targets) * np.log1p(-np.minimum(shares[items], 1 - 1e-9))
    return Columns(items, (-np.log(-np.expm1(missed))).astype(np.float32), np.ones(len(items), np.bool_))


def gbce_power(n_drawn: int, n_items: int) -> float:
    """The power to which gBCE raises a target's probability (Petrov and Macdonald, RecSys 2023, eq. 9)."""
    return 1 - CALIBRATION * (1 - n_drawn / max(1, n_items - 1))


def score_loss(
    states: torch.Tensor,
    vectors: torch.Tensor,
    biases: torch.Tensor,
    labels: torch.Tensor,
    negatives: torch.Tensor,
    power: float | None,
) -> Gradients:
    """The mean loss of scores `states @ vectors.T + biases`, and its gradients, in blocks of bounded memory.

    Args:
        states: Float[n, dim]; the products are taken in its number format, all else in float32.
        vectors: Float[c, dim], in the same format.
        biases: Float32[c].
        labels: Int64[n], each state's column.
        negatives: Float32[c], 1 where a column is a negative for the states it is no label of, else 0.
        power: of gBCE; None: softmax cross-entropy over all columns.
    """
    import torch

    n, dim = states.shape
    to_states = torch.empty(n, dim, device=states.device)
    to_vectors, to_biases = torch.zeros(vectors.shape, device=states.device), torch.zeros_like(biases)
    total = 0.0
    with torch.no_grad():
        for start in range(0, n, ROWS):
            part, own = states[start : start + ROWS], labels[start : start + ROWS, None]
            scores = (part @ vectors.T).float().add_(biases)
            if power is None:
                total += _softmax(scores, own)
            else:
                total += _gbce(scores, own, negatives, power)
            to_biases += scores.sum(0)
            slopes = scores.to(states.dtype)
            to_states[start : start + ROWS] = slopes @ vectors
            to_vectors += slopes.T @ part
    return Gradients(total / n, to_states / n, to_vectors / n, to_biases / n)


def _softmax(scores: torch.Tensor, own: torch.Tensor) -> float:
    """Sum the cross-entropies of a block, and turn its scores into their derivatives in place."""
    normalizer = scores.logsumexp(1, keepdim=True)
    lost = float((normalizer - scores.gather(1, own)).sum())
    scores.sub_(normalizer).exp_()
    scores.scatter_add_(1, own, scores.new_full(own.shape, -1.0))
    return lost


def _gbce(scores: torch.Tensor, own: torch.Tensor, negatives: torch.Tensor, power: float) -> float:
    """The same for generalised binary cross-entropy."""
    import torch
    from torch.nn import functional

    right = scores.gather(1, own)
    wrong = functional.softplus(scores).mul_(negatives).scatter_(1, own, 0.0)
    lost = float(wrong.sum() - power * functional.logsigmoid(right).sum())
    scores.sigmoid_().mul_(negatives).scatter_(1, own, power * (torch.sigmoid(right) - 1))
    return lost
