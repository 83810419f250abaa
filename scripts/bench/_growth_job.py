"""One measurement of `growth.py`, in a process of its own so that its memory is its own. Prints JSON.

Run: python scripts/bench/_growth_job.py draw|build|serve|users FOLDER SIZE [KIND]
"""

from __future__ import annotations

import json
import re
import resource
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from _growth_data import DECAY, Source, exact_neighbours, history_means, make_catalog, make_histories

from llmrec.data import Catalog, Interactions, Vocab
from llmrec.models import set_threads
from llmrec.retrieve import Popularity, fit_popularity
from llmrec.retrieve.base import recency_matrix
from llmrec.retrieve.index_choice import build_nearest, choose_kind, load_nearest
from llmrec.retrieve.nearest import Nearest
from llmrec.retrieve.stored import StoredVectors
from llmrec.types import Queries, State

K = 100
QUERIES = 256
"""Histories, and as many texts, that are asked for; and other histories that the index measures its recall with."""

LEAST, SECONDS = 64, 30.0
"""At least so many are asked for alone, and no more once so many seconds have passed."""

BLOCK = 50_000
BULK = 20_000
"""Users, at most, that lists are made for."""

KINDS = {"exact": ("exact", "float32"), "hnsw": ("hnsw", "float32"), "ivfpq": ("ivfpq", "float32")}
KINDS |= {"exact-int8": ("exact", "int8"), "compact": ("ivfpq", "int8")}
"""The index and the storage of each kind."""

MIN_RECALL = 0.95


def main() -> None:
    """Do one job and print what was found."""
    print(json.dumps(run(sys.argv[1:])))


def run(arguments: Sequence[str]) -> dict[str, Any]:
    """Do the job that arguments name; what was found, with the most memory this process ever had."""
    job, folder, size = arguments[0], Path(arguments[1]), int(arguments[2])
    place = folder / str(size)
    if job == "draw":
        found = draw(folder, size)
    elif job == "users":
        found = users(folder, size, folder / arguments[3])
    else:
        found = {"build": build, "serve": serve}[job](place, arguments[3])
    return {**found, "peak_mb": round(_peak() / 1e6, 1), "threads": set_threads()}


def draw(folder: Path, n: int) -> dict[str, Any]:
    """Make a catalog, vectors, queries and their true neighbours."""
    source, rng, place = Source.load(folder / "source.npz"), np.random.default_rng(n), folder / str(n)
    place.mkdir(exist_ok=True)
    origins = rng.integers(0, len(source.vectors), n)
    vectors = np.lib.format.open_memmap(
        place / "vectors.npy", mode="w+", dtype=np.float32, shape=(n, source.vectors.shape[1])
    )
    for start in range(0, n, BLOCK):
        vectors[start : start + BLOCK] = source.draw(rng, origins[start : start + BLOCK])
    vectors.flush()
    means = history_means(vectors, *make_histories(source, rng, origins, 2 * QUERIES))
    texts = source.draw(rng, rng.integers(0, len(source.vectors), QUERIES))
    queries = np.concatenate([means[:QUERIES], texts])
    _save(place / "asked", {"queries": queries, "samples": means[QUERIES:], "origins": origins})
    _save(place / "truth", {"rows": exact_neighbours(vectors, queries, K)})
    catalog = make_catalog(source, rng, origins)
    _save(place / "catalog", dict(catalog.state().arrays))
    return {"items": n, "text_bytes": round(catalog.table.column("title").nbytes / n, 1)}


def build(place: Path, kind: str) -> dict[str, Any]:
    """Build an index from vectors, and save what a bundle holds of it."""
    index, storage = KINDS[kind]
    given = np.load(place / "vectors.npy", mmap_mode="r")
    samples = np.load(place / "asked" / "samples.npy")
    said: list[str] = []
    started = time.process_time()
    vectors, pack_s = _timed(lambda: StoredVectors.pack(given, storage))
    nearest, build_s = _timed(lambda: build_nearest(vectors, index, MIN_RECALL, samples, said.append))
    cpu_s = time.process_time() - started
    state = nearest.state()
    _save(place / kind, dict(state.arrays))
    (place / kind / "config.json").write_text(json.dumps(state.config))
    for line in said:
        print(line, file=sys.stderr)
    names, beside = ("kind", "effort", "measured_recall"), state.arrays.keys() & {"index", "index_rows"}
    return {
        "items": len(vectors),
        "build_s": round(pack_s + build_s, 2),
        "build_cpu_s": round(cpu_s, 2),
        "index_bytes": round(sum(state.arrays[name].nbytes for name in beside) / len(vectors), 1),
        "vector_bytes": round(vectors.nbytes / len(vectors), 1),
        "auto": choose_kind("auto", len(vectors), storage),
        **{name: state.config.get(name) for name in names},
    }


