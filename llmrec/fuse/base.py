"""The fusion protocol, and the rank of each candidate within a score column."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from llmrec.component import Saves
from llmrec.retrieve.best import descending_bits
from llmrec.types import Candidates, Float32Array, Int32Array, Queries

__all__ = ["Fusion", "column_ranks"]

NOTHING = np.uint64(0xFFFFFFFF)
"""Stands behind the bits of every score."""


class Fusion(Saves, Protocol):
    """Turns several score columns into one."""

    def fuse(self, queries: Queries, candidates: Candidates) -> Float32Array:
        """Return Float32[n, k], finite at every candidate, whatever evidence is missing."""

    def ignores(self, queries: Queries, candidates: Candidates) -> frozenset[str]:
        """Name columns that cannot change the result, given those already there: scoring them may be spared."""


def column_ranks(column: Float32Array) -> Int32Array:
    """Rank candidates within their row by one column.

    Args:
        column: Float32[n, k]; NaN means no evidence.

    Returns:
        Int32[n, k], 1 = highest; equal scores share the better rank; 0 = no evidence.
    """
    n, k = column.shape
    bits = np.where(np.isnan(column), NOTHING, descending_bits(column))
    keys = np.sort((bits << np.uint64(32)) | np.arange(k, dtype=np.uint64), axis=1)  # much faster than argsort
    bits = keys >> np.uint64(32)
    places = np.broadcast_to(np.arange(1, k + 1, dtype=np.int32), (n, k)).copy()
    places[:, 1:][bits[:, 1:] == bits[:, :-1]] = 0
    places = np.maximum.accumulate(places, axis=1)
    places[bits == NOTHING] = 0
    ranks = np.empty((n, k), dtype=np.int32)
    ranks.ravel()[(keys & NOTHING).astype(np.int64) + np.arange(n)[:, None] * k] = places
    return ranks
