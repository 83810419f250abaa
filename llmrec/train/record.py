"""What a training writes beside its model: settings, measurements, and whether it is finished."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmrec.errors import ConfigError, ModelError

if TYPE_CHECKING:
    from llmrec.train.encoder_config import ReportTo

__all__ = ["check_apart", "check_report", "close_record", "open_record", "read_record", "reports", "write_record"]

RECORD = "training.json"


def open_record(out: Path, key: str, resume: bool) -> dict[str, Any]:
    """Read what was done for this training already; clear the folder of what was done for another.

    Args:
        out: the model's folder.
        key: a hash of all that the training's result depends on.
        resume: otherwise it begins anew.

    Raises:
        ConfigError: the folder holds something else.
    """
    record = _own_record(out)
    if not resume or record.get("key") != key:
        if out.exists():
            shutil.rmtree(out)
        record = {"key": key, "finished": False}
    out.mkdir(parents=True, exist_ok=True)
    write_record(out, record)
    return record


def _own_record(out: Path) -> dict[str, Any]:
    """What a training of ours wrote there, nothing in a folder without anything; ConfigError if it is another's."""
    path, begun = out / RECORD, {f"{RECORD}.new"}  # a kill may have left this
    if not path.exists():
        if out.exists() and (not out.is_dir() or {one.name for one in out.iterdir()} - begun):
            raise ConfigError(f"{out} holds something else; choose another folder for the model, or an empty one")
        return {}
    try:
        record: Any = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        record = None
    if not isinstance(record, dict) or not (
        isinstance(record.get("key"), str) and isinstance(record.get("finished"), bool)
    ):
        raise ConfigError(
            f"{out} holds something else: its {RECORD} is not one that llmrec wrote; choose another folder for the "
            "model, or an empty one"
        )
    return record


def check_apart(out: Path, base: Path) -> None:
    """See to it that a training does not write over the model that it starts from.

    Args:
        out: the folder of the model to be made, which may be cleared.
        base: the folder of the model to start from.

    Raises:
        ConfigError: the one is the other, or holds it.
    """
    place, folder = out.resolve(), base.resolve()
    if place == folder or place in folder.parents:
        raise ConfigError(
            f"{out} holds the model that the training starts from, which would be lost; choose another folder for the "
            "new model"
        )


def read_record(out: Path) -> dict[str, Any]:
    """Read what a finished training wrote beside its model.

    Returns:
        JSON values: "steps", "seconds", how much was learned from ("pairs" or "cases"); the validation NDCG@10
        "before", at the "checks", and at the "best" of them; "settings"; "key", a hash of settings and data;
        "finished".

    Raises:
        ModelError: the folder holds no finished training.
    """
    try:
        record: dict[str, Any] = json.loads((out / RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{out} holds no record of a training ({error}); train the model again") from error
    if not record.get("finished"):
        raise ModelError(f"the training in {out} is not finished; run it again to go on where it was")
    return record


def write_record(out: Path, record: dict[str, Any]) -> None:
    """Put a record in the place of the one before."""
    fresh = out / f"{RECORD}.new"
    fresh.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    fresh.replace(out / RECORD)


def close_record(out: Path, record: dict[str, Any], steps: int, seconds: float, checks: Sequence[float]) -> None:
    """Write that a training is finished, and what came of it.

    Args:
        out: the model's folder.
        record: what is known so far; "before" is the measure of the model it began with, or None.
        steps: that were taken.
        seconds: that they took.
        checks: what the checks measured.
    """
    before: float | None = record.setdefault("before", None)
    best = None if before is None else max([*checks, before])
    done = {"finished": True, "steps": steps, "seconds": round(seconds, 1), "checks": list(checks), "best": best}
    write_record(out, record | done)


def check_report(report_to: ReportTo) -> None:
    """Raise ConfigError where what is to be reported to is not installed."""
    if report_to != "none" and find_spec(report_to) is None:
        raise ConfigError(f"{report_to} is not installed; pip install {report_to}, or report to none")


def reports(report_to: ReportTo, out: Path) -> list[Any]:
    """The callbacks that write the loss and the checks there."""
    if report_to == "tensorboard":
        from torch.utils.tensorboard import SummaryWriter
        from transformers.integrations import TensorBoardCallback

        return [TensorBoardCallback(SummaryWriter(log_dir=str(out / "logs")))]
    if report_to == "wandb":
        from transformers.integrations import WandbCallback

        return [WandbCallback()]
    return []
