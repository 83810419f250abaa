"""What the engine of the service makes of a bundle under load. Prints JSON.

- `batching`: requests a second of search and of recommend, batched against one at a time, at an equal p95: clients
  that ask again as soon as they are answered, more and more of them, as long as 95 % of the answers come within
  `--p95` times what 95 % of one-at-a-time answers to a single client take.
- `overload`: ten times as many requests as can be answered, for `--seconds`: p99 of what was accepted over p99 of what
  finds nobody before it, how many were refused, how soon a refusal comes.
- `loop_lag_ms`: how late the event loop was meanwhile, for whatever else it has to do (health checks): p99 and most.

Run: python scripts/bench/engine_load.py BUNDLE [--seconds 20] [--p95 3] [--only-overload] [--seed 0]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from llmrec.serve.asked import Asked
from llmrec.serve.config import EngineConfig, ServeConfig
from llmrec.serve.engine import Engine
from llmrec.serve.live import Models
from llmrec.serve.problems import TooLate, TooMany
from llmrec.serve.store import open_store

CLIENTS = (1, 2, 4, 8, 16, 32, 64)
WORDS = ("quiet", "war", "love", "space", "comedy", "puzzle", "children", "city", "racing", "old", "dark", "story")

Make = Callable[[random.Random], Asked]


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--p95", type=float, default=3.0)
    parser.add_argument("--only-overload", action="store_true")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        store = open_store(f"sqlite:///{folder}/store.sqlite")
        models = Models(store, ServeConfig(bundles={"default": asked.bundle}))
        models.start()
        bench = _Bench(models, store, asked.seconds, asked.p95, asked.seed)
        found = asyncio.run(bench.whole(batching=not asked.only_overload))
        store.close()
    print(json.dumps({"bundle": asked.bundle.name, "cores": os.cpu_count(), **found}, indent=2))


class _Bench:
    """One bundle, measured."""

    def __init__(self, models: Models, store: Any, seconds: float, p95: float, seed: int) -> None:
        self.models, self.store, self.seconds, self.p95, self.seed = models, store, seconds, p95, seed
        recommender = models.snapshot().recommender
        log = recommender.histories
        self.users = [] if log is None else log.users.decode(np.arange(min(log.n_users, 2000)))
        self.items = recommender.catalog.items.decode(np.arange(min(len(recommender.catalog), 2000)))

    def recommend(self, lot: random.Random) -> Asked:
        """A known user, or a history made up."""
        if self.users:
            return Asked(user_id=lot.choice(self.users))
        return Asked(history=tuple(lot.sample(self.items, min(10, len(self.items)))))

    def search(self, lot: random.Random) -> Asked:
        """A few words."""
        return Asked(kind="search", text=" ".join(lot.sample(WORDS, lot.randint(2, 5))))

    async def whole(self, *, batching: bool) -> dict[str, Any]:
        """Everything, or the overload alone."""
        found: dict[str, Any] = {}
        if batching:
            found["batching"] = {
                "search": await self.batching(self.search),
                "recommend": await self.batching(self.recommend),
            }
        found["overload"] = await self.overload(self.recommend)
        return found

    async def batching(self, make: Make) -> dict[str, Any]:
        """The most requests a second within the p95 allowed, one at a time and batched."""
        limit, best = 0.0, {}
        for batch in (1, 32):
            rates: list[tuple[float, float, int]] = []
            async with _Running(self, batch=batch, queue=4096) as engine:
                await self.closed(engine, make, 1, 1.0)
                for clients in CLIENTS:
                    rate, latencies = await self.closed(engine, make, clients, 3.0)
                    p95 = float(np.quantile(latencies, 0.95))
                    limit = limit or self.p95 * p95  # of the first: one client, one at a time
                    rates.append((rate, 1000 * p95, clients))
            within = [one for one in rates if one[1] <= 1000 * limit]
            rate, p95, clients = max(within or rates[:1])
            best["one at a time" if batch == 1 else "batched"] = {
                "per_second": round(rate, 1),
                "p95_ms": round(p95, 1),
                "clients": clients,
            }
        gain = best["batched"]["per_second"] / best["one at a time"]["per_second"]
        return {**best, "limit_ms": round(1000 * limit, 1), "gain": round(gain, 2)}

    async def closed(self, engine: Engine, make: Make, clients: int, seconds: float) -> tuple[float, list[float]]:
        """Requests a second, and what each took, of clients that ask again at once."""
        latencies: list[float] = []
        until = time.monotonic() + seconds

        async def client(number: int) -> None:
            lot = random.Random(self.seed + number)
            while (began := time.monotonic()) < until:
                try:
                    await engine.ask(make(lot))
                except TooMany as refused:
                    await asyncio.sleep(refused.retry_after or 0.1)
                    continue
                latencies.append(time.monotonic() - began)

        began = time.monotonic()
        await asyncio.gather(*(client(number) for number in range(clients)))
        return len(latencies) / (time.monotonic() - began), latencies

    async def overload(self, make: Make) -> dict[str, Any]:
        """Ten times what can be done, whoever is answered or not."""
        async with _Running(self) as engine:
            _, alone = await self.closed(engine, make, 1, 5.0)
            capacity, _ = await self.closed(engine, make, 8, 5.0)
            await asyncio.sleep(2.0)
            took: dict[str, list[float]] = {"answered": [], "refused": [], "late": []}
            parts: dict[str, list[float]] = {}
            lot, tasks = random.Random(self.seed), set()

            async def one(asked: Asked) -> None:
                began, outcome = time.monotonic(), "answered"
                try:
                    answer = await engine.ask(asked)
                    for name, seconds in answer.timings.items():
                        parts.setdefault(name, []).append(seconds)
                except TooMany:
                    outcome = "refused"
                except TooLate:
                    outcome = "late"
                took[outcome].append(time.monotonic() - began)

            with _lag() as lags:
                began = time.monotonic()
                sent = 0
                while (now := time.monotonic() - began) < self.seconds:
                    while sent < 10 * capacity * now:
                        task = asyncio.create_task(one(make(lot)))
                        tasks.add(task)
                        task.add_done_callback(tasks.discard)
                        sent += 1
                    await asyncio.sleep(0.002)
                await asyncio.gather(*tasks)
        p99_alone, p99 = float(np.quantile(alone, 0.99)), float(np.quantile(took["answered"], 0.99))
        return {
            "capacity_per_second": round(capacity, 1),
            "sent_per_second": round(sent / self.seconds, 1),
            "answered_per_second": round(len(took["answered"]) / self.seconds, 1),
            "refused": len(took["refused"]),
            "late": len(took["late"]),
            "p99_alone_ms": round(1000 * p99_alone, 1),
            "p99_accepted_ms": round(1000 * p99, 1),
            "ratio": round(p99 / p99_alone, 2),
            "accepted_ms": {name: _percentiles(seconds) for name, seconds in parts.items()},
            "refusal_p99_ms": round(1000 * float(np.quantile(took["refused"] or [0.0], 0.99)), 2),
            "loop_lag_ms": {"p99": round(float(np.quantile(lags, 0.99)), 1), "most": round(max(lags), 1)},
        }


def _percentiles(seconds: list[float]) -> dict[str, float]:
    return {f"p{share}": round(1000 * float(np.percentile(seconds, share)), 1) for share in (50, 95, 99)}


class _Running:
    """An engine for as long as a block runs."""

    def __init__(self, bench: _Bench, **engine: int) -> None:
        config = ServeConfig(bundles={"default": Path()}, engine=EngineConfig(**engine))  # type: ignore[arg-type]
        self.engine = Engine(bench.models, bench.store, config)

    async def __aenter__(self) -> Engine:
        await self.engine.start()
        return self.engine

    async def __aexit__(self, *_: object) -> None:
        await self.engine.stop()


@contextmanager
def _lag() -> Iterator[list[float]]:
    """Milliseconds by which a tick of ten comes late, as long as the block runs."""
    late: list[float] = [0.0]

    async def tick() -> None:
        while True:
            began = time.monotonic()
            await asyncio.sleep(0.01)
            late.append(1000 * (time.monotonic() - began - 0.01))

    task = asyncio.get_running_loop().create_task(tick())
    try:
        yield late
    finally:
        task.cancel()


if __name__ == "__main__":
    main()
