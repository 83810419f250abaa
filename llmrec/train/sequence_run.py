"""One training run of a network over item vectors: what a step is, and what is kept of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from llmrec.component import silent
from llmrec.models import Placement
from llmrec.models.sequence_model import SequenceShape, run_body
from llmrec.retrieve.sequence import SequenceConfig
from llmrec.train.checkpoint import run_key
from llmrec.train.epochs import Course, Saver, descend, new_optimizer, take_course, training_place
from llmrec.train.sequence_data import Windows, read_window
from llmrec.train.sequence_items import ItemTable, new_table
from llmrec.train.sequence_loss import Columns, LossKind, all_columns, draw_columns, gbce_power, score_loss
from llmrec.types import Float32Array, Int64Array

if TYPE_CHECKING:
    import torch

__all__ = ["Lesson", "Trained", "train_sequence"]

SOFTMAX_ITEMS = 5_000
"""Up to so many items "auto" scores against all of them."""


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


@dataclass(frozen=True, slots=True)
class _Run:
    """A run in progress.

    Attributes:
        config: settings.
        lesson: the data.
        placement: where and in which format the products are taken.
        table: what is trained.
        course: how far it is.
    """

    config: SequenceConfig
    lesson: Lesson
    placement: Placement
    table: ItemTable
    course: Course


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
        asked = None if judge is None else lambda epoch: judge(Trained(shape, run.table, epoch))
        saver = Saver(path, key, 60 * config.checkpoint_minutes)
        taken = take_course(run.course, last, lambda rows: _step(run, rows), saver, judge=asked, progress=progress)
    return Trained(shape, run.table, taken)


def _start(config: SequenceConfig, lesson: Lesson, shape: SequenceShape, seed: int) -> _Run:
    placement = training_place()
    table = new_table(
        shape,
        len(lesson.shares),
        lesson.texts,
        with_ids=config.items != "text",
        dtype=placement.torch_dtype,
        device=placement.device,
    )
    optimizer = new_optimizer(config, table, placement)
    return _Run(config, lesson, placement, table, Course("sequence", config, lesson.windows, seed, table, optimizer))


def _step(run: _Run, rows: Int64Array) -> float:
    """Learn from one batch of windows; returns the loss."""
    import torch

    torch.manual_seed(run.course.seed * 1_000_003 + run.course.step)
    rng = np.random.default_rng((run.course.seed, run.course.step, 1))
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
    descend(run.course, [states, offered, offsets], [result.states.to(states.dtype), result.vectors, result.biases])
    return result.loss


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
