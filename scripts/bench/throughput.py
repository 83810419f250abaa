"""How many users a second `recommend` serves, into a Parquet file, and how long one user alone waits.

Run: python scripts/bench/throughput.py BUNDLE [--users 50000] [--k 100] [--fusions fitted,rrf] [--json]
Or fit first: python scripts/bench/throughput.py --data FOLDER --config FILE.toml [...]

Every fusion is measured in a process of its own, so that the peak of memory is its own: the bundle as it is ("fitted"),
and, of a learned fusion, the weighted RRF that stands beside it ("rrf"). What each part takes is measured apart, on
some of the users and one thread, where the parts add up; an encoder of user texts is among the retrievers' parts. The
wait of one user is that of stages without rerankers. Prints a table in Markdown, or JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

import llmrec
from llmrec.cli.lists_file import BATCH, Batch, write_lists
from llmrec.config import Config, read_toml
from llmrec.models import cpu_threads
from llmrec.opening import load
from llmrec.pipeline import Recommender
from llmrec.retrieve.reading import ReadsOnce
from llmrec.stage import Stage

FUSIONS = ("fitted", "rrf")
SAMPLE = 1_000
"""Users whose parts are timed."""
ALONE = 200
"""Users who are asked for one by one."""

Seconds = dict[str, float]


def main(arguments: list[str] | None = None) -> None:
    """Measure and print."""
    asked = _parser().parse_args(arguments)
    if asked.job:
        print(json.dumps(measured(load(asked.bundle), asked.job, asked.users, asked.k)))
        return
    with _bundle(asked) as bundle:
        found = {kind: _in_a_process(bundle, kind, asked) for kind in asked.fusions.split(",")}
    report = {"k": asked.k, "threads": cpu_threads(), "cpus": os.cpu_count(), "fusions": found}
    print(json.dumps(report) if asked.json else as_table(report))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("bundle", nargs="?", type=Path)
    parser.add_argument("--data", type=Path, help="a data set to fit on, where there is no bundle")
    parser.add_argument("--config", type=Path, help="a pipeline to fit")
    parser.add_argument("--users", type=int, default=None, help="at most so many; default: all")
    parser.add_argument("--k", type=int, default=100)
    parser.add_argument("--fusions", default=",".join(FUSIONS))
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--job", choices=FUSIONS, help=argparse.SUPPRESS)
    return parser


@contextmanager
def _bundle(asked: argparse.Namespace) -> Iterator[Path]:
    """The bundle that was named, or one that is fitted now."""
    if asked.bundle is not None:
        yield asked.bundle
        return
    if asked.data is None or asked.config is None:
        raise SystemExit("name a bundle, or give --data FOLDER and --config FILE.toml to fit one")
    data = llmrec.load_dataset(str(asked.data))
    with tempfile.TemporaryDirectory() as folder:
        config = Config.from_dict(read_toml(asked.config))
        fitted = llmrec.fit(config, data.catalog, data.interactions, users=data.users, work=Path(folder) / "work")
        yield fitted.save(Path(folder) / "bundle")


def _in_a_process(bundle: Path, kind: str, asked: argparse.Namespace) -> dict[str, Any]:
    users = [] if asked.users is None else ["--users", str(asked.users)]
    command = [sys.executable, __file__, str(bundle), "--job", kind, "--k", str(asked.k), *users]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def measured(bundle: Recommender, kind: str, users: int | None, k: int) -> dict[str, Any]:
    """Measure a bundle with one of the fusions: users a second, the peak of memory, parts, and the wait of one user."""
    recommender = with_fusion(bundle, kind)
    if recommender.histories is None:
        raise SystemExit("this bundle stores no users, so there is nobody to recommend to")
    loaded = peak_gb()
    ids = list(recommender.histories.users.ids)
    ids = ids if users is None else [ids[row] for row in np.linspace(0, len(ids) - 1, min(users, len(ids))).astype(int)]
    first = recommender.queries(ids[:8])
    recommender.recommend(first, k)  # what is loaded late is loaded
    work = time.process_time()
    seconds = bulk_seconds(recommender, ids, k)
    work, peak = time.process_time() - work, peak_gb()
    waits = alone_seconds(recommender, ids, k)
    return {
        "fusion": recommender.stages[0].fusion.component,
        "users": len(ids),
        "seconds": round(seconds, 2),
        "CPU ms/user": round(1e3 * work / len(ids), 3),
        "users/s": round(len(ids) / seconds, 1),
        "peak RSS GB": round(peak, 2),
        "RSS GB, loaded": round(loaded, 2),
        "one user ms, p50": round(1e3 * statistics.median(waits), 2),
        "one user ms, p95": round(1e3 * float(np.percentile(waits, 95)), 2),
        "p95 / p50": round(float(np.percentile(waits, 95)) / statistics.median(waits), 2),
        "parts us/user, one thread": part_seconds(recommender, ids[:: max(1, len(ids) // SAMPLE)][:SAMPLE], k),
    }


def with_fusion(recommender: Recommender, kind: str) -> Recommender:
    """The same cascade without rerankers; "rrf": with the weighted RRF of its learned fusions."""
    stages = [stage for stage in recommender.stages if stage.retrievers]
    chosen = [getattr(s.fusion, "rrf", s.fusion) if kind == "rrf" else s.fusion for s in stages]
    bare = [replace(stage, fusion=fusion, scorers=()) for stage, fusion in zip(stages, chosen, strict=True)]
    return replace(recommender, stages=tuple(bare))


def bulk_seconds(recommender: Recommender, ids: list[str], k: int) -> float:
    """Wall seconds from user ids to a whole Parquet file, as `llmrec recommend --users all` does it."""
    parts = (ids[start : start + BATCH] for start in range(0, len(ids), BATCH))
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        batches = (Batch({"user_id": part}, recommender.recommend(recommender.queries(part), k)) for part in parts)
        write_lists(Path(folder) / "lists.parquet", recommender.catalog, batches, lambda done: None)
        return time.perf_counter() - start


def alone_seconds(recommender: Recommender, ids: list[str], k: int) -> list[float]:
    """Wall seconds of each of some users, asked for one by one, from the id to ids of items."""
    waits = []
    for user in ids[:: max(1, len(ids) // ALONE)][:ALONE]:
        start = time.perf_counter()
        recommender.decode(recommender.recommend(recommender.queries([user]), k))
        waits.append(time.perf_counter() - start)
    return waits


def part_seconds(recommender: Recommender, ids: list[str], k: int) -> dict[str, float]:
    """Microseconds a user that each part takes on one thread; the rest is merging, ordering and filling lists."""
    clock = Clock(defaultdict(float))
    timed = replace(recommender, stages=tuple(_timed(stage, clock) for stage in recommender.stages))
    queries = recommender.queries(ids)
    with _threads(1):
        start = time.perf_counter()
        found = timed.recommend(queries, k)
        whole = time.perf_counter() - start
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        write_lists(
            Path(folder) / "l.parquet", recommender.catalog, [Batch({"user_id": ids}, found)], lambda done: None
        )
        written = time.perf_counter() - start
    parts = {**clock.seconds, "the rest": whole - sum(clock.seconds.values()), "write Parquet": written}
    return {name: round(1e6 * seconds / len(ids), 1) for name, seconds in parts.items()}


@contextmanager
def _threads(count: int) -> Iterator[None]:
    before = os.environ.get("LLMREC_THREADS")
    os.environ["LLMREC_THREADS"] = str(count)
    try:
        yield
    finally:
        del os.environ["LLMREC_THREADS"]
        if before is not None:
            os.environ["LLMREC_THREADS"] = before


def _timed(stage: Stage, clock: Clock) -> Stage:
    retrievers = tuple(
        ((TimedReader if isinstance(retriever, ReadsOnce) else Timed)(retriever, retriever.name, clock), depth)
        for retriever, depth in stage.retrievers
    )
    return replace(stage, retrievers=retrievers, fusion=TimedFusion(stage.fusion, clock))


@dataclass(frozen=True)
class Clock:
    """Adds up seconds by name."""

    seconds: Seconds

    def __call__(self, name: str, work: Callable[..., Any], *values: Any) -> Any:
        """Do some work, and add what it took."""
        start = time.perf_counter()
        done = work(*values)
        self.seconds[name] += time.perf_counter() - start
        return done


@dataclass(frozen=True)
class Timed:
    """A retriever, or queries it has scored, on a clock."""

    inner: Any
    name: str
    clock: Clock

    def retrieve(self, queries: Any, k: int) -> Any:
        """Retrieve."""
        return self.clock(f"{self.name}: retrieve", self.inner.retrieve, queries, k)

    def score(self, *values: Any) -> Any:
        """Score."""
        return self.clock(f"{self.name}: look up", self.inner.score, *values)

    def best(self, k: int) -> Any:
        """Take the best."""
        return self.clock(f"{self.name}: best k", self.inner.best, k)


@dataclass(frozen=True)
class TimedReader(Timed):
    """A retriever that reads once, or what it has read, on a clock."""

    def read(self, queries: Any) -> TimedReader:
        """Read queries."""
        return TimedReader(self.clock(f"{self.name}: read", self.inner.read, queries), self.name, self.clock)

    def some(self, rows: Any) -> Timed:
        """Score the catalog."""
        return Timed(self.clock(f"{self.name}: score all", self.inner.some, rows), self.name, self.clock)

    @property
    def n_queries(self) -> int:
        """How many queries were read."""
        return int(self.inner.n_queries)

    @property
    def n_items(self) -> int:
        """The catalog's size."""
        return int(self.inner.n_items)


