"""Tuning a cross-encoder on the lists of the stage before it, so that it says what that stage does not know."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from llmrec.assets import find_asset
from llmrec.component import Component, FitContext, silent
from llmrec.errors import ConfigError, DataError
from llmrec.models import PairScorer, Placement, TextEncoder, best_placement
from llmrec.rerank import CrossEncoder, load_cross_encoder, user_budget
from llmrec.text import load_template
from llmrec.train.checkpoint import run_key
from llmrec.train.pair_config import CrossEncoderConfig
from llmrec.train.pair_lists import PairLists, PairTexts, mine_lists, rank_prior, taken_scores
from llmrec.train.pair_teacher import teacher_scores
from llmrec.types import Float32Array

if TYPE_CHECKING:
    from llmrec.train.pair_run import Outcome

__all__ = ["COMPONENT", "train_pair_scorer"]

RECORD = "training.json"
CHECKPOINT = "checkpoint.safetensors"
TEACHER = "teacher.safetensors"


def train_pair_scorer(
    config: CrossEncoderConfig,
    lists: PairLists,
    out: Path,
    *,
    seed: int = 0,
    progress: Callable[[str], None] = silent,
) -> PairScorer:
    """Tune a cross-encoder to find in each list what was taken.

    What it learns is added to what the place in the list says (`config.residual`): its scores correct the first
    stage's order, and do not repeat it. Part of the lists is held back; the weights kept are those at which the held
    lists, ordered by both together, had the highest NDCG@10; those before training, which give every pair the same
    score, if training brought nothing.

    With `config.teacher` it learns that model's scores of the same lists in the place of what was taken; what is held
    back is still judged by what was taken. With `config.layers` it has fewer layers than its base.

    The same settings, lists and seed give the same weights on the same machine, also when the run was killed and went
    on from its last checkpoint (as long as `config.minutes` does not end it).

    Args:
        config: its settings.
        lists: what to learn.
        out: folder for the model; it loads with plain `sentence_transformers.CrossEncoder(out)` too. A finished run in
            it is not trained again.
        seed: for which lists are held back, initialisation, order, draws and dropout.
        progress: told step, loss, measurements, and how long it will take.

    Returns:
        The tuned model.

    Raises:
        DataError: there is no list.
        ConfigError: the base has fewer layers than are to be kept, or they cannot be taken out.
        AssetError: the base or the teacher cannot be found.
        ModelError: the base is no text encoder, the teacher no cross-encoder with one output, or it gives all pairs the
            same score.
    """
    if len(lists) == 0:
        raise DataError("there is no list to tune a cross-encoder on")
    import torch

    from llmrec.train.pair_model import new_network
    from llmrec.train.pair_run import Lesson, run_lesson

    key = _key(config, lists, seed)
    if _is_finished(out, key):
        progress(f"cross-encoder: trained before, read from {out}")
        return PairScorer.load(str(out), max_tokens=config.max_tokens)
    order = np.random.default_rng(seed).permutation(len(lists)).astype(np.int64)
    held = min(round(config.check_share * len(lists)), len(lists) - 1)
    learned, depth = lists.take(order[held:]), lists.rows.shape[1]
    prior = rank_prior(lists.targets, depth) if config.residual else np.zeros(depth)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = new_network(
            find_asset(config.base), _placement(), config.max_tokens, layers=config.layers,
            shared_history=config.shared_history,
        )  # fmt: skip
        wanted = _wanted(config, learned, out / TEACHER, key, progress)
        lesson = Lesson(learned, lists.take(order[:held]), prior, wanted)
        outcome = run_lesson(config, lesson, network, out / CHECKPOINT, key, seed=seed, progress=progress)
    if outcome.before is not None and outcome.before >= max(outcome.checks, default=0.0):
        progress("cross-encoder: no check was better than the first stage's order; it is left saying nothing")
    network.save(out)
    _write_record(out, key, lists, held, outcome)
    for name in (CHECKPOINT, TEACHER):
        (out / name).unlink(missing_ok=True)  # last: until the record is there, a killed run goes on from it
    return PairScorer.load(str(out), max_tokens=config.max_tokens)


def _key(config: CrossEncoderConfig, lists: PairLists, seed: int) -> str:
    """Of a run; the models it starts from and learns from may be folders, and others may stand there now."""
    import torch

    settings = config.model_dump(exclude={"base", "teacher", "checkpoint_minutes"})
    base = TextEncoder.load(config.base, max_tokens=config.max_tokens).fingerprint
    teacher = None if config.teacher is None else _teacher(config.teacher, config.max_tokens).fingerprint
    return run_key(
        settings=settings, base=base, teacher=teacher, lists=lists.fingerprint, seed=seed, torch=torch.__version__
    )


def _teacher(name: str, max_tokens: int) -> PairScorer:
    """Open a teacher, without its weights; it reads as much of a pair as the student."""
    return PairScorer.load(name, max_tokens=max_tokens)


def _wanted(
    config: CrossEncoderConfig, lists: PairLists, path: Path, key: str, progress: Callable[[str], None]
) -> Float32Array:
    """The scores to come to, Float32[n, depth]."""
    if config.teacher is None:
        return taken_scores(lists)
    teacher, minutes = _teacher(config.teacher, config.max_tokens), config.checkpoint_minutes
    return teacher_scores(teacher, lists, path, key, checkpoint_minutes=minutes, progress=progress)


def _write_record(out: Path, key: str, lists: PairLists, held: int, outcome: Outcome) -> None:
    record = {
        "key": key,
        "lists": len(lists),
        "held": held,
        "steps": outcome.steps,
        "seconds": round(outcome.seconds, 1),
        "before": outcome.before,
        "checks": list(outcome.checks),
    }
    fresh = out / f"{RECORD}.new"
    fresh.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    fresh.replace(out / RECORD)


def _is_finished(out: Path, key: str) -> bool:
    """Whether the folder holds the model of this run; what it holds of another is removed."""
    try:
        found = json.loads((out / RECORD).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return False
    except ValueError:
        found = {}
    if found.get("key") == key:
        return True
    shutil.rmtree(out)
    return False


def _placement() -> Placement:
    best = best_placement().floating
    # float16 would need its losses scaled, and no machine has float16 alone
    return best if best.dtype == "bfloat16" else Placement(best.device, "float32")


def _fit(context: FitContext, config: CrossEncoderConfig) -> CrossEncoder:
    if context.first_stage is None:
        raise ConfigError(f"scorer {context.name!r} learns from a stage before it; put it in a second stage")
    cases = context.validation
    if cases is None or len(cases) == 0:
        raise DataError(
            f"scorer {context.name!r} has no cases to learn from: too few users have enough interactions for one to be "
            "set aside; remove it from the stages"
        )
    template = load_template(config.template)
    counter = TextEncoder.load(config.base, max_tokens=config.max_tokens)
    if config.teacher is not None:
        _teacher(config.teacher, config.max_tokens)  # what is wrong with it is said before lists are asked for
    context.progress(f"asking the stage before for its best {config.list_length} in {len(cases)} cases")
    texts = PairTexts(template, context.catalog, counter, user_budget(config.max_tokens, config.item_tokens))
    lists = mine_lists(
        cases, context.first_stage, texts, depth=config.list_length, count=config.cases, seed=context.seed
    )
    context.progress(f"{len(lists)} lists hold what was taken")
    if len(lists) == 0:
        raise DataError(
            f"scorer {context.name!r} cannot learn: in none of {len(cases)} cases was what the user took among the "
            f"best {config.list_length} of the stage before; remove it from the stages"
        )
    # of its own: others may be at work beside it
    folder = context.work / context.name / _key(config, lists, context.seed)[:16]
    model = train_pair_scorer(config, lists, folder, seed=context.seed, progress=context.progress)
    return CrossEncoder(context.name, model, template, config.item_tokens, context.catalog)


COMPONENT = Component("scorer", CrossEncoderConfig, _fit, load_cross_encoder, takes_cases=True)
