"""SASRec by RecTools (Kang and McAuley, ICDM 2018), as a peer of `quality.py`, in an environment of its own.

RecTools pins libraries that llmrec does not, so this file has two sides: `lists` runs in llmrec's environment, makes a
virtual environment from PyPI once, and starts this very file in it; there it fits, and writes one list per user.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
import venv
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from llmrec.data import Dataset, Interactions

PACKAGES = ("rectools[torch]==0.19.0", "pyarrow")
LENGTH = 20
"""Items in a list."""


def lists(data: Dataset, settings: dict[str, Any], seed: int, work: Path) -> tuple[Path, dict[str, float]]:
    """Fit on the training part of leave-last-out, and recommend from all but the last interaction.

    Args:
        data: the data set before the split.
        settings: of RecTools' SASRecModel.
        seed: of everything random.
        work: a folder for what goes to and fro.

    Returns:
        A table of lists for `Benchmark.measure_lists`, and what it cost.
    """
    from llmrec.data import leave_last_out

    work.mkdir(parents=True, exist_ok=True)
    split = leave_last_out(data.interactions)
    _write(split.train, data, work / "train.parquet")
    _write(split.known, data, work / "known.parquet")
    users = data.interactions.users.decode(split.test.user_rows)
    order = {"settings": settings, "seed": seed, "users": users}
    (work / "order.json").write_text(json.dumps(order), encoding="utf-8")
    subprocess.run([str(_python(work.parent / "sasrec-venv")), __file__, str(work)], check=True)
    cost: dict[str, float] = json.loads((work / "cost.json").read_text(encoding="utf-8"))
    return work / "lists.parquet", cost


def _write(log: Interactions, data: Dataset, path: Path) -> None:
    import numpy as np
    import pyarrow as pa
    from pyarrow import parquet

    lengths = np.diff(log.offsets)
    columns = {
        "user_id": log.users.decode(np.repeat(np.arange(log.n_users), lengths)),
        "item_id": data.catalog.items.decode(log.items),
        "place": np.arange(len(log)) - np.repeat(log.offsets[:-1], lengths),
    }
    parquet.write_table(pa.table(columns), path)


def _python(folder: Path) -> Path:
    """The interpreter of the environment, which is made if it is not there."""
    binary = folder / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    if not (folder / "ready").exists():
        venv.create(folder, with_pip=True, clear=True)
        subprocess.run([str(binary), "-m", "pip", "install", "--quiet", *PACKAGES], check=True)
        (folder / "ready").touch()
    return binary


def main() -> None:
    """The other side: fit and recommend, with nothing of llmrec."""
    import pandas as pd
    from pytorch_lightning import seed_everything
    from rectools.dataset import Dataset
    from rectools.models import SASRecModel

    work = Path(sys.argv[1])
    order = json.loads((work / "order.json").read_text(encoding="utf-8"))
    seed_everything(order["seed"])

    def read(name: str) -> Any:
        table = pd.read_parquet(work / name)
        return Dataset.construct(table.assign(weight=1, datetime=pd.to_datetime(table.pop("place"), unit="s")))

    model = SASRecModel(**order["settings"], deterministic=True, recommend_torch_device="cpu")
    start = time.perf_counter()
    model.fit(read("train.parquet"))
    fit_seconds, peak = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
    start = time.perf_counter()
    found = model.recommend(
        users=order["users"],
        dataset=read("known.parquet"),
        k=LENGTH,
        filter_viewed=True,
        on_unsupported_targets="warn",  # whoever knows no item of the training gets no list, which is a miss
    )
    found[["user_id", "item_id", "rank"]].to_parquet(work / "lists.parquet", index=False)
    cost = {"fit_seconds": fit_seconds, "peak_gb": peak, "measure_seconds": time.perf_counter() - start}
    (work / "cost.json").write_text(json.dumps(cost), encoding="utf-8")


if __name__ == "__main__":
    main()
