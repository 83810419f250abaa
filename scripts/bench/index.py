"""Exact search, HNSW and IVF-PQ beside plain FAISS: build time, size, recall and latency by catalog size. Prints JSON.

Vectors are random, of length one, 384 numbers each, in n / 100 clusters; queries are weighted means of two of them, as
the mean of a history is. Every kind is searched as `dense` searches it: candidates from the index, scored again from
the vectors, ties by hash. "plain" is `faiss.IndexFlatIP`, in the same run. With `--million` also a million vectors
(half an hour, 8 GB).
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable

import faiss
import numpy as np
import pyarrow as pa

from llmrec.data import Catalog
from llmrec.models import set_threads
from llmrec.retrieve.index_choice import build_nearest
from llmrec.retrieve.nearest import Nearest
from llmrec.types import Queries

DIM, QUERIES, K = 384, 256, 100
KINDS = ("exact", "hnsw", "ivfpq")


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--million", action="store_true", help="also a million vectors")
    sizes = (10_000, 100_000, *((1_000_000,) if parser.parse_args().million else ()))
    faiss.omp_set_num_threads(set_threads())
    found = {f"{n:,}": _compare(n) for n in sizes}
    print(json.dumps({"threads": set_threads(), "dim": DIM, "queries": QUERIES, "k": K, "sizes": found}, indent=2))


def _compare(n: int) -> dict[str, dict[str, object]]:
    rng = np.random.default_rng(0)
    vectors = _vectors(rng, n)
    queries, samples = (_means(rng, vectors) for _ in range(2))
    catalog = Catalog.from_table(pa.table({"item_id": pa.array([f"i{i}" for i in range(n)])}))
    plain, seconds = _timed(lambda: _plain(vectors))
    truth = plain.search(queries, K)[1]
    found: dict[str, dict[str, object]] = {
        "plain": {"build_s": round(seconds, 2), **_latency(lambda q: plain.search(q, K)[1], queries, truth)}
    }
    for kind in KINDS:
        _say(f"{n:,}: {kind}")
        nearest, seconds = _timed(lambda kind=kind: build_nearest(vectors, kind, 0.95, samples, _say))
        found[kind] = {
            "build_and_measure_s": round(seconds, 2),
            "size_mb": round(_size(nearest) / 1e6, 1),
            **{name: nearest.report.get(name) for name in ("kind", "effort", "measured_recall")},
            **_latency(lambda q, nearest=nearest: _search(nearest, q, catalog), queries, truth),
        }
    return found


def _vectors(rng: np.random.Generator, n: int) -> np.ndarray:
    centres = rng.standard_normal((max(50, n // 100), DIM), dtype=np.float32)
    vectors = centres[rng.integers(0, len(centres), n)]
    vectors += 0.8 * rng.standard_normal((n, DIM), dtype=np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors


def _means(rng: np.random.Generator, vectors: np.ndarray) -> np.ndarray:
    first, second = rng.integers(0, len(vectors), (2, QUERIES))
    means = 0.8 * vectors[first] + vectors[second]
    return (means / np.linalg.norm(means, axis=1, keepdims=True)).astype(np.float32)


def _plain(vectors: np.ndarray) -> faiss.IndexFlatIP:
    index = faiss.IndexFlatIP(DIM)
    index.add(vectors)
    return index


def _search(nearest: Nearest, queries: np.ndarray, catalog: Catalog) -> np.ndarray:
    return nearest.search(queries, Queries.from_lists([[]] * len(queries)), K, catalog).items


def _size(nearest: Nearest) -> int:
    """Bytes of the index beside the vectors; exact search holds a copy of them."""
    arrays = nearest.state().arrays
    return arrays["index"].nbytes if "index" in arrays else arrays["vectors"].nbytes


def _latency(search: Callable[[np.ndarray], np.ndarray], queries: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    search(queries[:1])
    items, batch = _timed(lambda: search(queries))
    single = [_timed(lambda row=row: search(queries[row : row + 1]))[1] for row in range(64)]
    hits = [len(set(a) & set(b)) for a, b in zip(items.tolist(), truth.tolist(), strict=True)]
    return {
        "recall@100": round(float(np.mean(hits)) / K, 4),
        "batch_ms_per_query": round(1000 * batch / len(queries), 3),
        "single_ms_median": round(1000 * float(np.median(single)), 3),
    }


def _timed(work: Callable[[], object]) -> tuple[object, float]:
    start = time.perf_counter()
    return work(), time.perf_counter() - start


def _say(message: str) -> None:
    print(message, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
