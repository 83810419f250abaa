"""One job of `quality.py`, in a process of its own: fit, measure, write. Started as `python _quality_job.py JOB OUT`.

JOB is a JSON file:

    data: a data set's name or folder
    method, kind, config, shuffle_texts, seed: see `_quality_methods.Method`
    protocol: "test", or "validation": every user's last interaction is put aside unseen, and the rest is split the same
        way, so that nothing is ever chosen by looking at a test target
    users: measure on a fixed random sample of so many, or null
    parts: whether each retriever alone and each stage are measured too

OUT becomes a folder as `llmrec evaluate --out` writes it, with `cost.json` beside: seconds and peak memory.
"""

from __future__ import annotations

import json
import resource
import shutil
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

import llmrec
from llmrec.data import Catalog, Dataset, without_last
from llmrec.evaluate import (
    Benchmark,
    CandidateRecall,
    Report,
    Wanted,
    benchmark_of,
    benchmark_on,
    parts,
    put_together,
    write_evaluations,
)

K = (10, 20)


def main() -> None:
    """Run the job that the arguments name."""
    job_file, out = Path(sys.argv[1]), Path(sys.argv[2])
    job = json.loads(job_file.read_text(encoding="utf-8"))
    staging = out.with_name(f"{out.name}.part")
    cost = run(job, staging)
    (staging / "cost.json").write_text(json.dumps(cost, indent=1), encoding="utf-8")
    shutil.rmtree(out, ignore_errors=True)
    staging.rename(out)  # now it is done; before, it is as if it had never been started
    shutil.rmtree(work_folder(out), ignore_errors=True)


def work_folder(out: Path) -> Path:
    """Where training keeps its checkpoints: the same again after a kill."""
    return out.with_name(f"{out.name}.work")


def run(job: dict[str, Any], out: Path) -> dict[str, float]:
    """Fit and measure; returns what it cost."""
    data = llmrec.load_dataset(job["data"])
    catalog = shuffled(data.catalog, job["seed"]) if job["shuffle_texts"] else data.catalog
    log = data.interactions if job["protocol"] == "test" else without_last(data.interactions)
    shutil.rmtree(out, ignore_errors=True)
    start = time.perf_counter()
    if job["kind"] == "external":
        return _external(job, Dataset(data.name, catalog, log), out)
    config = llmrec.Config.from_dict({**job["config"], "seed": job["seed"]})
    work = work_folder(out.with_suffix(""))
    fitted = llmrec.fit(config, catalog, log, users=data.users, holdout="last", work=work, progress=_say)
    seconds, peak = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
    start = time.perf_counter()
    benchmark = benchmark_of(fitted, log, _wanted(job))
    main_part = config.stages[-1].name
    chosen = parts(fitted) if job["parts"] else {main_part: fitted}
    reports = {}
    for name, part in chosen.items():
        _say(f"measuring {name}")
        reports[name] = benchmark.measure(part, "last")
    _write(out, reports, main_part, benchmark, benchmark.ceilings(fitted, "last"))
    return {"fit_seconds": seconds, "peak_gb": peak, "measure_seconds": time.perf_counter() - start}


def shuffled(catalog: Catalog, seed: int) -> Catalog:
    """The same items with each other's fields: whatever is said of an item is said of another one."""
    rows = np.random.default_rng(seed).permutation(len(catalog))
    table = catalog.table.take(rows).set_column(0, "item_id", catalog.table.column("item_id"))
    return Catalog.from_table(table)


def _external(job: dict[str, Any], data: Dataset, out: Path) -> dict[str, float]:
    """Let another program make the lists, and judge them by the same rules."""
    import sasrec  # the only one so far

    benchmark = benchmark_on("last", data.catalog, data.interactions, _wanted(job))
    lists, cost = sasrec.lists(data, job["config"], job["seed"], work_folder(out.with_suffix("")))
    _write(out, {job["method"]: benchmark.measure_lists(lists, "last")}, job["method"], benchmark, ())
    return cost


def _write(
    out: Path,
    reports: dict[str, Report],
    main_part: str,
    benchmark: Benchmark,
    ceilings: tuple[CandidateRecall, ...],
) -> None:
    ids = benchmark.user_ids("last")
    found = put_together(reports, ids, main=main_part, baseline=main_part, ceilings=ceilings)
    write_evaluations(out, {"last": found}, plots=False)


def _wanted(job: dict[str, Any]) -> Wanted:
    return Wanted(K, {}, job["parts"], job["users"])


def _say(message: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {message}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
