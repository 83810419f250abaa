"""A trainer of transformers as models are tuned with it here: checks, a time budget, small checkpoints, no telemetry.

Imports torch and transformers; who trains imports it when training begins.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from transformers import TrainerCallback

__all__ = ["METRIC", "Watch", "WatchedTrainer", "last_checkpoint", "scores_of"]

METRIC = "eval_ndcg@10"
WEIGHTS = "weights.safetensors"
WARMUP = 0.05


class Watch(TrainerCallback):  # type: ignore[misc]
    """Knows how far training is, by steps or by the clock, whichever is further; asks for checks and ends it.

    All that a resumed run must know is in the trainer's own log, which is part of a checkpoint.
    """

    def __init__(
        self, what: str, steps: int, checks: int, patience: int, minutes: float | None, tell: Callable[[str], None]
    ) -> None:
        self.what, self.steps, self.checks, self.patience, self.tell = what, steps, checks, patience, tell
        self.budget = None if minutes is None else 60 * minutes
        self._begun, self._before, self._first = time.monotonic(), 0.0, 0.0
        self._checked = 0

    def spent(self) -> float:
        """Seconds of training so far, those before an interruption too."""
        return self._before + time.monotonic() - self._begun

    def progress(self, step: int) -> float:
        """From 0 to 1."""
        return min(1.0, max(step / self.steps, 0.0 if self.budget is None else self.spent() / self.budget))

    def rate(self, step: int) -> float:
        """The share of the highest learning rate: a short warm-up, then a straight line down to nothing."""
        done = self.progress(step)
        return min(1.0, (done + 1.0 / self.steps) / WARMUP, (1.0 - done) / (1.0 - WARMUP))

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Read from the log of a resumed run how far it was."""
        self._before = max((entry.get("eval_spent", 0.0) for entry in state.log_history), default=0.0)
        self._begun = time.monotonic()
        self._first = self.progress(state.global_step)
        self._checked = int(self._first * self.checks + 1e-9)

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Ask for a check and a checkpoint where one is due."""
        done = self.progress(state.global_step)
        due = int(done * self.checks + 1e-9)
        if due > self._checked:
            self._checked = due
            control.should_save = True
            control.should_evaluate = args.eval_strategy != "no"
            if not control.should_evaluate:  # a check would note the time; a resumed run must know it all the same
                state.log_history.append({"step": state.global_step, "eval_spent": self.spent()})
        if done >= 1:
            control.should_training_stop = True

    def on_evaluate(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Stop where the last checks brought nothing."""
        found = scores_of(state)
        self.tell(f"{self.what}: step {state.global_step}, validation NDCG@10 {found[-1]:.4f} (best {max(found):.4f})")
        if len(found) - 1 - found.index(max(found)) >= self.patience:
            control.should_training_stop = True

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
        """Tell the loss and the time left."""
        if logs and "loss" in logs:
            done = self.progress(state.global_step)
            left = (time.monotonic() - self._begun) * (1 - done) / max(1e-9, done - self._first)
            step = f"step {state.global_step}/{state.max_steps}"
            self.tell(f"{self.what}: {step}, loss {float(logs['loss']):.3f}, at most {left / 60:.1f} minutes left")


def scores_of(state: Any) -> list[float]:
    """The NDCG of every check so far."""
    return [float(entry[METRIC]) for entry in state.log_history if METRIC in entry]


class WatchedTrainer:
    """What is put before a trainer of transformers: trained weights only are saved, and a `Watch` sets the rate.

    Attributes:
        watch: knows how far training is.
    """

    watch: Watch
    model: Any
    args: Any
    state: Any
    optimizer: Any
    lr_scheduler: Any

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
        """Return the schedule of the watch."""
        if self.lr_scheduler is None:
            optimizer = self.optimizer if optimizer is None else optimizer
            self.lr_scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, self.watch.rate)
            self._created_lr_scheduler = True
        return self.lr_scheduler

    def create_model_card(self, *_: Any, **__: Any) -> None:
        """Write no model card."""

    def _send_telemetry(self) -> None:
        """TRL would tell its makers of every training; nothing leaves this machine."""

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        folder = Path(output_dir or self.args.output_dir)
        folder.mkdir(parents=True, exist_ok=True)
        trained = {
            name: part.detach().contiguous() for name, part in self.model.named_parameters() if part.requires_grad
        }
        save_file(trained, folder / WEIGHTS)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        weights = load_file(Path(resume_from_checkpoint) / WEIGHTS, device=str(self.model.device))
        self.model.load_state_dict(weights, strict=False)

    def _load_best_model(self) -> None:
        if self.state.best_model_checkpoint is not None:
            self._load_from_checkpoint(self.state.best_model_checkpoint)


def last_checkpoint(folder: Path) -> Path | None:
    """The newest checkpoint that was written to its end: the trainer's state is written last."""
    found = sorted(folder.glob("checkpoint-*"), key=lambda path: int(path.name.rpartition("-")[2]), reverse=True)
    return next((path for path in found if _is_whole(path)), None)


def _is_whole(checkpoint: Path) -> bool:
    try:
        json.loads((checkpoint / "trainer_state.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return (checkpoint / WEIGHTS).is_file()
