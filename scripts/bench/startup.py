"""How long it takes until help is on the screen, and what `import llmrec` costs; prints one line of JSON.

Run: python scripts/bench/startup.py [runs]
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time

COMMANDS = {
    "python": ["-c", "pass"],
    "import llmrec": ["-c", "import llmrec"],
    "llmrec --help": ["-m", "llmrec", "--help"],
    "llmrec recommend --help": ["-m", "llmrec", "recommend", "--help"],
}


def seconds(arguments: list[str]) -> float:
    """Wall time of one fresh interpreter."""
    start = time.perf_counter()
    subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def main(runs: int = 9) -> None:
    """Measure and print medians; one run of each comes before, so that files are in memory."""
    result: dict[str, object] = {"runs": runs, "cpus": os.cpu_count(), "python version": sys.version.split()[0]}
    for name, arguments in COMMANDS.items():
        seconds(arguments)
        result[f"{name} ms"] = round(1000 * statistics.median(seconds(arguments) for _ in range(runs)))
    print(json.dumps(result))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
