"""Lists of the best items, when the weights of a few items changed: most can be cut again from what they hold."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from llmrec.retrieve.best import descending_bits, rank_ties
from llmrec.retrieve.item_item import keep_highest
from llmrec.types import BoolArray, Int64Array

__all__ = ["recut"]


def recut(
    lists: sp.csr_matrix,
    moved: Int64Array,
    entries: sp.csr_matrix,
    count: int,
    tie_order: NDArray[np.uint64],
) -> tuple[sp.csr_matrix, BoolArray]:
    """Cut lists again in which only the weights of some items changed.

    What a full list left out was no better than its last item. So it can be cut from what it holds and the items that
    changed, if as many of these as there is room for are still no worse than that last item was.

    Args:
        lists: Float32 CSR [r, n], the old lists as `keep_highest` cut them to `count`.
        moved: Int64[t], columns whose weights changed in any of the lists.
        entries: Float32 CSR [r, n], their weights now; other columns are empty.
        count: the most that a list holds.
        tie_order: UInt64[n].

    Returns:
        The new lists, Float32 CSR [r, n], and Bool[r], True where one must be cut from all weights instead.
    """
    ranks = rank_ties(tie_order)
    lengths = np.diff(lists.indptr)
    full = lengths >= count
    last = np.zeros(len(lengths), dtype=np.uint64)
    last[lengths > 0] = np.maximum.reduceat(_keys(lists, ranks), lists.indptr[:-1][lengths > 0]) if lists.nnz else 0
    is_moved = np.zeros(lists.shape[1], dtype=np.bool_)
    is_moved[moved] = True
    stay = ~is_moved[lists.indices]
    offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(stay)])[lists.indptr]
    rest = sp.csr_matrix((lists.data[stay], lists.indices[stay], offsets), shape=lists.shape)
    merged = sp.csr_matrix(rest + entries)  # no column is in both
    own = np.repeat(np.arange(len(lengths)), np.diff(merged.indptr))
    as_good = np.bincount(own[_keys(merged, ranks) <= last[own]], minlength=len(lengths))
    return keep_highest(merged, count, tie_order), full & (as_good < count)


def _keys(lists: sp.csr_matrix, ranks: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """UInt64[nnz]: the lower, the better, as `keep_highest` has it."""
    keys: NDArray[np.uint64] = (descending_bits(lists.data) << np.uint64(32)) | ranks[lists.indices]
    return keys
