"""What it costs to add, change and remove one item of a large catalog: milliseconds, the encoder's call apart. JSON.

The base is random: unit vectors of 384 numbers, titles of words, a log. The item that is added goes through a real
MiniLM. `besides` is everything but that call: the catalog, the index, all components; `cpu` is its processor time,
which other programs on the machine do not change. `first list` is the first recommendation afterwards, beside `list
before`, so that no cost hides there. Steps follow each other: every one starts from what the last one left.

Run: python scripts/bench/add_item.py [items]
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

import llmrec
from llmrec.fuse import ReciprocalRankFusion, RrfConfig
from llmrec.models import TextEncoder, set_threads
from llmrec.policy import Seen
from llmrec.retrieve import (
    Bm25Config,
    DenseConfig,
    ItemKnnConfig,
    fit_bm25,
    fit_dense,
    fit_item_knn,
    fit_popularity,
)
from llmrec.stage import Stage
from llmrec.types import Float32Array, Item

STEPS, DIM, DEPTH = 30, 384, 200
Recommender = llmrec.Recommender


class RandomEncoder:
    """Stands for MiniLM while the base is made: a hundred thousand texts would take it many minutes."""

    name = "random"

    def encode_items(self, texts: Sequence[str]) -> Float32Array:
        """Float32[n, 384], unit norm."""
        vectors = np.random.default_rng(1).standard_normal((len(texts), DIM)).astype(np.float32)
        return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), dtype=np.float32)

    def count_tokens(self, texts: Sequence[str]) -> np.ndarray:
        """Int32[n]."""
        return np.full(len(texts), 5, dtype=np.int32)

    def count_unknown(self, texts: Sequence[str]) -> np.ndarray:
        """Int32[n]."""
        return np.zeros(len(texts), dtype=np.int32)


class TimedEncoder:
    """MiniLM with a stop watch."""

    def __init__(self, inner: TextEncoder) -> None:
        self.inner, self.spent, self.calls = inner, np.zeros(2), 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def encode_items(self, texts: Sequence[str]) -> Float32Array:
        """As `TextEncoder.encode_items`."""
        start = _now()
        vectors = self.inner.encode_items(texts)
        self.spent, self.calls = self.spent + _now() - start, self.calls + 1
        return vectors


def main(n_items: int = 100_000) -> None:
    """Build the base, take the steps, print."""
    encoder = TimedEncoder(TextEncoder.load("minilm"))
    encoder.encode_items(["warm up: weights are read on the first text"])
    recommender = _base(n_items, encoder)
    queries = recommender.queries(histories=[["i3", "i500", "i77"]])
    recommender.recommend(queries, 10)
    steps: dict[str, Callable[[Recommender, int], Recommender]] = {
        "add": lambda it, n: it.add_items([Item(f"new{n}", {"title": f"brand new thing {n}", "genres": "Drama"})]),
        "change": lambda it, n: it.change_items([Item(f"i{97 * n}", {"title": f"renamed thing {n}"})]),
        "remove": lambda it, n: it.remove_items([f"i{89 * n + 1}"]),
    }
    found: dict[str, object] = {"items": n_items, "threads": set_threads(), "steps": STEPS}
    for name, step in steps.items():
        rows = []
        for n in range(STEPS):
            before = _seconds(lambda it=recommender: it.recommend(queries, 10))
            encoder.spent, encoder.calls = np.zeros(2), 0
            start = _now()
            recommender = step(recommender, n)
            whole = _now() - start
            first = _seconds(lambda it=recommender: it.recommend(queries, 10))
            rows.append((*(whole - encoder.spent), encoder.spent[0], before, first, encoder.calls))
        found[name] = _summary(np.array(rows))
    print(json.dumps(found, indent=2))


def _base(n_items: int, encoder: TimedEncoder) -> Recommender:
    rng = np.random.default_rng(0)
    words = np.array([f"word{n}" for n in range(5000)])
    titles = [" ".join(row) for row in words[rng.zipf(1.3, (n_items, 5)) % len(words)]]
    ids = [f"i{n}" for n in range(n_items)]
    genres = rng.choice(["Drama", "Comedy", "Thriller"], n_items)
    catalog = llmrec.Catalog.from_table({"item_id": ids, "title": titles, "genres": genres.tolist()})
    owners = np.repeat(np.arange(5000), 20)
    log = llmrec.Interactions.from_table(
        {
            "user_id": [f"u{u}" for u in owners],
            "item_id": [f"i{i}" for i in rng.integers(0, n_items, len(owners))],
            "timestamp": np.arange(len(owners)),
        },
        catalog,
    )
    made: Any = RandomEncoder()
    dense = replace(fit_dense(catalog, DenseConfig(), made), encoder=encoder)
    knn = fit_item_knn(log, catalog, ItemKnnConfig())
    popularity = fit_popularity(log, catalog)
    retrievers = [popularity, knn, fit_bm25(catalog, Bm25Config()), dense]
    fusion = ReciprocalRankFusion("fused", RrfConfig(), {r.name: 1.0 for r in retrievers})
    stage = Stage("hybrid", tuple((r, DEPTH) for r in retrievers), (), fusion, DEPTH)
    return Recommender(catalog, (stage,), (Seen(),), popularity, log)


def _now() -> np.ndarray:
    """Float64[2]: seconds on the wall and of the processor."""
    return np.array([time.perf_counter(), time.process_time()])


def _seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def _summary(rows: np.ndarray) -> dict[str, object]:
    names = ("besides_ms", "besides_cpu_ms", "encoder_ms", "list_before_ms", "first_list_ms")
    found: dict[str, object] = {"encoder_calls": int(rows[:, -1].max())}
    for name, seconds in zip(names, rows.T, strict=False):
        times = 1000 * seconds
        found[name] = {"median": round(float(np.median(times)), 2), "worst": round(float(times.max()), 2)}
    return found


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
