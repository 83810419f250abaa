"""The table that proves it: ours, each part, each ablation and the peers, measured side by side.

    python scripts/bench/quality.py ml-100k                          # on validation: to choose by
    python scripts/bench/quality.py games --data FOLDER --test       # once, at the end
    python scripts/bench/quality.py ml-100k --methods ease,sasrec --seeds 3 --out docs/benchmarks

What is measured, by which protocols, stands in `configs/`; see `_quality_methods.py` and `_quality_cases.py`. Every
(data, method, seed, protocol) is a job in a process of its own. Below --work, what was fitted (`fits`) and what was
measured (`results`) are kept by the hash of all that decides them, the code included: what is there is not run again,
a killed run goes on where it was, and measuring more does not fit anew. Ablations share the trainings of ours
(`training`), and their bundles are removed once they are measured, unless --keep says otherwise.

Prints Markdown: metrics with 95% intervals over users, the ceiling beside each, differences to ours with paired tests
(Holm-corrected), seconds of fitting and peak memory; --out also writes it, with JSON and plots beside. Seeds beyond the
first are run for our pipeline alone; the tables show the first, and below them the spread.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from _quality_cases import HOLDOUTS, tuned_users
from _quality_keys import code_version, contents, digest
from _quality_methods import OURS, Method, read_methods, read_protocols
from _quality_plots import write_pictures
from _quality_tables import Result, as_json, as_markdown

from llmrec.evaluate import load_evaluations
from llmrec.evaluate.plots import check_plots

HERE = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Job:
    """Something to run; see `_quality_job.py`."""

    values: Mapping[str, Any]

    @property
    def out(self) -> Path:
        """Where its result is put."""
        return Path(self.values["out"])

    @property
    def is_done(self) -> bool:
        """Whether its result is there."""
        return (self.out / "cost.json").exists()

    @property
    def title(self) -> str:
        """For messages."""
        return f"{self.values['method']}, seed {self.values['seed']}, {self.values['protocol']}"


def main() -> None:
    """Run what is missing, then print."""
    args = _arguments()
    if args.out is not None:
        check_plots()
    jobs = planned(args)
    for place, job in enumerate(jobs, start=1):
        label = "known" if job.is_done else "running"
        print(f"[{place}/{len(jobs)}] {job.title}: {label}", file=sys.stderr, flush=True)
        if not job.is_done:
            run(job)
        if job.is_done and job.values["kind"] == "ablation" and not args.keep:
            shutil.rmtree(job.values["fit"], ignore_errors=True)
    done = [result_of(job) for job in jobs if job.is_done]
    if not any(found.is_main for found in done):
        raise SystemExit("there is no result of our pipeline to compare with; see the messages above")
    stem = f"quality-{args.name}-{args.targets}"
    pictures = [] if args.out is None else write_pictures(args.out, stem, done)
    text = as_markdown(args.name, _command(args), args.targets, done, pictures)
    print(text)
    if args.out is not None:
        (args.out / f"{stem}.md").write_text(text, encoding="utf-8")
        (args.out / f"{stem}.json").write_text(json.dumps(as_json(done)) + "\n", encoding="utf-8")


def planned(args: argparse.Namespace) -> list[Job]:
    """All jobs: of the main protocol first, ours first of all."""
    methods = {method.name: method for method in read_methods(args.name, args.configs)}
    protocols = read_protocols(args.name, args.configs)
    if args.protocols is not None:
        wanted = ["last", *_names(args.protocols, protocols, "protocol")]
        protocols = {protocol: names for protocol, names in protocols.items() if protocol in wanted}
    if args.methods is None:
        asked = {name for name, method in methods.items() if method.kind != "external"}
    else:
        asked = {OURS, *_names(args.methods, methods, "method")}
    jobs = []
    for protocol, names in protocols.items():
        # of all methods, whoever is asked: their users must be the same
        tuned = max(tuned_users(methods[name].config) for name in names) if protocol == "validation" else None
        for method in (methods[name] for name in names if name in asked):
            seeds = args.seeds if method.kind == "ours" and protocol == "last" else 1
            jobs += [job_of(method, seed, protocol, tuned, args) for seed in range(seeds)]
    return jobs


def job_of(method: Method, seed: int, protocol: str, tuned: int | None, args: argparse.Namespace) -> Job:
    """Say what is to be done, and where it is kept."""
    log = {
        "data": str(args.data or args.name),
        "contents": contents(args.data),
        "targets": args.targets,
        "holdout": HOLDOUTS[protocol],
        "ties": protocol == "ties",
        "shuffle_texts": method.shuffle_texts,
        "seed": seed,
        "code": code_version("external" if method.kind == "external" else "fit"),
    }
    fit = {**log, "config": method.config, "external": method.kind == "external"}
    fit_key = digest(fit)
    parts = method.kind == "ours" and seed == 0 and protocol in ("last", "validation")
    measured = {
        "fit": fit_key,
        "protocol": protocol,
        "users": args.users,
        "parts": parts,
        "code": code_version("measure"),
        **({} if tuned is None else {"tuned": tuned}),
    }
    label = "-".join([args.name, args.targets, "".join(c if c.isalnum() else "-" for c in method.name), str(seed)])
    training = digest(log) if method.kind in ("ours", "ablation") else fit_key
    return Job(
        {
            **{key: log[key] for key in ("data", "targets", "shuffle_texts", "seed")},
            "method": method.name,
            "kind": method.kind,
            "config": dict(method.config),
            "protocol": protocol,
            "users": args.users,
            "tuned": tuned,
            "parts": parts,
            "fit": str(args.work / "fits" / f"{label}-{fit_key[:16]}"),
            "training": str(args.work / "training" / training[:16]),
            "out": str(args.work / "results" / f"{label}-{protocol}-{digest(measured)[:16]}"),
        }
    )


def run(job: Job) -> None:
    """Run a job; a failure is told and leaves the others alone."""
    job.out.parent.mkdir(parents=True, exist_ok=True)
    order = job.out.with_name(f"{job.out.name}.json")
    order.write_text(json.dumps(job.values, indent=1), encoding="utf-8")
    with job.out.with_name(f"{job.out.name}.log").open("a", encoding="utf-8") as log:
        command = [sys.executable, str(HERE / "_quality_job.py"), str(order)]
        code = subprocess.run(command, stdout=log, stderr=log, check=False).returncode
    if code:
        print(f"{job.title} failed with code {code}; see {log.name}", file=sys.stderr, flush=True)


def result_of(job: Job) -> Result:
    """Read what a job wrote."""
    cost, reach = (json.loads((job.out / f"{name}.json").read_text(encoding="utf-8")) for name in ("cost", "ceilings"))
    values = job.values
    tests = load_evaluations(job.out)
    return Result(values["method"], values["kind"], values["seed"], values["protocol"], tests, cost, reach)


def _names(text: str, known: Mapping[str, Any], what: str) -> list[str]:
    asked = [name.strip() for name in text.split(",") if name.strip()]
    if unknown := [name for name in asked if name not in known]:
        raise SystemExit(f"no {what} is called {unknown[0]!r}; there are: {', '.join(known)}")
    return asked


def _command(args: argparse.Namespace) -> str:
    """The command that makes the same page, without where things lie."""
    found = ["python", "scripts/bench/quality.py", args.name, *(["--data", "FOLDER"] if args.data else [])]
    found.append(f"--{args.targets}")
    for name, usual in (("methods", None), ("protocols", None), ("seeds", 1), ("users", None)):
        found += [] if (value := getattr(args, name)) == usual else [f"--{name}", str(value)]
    return shlex.join(found)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("name", help="which of configs/NAME.toml: ml-100k or games")
    parser.add_argument("--data", type=Path, help="the data set's folder; without it, a data set llmrec knows by name")
    place = parser.add_mutually_exclusive_group()
    place.add_argument("--validation", dest="targets", action="store_const", const="validation")
    place.add_argument("--test", dest="targets", action="store_const", const="test")
    parser.add_argument("--methods", help="only these and ours, by comma; external ones run only if they are named")
    parser.add_argument("--protocols", help="beside leave last out only these, by comma; '' for none")
    parser.add_argument("--seeds", type=int, default=1, help="seeds of our pipeline")
    parser.add_argument("--users", type=int, help="measure on a fixed random sample of so many users")
    parser.add_argument("--keep", action="store_true", help="keep the bundles of ablations too")
    parser.add_argument("--work", type=Path, default=Path(os.environ.get("LLMREC_BENCH", "runs/quality")))
    parser.add_argument("--out", type=Path, help="folder for the page: Markdown, JSON, plots")
    parser.add_argument("--configs", type=Path, default=HERE / "configs")
    parser.set_defaults(targets="validation")
    return parser.parse_args()


if __name__ == "__main__":
    main()
