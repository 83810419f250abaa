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
from llmrec.retrieve.best import least_of
from llmrec.retrieve.stored import StoredVectors
from llmrec.types import BoolArray, Float32Array, Int64Array

__all__ = ["MIN_TRAIN_IVFPQ", "ApproximateIndex", "ExactIndex", "cluster_centres"]

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

FEW = 19
"""Up to so many queries FAISS reads vectors one by one, without BLAS, and keeps a heap; then all products and a bound
are faster."""

Places = tuple[Float32Array, Int64Array]


@cache
def _faiss() -> Any:
    with warnings.catch_warnings():
        # SWIG types without __module__, and numpy.core paths, warn while faiss is imported; nothing of ours is wrong.
        warnings.simplefilter("ignore", DeprecationWarning)
        import faiss
    faiss.omp_set_num_threads(cpu_threads())
    return faiss


@dataclass(frozen=True, slots=True, eq=False)
class ExactIndex:
    """Exact inner-product search over unit vectors, where they lie: nothing is built, copied or saved.

    Vectors of 32-bit floats are looked at in place, read-only memory maps too; others are unpacked part by part.

    Attributes:
        vectors: all of them.
    """

    vectors: StoredVectors

    def __len__(self) -> int:
        return len(self.vectors)

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
        k = min(k, len(self))
        queries = np.ascontiguousarray(queries, dtype=np.float32)
        best: Places | None = None
        for start, part in self.vectors.parts():
            some = None if allowed is None else allowed[start : start + len(part)]
            scores, places = (_few if len(queries) <= FEW else _flat)(queries, part, min(k, len(part)), some)
            places[places >= 0] += start
            best = (scores, places) if best is None else _merged(best, (scores, places), k)
        return _nothing(len(queries), k) if best is None else best


