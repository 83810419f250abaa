"""Ridge regressions between all items at once: the memory they take, and their solution in place."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from llmrec.data import Interactions
from llmrec.errors import ConfigError, DataError
from llmrec.retrieve.memory import available_memory
from llmrec.types import BoolArray, Float32Array

__all__ = ["add_shared_users", "check_size", "known_items", "symmetric_inverse"]

BLOCK = 2048
"""Rows filled or mirrored at once: what is beside the two matrices stays small."""


def check_size(component: str, n: int, max_items: int) -> None:
    """Refuse a catalog that is too large: a matrix in float64 and one in float32 stand side by side.

    Args:
        component: the registered name, for the message.
        n: items of the catalog.
        max_items: the most that the settings allow.

    Raises:
        ConfigError: the catalog is larger than `max_items`, or its matrices than the memory that is free.
    """
    needed, free = 12 * n * n, available_memory()
    if n > max_items:
        raise ConfigError(
            f"{component} over {n:,} items needs about {needed / 2**30:.0f} GiB; max_items is {max_items:,}. "
            f"Raise {component}.max_items, use item_knn, transition or als in its place, which grow with the log "
            f"only, or remove {component} from the stage's retrievers"
        )
    if free is not None and needed > free:
        raise ConfigError(
            f"{component} over {n:,} items needs about {needed / 2**30:.1f} GiB and {free / 2**30:.1f} GiB are free. "
            f"Free memory, use item_knn, transition or als in its place, which grow with the log only, or remove "
            f"{component} from the stage's retrievers"
        )


def known_items(interactions: Interactions) -> BoolArray:
    """Bool[n_items]: True for items with an interaction that counts."""
    weights = None if interactions.weights is None else np.abs(interactions.weights)
    return np.asarray(np.bincount(interactions.items, weights, minlength=interactions.catalog_size) > 0)


def add_shared_users(gram: NDArray[np.float64], interactions: Interactions, share: float = 1.0) -> None:
    """Add to Float64[n, n] how often two items share a user, times `share`.

    Filled by blocks: the sparse product may be larger than the matrix.
    """
    matrix = interactions.matrix().astype(np.float64)
    by_item = matrix.T.tocsr() * share
    for start in range(0, len(gram), BLOCK):
        gram[start : start + BLOCK] += (by_item[start : start + BLOCK] @ matrix).toarray()


def symmetric_inverse(gram: NDArray[np.float64], component: str) -> Float32Array:
    """Invert a symmetric positive definite matrix in its own memory, which is lost; the result is float32.

    Raises:
        DataError: it is not positive definite; the message says to raise `component`.l2.
    """
    from scipy.linalg import lapack

    factor, failed = lapack.dpotrf(gram.T, lower=1, overwrite_a=1, clean=0)
    if not failed:
        factor, failed = lapack.dpotri(factor, lower=1, overwrite_c=1)
    if failed:
        raise DataError(f"the item-item matrix cannot be inverted; raise {component}.l2")
    inverse = np.empty(gram.shape, dtype=np.float32)
    for start in range(0, len(gram), BLOCK):  # LAPACK fills the lower triangle only
        stop = min(start + BLOCK, len(gram))
        corner = np.tril(factor[start:stop, start:stop])
        inverse[start:stop, start:stop] = corner + np.tril(corner, -1).T
        inverse[stop:, start:stop] = factor[stop:, start:stop]
        inverse[start:stop, stop:] = factor[stop:, start:stop].T
    return inverse
