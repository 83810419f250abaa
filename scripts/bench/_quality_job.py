"""One job of `quality.py`, in a process of its own: fit, keep, measure. Started as `python _quality_job.py JOB`.

JOB is a JSON file:

    data: a data set's name or folder
    method, kind, config, shuffle_texts, seed: see `_quality_methods.Method`
    targets: "test", or "validation": every user's last interaction is put aside unseen, and the rest is split the same
        way, so that nothing is ever chosen by looking at a test target
    protocol: see `_quality_cases`
    users: measure on a fixed random sample of so many, or null
    tuned: of the protocol "validation": how many users' cases any method that is compared was tuned on
    parts: whether each retriever alone and each stage are measured too
    fit: folder of the fitted bundle (of an external method: its lists), and what it cost; made if it is not there
    training: folder for what training writes, the same again after a kill
    out: becomes a folder as `llmrec evaluate --out` writes it; `cost.json` beside: seconds, memory; `ceilings.json`:
        the share of targets among the first 200 of every part
"""

from __future__ import annotations

import json
import resource
import shutil
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from _quality_cases import HOLDOUTS, log_for, with_trials
from filelock import FileLock

import llmrec
from llmrec.data import Catalog, Dataset, leave_last_out
from llmrec.evaluate import (
    Benchmark,
    Wanted,
    benchmark_of,
    benchmark_on,
    parts,
    put_together,
    write_evaluations,
)
from llmrec.policy import Seen

K = (10, 20)
DEEP = 200
"""Where ceilings are cut; `Benchmark.ceilings` does likewise."""


@dataclass(slots=True)
class Clock:
    """What a fit costs, earlier attempts that were killed included; kept in a file that every message renews.

    Attributes:
        path: the file.
        cost: "fit_seconds" and "peak_gb" of this process and all before; "reused": whether another job had left
            trainings that this one does not repeat.
    """

    path: Path
    cost: dict[str, float]
    start: float

    @classmethod
    def of(cls, path: Path, training: Path, *, shared: bool) -> Clock:
        """Go on where the last attempt was."""
        if path.exists():
            return cls(path, json.loads(path.read_text(encoding="utf-8")), time.perf_counter())
        reused = shared and training.is_dir() and any(training.iterdir())
        return cls(path, {"fit_seconds": 0.0, "peak_gb": 0.0, "reused": float(reused)}, time.perf_counter())

    def say(self, message: str) -> None:
        """Print a message with the time, and note what was spent so far."""
        say(message)
        now = time.perf_counter()
        self.cost["fit_seconds"] += now - self.start
        self.start = now
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
        self.cost["peak_gb"] = max(self.cost["peak_gb"], peak)
        self.path.write_text(json.dumps(self.cost), encoding="utf-8")


def main() -> None:
    """Run the job that the argument names."""
    job = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    data = llmrec.load_dataset(job["data"])
    catalog = shuffled(data.catalog, job["seed"]) if job["shuffle_texts"] else data.catalog
    data = Dataset(data.name, catalog, log_for(data.interactions, job["targets"], job["protocol"]), data.users)
    fitted, out = Path(job["fit"]), Path(job["out"])
    fitted.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(fitted.with_name(f"{fitted.name}.lock")):
        if not fitted.is_dir():
            (make_lists if job["kind"] == "external" else make_bundle)(job, data, fitted)
    start, staging = time.perf_counter(), out.with_name(f"{out.name}.part")
    shutil.rmtree(staging, ignore_errors=True)
    (judge_lists if job["kind"] == "external" else measure)(job, data, fitted, staging)
    cost = json.loads((fitted / "cost.json").read_text(encoding="utf-8"))
    cost["measure_seconds"] = time.perf_counter() - start
    (staging / "cost.json").write_text(json.dumps(cost, indent=1), encoding="utf-8")
    shutil.rmtree(out, ignore_errors=True)
    staging.rename(out)  # now it is done; before, it is as if it had never been started


