"""Which item came how soon after which: sums over ordered pairs within histories, one gap at a time."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from llmrec.data import Interactions
from llmrec.data.splits import ages
from llmrec.types import Int64Array

__all__ = ["past_gram", "past_to_next", "sum_pairs"]

Weigh = Callable[[int, Int64Array], NDArray[np.float64]]


def sum_pairs(interactions: Interactions, gaps: range, weigh: Weigh) -> sp.csr_matrix:
    """Sum weights of ordered pairs within histories.

    Args:
        interactions: what users did, oldest first.
        gaps: how far apart the two may be; 1: the second is right after the first.
        weigh: given a gap and Int64[p], how many interactions of the user came after the *second* of each pair, gives
            Float64[p]; the weights of both interactions, where the log has any, are multiplied to it.

    Returns:
        Float64 CSR [n_items, n_items]; row: the first item, column: the second. Memory goes with its entries and the
        length of the log.
    """
    n, items, after = interactions.catalog_size, interactions.items, ages(interactions)
    weights = None if interactions.weights is None else interactions.weights.astype(np.float64)
    total = sp.csr_matrix((n, n), dtype=np.float64)
    for gap in gaps:
        first = np.flatnonzero(after >= gap)
        if len(first) == 0:
            break
        second = first + gap
        values = weigh(gap, after[second])
        if weights is not None:
            values = values * weights[first] * weights[second]
        total = total + sp.csr_matrix((values, (items[first], items[second])), shape=(n, n))
    return sp.csr_matrix(total)


def past_gram(interactions: Interactions, decay: float, window: int) -> sp.csr_matrix:
    """Sum the outer products of the pasts that histories went through: Float64 CSR [n_items, n_items], symmetric.

    A history of length h has a past before each interaction but the first. In it, one that lies s interactions before
    the last of the past weighs decay ** s, or nothing from s = window on. Computed in closed form: two interactions a
    gap apart are together in all pasts from the second on, in each with decay ** (gap + 2 s).
    """
    squared = decay * decay

    def together(gap: int, after: Int64Array) -> NDArray[np.float64]:
        return decay**gap * _geometric(squared, np.minimum(after, window - gap))

    upper = sum_pairs(interactions, range(1, window), together)
    own = _geometric(squared, np.minimum(ages(interactions), window))
    if interactions.weights is not None:
        own = own * interactions.weights.astype(np.float64) ** 2
    diagonal = np.bincount(interactions.items, weights=own, minlength=interactions.catalog_size)
    return sp.csr_matrix(upper + upper.T + sp.diags(diagonal))


def past_to_next(interactions: Interactions, past_decay: float, next_decay: float, window: int) -> sp.csr_matrix:
    """Sum the outer products of each past and what came next: Float64 CSR [n_items, n_items], rows: the past.

    Pasts are those of `past_gram`; of what comes next, the interaction after s others weighs next_decay ** s, or
    nothing from s = window on.
    """

    def follows(gap: int, after: Int64Array) -> NDArray[np.float64]:
        steps = np.arange(max(0, gap - window), min(gap, window), dtype=np.float64)  # how long the past had ended
        return np.full(len(after), float((past_decay**steps * next_decay ** (gap - 1 - steps)).sum()))

    return sum_pairs(interactions, range(1, 2 * window), follows)


def _geometric(ratio: float, terms: Int64Array) -> NDArray[np.float64]:
    """1 + ratio + ratio ** 2 + ..., of each number of terms."""
    counts = np.maximum(terms, 0).astype(np.float64)
    return counts if ratio == 1 else (1 - ratio**counts) / (1 - ratio)
