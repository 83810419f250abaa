"""How long it takes from the start of a process until help is on the screen, and until a bundle's first answer.

Every number is a median over fresh processes, which take turns; one run of each comes before, so that files are in the
system's cache (with --cold, those of the bundles are put out of it before each run, where the system can). The peer is
`import sentence_transformers`, in the same run, where it is installed: whoever needs it has no answer before. Of a
bundle:

- python: the interpreter, and `from llmrec import load`
- open: `load(BUNDLE)`: libraries are imported while every file is verified; then all is put together
- answer: the first list, for the first user the bundle knows (else for a history of the first item)
- import: `import llmrec.pipeline` in a process of its own: what of `open` is libraries
- memory: resident after the answer, mapped files that were looked at included; and the most there was
- loaded: which heavy libraries that took

Run: python scripts/bench/startup.py [BUNDLE ...] [--runs 9] [--cold] [--json]
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

COMMANDS = {
    "python": ["-c", "pass"],
    "import llmrec": ["-c", "import llmrec"],
    "import llmrec.pipeline": ["-c", "import llmrec.pipeline"],
    "llmrec --help": ["-m", "llmrec", "--help"],
    "llmrec recommend --help": ["-m", "llmrec", "recommend", "--help"],
}
PEER = "import sentence_transformers"
HEAVY = ("torch", "transformers", "sentence_transformers", "openvino", "lightgbm", "faiss", "sklearn", "pandas")

ANSWER = """
import sys, time
from llmrec import load
stamps = [time.time()]
recommender = load(sys.argv[1])
stamps.append(time.time())
if recommender.histories is None:
    queries = recommender.queries(histories=[[recommender.catalog.items[0]]])
else:
    queries = recommender.queries([recommender.histories.users[0]])
ranking = recommender.recommend(queries, 10)
stamps.append(time.time())
import json, pathlib
status = pathlib.Path("/proc/self/status")
sizes = dict(line.split(":", 1) for line in status.read_text().splitlines()) if status.exists() else {}
names = {"rss": "VmRSS", "peak": "VmHWM"}
memory = {name: int(sizes[key].split()[0]) // 1024 for name, key in names.items() if key in sizes}
loaded = [name for name in json.loads(sys.argv[2]) if name in sys.modules]
print(json.dumps({"stamps": stamps, "memory": memory, "loaded": loaded, "items": int((ranking.items >= 0).sum())}))
"""


def seconds(arguments: Sequence[str]) -> float:
    """Wall time of one fresh interpreter."""
    start = time.perf_counter()
    subprocess.run([sys.executable, "-W", "ignore", *arguments], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def first_answer(bundle: Path) -> dict[str, Any]:
    """Ask a bundle in a fresh interpreter: seconds of each step since the process was started, and what it took."""
    begin = time.time()
    command = [sys.executable, "-W", "ignore", "-c", ANSWER, str(bundle), json.dumps(HEAVY)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    told = json.loads(done.stdout.splitlines()[-1])
    steps = [after - before for before, after in zip([begin, *told["stamps"]], told["stamps"], strict=False)]
    return {**told, "steps": {"python": steps[0], "open": steps[1], "answer": steps[2], "total": sum(steps)}}


def forget_files(folder: Path) -> None:
    """Let the system forget what it has read of the files of a folder; on Linux."""
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def measure(bundles: Sequence[Path], runs: int, cold: bool) -> dict[str, Any]:
    """Run everything in turns; the first round does not count."""
    commands = {**COMMANDS, **({PEER: ["-c", PEER]} if find_spec("sentence_transformers") else {})}
    walls: dict[str, list[float]] = {name: [] for name in commands}
    answers: dict[str, list[dict[str, Any]]] = {bundle.resolve().name: [] for bundle in bundles}
    for _ in range(runs + 1):
        for name, arguments in commands.items():
            walls[name].append(seconds(arguments))
        for bundle in bundles:
            if cold:
                forget_files(bundle)
            answers[bundle.resolve().name].append(first_answer(bundle))
    found: dict[str, Any] = {"runs": runs, "cold": cold, "cpus": os.cpu_count(), "python": sys.version.split()[0]}
    found["commands_s"] = {name: _median(times[1:]) for name, times in walls.items()}
    peer = found["commands_s"].get(PEER)
    found["bundles"] = {name: _summary(told[1:], peer) for name, told in answers.items()}
    return found


def _summary(told: Sequence[Mapping[str, Any]], peer: float | None) -> dict[str, Any]:
    steps = {name: _median([one["steps"][name] for one in told]) for name in told[0]["steps"]}
    spread = [round(bound([one["steps"]["total"] for one in told]), 3) for bound in (min, max)]
    memory = {f"{name}_mb": round(statistics.median(one["memory"][name] for one in told)) for name in told[0]["memory"]}
    ratio = {} if peer is None else {"of_import_sentence_transformers": round(steps["total"] / peer, 2)}
    return {"seconds": steps, "range_s": spread, **memory, "loaded": told[0]["loaded"], **ratio}


def _median(values: Sequence[float]) -> float:
    return round(statistics.median(values), 3)


def as_markdown(found: Mapping[str, Any]) -> str:
    """Two tables: the commands, and the bundles."""
    told = f"{found['runs']} runs, {'cold' if found['cold'] else 'warm'} files"
    lines = [f"{told}, {found['cpus']} CPUs, Python {found['python']}", ""]
    lines += ["| process | s |", "|---|--:|"]
    lines += [f"| `{name}` | {wall:.2f} |" for name, wall in found["commands_s"].items()]
    if found["bundles"]:
        lines += ["", "| bundle | python | open | answer | total s | range | of the peer | RSS MB | peak MB | loaded |"]
        lines += ["|---|--:|--:|--:|--:|--:|--:|--:|--:|---|"]
    for name, bundle in found["bundles"].items():
        cells = [f"{bundle['seconds'][step]:.2f}" for step in ("python", "open", "answer", "total")]
        cells.append("-".join(f"{bound:.2f}" for bound in bundle["range_s"]))
        cells += [str(bundle.get(key, "")) for key in ("of_import_sentence_transformers", "rss_mb", "peak_mb")]
        lines.append(f"| {name} | {' | '.join(cells)} | {', '.join(bundle['loaded'])} |")
    return "\n".join(lines)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundles", nargs="*", type=Path, metavar="BUNDLE")
    parser.add_argument("--runs", type=int, default=9)
    parser.add_argument("--cold", action="store_true", help="read the bundles from disk")
    parser.add_argument("--json", action="store_true", help="print JSON in the place of Markdown")
    options = parser.parse_args()
    found = measure(options.bundles, options.runs, options.cold)
    print(json.dumps(found) if options.json else as_markdown(found))


if __name__ == "__main__":
    main()
