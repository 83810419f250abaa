"""The fusion protocol, and the rank of each candidate within a score column."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from llmrec.component import Saves
from llmrec.types import Candidates, Float32Array, Int32Array, Queries

__all__ = ["Fusion", "column_ranks"]


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
    order = np.argsort(-column, axis=1, kind="stable")  # NaN sorts last
    ordered = np.take_along_axis(column, order, axis=1)
    places = np.broadcast_to(np.arange(1, column.shape[1] + 1, dtype=np.int32), column.shape).copy()
    places[:, 1:][ordered[:, 1:] == ordered[:, :-1]] = 0
    places = np.maximum.accumulate(places, axis=1)
    places[np.isnan(ordered)] = 0
    ranks = np.empty(column.shape, dtype=np.int32)
    np.put_along_axis(ranks, order, places, axis=1)
    return ranks