@dataclass(frozen=True)
class TimedFusion:
    """A fusion on a clock."""

    inner: Any
    clock: Clock

    def fuse(self, *values: Any) -> Any:
        """Fuse."""
        return self.clock("fusion", self.inner.fuse, *values)

    def ignores(self, *values: Any) -> Any:
        """Name what is ignored."""
        return self.clock("fusion", self.inner.ignores, *values)


def peak_gb() -> float:
    """The most memory this process has held, in GB; where the system tells, without what its parent held."""
    status = Path("/proc/self/status")
    if status.exists():
        peak = next(line for line in status.read_text(encoding="ascii").splitlines() if line.startswith("VmHWM"))
        return int(peak.split()[1]) * 1024 / 1e9
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9


def as_table(report: Mapping[str, Any]) -> str:
    """The report as Markdown."""
    found = report["fusions"]
    rows = [name for name in next(iter(found.values())) if not name.startswith("parts")]
    lines = [
        f"k = {report['k']}, {report['threads']} threads",
        "",
        f"| | {' | '.join(found)} |",
        "|---" * (len(found) + 1) + "|",
    ]
    lines += [f"| {row} | {' | '.join(str(one[row]) for one in found.values())} |" for row in rows]
    parts = [one["parts us/user, one thread"] for one in found.values()]
    lines += ["", f"| us a user on one thread | {' | '.join(found)} |", "|---" * (len(found) + 1) + "|"]
    names = dict.fromkeys(name for part in parts for name in part)
    lines += [f"| {name} | {' | '.join(str(part.get(name, '')) for part in parts)} |" for name in names]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
