"""SASRec by RecTools (Kang and McAuley, ICDM 2018), as a peer of `quality.py`, in an environment of its own.

RecTools needs older libraries than llmrec, so this file has two sides: `lists` runs in llmrec's environment, makes a
virtual environment from PyPI once (1.5 GB, with the torch of `constraints.txt`, its CPU build where there is no NVIDIA
GPU), and starts this very file in it; there it fits, and writes one list per user.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from llmrec.data import Dataset, Interactions

PACKAGES = ("rectools[torch]==0.19.0", "torch")
SCRIPTS = Path(__file__).resolve().parents[1]
LENGTH = 200
"""Items in a list: enough for Recall@200."""


def lists(data: Dataset, settings: dict[str, Any], seed: int, work: Path) -> tuple[Path, dict[str, float]]:
    """Fit on the training part of leave-last-out, and recommend from all but the last interaction.

    Args:
        data: the data set before the split.
        settings: of RecTools' SASRecModel.
        seed: of everything random.
        work: a folder for what goes to and fro; the environment is made beside it.

    Returns:
        A table of lists for `Benchmark.measure_lists`, and what it cost.
    """
    from llmrec.data import leave_last_out

    work.mkdir(parents=True, exist_ok=True)
    split = leave_last_out(data.interactions)
    _write(split.train, data, work / "train.csv")
    _write(split.known, data, work / "known.csv")
    users = data.interactions.users.decode(split.test.user_rows)
    order = {"settings": settings, "seed": seed, "users": users}
    (work / "order.json").write_text(json.dumps(order), encoding="utf-8")
    python = environment(work.parent / "sasrec")
    subprocess.run([str(python), str(Path(__file__).resolve()), str(work.resolve())], check=True, cwd=work)
    cost: dict[str, float] = json.loads((work / "cost.json").read_text(encoding="utf-8"))
    return _as_parquet(work / "lists.csv"), cost


def _as_parquet(path: Path) -> Path:
    """The same table with ids as text, whatever they look like."""
    import pyarrow as pa
    from pyarrow import csv, parquet

    text = csv.ConvertOptions(column_types={"user_id": pa.string(), "item_id": pa.string()})
    parquet.write_table(csv.read_csv(path, convert_options=text), path.with_suffix(".parquet"))
    return path.with_suffix(".parquet")


def _write(log: Interactions, data: Dataset, path: Path) -> None:
    import numpy as np
    import pyarrow as pa
    from pyarrow import csv

    lengths = np.diff(log.offsets)
    columns = {
        "user_id": log.users.decode(np.repeat(np.arange(log.n_users), lengths)),
        "item_id": data.catalog.items.decode(log.items),
        "place": np.arange(len(log)) - np.repeat(log.offsets[:-1], lengths),
    }
    csv.write_csv(pa.table(columns), path)


def environment(folder: Path) -> Path:
    """The interpreter of the environment in a folder, which is made if it is not whole, as `scripts/run.py` makes one.

    Raises:
        SystemExit: it cannot be made, or only with CUDA libraries on a machine without a GPU.
    """
    sys.path.insert(0, str(SCRIPTS))
    try:
        from _environment import PIP_FLAGS, Options, Setup, SetupError, Venv
    finally:
        sys.path.remove(str(SCRIPTS))
    venv = Venv(folder.resolve())
    ready = venv.path / "ready"
    wanted = json.dumps([*PACKAGES, (SCRIPTS.parent / "constraints.txt").read_text(encoding="utf-8")])
    if ready.is_file() and ready.read_text(encoding="utf-8") == wanted:
        return venv.python
    venv.path.mkdir(parents=True, exist_ok=True)
    ready.unlink(missing_ok=True)
    (folder / "constraints.txt").write_bytes((SCRIPTS.parent / "constraints.txt").read_bytes())
    setup = Setup(venv, Options("setup"), ())
    try:
        setup.create()
        if setup.cpu_only:
            setup.choose_torch()
        if not setup.pip("install", *PIP_FLAGS, *setup.constraints, *PACKAGES):
            raise SetupError(f"pip could not install {', '.join(PACKAGES)}")
    except SetupError as error:
        raise SystemExit(f"the environment of SASRec cannot be made: {error}\n{setup.log_tail()}") from error
    if setup.cpu_only and any(path for site in venv.site_packages() for path in site.glob("nvidia[_-]*.dist-info")):
        raise SystemExit(f"CUDA libraries came along into {venv.path}; give pip an index with the CPU build of torch")
    ready.write_text(wanted, encoding="utf-8")
    return venv.python


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
        text = {"user_id": str, "item_id": str}
        table = pd.read_csv(work / name, dtype=text, keep_default_na=False)
        return Dataset.construct(table.assign(weight=1, datetime=pd.to_datetime(table.pop("place"), unit="s")))

    model = SASRecModel(**order["settings"], deterministic=True, recommend_torch_device="cpu")
    start = time.perf_counter()
    model.fit(read("train.csv"))
    fit_seconds, peak = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
    start = time.perf_counter()
    found = model.recommend(
        users=order["users"],
        dataset=read("known.csv"),
        k=LENGTH,
        filter_viewed=True,
        on_unsupported_targets="warn",  # whoever knows no item of the training gets no list, which is a miss
    )
    found[["user_id", "item_id", "rank"]].to_csv(work / "lists.csv", index=False)
    cost = {"fit_seconds": fit_seconds, "peak_gb": peak, "measure_seconds": time.perf_counter() - start}
    (work / "cost.json").write_text(json.dumps(cost), encoding="utf-8")


if __name__ == "__main__":
    main()
