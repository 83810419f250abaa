"""What it costs to load a long log: seconds and peak memory, ours and pandas', each in its own process. Prints JSON.

A made-up log (users and items drawn unevenly, times in no order) and its catalog are written as CSV and as Parquet to a
temporary folder. Ours is `load_dataset`: cleaned, folded, by user, oldest first. The peer reads the same file with
pandas and does the same without any check: both ids factorized, sorted by user and time, repeats dropped. `ratio` is
ours over the peer's; `cpu` is processor time in seconds, which other work on the machine stretches less.

Run: python scripts/bench/load.py [rows=10000000] [users=200000] [items=50000]
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
from pyarrow import csv, parquet

_OURS = """
import llmrec
data = llmrec.load_dataset(FOLDER)
kept = len(data.interactions)
"""

_PANDAS = """
import pandas as pd
path = next(pathlib.Path(FOLDER).glob("interactions.*"))
frame = pd.read_csv(path, dtype={"user_id": str, "item_id": str}) if path.suffix == ".csv" else pd.read_parquet(path)
frame["user_id"] = pd.factorize(frame["user_id"])[0]
frame["item_id"] = pd.factorize(frame["item_id"])[0]
frame = frame.sort_values(["user_id", "timestamp"], kind="stable").drop_duplicates(["user_id", "item_id"])
kept = len(frame)
"""

_MEASURE = """
import json, pathlib, resource, time
FOLDER = {folder!r}
start = time.perf_counter()
{code}
seconds = time.perf_counter() - start
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
found = {{"seconds": seconds, "cpu": time.process_time(), "peak_gb": peak / 1e9, "interactions": kept}}
print(json.dumps({{name: round(value, 2) for name, value in found.items()}}))
"""


def main() -> None:
    """Run and print."""
    sizes = [int(number) for number in sys.argv[1:]]
    rows, users, items = [*sizes, *(10_000_000, 200_000, 50_000)[len(sizes) :]]
    found: dict[str, object] = {"rows": rows, "users": users, "items": items}
    with tempfile.TemporaryDirectory() as work:
        table, catalog = _made_up(rows, users, items)
        for suffix in ("csv", "parquet"):
            folder = Path(work) / suffix
            folder.mkdir()
            write = csv.write_csv if suffix == "csv" else parquet.write_table
            write(table, folder / f"interactions.{suffix}")
            write(catalog, folder / f"items.{suffix}")
        del table
        for suffix in ("csv", "parquet"):
            ours, peer = (_measure(code, Path(work) / suffix) for code in (_OURS, _PANDAS))
            if ours["interactions"] != peer["interactions"]:
                raise SystemExit(
                    f"{suffix}: ours kept {ours['interactions']} interactions, pandas {peer['interactions']}"
                )
            ratio = {name: round(ours[name] / peer[name], 2) for name in ("seconds", "cpu", "peak_gb")}
            found[suffix] = {"llmrec": ours, "pandas": peer, "ratio": ratio}
    print(json.dumps(found, indent=2))


def _made_up(rows: int, users: int, items: int) -> tuple[pa.Table, pa.Table]:
    rng = np.random.default_rng(0)
    chosen_users = (users * rng.random(rows) ** 2).astype(np.int64)
    chosen_items = (items * rng.random(rows) ** 2).astype(np.int64)
    user_ids = pa.array([f"user-{n:07d}" for n in rng.permutation(users)])
    item_ids = pa.array([f"B{n:09d}" for n in rng.permutation(items)])
    log = pa.table(
        {
            "user_id": user_ids.take(pa.array(chosen_users)),
            "item_id": item_ids.take(pa.array(chosen_items)),
            "timestamp": rng.integers(1_500_000_000, 1_700_000_000, rows),
        }
    )
    return log, pa.table({"item_id": item_ids, "title": [f"title {n}" for n in range(items)]})


def _measure(code: str, folder: Path) -> dict[str, float]:
    script = _MEASURE.format(folder=str(folder), code=code)
    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


if __name__ == "__main__":
    main()
