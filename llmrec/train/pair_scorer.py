"""Fine-tuning a cross-encoder on hard negatives of the first stage, with sentence-transformers."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from pydantic import Field, model_validator

from llmrec.assets import find_asset
from llmrec.component import Component, ComponentConfig, FitContext, silent
from llmrec.data import with_profiles
from llmrec.errors import ConfigError, DataError, MissingExtraError
from llmrec.models import PairScorer, TextEncoder, best_placement, quiet_transformers
from llmrec.rerank import CrossEncoder, load_cross_encoder, render_pairs, user_budget
from llmrec.text import Template, load_template
from llmrec.train.examples import hard_negatives, next_item_cases, random_negatives

__all__ = ["COMPONENT", "CrossEncoderConfig", "PairExamples", "train_pair_scorer"]


class CrossEncoderConfig(ComponentConfig):
    """Settings of a cross-encoder and its fine-tuning.

    Attributes:
        base: the model to start from: a named model, a folder, or a hub id.
        template: a pair template.
        max_tokens: limit on a pair's length, special tokens included.
        item_tokens: tokens kept for the item.
        cases: training cases drawn from the training histories.
        hard_negatives: per case, drawn from what the first stage ranks high and the user did not take.
        hard_depth: hard negatives are drawn from the first stage's best so many.
        hard_label: their label, between 0 (a random item) and 1 (what was taken): the first stage's best are better
            guesses than random items, and many were merely not seen yet.
        random_negatives: per case, drawn evenly from the catalog; without any, what is left to learn is mostly noise.
        epochs: passes over the training pairs.
        batch_size: pairs per step.
        learning_rate: the highest learning rate; it warms up over a tenth of the steps, then falls linearly.
        head_learning_rate: the same for the pooler and classifier, which the base model does not bring along trained.
    """

    base: str = "minilm"
    template: str = "pair/history"
    max_tokens: int = Field(default=48, ge=16)
    item_tokens: int = Field(default=18, ge=4)
    cases: int = Field(default=700, gt=0)
    hard_negatives: int = Field(default=1, ge=0)
    hard_depth: int = Field(default=30, gt=0)
    hard_label: float = Field(default=0.5, ge=0, lt=1)
    random_negatives: int = Field(default=2, ge=0)
    epochs: int = Field(default=1, gt=0)
    batch_size: int = Field(default=32, gt=0)
    learning_rate: float = Field(default=1e-4, gt=0)
    head_learning_rate: float = Field(default=5e-4, gt=0)

    @model_validator(mode="after")
    def _check(self) -> Self:
        if user_budget(self.max_tokens, self.item_tokens) < 1:
            raise ValueError(f"item_tokens leaves no room for the user within max_tokens of {self.max_tokens}")
        return self


@dataclass(frozen=True, slots=True)
class PairExamples:
    """Labelled pairs of texts.

    Attributes:
        pairs: (user text, item text).
        labels: between 0 and 1: 1 for what the user took next.
    """

    pairs: Sequence[tuple[str, str]]
    labels: Sequence[float]


def train_pair_scorer(
    config: CrossEncoderConfig,
    examples: PairExamples,
    out: Path,
    *,
    seed: int = 0,
    progress: Callable[[str], None] = silent,
) -> PairScorer:
    """Fine-tune a cross-encoder with binary cross-entropy.

    Args:
        config: its settings.
        examples: what to learn.
        out: folder for the model; it loads with plain `sentence_transformers.CrossEncoder(out)` too.
        seed: for initialisation and shuffling.
        progress: told the step and loss.

    Returns:
        The fine-tuned model.

    Raises:
        MissingExtraError: sentence-transformers is not installed.
    """
    try:
        from datasets import Dataset
        from sentence_transformers.cross_encoder import CrossEncoderTrainer
        from sentence_transformers.cross_encoder.losses import BinaryCrossEntropyLoss
    except ImportError as error:
        raise MissingExtraError("sentence-transformers", "train") from error
    import torch
    from transformers import PrinterCallback

    torch.manual_seed(seed)
    model = _new_model(config)
    users, items = zip(*examples.pairs, strict=True)
    dataset = Dataset.from_dict({"user": list(users), "item": list(items), "label": list(examples.labels)})
    balance = (len(examples.labels) - sum(examples.labels)) / max(1.0, sum(examples.labels))
    with quiet_transformers():
        trainer = CrossEncoderTrainer(
            model=model,
            args=_arguments(config, out, seed),
            train_dataset=dataset,
            loss=BinaryCrossEntropyLoss(model, pos_weight=torch.tensor(balance, device=model.device)),
            callbacks=[_reporter(progress)],
        )
        trainer.remove_callback(PrinterCallback)  # it prints to stdout, where results go
        trainer.train()
        model.save_pretrained(str(out), create_model_card=False)
    return PairScorer.load(str(out), max_tokens=config.max_tokens)


def _new_model(config: CrossEncoderConfig) -> Any:
    """The base model with a new head that gives one number."""
    from sentence_transformers.cross_encoder import CrossEncoder as Trainable

    with quiet_transformers(), _errors_only("sentence_transformers"):
        return Trainable(
            str(find_asset(config.base)),
            num_labels=1,
            max_length=config.max_tokens,
            device=best_placement().device,
            local_files_only=True,
            # as in serving: a "[SEP]" in a title is text, not control
            processor_kwargs={"split_special_tokens": True},
        )


@contextmanager
def _errors_only(logger: str) -> Iterator[None]:
    """Keep a library's notices (that a head is new: the reason why we train) off the user's terminal."""
    level = logging.getLogger(logger).level
    logging.getLogger(logger).setLevel(logging.ERROR)
    try:
        yield
    finally:
        logging.getLogger(logger).setLevel(level)


def _arguments(config: CrossEncoderConfig, out: Path, seed: int) -> Any:
    from sentence_transformers.cross_encoder import CrossEncoderTrainingArguments

    placement = best_placement()
    return CrossEncoderTrainingArguments(
        output_dir=str(out / "checkpoints"),
        num_train_epochs=config.epochs,
        per_device_train_batch_size=config.batch_size,
        learning_rate=config.learning_rate,
        learning_rate_mapping={r"classifier|pooler": config.head_learning_rate},
        warmup_steps=0.1,  # below 1: a share of the steps
        bf16=placement.dtype == "bfloat16",
        fp16=placement.dtype == "float16",
        use_cpu=placement.device == "cpu",
        dataloader_pin_memory=placement.device != "cpu",
        seed=seed,
        save_strategy="no",
        logging_steps=10,
        report_to="none",
        disable_tqdm=True,
    )


def _reporter(progress: Callable[[str], None]) -> Any:
    from transformers import TrainerCallback

    class Reporter(TrainerCallback):  # type: ignore[misc]
        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
            if logs and "loss" in logs:
                progress(f"cross-encoder: step {state.global_step}/{state.max_steps}, loss {float(logs['loss']):.3f}")

    return Reporter()


def _fit(context: FitContext, config: CrossEncoderConfig) -> CrossEncoder:
    template = load_template(config.template)
    examples = _examples(context, config, template)
    folder = context.work / context.name
    model = train_pair_scorer(config, examples, folder, seed=context.seed, progress=context.progress)
    return CrossEncoder(context.name, model, template, config.item_tokens, context.catalog)


def _examples(context: FitContext, config: CrossEncoderConfig, template: Template) -> PairExamples:
    """Draw cases and negatives, and write them as text, in random order."""
    if context.first_stage is None:
        raise ConfigError(f"scorer {context.name!r} learns from a stage before it; put it in a second stage")
    drawn = next_item_cases(context.train, config.cases, seed=context.seed)
    cases = with_profiles(drawn, context.train, context.users)
    n = len(cases.targets)
    if n == 0:
        raise DataError("no user has two interactions to train a cross-encoder on; remove it from the stages")
    context.progress(f"mining hard negatives for {n} cases")
    hard = hard_negatives(
        cases,
        context.train,
        context.first_stage,
        depth=config.hard_depth,
        count=config.hard_negatives,
        seed=context.seed,
    )
    others = random_negatives(cases, context.train, count=config.random_negatives, seed=context.seed)
    items = np.concatenate([cases.targets[:, None], hard, others], axis=1)
    labels = np.repeat([1.0, config.hard_label, 0.0], [1, config.hard_negatives, config.random_negatives])
    owners, places = np.nonzero(items >= 0)
    order = np.random.default_rng(context.seed).permutation(len(owners))
    owners, places = owners[order], places[order]
    counter = TextEncoder.load(config.base, max_tokens=config.max_tokens)
    budget = user_budget(config.max_tokens, config.item_tokens)
    chosen = items[owners, places]
    pairs = render_pairs(template, context.catalog, cases.queries, owners, chosen, counter, budget)
    context.progress(f"{len(owners)} pairs; {pairs.truncated} older history items do not fit {budget} tokens")
    return PairExamples(pairs.texts(), labels[places].tolist())


COMPONENT = Component(
    "scorer",
    CrossEncoderConfig,
    _fit,
    load_cross_encoder,
    requires=("sentence_transformers", "datasets", "accelerate"),
    extra="train",
)
