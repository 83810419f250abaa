"""How well scores find the one target of each case."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from llmrec.types import BoolArray, Candidates, Int32Array

__all__ = ["CUT", "Float64Array", "is_target", "mean_and_error", "ndcg", "places", "recall"]

Float64Array = NDArray[np.float64]
CUT = 10
"""Lists are judged by their first so many items."""


def is_target(candidates: Candidates, targets: Int32Array) -> BoolArray:
    """Bool[n, k]: True where a candidate is its case's target."""
    found: BoolArray = (candidates.items == targets[:, None]) & (candidates.items >= 0)
    return found


def places(scores: NDArray[np.floating], wanted: BoolArray) -> Float64Array:
    """Return the 1-based place of each row's target, Float64[n]; inf where there is none.

    Args:
        scores: Float[n, k]; -inf does not compete; a tie with the target counts half.
        wanted: Bool[n, k], True at the target.
    """
    own = np.max(scores, axis=1, keepdims=True, initial=-np.inf, where=wanted)
    found = 0.5 + (scores > own).sum(axis=1) + (scores == own).sum(axis=1) / 2
    return np.where(wanted.any(axis=1) & np.isfinite(own[:, 0]), found, np.inf)


def ndcg(found: Float64Array, cut: int = CUT) -> Float64Array:
    """Return the NDCG@cut of one target per case, Float64[n], from its places."""
    return np.where(found <= cut, 1 / np.log2(found + 1), 0.0)


def recall(found: Float64Array, cut: int) -> Float64Array:
    """Return whether each target is among the first `cut`, Float64[n], from its places."""
    return (found <= cut).astype(np.float64)


def mean_and_error(values: Float64Array) -> list[float]:
    """Return the mean and its standard error; an error of 0 where one value cannot tell."""
    error = values.std(ddof=1) / np.sqrt(len(values)) if len(values) > 1 else 0.0
    return [float(values.mean()), float(error)]
