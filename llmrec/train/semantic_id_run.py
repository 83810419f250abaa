"""One training run of a network over the codes of items."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from llmrec.component import silent
from llmrec.models import Placement
from llmrec.models.code_decoder import CodeDecoder, CodeShape
from llmrec.models.sequence_model import new_body, run_body
from llmrec.retrieve.semantic_id import SemanticIdConfig
from llmrec.retrieve.semantic_ids import SemanticIds
from llmrec.train.checkpoint import run_key
from llmrec.train.epochs import Course, Saver, descend, new_optimizer, take_course, training_place
from llmrec.train.sequence_data import Windows, read_window
from llmrec.types import Int64Array

if TYPE_CHECKING:
    import torch

__all__ = ["CodeWeights", "IdLesson", "TrainedIds", "next_codes_loss", "train_semantic_id"]

CODE_STD = 0.02


@dataclass(frozen=True, slots=True, eq=False)
class IdLesson:
    """What there is to learn from.

    Attributes:
        shape: the network's sizes.
        windows: parts of histories, of catalog rows.
        ids: of all items; those in the windows were learned.
        key: of the data, those that a judge has too; equal keys, equal data.
    """

    shape: CodeShape
    windows: Windows
    ids: SemanticIds
    key: str


@dataclass(frozen=True, slots=True, eq=False)
class CodeWeights:
    """Everything that is trained.

    Attributes:
        body: the network.
        codes: [vocabulary, dim], the vectors of all codes, by which they are read and foretold.
    """

    body: torch.nn.Module
    codes: torch.nn.Parameter

    def parameters(self) -> list[torch.nn.Parameter]:
        """All that is trained."""
        return [self.codes, *self.body.parameters()]

    def tensors(self) -> dict[str, torch.Tensor]:
        """All that is trained, by name; not copied."""
        return {"codes": self.codes.detach()} | {f"body.{n}": tensor for n, tensor in self.body.state_dict().items()}

    def restore(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """Take over the values of what `tensors` returned."""
        self.codes.data.copy_(tensors["codes"])
        inner = {n.removeprefix("body."): tensor for n, tensor in tensors.items() if n.startswith("body.")}
        self.body.load_state_dict(inner)

    def decoder(self, shape: CodeShape) -> CodeDecoder:
        """The network as it is now, for reading."""
        return CodeDecoder.of(shape, self.body, np.array(self.codes.detach().float().cpu().numpy()))


@dataclass(frozen=True, slots=True, eq=False)
class TrainedIds:
    """What came of a run.

    Attributes:
        decoder: the network.
        epochs: after how many epochs it was as it is.
    """

    decoder: CodeDecoder
    epochs: int


@dataclass(frozen=True, slots=True)
class _Run:
    """A run in progress: settings, data, where products are taken, what is trained, and how far it is."""

    config: SemanticIdConfig
    lesson: IdLesson
    placement: Placement
    weights: CodeWeights
    course: Course


def train_semantic_id(
    config: SemanticIdConfig,
    lesson: IdLesson,
    folder: Path,
    *,
    seed: int = 0,
    epochs: int | None = None,
    judge: Callable[[CodeDecoder, int], float] | None = None,
    progress: Callable[[str], None] = silent,
) -> TrainedIds:
    """Train a network to write the codes of the next item at every place of every history.

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

    shape, last = lesson.shape, min(epochs or config.epochs, config.epochs)
    settings = config.model_dump(exclude={"checkpoint_minutes"}) | {"last": last, "judged": judge is not None}
    key = run_key(settings=settings, data=lesson.key, seed=seed, torch=torch.__version__)
    saver = Saver(folder / f"{key[:16]}.safetensors", key, 60 * config.checkpoint_minutes)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        run = _start(config, lesson, seed)
        asked = None if judge is None else lambda epoch: judge(run.weights.decoder(shape), epoch)
        taken = take_course(run.course, last, lambda rows: _step(run, rows), saver, judge=asked, progress=progress)
    return TrainedIds(run.weights.decoder(shape), taken)


def _start(config: SemanticIdConfig, lesson: IdLesson, seed: int) -> _Run:
    import torch

    placement, shape = training_place(), lesson.shape
    codes = torch.nn.Parameter((CODE_STD * torch.randn(shape.vocabulary, shape.dim)).to(placement.device))
    weights = CodeWeights(new_body(shape.body).to(placement.device), codes)
    optimizer = new_optimizer(config, weights, placement)
    return _Run(
        config, lesson, placement, weights, Course("semantic_id", config, lesson.windows, seed, weights, optimizer)
    )


def _step(run: _Run, rows: Int64Array) -> float:
    """Learn from one batch of windows; returns the loss."""
    import torch

    course, ids = run.course, run.lesson.ids
    torch.manual_seed(course.seed * 1_000_003 + course.step)
    rng = np.random.default_rng((course.seed, course.step, 1))
    items, _ = read_window(run.lesson.windows, rows)
    forgotten = rng.random(len(ids.codes)) < run.config.id_dropout
    tokens = ids.forgetting(forgotten).tokens(run.lesson.shape.sizes[-1] - 1)
    lowered, device = run.placement.torch_dtype, run.placement.device
    with torch.autocast(torch.device(device).type, lowered, enabled=lowered != torch.float32):
        loss = next_codes_loss(run.weights, run.lesson.shape, items, tokens)
    descend(course, [loss], [None])
    return float(loss.detach())


def next_codes_loss(weights: CodeWeights, shape: CodeShape, items: Int64Array, tokens: Int64Array) -> torch.Tensor:
    """How unlikely the network finds the next item's id, the mean over all places of some histories.

    Args:
        weights: the network.
        shape: its sizes.
        items: Int64[b, length], catalog rows, -1 pads on the right; length at least 2.
        tokens: Int64[n_items, levels], the ids, each level's codes from 0 on.
    """
    import torch
    from torch.nn.functional import cross_entropy, embedding

    device, levels = weights.codes.device, len(shape.sizes)
    codes = tokens[np.maximum(items, 0)]
    read = (codes + shape.starts).reshape(len(items), -1)[:, :-1]
    states = run_body(weights.body, embedding(torch.from_numpy(read).to(device), weights.codes))
    there = torch.from_numpy(items[:, 1:] >= 0).to(device)
    total = torch.zeros((), device=device)
    for level, (start, size) in enumerate(zip(shape.starts.tolist(), shape.sizes, strict=True)):
        before = states[:, levels - 1 + level :: levels][there]  # at the code in front of this one
        logits = before @ weights.codes[start : start + size].T
        wanted = torch.from_numpy(codes[:, 1:, level]).to(device)[there]
        total = total + cross_entropy(logits.float(), wanted)
    return total
