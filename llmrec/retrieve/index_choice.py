"""Which index item vectors get, how hard it must look, and what it then finds of the true nearest."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Literal

import numpy as np

from llmrec.retrieve.base import blocks
from llmrec.retrieve.faiss_index import MIN_TRAIN_IVFPQ, ApproximateIndex, ExactIndex
from llmrec.retrieve.nearest import RECALL_AT, ROUNDING, SPARE, Nearest, fetched, fingerprint, places_of
from llmrec.retrieve.stored import Storage, StoredVectors
from llmrec.retrieve.vectors import Vectors
from llmrec.types import Float32Array, State

__all__ = ["IndexKind", "build_nearest", "choose_kind", "load_nearest", "sample_vectors"]

IndexKind = Literal["auto", "exact", "hnsw", "ivfpq"]

APPROXIMATE_FROM = 200_000
"""Items from which "auto" takes an approximate index; a graph first.

By scripts/bench/growth.py, one core, 100,000 vectors of 384 numbers: exact search takes 11 ms for a query alone, twice
that here, and needs no building; a graph takes 1.4 ms, and half a minute to build, each time dense is fitted.
"""

IVFPQ_FROM = 500_000
"""Items from which "auto" takes compressed vectors: a fifteenth of the memory of a graph, which takes long to build.

Where vectors are stored in fewer bytes it takes them in the place of a graph, which would hold two bytes a number.
"""


def build_nearest(
    vectors: StoredVectors,
    kind: IndexKind,
    min_recall: float,
    samples: Float32Array,
    progress: Callable[[str], None],
) -> Nearest:
    """Index item vectors, and measure what the index finds.

    "auto" is exact search up to 200,000 items, a graph up to 500,000 if vectors are stored in 32-bit floats, compressed
    vectors else (scripts/bench/growth.py has the figures). The effort of an approximate index is raised until it
    finds `min_recall` of the 100 nearest; where no effort does, search is exact.

    Args:
        vectors: n of them, as they are to be stored.
        kind: what was asked for.
        min_recall: the least share of the true nearest that must be found.
        samples: Float32[s, dim], unit norm: query vectors to measure with.
        progress: told what is going on.
    """
    chosen = choose_kind(kind, len(vectors), vectors.storage)
    if chosen == "ivfpq" and len(vectors) < MIN_TRAIN_IVFPQ:
        progress(f"IVF-PQ needs {MIN_TRAIN_IVFPQ:,} items to be trained, there are {len(vectors):,}: searching exactly")
        chosen = "exact"
    report: dict[str, Any] = {"asked": kind, "items": len(vectors), "recall_at": min(RECALL_AT, len(vectors))}
    if chosen != "exact":
        progress(f"building the {chosen} index over {len(vectors):,} items")
        index = ApproximateIndex.build(chosen, vectors)
        effort, recall = _least_effort(index, vectors, samples, min_recall)
        report |= {"queries": len(samples), "measured_recall": recall}
        if recall >= min_recall:
            progress(f"the {chosen} index finds {recall:.1%} of the nearest {report['recall_at']} with effort {effort}")
            report |= {"kind": chosen, "recall": recall, "effort": effort}
            return Nearest(Vectors.of(vectors), index, **places_of(np.arange(len(vectors))), report=report)
        progress(f"the {chosen} index finds {recall:.1%} at most, min_recall is {min_recall:.1%}: searching exactly")
    report |= {"kind": "exact", "recall": 1.0}
    return _exactly(vectors, report)


def load_nearest(state: State, min_recall: float) -> Nearest:
    """Bring back what `Nearest.state` returned; an index that does not fit the vectors is built again."""
    report, vectors = dict(state.config), StoredVectors.from_arrays(state.arrays)
    known = report.pop("vectors", None)
    if report["kind"] == "exact":
        return _exactly(vectors, report)
    index = None
    if known == fingerprint(vectors) and "index" in state.arrays:
        index = ApproximateIndex.from_bytes(report["kind"], state.arrays["index"])
    rows = state.arrays.get("index_rows")
    if index is None or rows is None or len(rows) != len(index):
        built = build_nearest(vectors, report["kind"], min_recall, sample_vectors(vectors), lambda _: None)
        return replace(built, report={**built.report, "asked": report.get("asked", built.report["asked"])})
    return Nearest(Vectors.of(vectors), index, **places_of(rows), report=report)


def sample_vectors(vectors: StoredVectors, count: int = 256) -> Float32Array:
    """At most about `count` of the vectors, evenly spaced: Float32[count, dim]."""
    step = max(1, len(vectors) // count)
    return np.ascontiguousarray(vectors.pick(slice(0, step * count, step)).floats())


def _exactly(vectors: StoredVectors, report: Mapping[str, Any]) -> Nearest:
    return Nearest(Vectors.of(vectors), ExactIndex(vectors), **places_of(np.arange(len(vectors))), report=report)


def choose_kind(kind: IndexKind, n: int, storage: Storage = "float32") -> Literal["exact", "hnsw", "ivfpq"]:
    """The kind of index for n items: what was asked for, or by size and by how vectors are stored."""
    if kind != "auto":
        return kind
    if n < APPROXIMATE_FROM:
        return "exact"
    return "hnsw" if n < IVFPQ_FROM and storage == "float32" else "ivfpq"


def _least_effort(
    index: ApproximateIndex, vectors: StoredVectors, samples: Float32Array, min_recall: float
) -> tuple[int, float]:
    """The least effort that reaches a recall, and the recall; else the greatest effort."""
    k = min(RECALL_AT, len(vectors))
    needed = _kth_best(vectors, samples, k) - ROUNDING
    found = Vectors.of(vectors)
    for effort in index.efforts:
        _, places = index.search(samples, fetched(index, k + SPARE), effort)
        scores = np.nan_to_num(found.cosines(samples, places.astype(np.int32)), nan=-np.inf)
        hits = np.minimum((scores >= needed[:, None]).sum(axis=1), k)
        recall = float(hits.mean() / k) if len(samples) else 0.0
        if recall >= min_recall:
            break
    return effort, recall


def _kth_best(vectors: StoredVectors, samples: Float32Array, k: int) -> Float32Array:
    """Float32[s]: the k-th highest cosine of each sample over all vectors, in bounded memory."""
    best = np.full((len(samples), k), -np.inf, dtype=np.float32)
    for rows in blocks(len(vectors), len(samples)):
        part = vectors.pick(slice(int(rows[0]), int(rows[-1]) + 1)).floats()
        seen = np.concatenate([best, samples @ part.T], axis=1)
        best = np.partition(seen, seen.shape[1] - k, axis=1)[:, -k:]
    return np.asarray(best.min(axis=1, initial=np.inf), dtype=np.float32)
