"""How dense retrieval grows: build time, bytes, latency, recall and memory by size of the catalog, and by users.

Catalogs are made up by `_growth_data.py`: a vector is a random real one (the titles of `--data`) plus Gaussian noise
whose covariance is that of differences between real vectors and one of their ten nearest, so small that the nearest
neighbour is as near as among the real ones. Queries are weighted means of histories of real users, each item replaced
by one drawn near it, and single new texts. Recall@100 is against exact search over vectors of 32-bit floats.

Kinds: "exact", "hnsw" and "ivfpq" hold 32-bit vectors; "exact-int8" and "compact" (IVF-PQ) hold 8-bit ones. "exact"
finds what ``faiss.IndexFlatIP`` finds; it is the peer of the others. Each size and kind is built in one process and
served by another; resident bytes are what the server's memory grew by, catalog (ids, titles, hashes) included, after up
to 512 searches.

What is done is kept in `--work`, one JSON file a job, and not done again. A million items take about an hour on two
cores, 8 GB of disk and 5 GB of memory.

Run: python scripts/bench/growth.py --data FOLDER [--sizes 10000,100000,1000000] [--out FOLDER]
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from _growth_data import Source
from _growth_job import KINDS
from _growth_page import slopes, write_page, write_pictures

JOB = Path(__file__).with_name("_growth_job.py")


def main() -> None:
    """Run what is not done yet, print and write."""
    options = _options()
    options.work.mkdir(parents=True, exist_ok=True)
    found = measure(options)
    found["slopes"] = slopes(found["items"])
    if options.out:
        options.out.mkdir(parents=True, exist_ok=True)
        (options.out / "growth.json").write_text(json.dumps(found, indent=2) + "\n")
        pictures = write_pictures(options.out, found) if options.plots else []
        (options.out / "growth.md").write_text(write_page(found, pictures))
    print(json.dumps(found, indent=2) if options.json else write_page(found, []))


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """All results: of the source, of every size and kind, and of every number of users."""
    source = _source(options)
    items = []
    for size in options.sizes:
        drawn = _job(options.work, "draw", size)
        for kind in options.kinds:
            built = _job(options.work, "build", size, kind)
            served = _job(options.work, "serve", size, kind)
            peaks = {"build_peak_mb": built["peak_mb"], "serve_peak_mb": served["peak_mb"]}
            threads = {"build_threads": built["threads"], "serve_threads": served["threads"]}
            items.append({"name": kind, **drawn, **built, **served, **peaks, **threads})
            if size != options.sizes[0] and not options.keep:  # the smallest is asked for by users too
                shutil.rmtree(options.work / str(size) / kind, ignore_errors=True)
    users = [_job(options.work, "users", count, str(options.sizes[0])) for count in options.users]
    return {"source": source, "items": items, "users": users}


def _source(options: argparse.Namespace) -> dict[str, Any]:
    file, about = options.work / "source.npz", options.work / "source.json"
    if not (file.exists() and about.exists()):
        _say("embedding the real catalog and fitting the noise")
        source = Source.read(options.data, options.encoder, options.template)
        source.save(file)
        about.write_text(json.dumps({"encoder": options.encoder, "template": options.template, **source.fit}))
    read: dict[str, Any] = json.loads(about.read_text())
    return read


def _job(work: Path, *job: str | int) -> dict[str, Any]:
    """Do one job, unless its result is there."""
    file = work / ("-".join(map(str, job)) + ".json")
    if not file.exists():
        _say(" ".join(map(str, job)))
        name, *rest = map(str, job)
        file.write_text(json.dumps(run_apart([name, str(work), *rest])))
    found: dict[str, Any] = json.loads(file.read_text())
    return found


def run_apart(arguments: Sequence[str]) -> dict[str, Any]:
    """Do a job in a process of its own; queries are asked by one thread, as a server with many users asks them."""
    alone = {"OMP_NUM_THREADS": "1", "LLMREC_THREADS": "1"} if arguments[0] in ("serve", "users") else {}
    command, environment = [sys.executable, str(JOB), *arguments], {**os.environ, **alone}
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def _options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="a data set, as `llmrec fit` takes it")
    parser.add_argument("--encoder", default="minilm", help="embeds the real titles")
    parser.add_argument("--template", default="item/title", help="renders the real items")
    parser.add_argument("--sizes", type=_numbers, default="10000,100000,1000000", help="items, smallest first")
    parser.add_argument("--users", type=_numbers, default="1000,10000,100000,1000000", help="users of the first size")
    parser.add_argument("--kinds", type=lambda text: text.split(","), default=list(KINDS), help=f"of {','.join(KINDS)}")
    parser.add_argument("--work", type=Path, default=Path("growth-work"), help="where results are kept")
    parser.add_argument("--keep", action="store_true", help="keep large indexes, to be served again")
    parser.add_argument("--out", type=Path, help="where growth.json, growth.md and pictures are written")
    parser.add_argument("--plots", action=argparse.BooleanOptionalAction, default=True, help="draw pictures")
    parser.add_argument("--json", action="store_true", help="print JSON, not Markdown")
    options = parser.parse_args(arguments)
    if unknown := sorted(set(options.kinds) - set(KINDS)):
        parser.error(f"unknown kinds {', '.join(unknown)}; there are {', '.join(KINDS)}")
    if "exact" not in options.kinds and options.users:
        parser.error("users are measured with the kind exact; name it, or give --users ''")
    return options


def _numbers(text: str) -> list[int]:
    return sorted(int(number) for number in text.split(",") if number)


def _say(message: str) -> None:
    print(message, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