@dataclass(frozen=True, slots=True, eq=False)
class ApproximateIndex:
    """Approximate inner-product search over unit vectors, whose effort can be set for each search.

    - "hnsw": a graph of neighbours (Malkov and Yashunin, "Efficient and robust approximate nearest neighbor search
      using HNSW graphs", TPAMI 2020) over vectors of 16-bit floats. Effort: candidates kept while walking (efSearch).
    - "ivfpq": vectors in cells, compressed to one byte for every eight dimensions (Jégou et al., "Product
      quantization for nearest neighbor search", TPAMI 2011); an HNSW graph finds the cells. Effort: cells (nprobe).

    A query's result is the same alone and in a batch: neither kind computes with BLAS.

    Attributes:
        kind: which.
        index: the FAISS index; nobody changes it once it is here.
    """

    kind: Literal["hnsw", "ivfpq"]
    index: Any

    @classmethod
    def build(cls, kind: Literal["hnsw", "ivfpq"], vectors: StoredVectors) -> Self:
        """Index unit vectors, unpacked part by part; IVF-PQ needs at least `MIN_TRAIN_IVFPQ` of them."""
        index = _hnsw(vectors.dim) if kind == "hnsw" else _ivfpq(len(vectors), vectors.dim)
        # at most about so many, evenly spaced: training looks at no more
        step = max(1, len(vectors) // (SAMPLES_PER_CENTROID * max(CODES, getattr(index, "nlist", 0))))
        index.train(np.ascontiguousarray(vectors.pick(slice(None, None, step)).floats()))
        for _, part in vectors.parts():
            index.add(np.ascontiguousarray(part))
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
        steps = [effort for step in range(16) for effort in (first << step, 3 * first << step >> 1) if effort < top]
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


def cluster_centres(vectors: Float32Array, count: int, seed: int) -> Float32Array:
    """Find the centres of clusters by k-means, from centres drawn with a seed.

    Args:
        vectors: Float32[n, dim].
        count: clusters, at most n.
        seed: of the draw; the same one gives the same centres on the same machine.

    Returns:
        Float32[count, dim].
    """
    faiss = _faiss()
    settings = {"niter": 2 * ROUNDS, "min_points_per_centroid": 1, "max_points_per_centroid": 4 * SAMPLES_PER_CENTROID}
    found = faiss.Kmeans(vectors.shape[1], count, seed=1 + seed % (2**31 - 2), **settings)
    found.train(np.ascontiguousarray(vectors, dtype=np.float32))
    return np.array(found.centroids, dtype=np.float32)


def _hnsw(dim: int) -> Any:
    faiss = _faiss()
    half = faiss.ScalarQuantizer.QT_fp16
    index = faiss.IndexHNSWSQ(dim, half, LINKS, faiss.METRIC_INNER_PRODUCT)
    index.hnsw.efConstruction = BUILD_EFFORT
    return index


def _ivfpq(n: int, dim: int) -> Any:
    faiss = _faiss()
    cells = max(1, min(int(4 * np.sqrt(n)), n // SAMPLES_PER_CENTROID))
    parts = next(p for p in range(max(1, dim // 8), 0, -1) if dim % p == 0)
    coarse = faiss.IndexHNSWFlat(dim, LINKS, faiss.METRIC_INNER_PRODUCT)
    index = faiss.IndexIVFPQ(coarse, dim, cells, parts, 8, faiss.METRIC_INNER_PRODUCT)
    index.own_fields = True
    coarse.this.disown()
    index.quantizer_trains_alone = 2  # a graph over the centroids of k-means
    for clustering in (index.cp, index.pq.cp):
        clustering.niter, clustering.max_points_per_centroid = ROUNDS, SAMPLES_PER_CENTROID
    return index


def _flat(queries: Float32Array, vectors: Float32Array, k: int, allowed: BoolArray | None) -> Places:
    """Search Float32[n, dim] as ``IndexFlatIP`` does, bit for bit, without the copy that it would hold."""
    found = _nothing(len(queries), k)
    if k and len(queries):
        faiss, bits = _faiss(), _selector(allowed)
        vectors = np.ascontiguousarray(vectors)
        asked, given, scores, places = (faiss.swig_ptr(array) for array in (queries, vectors, *found))
        selector = None if bits is None else bits[0]
        faiss.knn_inner_product(asked, given, vectors.shape[1], len(queries), len(vectors), k, scores, places, selector)
    return found


def _few(queries: Float32Array, vectors: Float32Array, k: int, allowed: BoolArray | None) -> Places:
    """Search Float32[n, dim] for a few queries: what `_flat` finds, but for the rounding of scores."""
    found = _nothing(len(queries), k)
    if k == 0:
        return found
    faiss, vectors = _faiss(), np.ascontiguousarray(vectors)
    scores = np.empty(len(vectors), dtype=np.float32)
    read = [faiss.swig_ptr(array) for array in (scores, vectors)]
    for query, best, places in zip(queries, *found, strict=True):
        # not by BLAS: its threads go on spinning for a while, and a model that runs next would have to share the cores
        faiss.fvec_inner_products_ny(read[0], faiss.swig_ptr(query), read[1], vectors.shape[1], len(vectors))
        if allowed is not None:
            scores[~allowed] = -np.inf
        near = np.flatnonzero(scores >= least_of(scores[None], k)[0])
        order = near[np.argsort(-scores[near])[:k]]
        best[:], places[:] = scores[order], np.where(np.isneginf(scores[order]), -1, order)
    return found


def _nothing(m: int, k: int) -> Places:
    return np.full((m, k), -np.inf, dtype=np.float32), np.full((m, k), -1, dtype=np.int64)


def _merged(first: Places, second: Places, k: int) -> Places:
    """The k best of two lists, best first."""
    scores = np.concatenate([first[0], second[0]], axis=1)
    places = np.concatenate([first[1], second[1]], axis=1)
    order = np.argsort(np.where(places >= 0, -scores, np.inf), axis=1, kind="stable")[:, :k]
    return np.take_along_axis(scores, order, axis=1), np.take_along_axis(places, order, axis=1)


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
