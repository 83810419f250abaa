"""What it costs to keep an event: calls a second and their latency, with one caller and with many. Prints JSON.

Each call stores one event under an idempotency key, durably. `fsync_ms` is the median time that the disk takes for one
small append that is waited for, measured before and after: no single caller of SQLite can be faster, and many can only
because they share it.

Run: python scripts/bench/store_writes.py [--url URL] [--callers 1 32] [--seconds 10]
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import threading
import time
from pathlib import Path

from llmrec.serve.records import NewEvent
from llmrec.serve.store import Store, open_store


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description="Calls a second and latency of durable writes.")
    parser.add_argument("--url", default=None, help="of a store; a temporary SQLite file without it")
    parser.add_argument("--callers", type=int, nargs="+", default=[1, 32])
    parser.add_argument("--seconds", type=float, default=10.0)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        url = given.url or str(Path(folder) / "writes.sqlite")
        found: dict[str, object] = {"store": "postgresql" if url.startswith("postgres") else "sqlite"}
        before = _fsync_ms(Path(folder))
        with open_store(url) as store:
            found["callers"] = {str(callers): measure(store, callers, given.seconds) for callers in given.callers}
        found["fsync_ms"] = [before, _fsync_ms(Path(folder))]
    found["load"] = [round(load, 1) for load in os.getloadavg()]
    print(json.dumps(found, indent=2))


def measure(store: Store, callers: int, seconds: float) -> dict[str, float]:
    """Calls a second, and percentiles of their latency in milliseconds.

    Args:
        store: to write to.
        callers: threads that call at once.
        seconds: for how long.
    """
    took: list[float] = []
    end, prefix = time.perf_counter() + seconds, f"{time.time_ns():x}"

    def call(name: int) -> None:
        number = 0
        while (start := time.perf_counter()) < end:
            number += 1
            events = [NewEvent(f"user-{name}", f"item-{number % 1000}")]
            store.add_events(events, now=time.time(), idempotency_key=f"{prefix}-{name}-{number}", caller="bench")
            took.append(time.perf_counter() - start)

    start = time.perf_counter()
    threads = [threading.Thread(target=call, args=(name,)) for name in range(callers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    rate = len(took) / (time.perf_counter() - start)
    cuts = statistics.quantiles(took, n=100) if len(took) > 1 else took * 99
    named = {"p50_ms": 50, "p95_ms": 95, "p99_ms": 99}
    return {"per_second": round(rate, 1), **{name: round(1000 * cuts[cut - 1], 2) for name, cut in named.items()}}


def _fsync_ms(folder: Path) -> float:
    took = []
    with (folder / "fsync").open("wb") as file:
        for _ in range(50):
            start = time.perf_counter()
            file.write(b"x" * 4096)
            file.flush()
            os.fsync(file.fileno())
            took.append(time.perf_counter() - start)
    return round(1000 * statistics.median(took), 3)


if __name__ == "__main__":
    main()
