"""One tuning of a cross-encoder: steps, learning rate, checks, checkpoints.

Imports torch; `llmrec.train.pair_scorer` imports it when training begins.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from llmrec.evaluate.metrics import ndcg
from llmrec.train.checkpoint import (
    Checkpoint,
    optimizer_tensors,
    read_checkpoint,
    restore_optimizer,
    write_checkpoint,
)
from llmrec.train.pair_config import CrossEncoderConfig
from llmrec.train.pair_lists import PairLists, draw_lists, known_offsets
from llmrec.train.pair_model import PairNetwork
from llmrec.types import Float32Array

__all__ = ["Lesson", "Outcome", "run_lesson"]

CUT = 10
WARM_UP = 0.05
TELL_S = 20.0
"""Seconds between two messages."""


@dataclass(frozen=True, slots=True, eq=False)
class Lesson:
    """What is learned, and what is measured with.

    Attributes:
        lists: to learn from.
        held: to measure with; may be empty.
        prior: Float64[depth], what the place in the first stage's list says; added to the scores, in training and in
            measuring.
        wanted: Float32[n, depth], the scores to come to, by list to learn from and place: a teacher's
            (`llmrec.train.pair_teacher.teacher_scores`), or those of what was taken alone
            (`llmrec.train.pair_lists.taken_scores`).
    """

    lists: PairLists
    held: PairLists
    prior: NDArray[np.float64]
    wanted: Float32Array


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of it.

    Attributes:
        steps: steps taken.
        seconds: spent, those before an interruption too.
        before: NDCG@10 of the held lists before any step; None without any.
        checks: the same at every check.
    """

    steps: int
    seconds: float
    before: float | None
    checks: tuple[float, ...]


@dataclass(slots=True)
class _Run:
    """A run in progress.

    Attributes:
        config: settings.
        lesson: what is learned.
        seed: for every random choice; each step starts its own draws, so nothing of them needs to be kept.
        network: what is trained.
        optimizer: of all of it.
        step: steps taken.
        before: NDCG before the first.
        checks: NDCG at every check so far.
        best: the weights of the best check, if it was better than before.
        earlier: seconds spent before this process.
        begun: when this process began.
    """

    config: CrossEncoderConfig
    lesson: Lesson
    seed: int
    network: PairNetwork
    optimizer: torch.optim.Optimizer
    step: int = 0
    before: float | None = None
    checks: list[float] = field(default_factory=list)
    best: dict[str, torch.Tensor] = field(default_factory=dict)
    earlier: float = 0.0
    begun: float = field(default_factory=time.monotonic)

    @property
    def epoch_steps(self) -> int:
        return math.ceil(len(self.lesson.lists) / self.config.batch_size)

    @property
    def steps(self) -> int:
        return self.config.epochs * self.epoch_steps

    @property
    def spent(self) -> float:
        return self.earlier + time.monotonic() - self.begun

    @property
    def done(self) -> float:
        """From 0 to 1, by steps or by the clock, whichever is further."""
        minutes = self.config.minutes
        return min(1.0, max(self.step / self.steps, 0.0 if minutes is None else self.spent / (60 * minutes)))

    @property
    def is_over(self) -> bool:
        """At the end, or the last checks brought nothing."""
        every = [] if self.before is None else [self.before, *self.checks]
        lately = len(every) - 1 - every.index(max(every)) if every else 0
        return self.done >= 1 or lately >= self.config.patience


def run_lesson(
    config: CrossEncoderConfig,
    lesson: Lesson,
    network: PairNetwork,
    path: Path,
    key: str,
    *,
    seed: int,
    progress: Callable[[str], None],
) -> Outcome:
    """Train a network in place, going on from a checkpoint if there is one.

    The loss is the cross-entropy between two distributions over the candidates of a list, of which a few are drawn: the
    softmax of the wanted scores, which is what was taken or what a teacher says, and that of the network's, the prior
    added to both (ListNet: Cao et al., "Learning to Rank: From Pairwise Approach to Listwise Approach", ICML 2007; with
    a teacher, Hinton et al., "Distilling the Knowledge in a Neural Network", 2015, at temperature 1: so the least loss
    is at the teacher's own scores, up to a constant, whatever is drawn).
    The weights of the best check are kept, or those before all training if no check was better.

    Args:
        config: its settings.
        lesson: what is learned.
        network: what is trained.
        path: of the checkpoint.
        key: of the run; see `llmrec.train.checkpoint.run_key`.
        seed: for order, draws and dropout.
        progress: told what is going on.
    """
    run = _Run(config, lesson, seed, network, _optimizer(config, network))
    resumed = _resume(run, path, key, progress)
    if not resumed and len(lesson.held):
        progress(f"cross-encoder: measuring the first stage's order of {len(lesson.held)} lists")
        run.before = _measure(run)
        run.best = _weights(run)
    _train(run, path, key, progress)
    if run.best:
        network.module.load_state_dict(run.best)
    return Outcome(run.step, run.spent, run.before, tuple(run.checks))


def _optimizer(config: CrossEncoderConfig, network: PairNetwork) -> torch.optim.Optimizer:
    named = list(network.module.named_parameters())
    groups = [
        {"params": [weight for name, weight in named if (name in network.new) == new], "highest": rate, "lr": 0.0}
        for new, rate in ((False, config.learning_rate), (True, config.head_learning_rate))
    ]
    groups = [group for group in groups if group["params"]]
    return torch.optim.AdamW(groups, weight_decay=config.weight_decay)


