"""SASRec by RecTools (Kang and McAuley, ICDM 2018), as a peer of `quality.py`, in an environment of its own.

RecTools needs older libraries than llmrec, so this file has two sides: `lists` runs in llmrec's environment, makes a
virtual environment from PyPI once (1.5 GB, with the torch of `constraints.txt`, its CPU build where there is no NVIDIA
GPU), and starts this very file in it; there it fits, and writes one list per user. A fit that was killed goes on from
its last finished epoch when it is started again in the same folder.
"""

from __future__ import annotations

import hashlib
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
    cost = _fit(model, read("train.csv"), checkpoint_path(work))
    start = time.perf_counter()
    found = model.recommend(
        users=order["users"],
        dataset=read("known.csv"),
        k=LENGTH,
        filter_viewed=True,
        on_unsupported_targets="warn",  # whoever knows no item of the training gets no list, which is a miss
    )
    found[["user_id", "item_id", "rank"]].to_csv(work / "lists.csv", index=False)
    cost["measure_seconds"] = time.perf_counter() - start
    (work / "cost.json").write_text(json.dumps(cost), encoding="utf-8")


def checkpoint_path(work: Path) -> Path:
    """Where the last finished epoch is kept: under another name for other settings, another seed or other data."""
    key = hashlib.sha256((work / "order.json").read_bytes() + (work / "train.csv").read_bytes())
    return work / f"{key.hexdigest()[:16]}.ckpt"


def _fit(model: Any, dataset: Any, path: Path) -> dict[str, float]:
    """What `model.fit` does, from the last finished epoch on; on a CPU the weights are those of a fit in one go.

    Returns:
        What it cost over all attempts, but for the epochs that a kill has cut off.
    """
    import torch
    from pytorch_lightning import Trainer
    from pytorch_lightning.callbacks import LambdaCallback

    saved = torch.load(path, weights_only=False) if path.is_file() else {"cost": {"fit_seconds": 0.0, "peak_gb": 0.0}}
    start = time.perf_counter() - saved["cost"]["fit_seconds"]

    def cost() -> dict[str, float]:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
        return {"fit_seconds": time.perf_counter() - start, "peak_gb": max(peak, saved["cost"]["peak_gb"])}

    def begin(*_: Any) -> None:
        if "random" in saved:  # only once; here, because Lightning draws from it on its way to the first epoch
            torch.set_rng_state(saved.pop("random"))

    def end(trainer: Any, _: Any) -> None:
        epoch, loss = trainer.current_epoch + 1, float(trainer.callback_metrics[model.train_loss_name])
        print(f"epoch {epoch} of {model.epochs}: loss {loss:.4f}, {cost()['fit_seconds']:.0f} s so far", flush=True)
        part = path.with_suffix(".part")
        trainer.save_checkpoint(part)
        part.replace(path)

    def add(_trainer: Any, _module: Any, checkpoint: dict[str, Any]) -> None:
        checkpoint.update(cost=cost(), random=torch.get_rng_state())

    quiet = dict.fromkeys(("logger", "enable_progress_bar", "enable_model_summary", "enable_checkpointing"), False)
    hooks = LambdaCallback(on_train_epoch_start=begin, on_train_epoch_end=end, on_save_checkpoint=add)
    trainer = Trainer(max_epochs=model.epochs, deterministic=True, devices=1, callbacks=[hooks], **quiet)
    model._build_model_from_dataset(dataset)  # `model.fit` cannot resume: it hands no checkpoint to Lightning
    model.lightning_model.is_fitted = path.is_file()  # otherwise RecTools draws new weights in place of the saved ones
    loader = model.data_preparator.get_dataloader_train()
    trainer.fit(model.lightning_model, loader, ckpt_path=path if path.is_file() else None)
    model.is_fitted, model.fit_trainer = True, trainer
    return cost()


if __name__ == "__main__":
    main()