def serve(place: Path, kind: str) -> dict[str, Any]:
    """Load a catalog and an index as a server does, ask one query at a time, and see what is resident."""
    queries, truth = np.load(place / "asked" / "queries.npy"), np.load(place / "truth" / "rows.npy")
    _warm_up()
    before = psutil.Process().memory_info().rss
    catalog, catalog_s = _timed(lambda: Catalog.from_state(State({}, _load(place / "catalog"))))
    catalog.items.get(["unknown"])  # which makes the order by hash
    middle = psutil.Process().memory_info().rss
    nearest, index_s = _timed(lambda: load_nearest(_state(place / kind), MIN_RECALL))
    asked = _one_by_one(nearest, queries, catalog)
    after = psutil.Process().memory_info().rss
    batch, batch_s = _timed(lambda: _ask(nearest, queries, catalog))
    if any((batch[row] != items).any() for row, items, _ in asked):
        raise SystemExit(f"{kind}: lists differ alone and in a batch")
    hits = np.array([len(np.intersect1d(a, b)) for a, b in zip(batch, truth, strict=True)]) / truth.shape[1]
    ms = 1000 * np.array([seconds for *_, seconds in asked])
    n = len(catalog)
    return {
        "items": n,
        "load_s": round(catalog_s + index_s, 2),
        "asked": len(asked),
        "p50_ms": round(float(np.median(ms)), 3),
        "p95_ms": round(float(np.quantile(ms, 0.95)), 3),
        "batch_ms": round(1000 * batch_s / len(queries), 3),
        "recall": round(float(hits.mean()), 4),
        "recall_histories": round(float(hits[: len(hits) // 2].mean()), 4),
        "recall_texts": round(float(hits[len(hits) // 2 :].mean()), 4),
        "resident_catalog_bytes": round((middle - before) / n, 1),
        "resident_dense_bytes": round((after - middle) / n, 1),
        "resident_bytes": round((after - before) / n, 1),
    }


def users(folder: Path, n_users: int, place: Path) -> dict[str, Any]:
    """Hold the histories of many users, and make lists by popularity and dense retrieval for some of them."""
    source, rng = Source.load(folder / "source.npz"), np.random.default_rng(n_users)
    catalog = Catalog.from_state(State({}, _load(place / "catalog")))
    nearest = load_nearest(_state(place / "exact"), MIN_RECALL)
    offsets, items = make_histories(source, rng, np.load(place / "asked" / "origins.npy"), n_users)
    start = time.perf_counter()
    ids = Vocab([f"A{number:013d}" for number in rng.permutation(n_users)])
    log = Interactions(len(catalog), ids, offsets, items, times=np.arange(len(items)), weights=None, repeats="keep")
    log.users.rows([log.users[0]])  # which makes the order by hash
    hold_s = time.perf_counter() - start
    popularity = fit_popularity(log, catalog)
    some = np.arange(min(n_users, BULK))
    _lists(nearest, popularity, catalog, log.queries(some[:10]))  # libraries load what they need
    parts = np.array_split(some, max(1, len(some) // 1000))
    _, bulk_s = _timed(lambda: [_lists(nearest, popularity, catalog, log.queries(part)) for part in parts])
    bundle = sum(array.nbytes for array in log.state().arrays.values())
    return {
        "users": n_users,
        "interactions": len(items),
        "hold_s": round(hold_s, 3),
        "bundle_bytes": round(bundle / n_users, 1),
        "users_per_s": round(len(some) / bulk_s, 1),
        "asked": len(some),
    }


def _peak() -> int:
    """Most bytes this process had in memory; getrusage would count those of the process it was forked from."""
    status = Path("/proc/self/status")
    if status.exists():
        return 1024 * int(re.search(r"VmHWM:\s+(\d+) kB", status.read_text())[1])
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _lists(nearest: Nearest, popularity: Popularity, catalog: Catalog, queries: Queries) -> None:
    """Make lists of a hundred as `dense` and `popularity` make them."""
    sums = nearest.vectors.weighted_sums(recency_matrix(queries, DECAY, len(catalog)))
    sums /= np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), 1e-12)
    nearest.search(sums, queries, min(K, len(catalog)), catalog)
    popularity.retrieve(queries, K)


def _one_by_one(nearest: Nearest, queries: np.ndarray, catalog: Catalog) -> list[tuple[int, np.ndarray, float]]:
    """Row, items and seconds of queries asked alone, histories and texts by turns, until the time is over."""
    order = np.arange(len(queries)).reshape(2, -1).T.ravel()
    for row in order[:16]:
        _ask(nearest, queries[row : row + 1], catalog)
    asked, start = [], time.perf_counter()
    for row in order:
        items, seconds = _timed(lambda row=row: _ask(nearest, queries[row : row + 1], catalog))
        asked.append((int(row), items[0], seconds))
        if len(asked) >= LEAST and time.perf_counter() - start > SECONDS:
            break
    return asked


def _ask(nearest: Nearest, vectors: np.ndarray, catalog: Catalog) -> np.ndarray:
    return nearest.search(vectors, Queries.from_lists([[]] * len(vectors)), min(K, len(catalog)), catalog).items


def _warm_up() -> None:
    """Let libraries load what they load at the first search, so that it does not count as the catalog's."""
    vectors = StoredVectors.pack(np.eye(16, dtype=np.float32), "int8")
    catalog = Catalog.from_table({"item_id": [f"i{i}" for i in range(16)]})
    for kind in ("exact", "hnsw"):
        nearest = build_nearest(vectors, kind, 0.5, vectors.floats(), lambda _: None)
        _ask(nearest, vectors.floats(), Catalog.from_state(catalog.state()))


def _save(folder: Path, arrays: dict[str, np.ndarray]) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array)


def _load(folder: Path) -> dict[str, np.ndarray]:
    return {file.stem: np.load(file) for file in folder.glob("*.npy")}


def _state(folder: Path) -> State:
    return State(json.loads((folder / "config.json").read_text()), _load(folder))


def _timed(work: Callable[[], Any]) -> tuple[Any, float]:
    start = time.perf_counter()
    return work(), time.perf_counter() - start


if __name__ == "__main__":
    main()
