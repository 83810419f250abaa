"""How well everything ranks: our pipeline, its parts, the same without something, and peers, on the same users.

    python scripts/bench/quality.py ml-100k                          # on validation: to choose by
    python scripts/bench/quality.py games --data FOLDER --test       # once, at the end
    python scripts/bench/quality.py ml-100k --methods ours,ease --seeds 3 --out docs/benchmarks

What is measured stands in `configs/`; see `_quality_methods.py`. Every (data, method, seed) is a job in a process of
its own, kept under --work by the hash of all that decides its result, the code included: what is there is not run
again, and a killed run goes on where it was. Prints a Markdown table: metrics with 95% intervals over users,
differences to ours with paired tests (Holm-corrected), seconds of fitting and peak memory; --out also writes it, with
JSON beside. Seeds beyond the first are run for our pipeline alone; the table shows the first, and below it the spread.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from _quality_methods import OURS, Method, read_methods
from _quality_tables import Result, as_json, as_markdown

import llmrec
from llmrec.evaluate import load_evaluations

HERE = Path(__file__).parent
SOURCES = (Path(llmrec.__file__).parent, HERE)


@dataclass(frozen=True, slots=True)
class Job:
    """Something to run; see `_quality_job.py`."""

    values: Mapping[str, Any]
    folder: Path

    @property
    def is_done(self) -> bool:
        """Whether its result is there."""
        return (self.folder / "cost.json").exists()


def main() -> None:
    """Run what is missing, then print."""
    args = _arguments()
    methods = _chosen(read_methods(args.name, args.configs), args.methods)
    jobs = [job for method in methods for job in jobs_of(method, args)]
    for place, job in enumerate(jobs, start=1):
        label = f"[{place}/{len(jobs)}] {job.values['method']}, seed {job.values['seed']}"
        print(f"{label}: {'known' if job.is_done else 'running'}", file=sys.stderr, flush=True)
        if not job.is_done:
            run(job)
    done = [result_of(job) for job in jobs if job.is_done]
    if not any(found.method == OURS for found in done):
        raise SystemExit("there is no result of our pipeline to compare with; see the messages above")
    text = as_markdown(args.name, args.protocol, done)
    print(text)
    if args.out is not None:
        args.out.mkdir(parents=True, exist_ok=True)
        stem = f"quality-{args.name}-{args.protocol}"
        (args.out / f"{stem}.md").write_text(text, encoding="utf-8")
        (args.out / f"{stem}.json").write_text(json.dumps(as_json(done), indent=1) + "\n", encoding="utf-8")


def jobs_of(method: Method, args: argparse.Namespace) -> list[Job]:
    """The jobs of a method, one per seed; its parts are measured with the first seed of our pipeline."""
    found = []
    for seed in range(args.seeds if method.kind == "ours" else 1):
        values = {
            "data": str(args.data or args.name),
            "method": method.name,
            "kind": method.kind,
            "config": method.config,
            "shuffle_texts": method.shuffle_texts,
            "seed": seed,
            "protocol": args.protocol,
            "users": args.users,
            "parts": method.kind == "ours" and seed == 0,
        }
        key = _hash({**values, "contents": contents(args.data), "code": code_version()})
        label = "".join(c if c.isalnum() else "-" for c in method.name)
        found.append(Job(values, args.work / f"{args.name}-{args.protocol}-{label}-{seed}-{key[:16]}"))
    return found


def run(job: Job) -> None:
    """Run a job; a failure is told and leaves the others alone."""
    job.folder.parent.mkdir(parents=True, exist_ok=True)
    order = job.folder.with_name(f"{job.folder.name}.json")
    order.write_text(json.dumps(job.values, indent=1), encoding="utf-8")
    with job.folder.with_name(f"{job.folder.name}.log").open("a", encoding="utf-8") as log:
        command = [sys.executable, str(HERE / "_quality_job.py"), str(order), str(job.folder)]
        code = subprocess.run(command, stdout=log, stderr=log, check=False).returncode
    if code:
        print(f"{job.values['method']} failed with code {code}; see {log.name}", file=sys.stderr, flush=True)


def result_of(job: Job) -> Result:
    """Read what a job wrote."""
    evaluation = load_evaluations(job.folder)["last"]
    cost = json.loads((job.folder / "cost.json").read_text(encoding="utf-8"))
    return Result(job.values["method"], job.values["kind"], job.values["seed"], evaluation, cost)


def contents(folder: Path | None) -> str:
    """What tells the files of a data folder apart from others: names, sizes, times of change."""
    files = [] if folder is None else sorted(path for path in folder.iterdir() if path.is_file())
    return _hash([[path.name, path.stat().st_size, path.stat().st_mtime_ns] for path in files])


def code_version() -> str:
    """Hash of all code that a result depends on."""
    digest = hashlib.sha256()
    for root in SOURCES:
        for path in sorted(root.rglob("*.py")):
            digest.update(path.relative_to(root).as_posix().encode() + path.read_bytes())
    return digest.hexdigest()


def _hash(values: Any) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def _chosen(methods: list[Method], wanted: str | None) -> list[Method]:
    names = [method.name for method in methods]
    if wanted is None:
        return [method for method in methods if method.kind != "external"]
    asked = [name.strip() for name in wanted.split(",")]
    if unknown := [name for name in asked if name not in names]:
        raise SystemExit(f"no method is called {unknown[0]!r}; there are: {', '.join(names)}")
    return [method for method in methods if method.name in {OURS, *asked}]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("name", help="which of configs/NAME.toml: ml-100k or games")
    parser.add_argument("--data", type=Path, help="the data set's folder; without it, a data set llmrec knows by name")
    place = parser.add_mutually_exclusive_group()
    place.add_argument("--validation", dest="protocol", action="store_const", const="validation")
    place.add_argument("--test", dest="protocol", action="store_const", const="test")
    parser.add_argument("--methods", help="only these and ours, by comma; external ones run only if they are named")
    parser.add_argument("--seeds", type=int, default=1, help="seeds of our pipeline")
    parser.add_argument("--users", type=int, help="measure on a fixed random sample of so many users")
    parser.add_argument("--work", type=Path, default=Path(os.environ.get("LLMREC_BENCH", "runs/quality")))
    parser.add_argument("--out", type=Path, help="folder for the table as Markdown and JSON")
    parser.add_argument("--configs", type=Path, default=HERE / "configs")
    parser.set_defaults(protocol="validation")
    return parser.parse_args()


if __name__ == "__main__":
    main()
