"""Epochs over windows of histories: learning rate, judging, early stopping, checkpoints; of whatever is trained."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from llmrec.component import silent
from llmrec.data import Holdout
from llmrec.models import Placement, best_placement
from llmrec.train.checkpoint import (
    Checkpoint,
    optimizer_tensors,
    read_checkpoint,
    restore_optimizer,
    write_checkpoint,
)
from llmrec.train.sequence_data import Windows, epoch_batches
from llmrec.types import Csr, Int64Array, Queries, Ranking

if TYPE_CHECKING:
    import torch

__all__ = ["Course", "Judged", "Plan", "Saver", "Weights", "descend", "new_optimizer", "take_course", "training_place"]

WARM_UP = 0.1
"""Share of the steps in which the learning rate rises."""

TELL_S = 30.0
"""Seconds between two messages within an epoch."""

JUDGED = 5_000
"""Validation cases that an epoch is judged by, at most."""


class Plan(Protocol):
    """The settings of a course; see `SequenceConfig`."""

    @property
    def epochs(self) -> int:
        """Passes over the windows, by which the learning rate falls."""

    @property
    def batch_size(self) -> int:
        """Windows of a step."""

    @property
    def learning_rate(self) -> float:
        """The highest."""

    @property
    def weight_decay(self) -> float:
        """Of all weights but biases."""

    @property
    def patience(self) -> int | None:
        """Epochs without a better one before it stops."""

    @property
    def checkpoint_minutes(self) -> float:
        """What a killed run loses at most."""


class Weights(Protocol):
    """All that is trained."""

    @property
    def body(self) -> torch.nn.Module:
        """The network."""

    def parameters(self) -> list[torch.nn.Parameter]:
        """All of it."""

    def tensors(self) -> dict[str, torch.Tensor]:
        """All of it by name, not copied."""

    def restore(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """Take over the values of what `tensors` returned."""


@dataclass(slots=True)
class Course:
    """A training in progress.

    Attributes:
        name: of what is trained, for messages.
        plan: its settings.
        windows: what to learn from.
        seed: for every random choice; each step starts its own draws, so nothing of them needs to be kept.
        weights: what is trained.
        optimizer: of all of it.
        step: steps taken.
        best: NDCG, epoch and weights of the best epoch so far, if epochs are judged.
    """

    name: str
    plan: Plan
    windows: Windows
    seed: int
    weights: Weights
    optimizer: torch.optim.Optimizer
    step: int = 0
    best: tuple[float, int, dict[str, torch.Tensor]] = field(default_factory=lambda: (-1.0, 0, {}))

    @property
    def epoch_steps(self) -> int:
        """Steps of an epoch."""
        return math.ceil(len(self.windows) / self.plan.batch_size)


def training_place() -> Placement:
    """Where to train: float16 would need its losses scaled, and no machine has float16 alone."""
    best = best_placement().floating
    return best if best.dtype == "bfloat16" else Placement(best.device, "float32")


def new_optimizer(plan: Plan, weights: Weights, placement: Placement) -> torch.optim.Optimizer:
    """AdamW; vectors and numbers do not decay."""
    import torch

    matrices, others = ([p for p in weights.parameters() if (p.ndim > 1) == matrix] for matrix in (True, False))
    groups = [{"params": matrices, "weight_decay": plan.weight_decay}, {"params": others, "weight_decay": 0.0}]
    fused = not placement.device.startswith("mps")
    return torch.optim.AdamW(groups, lr=plan.learning_rate, betas=(0.9, 0.98), fused=fused)


def take_course(
    course: Course,
    last: int,
    learn: Callable[[Int64Array], float],
    saver: Saver,
    *,
    judge: Callable[[int], float] | None = None,
    progress: Callable[[str], None] = silent,
) -> int:
    """Train to the end, from where a killed run stopped; the weights are then those of the best epoch.

    Args:
        course: what is trained.
        last: the last epoch.
        learn: takes one step, from the windows at Int64[b]; returns the loss.
        saver: keeps checkpoints; a finished run is kept too and need not be trained again.
        judge: given the number of an epoch that is over, how good it was, higher is better; None: the last is taken.
        progress: told epoch, loss, and how long it will take.

    Returns:
        The epoch after which the weights were as they are.
    """
    if not _resume(course, saver, progress):
        _train(course, last, learn, judge, saver, progress)
    _, epoch, weights = course.best
    if weights:
        course.weights.restore(weights)
    course.weights.body.eval().requires_grad_(False)
    return epoch or last


@dataclass(slots=True)
class Saver:
    """Writes checkpoints when it is time.

    Attributes:
        path: the file.
        key: of the run.
        every_s: seconds between two.
        saved: when the last one was written.
    """

    path: Path
    key: str
    every_s: float
    saved: float = field(default_factory=time.monotonic)

    def save_if_due(self, course: Course) -> None:
        """Write one if the last is old enough."""
        if time.monotonic() - self.saved >= self.every_s:
            self.save(course, finished=False)

    def save(self, course: Course, *, finished: bool) -> None:
        """Write one."""
        score, epoch, weights = course.best
        tensors = {f"weights.{name}": tensor for name, tensor in course.weights.tensors().items()}
        tensors |= {f"best.{name}": tensor for name, tensor in weights.items()}
        tensors |= {} if finished else optimizer_tensors(course.optimizer)
        facts = {"step": course.step, "finished": finished, "best_score": score, "best_epoch": epoch}
        write_checkpoint(self.path, Checkpoint(self.key, facts, tensors))
        self.saved = time.monotonic()


def _resume(course: Course, saver: Saver, progress: Callable[[str], None]) -> bool:
    """Go on from a checkpoint if there is one; returns whether the run was finished."""
    checkpoint = read_checkpoint(saver.path, saver.key)
    if checkpoint is None:
        return False
    facts, tensors = checkpoint.facts, checkpoint.tensors
    course.weights.restore(_under("weights.", tensors))
    course.step, course.best = facts["step"], (facts["best_score"], facts["best_epoch"], _under("best.", tensors))
    if facts["finished"]:
        progress(f"{course.name}: trained before, read from {saver.path}")
        return True
    restore_optimizer(course.optimizer, tensors)
    progress(f"{course.name}: going on after step {course.step:,}, read from {saver.path}")
    return False


def _under(prefix: str, tensors: Any) -> dict[str, torch.Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def _train(
    course: Course,
    last: int,
    learn: Callable[[Int64Array], float],
    judge: Callable[[int], float] | None,
    saver: Saver,
    progress: Callable[[str], None],
) -> None:
    """Train from where the run stands to its end."""
    per_epoch, clock = course.epoch_steps, _Clock(course.step, last * course.epoch_steps, time.monotonic())
    patience = last if judge is None or course.plan.patience is None else course.plan.patience
    for epoch in range(course.step // per_epoch, last):
        if epoch - course.best[1] >= patience:
            break
        batches = epoch_batches(course.windows, course.plan.batch_size, np.random.default_rng((course.seed, epoch)))
        course.weights.body.train()
        label, loss = f"{course.name}: epoch {epoch + 1}/{last}", math.nan
        for rows in batches[course.step - epoch * per_epoch :]:
            now = learn(rows)
            loss = now if math.isnan(loss) else 0.98 * loss + 0.02 * now
            course.step += 1
            if course.step % per_epoch:  # at the end of an epoch it is judged first
                saver.save_if_due(course)
            if clock.due():
                progress(f"{label}, loss {loss:.3f}, {clock.left(course.step)}")
        told = "" if judge is None else f", NDCG@10 {_judged(course, judge, epoch + 1):.4f}"
        progress(f"{label}, loss {loss:.3f}{told}, {clock.left(course.step)}")
        saver.save_if_due(course)
    saver.save(course, finished=True)


def _judged(course: Course, judge: Callable[[int], float], epoch: int) -> float:
    """Judge an epoch, and keep its weights if it is the best so far."""
    import torch

    course.weights.body.eval()
    with torch.no_grad():
        score = judge(epoch)
    if score > course.best[0]:
        copies = {name: tensor.clone() for name, tensor in course.weights.tensors().items()}
        course.best = (score, epoch, copies)
    return score


@dataclass(slots=True)
class _Clock:
    """Says how long it will take."""

    first: int
    steps: int
    began: float
    told: float = field(default_factory=time.monotonic)

    def due(self) -> bool:
        return time.monotonic() - self.told >= TELL_S

    def left(self, step: int) -> str:
        self.told = time.monotonic()
        seconds = (self.told - self.began) / max(1, step - self.first) * (self.steps - step)
        return f"{seconds / 60:.0f} min left" if seconds >= 90 else f"{seconds:.0f} s left"


def _rate(plan: Plan, step: int, steps: int) -> float:
    """The learning rate of a step: up along a line, down along a cosine."""
    warm = max(1, round(WARM_UP * steps))
    if step < warm:
        return plan.learning_rate * (step + 1) / warm
    return plan.learning_rate * 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm)))


def descend(course: Course, outputs: Sequence[torch.Tensor], slopes: Sequence[torch.Tensor | None]) -> None:
    """Carry the slopes of a step back to the weights, and move those; None: of a loss, whose slope is one."""
    import torch

    for group in course.optimizer.param_groups:
        group["lr"] = _rate(course.plan, course.step, course.plan.epochs * course.epoch_steps)
    course.optimizer.zero_grad()
    torch.autograd.backward(outputs, slopes)
    torch.nn.utils.clip_grad_norm_(course.weights.parameters(), 1.0)
    course.optimizer.step()


class Retrieves(Protocol):
    """What an epoch is judged by."""

    def retrieve(self, queries: Queries, k: int) -> Ranking:
        """Return the k best items per query."""


@dataclass(frozen=True, slots=True)
class Judged:
    """Validation cases, what a user had left out, that epochs are judged by; always the same ones.

    Attributes:
        queries: what is asked.
        targets: one right item each.
    """

    queries: Queries
    targets: Csr

    @classmethod
    def some(cls, cases: Holdout, seed: int) -> Judged:
        """Take `JUDGED` of the cases, or all."""
        some = np.sort(np.random.default_rng(seed).permutation(len(cases))[:JUDGED]).astype(np.int64)
        queries = cases.queries.take(some)
        if queries.exclude is None:
            queries = replace(queries, exclude=queries.histories)
        return cls(queries, Csr(np.arange(len(some) + 1, dtype=np.int64), cases.targets[some]))

    def ndcg(self, retriever: Retrieves) -> float:
        """NDCG@10."""
        from llmrec.evaluate import find_hits, ndcg  # here: who only loads the model needs none of it

        found, one = retriever.retrieve(self.queries, 10), np.ones(len(self.targets), dtype=np.int64)
        return float(ndcg(find_hits(found.items, self.targets), one, 10).mean())
