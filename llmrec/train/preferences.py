"""Tuning a causal language model on what people clicked of what they were shown, with TRL and PEFT."""

from __future__ import annotations

import hashlib
import shutil
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import Field

from llmrec.data import Catalog
from llmrec.models import LanguageModel, quiet_transformers
from llmrec.text import load_template
from llmrec.train.checkpoint import run_key
from llmrec.train.encoder_config import TrainOptions
from llmrec.train.impressions import Impressions
from llmrec.train.language_config import LanguageModelConfig, TuningConfig
from llmrec.train.language_examples import asked_of
from llmrec.train.language_model import RENAMED, check_tuning, tuning_arguments
from llmrec.train.record import check_apart, open_record, reports, write_record

if TYPE_CHECKING:
    from llmrec.train.watch import Watch

__all__ = ["PreferenceConfig", "train_preferences"]

WHAT = "preferences"


class PreferenceConfig(TuningConfig):
    """Settings of direct preference optimisation (Rafailov et al., DPO, NeurIPS 2023).

    Attributes:
        template: a chat template that asks what comes next.
        beta: how much a likelihood may leave that of the model it began as; less is further.
        per_click: so many skipped items for each that was clicked.
        pairs: how many pairs are learned from, at most.
        batch_size: pairs per step.
        checkpoints: how many, evenly spaced, so that a killed run goes on.
        learning_rate: the highest learning rate; it warms up over a twentieth, then falls linearly.
    """

    template: str = "chat/next"
    beta: float = Field(default=0.1, gt=0)
    per_click: int = Field(default=1, gt=0)
    pairs: int = Field(default=4_000, gt=0)
    batch_size: int = Field(default=4, gt=0)
    checkpoints: int = Field(default=4, gt=0)
    learning_rate: float = Field(default=5e-5, gt=0)


def train_preferences(
    config: PreferenceConfig,
    catalog: Catalog,
    impressions: Impressions,
    out: Path,
    *,
    options: TrainOptions | None = None,
) -> LanguageModel:
    """Tune a model so that the names of what was clicked become likelier than those of what was skipped.

    What it is asked is what the scorer `title_likelihood` asks, so start from a model that was tuned for
    "next_title". Nothing is measured on the way and the last weights are kept: measure the result as any scorer.

    Args:
        config: the settings.
        catalog: all items.
        impressions: what was shown and clicked; see `read_impressions`.
        out: folder for the model; see `train_language_model`.
        options: seed, resuming, reports.

    Returns:
        The tuned model.

    Raises:
        MissingExtraError: TRL, or for adapters PEFT, is not installed.
        ConfigError: a setting does not fit the model or the machine, or the folder holds something else.
    """
    options = options or TrainOptions()
    check_tuning(config, options)
    base = LanguageModel.load(config.model, max_tokens=config.max_tokens)
    check_apart(out, base.files()["config.json"].parent)
    rows = _pairs(config, catalog, impressions, options.seed)
    record = open_record(out, _key(config, base, rows, options.seed), options.resume)
    if record.get("finished"):
        options.progress(f"{WHAT}: the same training is finished already in {out.name}")
    else:
        _train(config, base, rows, out, options, record)
        shutil.rmtree(out / "checkpoints", ignore_errors=True)
    return LanguageModel.load(str(out), max_tokens=config.max_tokens)


def _pairs(
    config: PreferenceConfig, catalog: Catalog, impressions: Impressions, seed: int
) -> dict[str, list[list[int]]]:
    """Token ids of prompts, of what was clicked and of what was not."""
    lists, items = impressions.pairs(config.per_click, seed=seed)
    some = np.random.default_rng(seed).permutation(len(lists))[: config.pairs]
    asking = LanguageModelConfig(
        task="next_title", model=config.model, template=config.template, max_tokens=config.max_tokens,
        item_tokens=config.item_tokens,
    )  # fmt: skip
    asked = asked_of(asking, catalog, impressions.queries.take(lists[some]), items[some])
    return {
        "prompt_ids": [list(one[0].prompt) for one in asked],
        "chosen_ids": [list(one[0].continuation) for one in asked],
        "rejected_ids": [list(one[1].continuation) for one in asked],
    }


def _key(config: PreferenceConfig, base: LanguageModel, rows: dict[str, list[list[int]]], seed: int) -> str:
    return run_key(
        settings=config.model_dump(mode="json", exclude={"model"}),
        base=base.fingerprint,
        template=load_template(config.template).fingerprint,
        pairs=hashlib.sha256(repr(rows).encode()).hexdigest(),
        seed=seed,
    )


def _train(
    config: PreferenceConfig,
    base: LanguageModel,
    rows: dict[str, list[list[int]]],
    out: Path,
    options: TrainOptions,
    record: dict[str, Any],
) -> None:
    from llmrec.train.language_module import save_module
    from llmrec.train.watch import last_checkpoint

    with quiet_transformers():
        warnings.filterwarnings("ignore", RENAMED, FutureWarning)
        trainer, watch = _new_trainer(config, base, rows, out, options)
        checkpoint = last_checkpoint(out / "checkpoints")
        if checkpoint is not None:
            options.progress(f"{WHAT}: going on from step {checkpoint.name.rpartition('-')[2]}")
        trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
        save_module(trainer.model, base, out, adapter=out / "adapter")
    done = {
        "finished": True,
        "pairs": len(rows["prompt_ids"]),
        "steps": trainer.state.global_step,
        "seconds": round(watch.spent(), 1),
        "settings": config.model_dump(mode="json", exclude={"model"}),
    }
    write_record(out, record | done)


def _new_trainer(
    config: PreferenceConfig, base: LanguageModel, rows: dict[str, list[list[int]]], out: Path, options: TrainOptions
) -> tuple[Any, Watch]:
    from datasets import Dataset
    from transformers import AutoTokenizer, PrinterCallback
    from trl import DPOConfig

    from llmrec.train.language_module import lora_settings, new_module
    from llmrec.train.preference_trainer import PreferenceTrainer
    from llmrec.train.watch import Watch

    folder = base.files()["config.json"].parent
    per_epoch = -(-len(rows["prompt_ids"]) // config.batch_size)
    steps = config.epochs * per_epoch
    watch = Watch(WHAT, steps, config.checkpoints, config.checkpoints, config.minutes, options.progress)
    arguments = tuning_arguments(config, options, out, steps, checked=False)
    trainer = PreferenceTrainer(
        model=new_module(folder, config),
        ref_model=None if config.lora_rank else new_module(folder, config),  # else the model without its adapters
        args=DPOConfig(
            **arguments | {"per_device_train_batch_size": config.batch_size}, beta=config.beta, max_length=None
        ),
        train_dataset=Dataset.from_dict(rows),
        processing_class=AutoTokenizer.from_pretrained(folder, local_files_only=True),
        peft_config=lora_settings(config.lora_rank),
        callbacks=[watch, *reports(options.report_to, out)],
    )
    trainer.watch = watch
    trainer.remove_callback(PrinterCallback)  # it prints to stdout, where results go
    return trainer, watch