def _weights(run: _Run) -> dict[str, torch.Tensor]:
    return {name: weight.detach().clone() for name, weight in run.network.module.state_dict().items()}


def _resume(run: _Run, path: Path, key: str, progress: Callable[[str], None]) -> bool:
    checkpoint = read_checkpoint(path, key)
    if checkpoint is None:
        return False
    facts, tensors = checkpoint.facts, checkpoint.tensors
    run.network.module.load_state_dict(_under("weights.", tensors))
    restore_optimizer(run.optimizer, tensors)
    run.best = _under("best.", tensors)
    run.step, run.before, run.checks, run.earlier = (facts[name] for name in ("step", "before", "checks", "spent"))
    progress(f"cross-encoder: going on after step {run.step}")
    return True


def _under(prefix: str, tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def _save(run: _Run, path: Path, key: str) -> None:
    tensors = {f"weights.{name}": weight for name, weight in run.network.module.state_dict().items()}
    tensors |= {f"best.{name}": weight for name, weight in run.best.items()}
    facts = {"step": run.step, "before": run.before, "checks": run.checks, "spent": run.spent}
    write_checkpoint(path, Checkpoint(key, facts, {**tensors, **optimizer_tensors(run.optimizer)}))


def _train(run: _Run, path: Path, key: str, progress: Callable[[str], None]) -> None:
    """Train from where the run stands to its end."""
    first, began = run.done, time.monotonic()
    saved = told = began
    loss = math.nan
    while not run.is_over:
        now = _step(run)
        loss = now if math.isnan(loss) else 0.95 * loss + 0.05 * now
        if run.before is not None and int(run.done * run.config.checks + 1e-9) > len(run.checks):
            _check(run, progress)
        if time.monotonic() - saved >= 60 * run.config.checkpoint_minutes:
            _save(run, path, key)
            saved = time.monotonic()
        if time.monotonic() - told >= TELL_S or run.is_over or run.step == 1:
            told = time.monotonic()
            left = (told - began) * (1 - run.done) / max(1e-9, run.done - first)
            progress(
                f"cross-encoder: step {run.step}/{run.steps}, loss {loss:.3f}, at most {left / 60:.1f} minutes left"
            )


def _check(run: _Run, progress: Callable[[str], None]) -> None:
    found = _measure(run)
    assert run.before is not None
    if found > max(run.before, *run.checks, 0.0):
        run.best = _weights(run)
    run.checks.append(found)
    best = max(run.before, *run.checks)
    progress(f"cross-encoder: step {run.step}, NDCG@{CUT} {found:.4f} (before {run.before:.4f}, best {best:.4f})")


def _measure(run: _Run) -> float:
    """NDCG@10 of the held lists, ordered by the scores and the first stage's ranks together."""
    held, prior = run.lesson.held, run.lesson.prior
    owners, places = np.nonzero(held.rows >= 0)
    scores = np.full(held.rows.shape, -np.inf)
    scores[owners, places] = prior[places] + run.network.score(*held.texts(owners, places))
    order = np.argsort(-scores, axis=1, kind="stable")  # ties: as the first stage has it
    hits = order == held.targets[:, None]
    return float(ndcg(hits, np.ones(len(held), dtype=np.int64), CUT).mean())


def _step(run: _Run) -> float:
    """Learn from one batch of lists; returns the loss."""
    config, lesson = run.config, run.lesson
    epoch, place = divmod(run.step, run.epoch_steps)
    order = np.random.default_rng((run.seed, epoch)).permutation(len(lesson.lists)).astype(np.int64)
    chosen = order[place * config.batch_size : (place + 1) * config.batch_size]
    places, there = draw_lists(lesson.lists, chosen, config.negatives, (run.seed, run.step, 1))
    torch.manual_seed(run.seed * 1_000_003 + run.step)
    run.network.module.train()
    owners, columns = np.nonzero(there)
    logits = run.network.logits(*lesson.lists.texts(chosen[owners], places[owners, columns]))
    offsets = torch.from_numpy(known_offsets(lesson.lists, chosen, lesson.prior, places, there)).to(logits.device)
    scores = offsets.index_put((torch.from_numpy(owners), torch.from_numpy(columns)), logits, accumulate=True)
    wanted = offsets + torch.from_numpy(lesson.wanted[chosen[:, None], places]).to(logits.device)
    loss = _cross_entropy(scores, wanted.softmax(dim=1))
    rate = min(1.0, (run.done + 1 / run.steps) / WARM_UP, (1 - run.done) / (1 - WARM_UP))
    for group in run.optimizer.param_groups:
        group["lr"] = rate * group["highest"]
    run.optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    torch.nn.utils.clip_grad_norm_(run.network.module.parameters(), 1.0)
    run.optimizer.step()
    run.step += 1
    return float(loss.detach())


def _cross_entropy(scores: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    """Of distributions [b, m] and the softmax of scores [b, m], -inf where there is nothing; their mean."""
    # nothing is wanted where there is nothing: 0, where 0 times -inf would be no number
    logarithms = scores.log_softmax(dim=1).masked_fill(wanted == 0, 0.0)
    return -(wanted * logarithms).sum(dim=1).mean()
