"""Nearest neighbours with FAISS. The only module that imports it.

An index holds vectors at places 0, 1, ...; which item stands at which place is its owner's business. FAISS decides
freely between equal scores, and its scores are only as exact as BLAS or a compressed vector is: owners score again.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from llmrec.models import cpu_threads
from llmrec.types import BoolArray, Float32Array, Int64Array

__all__ = ["MIN_TRAIN_IVFPQ", "ApproximateIndex", "ExactIndex"]

LINKS = 32
"""Links a vector has in an HNSW graph (M); twice as many on its lowest level."""

BUILD_EFFORT = 80
"""Candidates looked at for each new vector of an HNSW graph (efConstruction)."""

CODES = 256
"""Centroids of a product quantizer's part: one byte a part."""

SAMPLES_PER_CENTROID = 39
"""FAISS warns below this many training vectors a centroid."""

ROUNDS = 10
"""Rounds of k-means; more change recall by less than it takes to notice."""

MIN_TRAIN_IVFPQ = CODES * SAMPLES_PER_CENTROID
"""Vectors that IVF-PQ can be trained on at least."""

Places = tuple[Float32Array, Int64Array]


@cache
def _faiss() -> Any:
    with warnings.catch_warnings():
        # SWIG types without __module__, and numpy.core paths, warn while faiss is imported; nothing of ours is wrong.
        warnings.simplefilter("ignore", DeprecationWarning)
        import faiss
    faiss.omp_set_num_threads(cpu_threads())
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

    def search(self, queries: Float32Array, k: int, allowed: BoolArray | None = None) -> Places:
        """Find the k nearest places of each query.

        Args:
            queries: Float32[m, dim].
            k: how many.
            allowed: Bool[n] or None; only places marked True are looked at.

        Returns:
            Float32[m, k] inner products, only as exact as BLAS is, and Int64[m, k] places, nearest first; -1 where
            there are fewer. Which of several equal ones stand at the cut is up to FAISS.
        """
        parameters, bits = None, _selector(allowed)
        if bits is not None:
            parameters = _faiss().SearchParameters(sel=bits[0])
        return _search(self._index, queries, min(k, len(self)), parameters)


@dataclass(frozen=True, slots=True, eq=False)
class ApproximateIndex:
    """Approximate inner-product search over unit vectors, whose effort can be set for each search.

    - "hnsw": a graph of neighbours (Malkov and Yashunin, "Efficient and robust approximate nearest neighbor search
      using HNSW graphs", TPAMI 2020) over vectors of 16-bit floats. Effort: candidates kept while walking (efSearch).
    - "ivfpq": vectors in cells, compressed to one byte for every four dimensions (Jégou et al., "Product
      quantization for nearest neighbor search", TPAMI 2011); an HNSW graph finds the cells. Effort: cells (nprobe).

    A query's result is the same alone and in a batch: neither kind computes with BLAS.

    Attributes:
        kind: which.
        index: the FAISS index; nobody changes it once it is here.
    """

    kind: Literal["hnsw", "ivfpq"]
    index: Any

    @classmethod
    def build(cls, kind: Literal["hnsw", "ivfpq"], vectors: Float32Array) -> Self:
        """Index Float32[n, dim], unit norm; IVF-PQ needs at least `MIN_TRAIN_IVFPQ` of them."""
        vectors = np.ascontiguousarray(vectors, dtype=np.float32)
        index = _hnsw(vectors.shape[1]) if kind == "hnsw" else _ivfpq(*vectors.shape)
        index.train(_even_sample(vectors, SAMPLES_PER_CENTROID * max(CODES, getattr(index, "nlist", 0))))
        index.add(vectors)
        return cls(kind, index)

    @classmethod
    def from_bytes(cls, kind: Literal["hnsw", "ivfpq"], data: NDArray[np.uint8]) -> Self | None:
        """Bring back what `to_bytes` returned; None where this FAISS cannot read it."""
        try:
            return cls(kind, _faiss().deserialize_index(np.ascontiguousarray(data)))
        except RuntimeError:
            return None

    def to_bytes(self) -> NDArray[np.uint8]:
        """Return the index as UInt8[size]."""
        return np.asarray(_faiss().serialize_index(self.index), dtype=np.uint8)

    def __len__(self) -> int:
        return int(self.index.ntotal)

    @property
    def efforts(self) -> tuple[int, ...]:
        """Efforts worth trying, least first."""
        top = 2048 if self.kind == "hnsw" else int(self.index.nlist)
        first = 64 if self.kind == "hnsw" else 8
        steps = [first << step for step in range(16) if first << step < top]
        return (*steps, top)

    def search(self, queries: Float32Array, k: int, effort: int, allowed: BoolArray | None = None) -> Places:
        """Find about the k nearest places of each query; see `ExactIndex.search`.

        Args:
            queries: Float32[m, dim].
            k: how many.
            effort: how hard to look; an HNSW graph is always asked for at least k.
            allowed: Bool[n] or None; only places marked True come back.
        """
        faiss, bits = _faiss(), _selector(allowed)
        selector = {} if bits is None else {"sel": bits[0]}
        k = min(k, len(self))
        if self.kind == "hnsw":
            parameters = faiss.SearchParametersHNSW(efSearch=max(effort, k), **selector)
        else:
            graph = faiss.SearchParametersHNSW(efSearch=2 * effort)
            parameters = faiss.SearchParametersIVF(nprobe=effort, quantizer_params=graph, **selector)
        return _search(self.index, queries, k, parameters)

    def extended(self, vectors: Float32Array) -> Self:
        """Return the same index with Float32[m, dim] more at its end; this one stays as it is."""
        copy = _faiss().clone_index(self.index)
        copy.add(np.ascontiguousarray(vectors, dtype=np.float32))
        return type(self)(self.kind, copy)


