"""One training run of a network over item vectors: steps, learning rate, checkpoints, early stopping."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from llmrec.component import silent
from llmrec.models import Placement, best_placement
from llmrec.models.sequence_model import SequenceShape, run_body
from llmrec.retrieve.sequence import SequenceConfig
from llmrec.train.checkpoint import (
    Checkpoint,
    optimizer_tensors,
    read_checkpoint,
    restore_optimizer,
    run_key,
    write_checkpoint,
)
from llmrec.train.sequence_data import Windows, epoch_batches, read_window
from llmrec.train.sequence_items import ItemTable, new_table
from llmrec.train.sequence_loss import Columns, LossKind, all_columns, draw_columns, gbce_power, score_loss
from llmrec.types import Float32Array, Int64Array

if TYPE_CHECKING:
    import torch

__all__ = ["Lesson", "Trained", "train_sequence"]

SOFTMAX_ITEMS = 5_000
"""Up to so many items "auto" scores against all of them."""

WARM_UP = 0.1
"""Share of the steps in which the learning rate rises."""

TELL_S = 30.0
"""Seconds between two messages within an epoch."""


@dataclass(frozen=True, slots=True, eq=False)
class Lesson:
    """What there is to learn from, over the items that have interactions: places, not catalog rows.

    Attributes:
        windows: parts of histories.
        shares: Float64[n], how large a part of all targets an item is; sums to 1.
        texts: Float32[n, e], embeddings of the texts, centred, length one; None where texts are not read.
        key: of the data, those that a judge has too; equal keys, equal data.
    """

    windows: Windows
    shares: NDArray[np.float64]
    texts: Float32Array | None
    key: str


@dataclass(frozen=True, slots=True, eq=False)
class Trained:
    """What came of a run.

    Attributes:
        shape: the network's sizes.
        table: what was trained, in eval mode.
        epochs: after how many epochs it was as it is.
    """

    shape: SequenceShape
    table: ItemTable
    epochs: int


@dataclass(slots=True)
class _Run:
    """A run in progress.

    Attributes:
        config: settings.
        shape: the network's sizes.
        lesson: the data.
        seed: for every random choice; each step starts its own draws, so nothing of them needs to be kept.
        placement: where and in which format the products are taken.
        table: what is trained.
        optimizer: of all of it.
        step: steps taken.
        best: NDCG, epoch and weights of the best epoch so far, if epochs are judged.
    """

    config: SequenceConfig
    shape: SequenceShape
    lesson: Lesson
    seed: int
    placement: Placement
    table: ItemTable
    optimizer: torch.optim.Optimizer
    step: int = 0
    best: tuple[float, int, dict[str, torch.Tensor]] = field(default_factory=lambda: (-1.0, 0, {}))

    @property
    def epoch_steps(self) -> int:
        return math.ceil(len(self.lesson.windows) / self.config.batch_size)


def train_sequence(
    config: SequenceConfig,
    lesson: Lesson,
    folder: Path,
    *,
    seed: int = 0,
    epochs: int | None = None,
    judge: Callable[[Trained], float] | None = None,
    progress: Callable[[str], None] = silent,
) -> Trained:
    """Train a network to foretell the next item at every place of every history.

    The same settings, lesson and seed give the same weights on the same machine, also when the run was killed and
    went on from its last checkpoint.

    Args:
        config: its settings.
        lesson: what to learn.
        folder: where checkpoints are kept; a finished run is kept too and need not be trained again.
        seed: for weights, order, dropout and draws.
        epochs: stop after so many; the learning rate falls as if `config.epochs` were to come. None: all.
        judge: says how good the run is after an epoch, higher is better; None: the last epoch is taken.
        progress: told epoch, loss, and how long it will take.
    """
    import torch

    shape = SequenceShape(
        config.architecture, config.dim, config.layers, config.heads, config.dropout, config.max_length
    )
    last = min(epochs or config.epochs, config.epochs)
    settings = config.model_dump(exclude={"checkpoint_minutes"}) | {"last": last, "judged": judge is not None}
    key = run_key(settings=settings, data=lesson.key, seed=seed, torch=torch.__version__)
    path = folder / f"{key[:16]}.safetensors"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        run = _start(config, lesson, shape, seed)
        if not _resume(run, path, key, progress):
            _train(run, last, judge, _Saver(path, key, 60 * config.checkpoint_minutes), progress)
    _, epoch, weights = run.best
    if weights:
        run.table.restore(weights)
    run.table.body.eval().requires_grad_(False)
    return Trained(shape, run.table, epoch or last)


def _start(config: SequenceConfig, lesson: Lesson, shape: SequenceShape, seed: int) -> _Run:
    import torch

    best = best_placement().floating
    # float16 would need its losses scaled, and no machine has float16 alone
    placement = best if best.dtype == "bfloat16" else Placement(best.device, "float32")
    table = new_table(
        shape,
        len(lesson.shares),
        lesson.texts,
        with_ids=config.items != "text",
        dtype=placement.torch_dtype,
        device=placement.device,
    )
    weights, others = ([p for p in table.parameters() if (p.ndim > 1) == matrix] for matrix in (True, False))
    groups = [{"params": weights, "weight_decay": config.weight_decay}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=config.learning_rate, betas=(0.9, 0.98), fused=not _is_mps(placement))
    return _Run(config, shape, lesson, seed, placement, table, optimizer)


def _is_mps(placement: Placement) -> bool:
    return placement.device.startswith("mps")


@dataclass(slots=True)
class _Saver:
    """Writes checkpoints when it is time."""

    path: Path
    key: str
    every_s: float
    saved: float = field(default_factory=time.monotonic)

    def save_if_due(self, run: _Run) -> None:
        if time.monotonic() - self.saved >= self.every_s:
            self.save(run, finished=False)

    def save(self, run: _Run, *, finished: bool) -> None:
        score, epoch, weights = run.best
        tensors = {f"weights.{name}": tensor for name, tensor in run.table.tensors().items()}
        tensors |= {f"best.{name}": tensor for name, tensor in weights.items()}
        tensors |= {} if finished else optimizer_tensors(run.optimizer)
        facts = {"step": run.step, "finished": finished, "best_score": score, "best_epoch": epoch}
        write_checkpoint(self.path, Checkpoint(self.key, facts, tensors))
        self.saved = time.monotonic()


def _resume(run: _Run, path: Path, key: str, progress: Callable[[str], None]) -> bool:
    """Go on from a checkpoint if there is one; returns whether the run was finished."""
    checkpoint = read_checkpoint(path, key)
    if checkpoint is None:
        return False
    facts, tensors = checkpoint.facts, checkpoint.tensors
    run.table.restore(_under("weights.", tensors))
    run.step, run.best = facts["step"], (facts["best_score"], facts["best_epoch"], _under("best.", tensors))
    if facts["finished"]:
        progress(f"sequence: trained before, read from {path}")
        return True
    restore_optimizer(run.optimizer, tensors)
    progress(f"sequence: going on after step {run.step:,}, read from {path}")
    return False


def _under(prefix: str, tensors: Any) -> dict[str, torch.Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def _train(
    run: _Run,
    last: int,
    judge: Callable[[Trained], float] | None,
    saver: _Saver,
    progress: Callable[[str], None],
) -> None:
    """Train from where the run stands to its end."""
    per_epoch, clock = run.epoch_steps, _Clock(run.step, last * run.epoch_steps, time.monotonic())
    patience = last if judge is None or run.config.patience is None else run.config.patience
    for epoch in range(run.step // per_epoch, last):
        if epoch - run.best[1] >= patience:
            break
        batches = epoch_batches(run.lesson.windows, run.config.batch_size, np.random.default_rng((run.seed, epoch)))
        run.table.body.train()
        loss = math.nan
        for rows in batches[run.step - epoch * per_epoch :]:
            now = _step(run, rows)
            loss = now if math.isnan(loss) else 0.98 * loss + 0.02 * now
            run.step += 1
            if run.step % per_epoch:  # at the end of an epoch it is judged first
                saver.save_if_due(run)
            if clock.due():
                progress(f"sequence: epoch {epoch + 1}/{last}, loss {loss:.3f}, {clock.left(run.step)}")
        told = ""
        if judge is not None:
            score = _judged(run, judge, epoch + 1)
            told = f", NDCG@10 {score:.4f}"
            if score > run.best[0]:
                copies = {name: tensor.clone() for name, tensor in run.table.tensors().items()}
                run.best = (score, epoch + 1, copies)
        progress(f"sequence: epoch {epoch + 1}/{last}, loss {loss:.3f}{told}, {clock.left(run.step)}")
        saver.save_if_due(run)
    saver.save(run, finished=True)


def _judged(run: _Run, judge: Callable[[Trained], float], epoch: int) -> float:
    import torch

    run.table.body.eval()
    with torch.no_grad():
        return judge(Trained(run.shape, run.table, epoch))


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


def _rate(config: SequenceConfig, step: int, steps: int) -> float:
    """The learning rate of a step: up along a line, down along a cosine."""
    warm = max(1, round(WARM_UP * steps))
    if step < warm:
        return config.learning_rate * (step + 1) / warm
    return config.learning_rate * 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm)))


def _step(run: _Run, rows: Int64Array) -> float:
    """Learn from one batch of windows; returns the loss."""
    import torch

    torch.manual_seed(run.seed * 1_000_003 + run.step)
    rng = np.random.default_rng((run.seed, run.step, 1))
    items, _ = read_window(run.lesson.windows, rows)
    inputs, ahead = items[:, :-1], items[:, 1:]
    targets = ahead[ahead >= 0]
    kind, columns = _columns(run, targets, rng)
    read = np.unique(np.concatenate([columns.items, inputs[inputs >= 0]]))
    place = np.zeros(len(run.lesson.shares), dtype=np.int64)
    place[read] = np.arange(len(read))
    device = run.placement.device
    keep = (torch.rand(len(read), 1) >= run.config.id_dropout).float().to(device)
    lowered = run.placement.torch_dtype
    with torch.autocast(torch.device(device).type, lowered, enabled=lowered != torch.float32):
        vectors, biases = run.table.rows(_tensor(read, device), keep)
        sequences = torch.nn.functional.embedding(_tensor(place[np.maximum(inputs, 0)], device), vectors)
        states = run_body(run.table.body, sequences)[_tensor(ahead >= 0, device)]
    chosen = _tensor(place[columns.items], device)
    offered, offsets = torch.nn.functional.embedding(chosen, vectors), biases[chosen]
    column = np.zeros(len(run.lesson.shares), dtype=np.int64)
    column[columns.items] = np.arange(len(columns.items))
    result = score_loss(
        states.detach().to(lowered),
        offered.detach().to(lowered),
        offsets.detach() + _tensor(columns.offsets, device),
        _tensor(column[targets], device),
        _tensor(columns.drawn.astype(np.float32), device),
        gbce_power(int(columns.drawn.sum()), len(run.lesson.shares)) if kind == "gbce" else None,
    )
    _descend(run, [states, offered, offsets], [result.states.to(states.dtype), result.vectors, result.biases])
    return result.loss


def _descend(run: _Run, outputs: list[torch.Tensor], slopes: list[torch.Tensor]) -> None:
    """Carry the slopes of a step back to the weights, and move those."""
    import torch

    for group in run.optimizer.param_groups:
        group["lr"] = _rate(run.config, run.step, run.config.epochs * run.epoch_steps)
    run.optimizer.zero_grad()
    torch.autograd.backward(outputs, slopes)
    torch.nn.utils.clip_grad_norm_(run.table.parameters(), 1.0)
    run.optimizer.step()


def _columns(run: _Run, targets: Int64Array, rng: np.random.Generator) -> tuple[LossKind, Columns]:
    """What a step's states are scored against."""
    n, kind = len(run.lesson.shares), run.config.loss
    if kind == "auto":
        kind = "softmax" if n <= SOFTMAX_ITEMS else "sampled"
    if kind == "softmax":
        return kind, all_columns(n)
    return kind, draw_columns(targets, run.lesson.shares, run.config.negatives, kind, rng)


def _tensor(array: NDArray[Any], device: str) -> torch.Tensor:
    import torch

    return torch.from_numpy(array).to(device)
