"""What a tuned cross-encoder says of the lists that another one learns from: scored once, before the training."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from llmrec.errors import ModelError
from llmrec.models import PairScorer
from llmrec.train.checkpoint import Checkpoint, read_checkpoint, write_checkpoint
from llmrec.train.pair_lists import PairLists
from llmrec.types import Float32Array, Int64Array

__all__ = ["teacher_scores"]

LISTS_AT_ONCE = 64
"""Parts are the same in a run that went on, so that its scores are the same bits in every number format."""

TELL_S = 20.0
"""Seconds between two messages."""


def teacher_scores(
    teacher: PairScorer,
    lists: PairLists,
    path: Path,
    key: str,
    *,
    checkpoint_minutes: float,
    progress: Callable[[str], None],
) -> Float32Array:
    """Score all candidates of all lists with a teacher, going on from a checkpoint if there is one.

    Args:
        teacher: a tuned cross-encoder.
        lists: n lists.
        path: of the checkpoint; it is left behind whole, for a training that is killed later.
        key: of the run; see `llmrec.train.checkpoint.run_key`.
        checkpoint_minutes: a killed run loses at most so much.
        progress: told how far it is, and how long it will take.

    Returns:
        Float32[n, depth], the teacher's logits by list and place; -inf where the list has no candidate.

    Raises:
        ModelError: the teacher gives every pair the same score, or one that is not finite.
    """
    scores, done = _resume(lists, path, key)
    if done < len(lists):
        progress(f"cross-encoder: the teacher scores {int((lists.rows[done:] >= 0).sum())} pairs")
    first, began = done, time.monotonic()
    saved = told = began
    while done < len(lists):
        part = np.arange(done, min(done + LISTS_AT_ONCE, len(lists)), dtype=np.int64)
        scores[part] = _scored(teacher, lists, part)
        done, now = int(part[-1]) + 1, time.monotonic()
        if done == len(lists) or now - saved >= 60 * checkpoint_minutes:
            _save(path, key, scores, done)
            saved = now
        if now - told >= TELL_S:
            told, left = now, (now - began) * (len(lists) - done) / (done - first)
            progress(f"cross-encoder: the teacher scored {done}/{len(lists)} lists, {left / 60:.1f} minutes left")
    known = scores[lists.rows >= 0]
    if len(known) > 1 and np.ptp(known) == 0:
        raise ModelError(
            f"the teacher {teacher.name} gives every pair the same score, as one does whose own training brought "
            "nothing: there is nothing to learn from it; choose another teacher, or none"
        )
    return scores


def _scored(teacher: PairScorer, lists: PairLists, part: Int64Array) -> Float32Array:
    """Float32[m, depth] of some lists."""
    owners, places = np.nonzero(lists.rows[part] >= 0)
    scores = np.full((len(part), lists.rows.shape[1]), -np.inf, dtype=np.float32)
    users = [lists.users[row] for row in part.tolist()]
    scores[owners, places] = teacher.score_rows(users, lists.items, owners, lists.rows[part][owners, places])
    return scores


def _resume(lists: PairLists, path: Path, key: str) -> tuple[Float32Array, int]:
    """The scores so far, and of how many lists."""
    checkpoint = read_checkpoint(path, key)
    if checkpoint is None:
        return np.full(lists.rows.shape, -np.inf, dtype=np.float32), 0
    return checkpoint.tensors["scores"].numpy(), int(checkpoint.facts["done"])


def _save(path: Path, key: str, scores: Float32Array, done: int) -> None:
    import torch

    write_checkpoint(path, Checkpoint(key, {"done": done}, {"scores": torch.from_numpy(scores)}))