def _hnsw(dim: int) -> Any:
    faiss = _faiss()
    half = faiss.ScalarQuantizer.QT_fp16
    index = faiss.IndexHNSWSQ(dim, half, LINKS, faiss.METRIC_INNER_PRODUCT)
    index.hnsw.efConstruction = BUILD_EFFORT
    return index


def _ivfpq(n: int, dim: int) -> Any:
    faiss = _faiss()
    cells = max(1, min(int(4 * np.sqrt(n)), n // SAMPLES_PER_CENTROID))
    parts = next(p for p in range(max(1, dim // 4), 0, -1) if dim % p == 0)
    coarse = faiss.IndexHNSWFlat(dim, LINKS, faiss.METRIC_INNER_PRODUCT)
    index = faiss.IndexIVFPQ(coarse, dim, cells, parts, 8, faiss.METRIC_INNER_PRODUCT)
    index.own_fields = True
    coarse.this.disown()
    index.quantizer_trains_alone = 2  # a graph over the centroids of k-means
    for clustering in (index.cp, index.pq.cp):
        clustering.niter, clustering.max_points_per_centroid = ROUNDS, SAMPLES_PER_CENTROID
    return index


def _even_sample(vectors: Float32Array, limit: int) -> Float32Array:
    """At most about `limit` of the vectors, evenly spaced: training looks at no more."""
    return np.ascontiguousarray(vectors[:: max(1, len(vectors) // limit)])


def _selector(allowed: BoolArray | None) -> tuple[Any, NDArray[np.uint8]] | None:
    """A FAISS selector, and the bits it points into, which must outlive it; None where all are allowed."""
    if allowed is None or allowed.all():
        return None
    bits = np.packbits(allowed, bitorder="little")
    return _faiss().IDSelectorBitmap(bits), bits


def _search(index: Any, queries: Float32Array, k: int, parameters: Any) -> Places:
    if k == 0 or len(queries) == 0:
        return np.empty((len(queries), k), np.float32), np.empty((len(queries), k), np.int64)
    scores, places = index.search(np.ascontiguousarray(queries, dtype=np.float32), k, params=parameters)
    return np.asarray(scores, dtype=np.float32), np.asarray(places, dtype=np.int64)
