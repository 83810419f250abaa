"""Nearest neighbours with FAISS. The only module that imports it."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from llmrec.types import BoolArray, Float32Array, Int64Array

__all__ = ["ExactIndex"]


def _faiss() -> Any:
    with warnings.catch_warnings():
        # SWIG types without __module__, and numpy.core paths, warn while faiss is imported; nothing of ours is wrong.
        warnings.simplefilter("ignore", DeprecationWarning)
        import faiss
    return faiss


class ExactIndex:
    """Exact inner-product search over unit vectors (``IndexFlatIP``).

    The vectors stay the truth: the index is rebuilt from them in a moment and never saved.

    Args:
        vectors: Float32[n, dim], unit norm.
    """

    def __init__(self, vectors: Float32Array) -> None:
        self._index = _faiss().IndexFlatIP(vectors.shape[1])
        self._index.add(np.ascontiguousarray(vectors, dtype=np.float32))

    def __len__(self) -> int:
        return int(self._index.ntotal)

    def search(
        self, queries: Float32Array, k: int, allowed: BoolArray | None = None
    ) -> tuple[Float32Array, Int64Array]:
        """Find the k nearest rows of each query.

        Args:
            queries: Float32[m, dim].
            k: how many.
            allowed: Bool[n] or None; only rows marked True are looked at.

        Returns:
            Float32[m, k] inner products, only as exact as BLAS is, and Int64[m, k] rows, nearest first; -1 where
            there are fewer. Which of several equal rows stand at the cut is up to FAISS.
        """
        faiss = _faiss()
        k = min(k, len(self))
        if k == 0 or len(queries) == 0:
            return np.empty((len(queries), k), np.float32), np.empty((len(queries), k), np.int64)
        parameters = None
        if allowed is not None and not allowed.all():
            bits = np.packbits(allowed, bitorder="little")
            parameters = faiss.SearchParameters(sel=faiss.IDSelectorBitmap(bits))
        scores, rows = self._index.search(np.ascontiguousarray(queries, dtype=np.float32), k, params=parameters)
        return np.asarray(scores, dtype=np.float32), np.asarray(rows, dtype=np.int64)