def make_bundle(job: dict[str, Any], data: Dataset, folder: Path) -> None:
    """Fit, and put the bundle and what it cost into a folder."""
    training, clock_file = Path(job["training"]), folder.with_name(f"{folder.name}.clock")
    training.mkdir(parents=True, exist_ok=True)
    clock = Clock.of(clock_file, training, shared=job["kind"] in ("ours", "ablation"))
    fitted = llmrec.fit(
        llmrec.Config.from_dict({**job["config"], "seed": job["seed"]}),
        data.catalog,
        data.interactions,
        users=data.users,
        holdout=HOLDOUTS[job["protocol"]],
        work=training,
        progress=clock.say,
    )
    clock.say("fitted")
    staging = _fresh(folder)
    fitted.save(staging / "bundle")
    (staging / "cost.json").write_text(json.dumps(clock.cost), encoding="utf-8")
    staging.rename(folder)
    clock_file.unlink()


def make_lists(job: dict[str, Any], data: Dataset, folder: Path) -> None:
    """Let another program make the lists, and put them and what they cost into a folder."""
    import sasrec  # the only one so far

    lists, cost = sasrec.lists(data, job["config"], job["seed"], folder.with_name(f"{folder.name}.external"))
    staging = _fresh(folder)
    shutil.copyfile(lists, staging / "lists.parquet")
    (staging / "cost.json").write_text(json.dumps({**cost, "reused": 0.0}), encoding="utf-8")
    staging.rename(folder)


def measure(job: dict[str, Any], data: Dataset, folder: Path, out: Path) -> None:
    """Measure a bundle by the protocol, and write what was found."""
    fitted = llmrec.load(folder / "bundle")
    if job["protocol"] == "seen":
        fitted = replace(fitted, policies=tuple(policy for policy in fitted.policies if not isinstance(policy, Seen)))
    if job["protocol"] == "validation":
        # it was fitted without these targets, but stores them for its answers
        stored = leave_last_out(data.interactions, job["config"].get("min_interactions", 3)).train
        fitted = replace(fitted, histories=stored)
    benchmark = benchmark_of(fitted, data.interactions, _wanted(job, K))
    benchmark = with_trials(benchmark, job["protocol"], job["config"], job["seed"], job.get("tuned"))
    main_part = fitted.stages[-1].name
    chosen = parts(fitted) if job["parts"] else {main_part: fitted}
    found, ceilings = {}, {}
    for test in benchmark.trials:
        reports, reach = {}, {}
        for name, part in chosen.items():
            say(f"measuring {name}, {test}")
            reports[name] = benchmark.measure(part, test)
            reach[name] = benchmark.ceilings(part, test)
        ceilings[test] = {name: one[-1].fused for name, one in reach.items()}
        ids = benchmark.user_ids(test)
        found[test] = put_together(reports, ids, main=main_part, baseline=main_part, ceilings=reach[main_part])
    write_evaluations(out, found, plots=False)
    (out / "ceilings.json").write_text(json.dumps(ceilings), encoding="utf-8")


def judge_lists(job: dict[str, Any], data: Dataset, folder: Path, out: Path) -> None:
    """Judge another program's lists by the same rules."""
    benchmark: Benchmark = benchmark_on("last", data.catalog, data.interactions, _wanted(job, (*K, DEEP)))
    report = benchmark.measure_lists(folder / "lists.parquet", "last")
    name = job["method"]
    found = put_together({name: report}, benchmark.user_ids("last"), main=name, baseline=name)
    write_evaluations(out, {"last": found}, plots=False)
    reach = {"last": {name: report.metrics[f"Recall@{DEEP}"].mean}}
    (out / "ceilings.json").write_text(json.dumps(reach), encoding="utf-8")


def shuffled(catalog: Catalog, seed: int) -> Catalog:
    """The same items with each other's fields: whatever is said of an item is said of another one."""
    rows = np.random.default_rng(seed).permutation(len(catalog))
    table = catalog.table.take(rows).set_column(0, "item_id", catalog.table.column("item_id"))
    return Catalog.from_table(table)


def say(message: str) -> None:
    """Print a message with the time, for the job's log."""
    print(f"{time.strftime('%H:%M:%S')} {message}", file=sys.stderr, flush=True)


def _wanted(job: dict[str, Any], k: tuple[int, ...]) -> Wanted:
    return Wanted(k, {}, job["protocol"] == "last", job["users"])


def _fresh(folder: Path) -> Path:
    staging = folder.with_name(f"{folder.name}.part")
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir(parents=True)
    return staging


if __name__ == "__main__":
    main()
