"""Tuning a causal language model on what users took next, with TRL and PEFT."""

from __future__ import annotations

import shutil
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass, fields
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from llmrec.component import Proposes
from llmrec.data import Catalog, Holdout, Interactions
from llmrec.errors import ConfigError, DataError, MissingExtraError
from llmrec.models import LanguageModel, best_placement, quiet_transformers, takes_trees
from llmrec.retrieve import EaseConfig, fit_ease
from llmrec.text import load_template
from llmrec.train.checkpoint import run_key
from llmrec.train.encoder_config import TrainOptions
from llmrec.train.encoder_mining import Alone
from llmrec.train.language_check import RerankCheck
from llmrec.train.language_config import LanguageModelConfig, TuningConfig
from llmrec.train.language_examples import LanguageExamples, check_room, draw_examples, plan_batches, scorer_of
from llmrec.train.record import check_apart, check_report, close_record, open_record, reports, write_record

if TYPE_CHECKING:
    from llmrec.train.watch import Watch

__all__ = ["RENAMED", "check_tuning", "train_language_model", "tuning_arguments"]

WHAT = "language model"

RENAMED = ".is_gradient_checkpointing. is deprecated"
"""A warning of transformers about what PEFT does, of which its user can do nothing."""


@dataclass(frozen=True, slots=True)
class _Run:
    """One tuning.

    Attributes:
        config: its settings.
        out: the model's folder.
        base: the model it starts from.
        examples: what is learned.
        check: measures the model, or None.
        options: how it runs.
    """

    config: LanguageModelConfig
    out: Path
    base: LanguageModel
    examples: LanguageExamples
    check: RerankCheck | None
    options: TrainOptions


def train_language_model(
    config: LanguageModelConfig,
    catalog: Catalog,
    train: Interactions,
    validation: Holdout | None,
    out: Path,
    *,
    first_stage: Proposes | None = None,
    options: TrainOptions | None = None,
) -> LanguageModel:
    """Tune a causal language model to answer what a scorer asks it about users and items.

    The weights kept are those of the check at which the scorer with the model ordered the first stage's lists best;
    those it began with if no check was better.

    Args:
        config: the settings; `model` names the model to start from.
        catalog: all items.
        train: what may be learned from.
        validation: whom to measure with, asked as they will be; None: no checks, the last weights are kept.
        out: folder for the model; it loads with plain `AutoModelForCausalLM.from_pretrained(out)` and with
            `LanguageModel.load(out)`. Adapters are merged, and kept in the folder "adapter" too, as PEFT saves them.
        first_stage: proposes what is reranked, and negatives; None: EASE, fitted on `train`.
        options: seed, resuming, reports.

    Returns:
        The tuned model.

    Raises:
        MissingExtraError: TRL, or for adapters PEFT, is not installed.
        ConfigError: a setting does not fit the model or the machine, or the folder holds something else.
        DataError: nobody has two interactions.
    """
    options = options or TrainOptions()
    check_tuning(config, options)
    base = LanguageModel.load(config.model, max_tokens=config.max_tokens)
    check_apart(out, _folder(base))
    check_room(scorer_of(config, catalog, base))
    key = _key(config, base, catalog, train, validation, options.seed)
    record = open_record(out, key, options.resume)
    if record.get("finished"):
        options.progress(f"{WHAT}: the same training is finished already in {out.name}")
        return LanguageModel.load(str(out), max_tokens=config.max_tokens)
    checked = validation is not None and len(validation) > 0
    if first_stage is None and (checked or (config.task != "next_title" and config.negatives_from == "first_stage")):
        first_stage = Alone(fit_ease(train, catalog, EaseConfig(), progress=options.progress))
    options.progress(f"{WHAT}: writing what is asked")
    examples = draw_examples(config, catalog, train, first_stage, seed=options.seed)
    if len(examples) == 0:
        raise DataError("no user has two interactions, so there is nothing to tune a language model on")
    check = None
    if validation is not None and checked and first_stage is not None:
        check = RerankCheck.on_sample(config, catalog, validation, first_stage, options.seed)
        if check is None:
            options.progress(f"{WHAT}: no validation user's list holds what they took; nothing can be measured")
    _train(_Run(config, out, base, examples, check, options), record)
    shutil.rmtree(out / "checkpoints", ignore_errors=True)
    return LanguageModel.load(str(out), max_tokens=config.max_tokens)


def check_tuning(config: TuningConfig, options: TrainOptions) -> None:
    """Find what is missing before any work is done.

    Raises:
        MissingExtraError: a package of the extra `llm` is not installed.
        ConfigError: the machine cannot do what is asked for, or a report cannot be written.
    """
    for package in ("trl", *(["peft"] if config.lora_rank else [])):
        if find_spec(package) is None:
            raise MissingExtraError(package, "llm")
    if config.quantised:
        if not best_placement().device.startswith("cuda"):
            raise ConfigError("quantised = true (QLoRA) takes an NVIDIA GPU, and this is none; leave it out")
        if find_spec("bitsandbytes") is None:
            raise ConfigError("quantised = true (QLoRA) takes bitsandbytes; pip install bitsandbytes, or leave it out")
    check_report(options.report_to)


def _key(
    config: LanguageModelConfig,
    base: LanguageModel,
    catalog: Catalog,
    train: Interactions,
    validation: Holdout | None,
    seed: int,
) -> str:
    """Of all that the result depends on, but for the first stage and the machine."""
    scorer = scorer_of(config, catalog, base)
    return run_key(
        settings=config.model_dump(mode="json", exclude={"model"}),
        base=base.fingerprint,
        template=load_template(scorer.config.template).fingerprint,
        catalog=catalog.fingerprint,
        train=train.fingerprint,
        validation=None if validation is None else validation.fingerprint,
        seed=seed,
    )


def _train(run: _Run, record: dict[str, Any]) -> None:
    """Train, keep the best weights, and write the model and the record."""
    from llmrec.train.language_module import save_module
    from llmrec.train.watch import last_checkpoint, scores_of

    config, options = run.config, run.options
    with quiet_transformers():
        warnings.filterwarnings("ignore", RENAMED, FutureWarning)
        if run.check is not None and "before" not in record:
            options.progress(f"{WHAT}: measuring it as it is with the lists of {len(run.check.cases)} validation users")
            record["before"] = run.check.measure(_folder(run.base))
            options.progress(f"{WHAT}: before the tuning, NDCG@10 of the lists {record['before']:.4f}")
            write_record(run.out, record)
        checkpoint = last_checkpoint(run.out / "checkpoints")
        if checkpoint is not None:
            options.progress(f"{WHAT}: going on from step {checkpoint.name.rpartition('-')[2]}")
        trainer, watch = _new_trainer(run)
        trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
        scores = scores_of(trainer.state)
        if scores and max(scores) <= record["before"]:
            options.progress(f"{WHAT}: no check was better than before the tuning; the model stays as it was")
            save_module(None, run.base, run.out)
        else:
            save_module(trainer.model, run.base, run.out, adapter=run.out / "adapter")
    count, settings = len(run.examples), config.model_dump(mode="json", exclude={"model"})
    close_record(
        run.out, record | {"cases": count, "settings": settings}, trainer.state.global_step, watch.spent(), scores
    )


def _folder(model: LanguageModel) -> Path:
    return model.files()["config.json"].parent


def _measured(check: RerankCheck, base: LanguageModel) -> Callable[[Any], float]:
    """Return what measures a model in training as it would be saved and served now."""
    from llmrec.train.language_module import save_module

    def measure(module: Any) -> float:
        with tempfile.TemporaryDirectory(prefix="llmrec-") as place:
            save_module(module, base, Path(place))
            return check.measure(Path(place))

    return measure


def _new_trainer(run: _Run) -> tuple[Any, Watch]:
    from datasets import Dataset
    from transformers import AutoTokenizer, PrinterCallback
    from trl import SFTConfig

    from llmrec.train.language_module import lora_settings, new_module
    from llmrec.train.language_trainer import LanguageCollator, LanguageTrainer
    from llmrec.train.watch import Watch

    config, options = run.config, run.options
    folder = _folder(run.base)
    module = new_module(folder, config)
    collator = LanguageCollator(run.examples, takes_trees(module.eval()), run.base.tokens.pad)
    sizes = np.array([collator.size(case) for case in range(len(run.examples))], dtype=np.int64)
    plan = plan_batches(sizes, config.batch_tokens, config.epochs, seed=options.seed)
    options.progress(f"{WHAT}: {len(run.examples):,} cases, {sizes.sum():,} tokens, {len(plan)} steps")
    watch = Watch(WHAT, len(plan), config.checks, config.patience, config.minutes, options.progress)
    steps = Dataset.from_dict({"cases": plan})
    arguments = tuning_arguments(config, options, run.out, len(plan), checked=run.check is not None)
    trainer = LanguageTrainer(
        model=module,
        args=SFTConfig(**arguments, max_length=None, dataset_kwargs={"skip_prepare_dataset": True}),
        data_collator=collator,
        train_dataset=steps,
        eval_dataset=None if run.check is None else steps,  # never read: what a check is, the trainer knows
        processing_class=AutoTokenizer.from_pretrained(folder, local_files_only=True),
        peft_config=lora_settings(config.lora_rank),
        callbacks=[watch, *reports(options.report_to, run.out)],
    )
    trainer.watch = watch
    trainer.measure = None if run.check is None else _measured(run.check, run.base)
    trainer.remove_callback(PrinterCallback)  # it prints to stdout, where results go
    return trainer, watch


def tuning_arguments(
    config: TuningConfig, options: TrainOptions, out: Path, steps: int, *, checked: bool
) -> dict[str, Any]:
    """What any trainer of TRL is told here; a step is one row of the data set."""
    from transformers import TrainingArguments

    from llmrec.train.watch import METRIC

    placement = best_placement().floating
    # later versions of transformers call it by another name, and warn of this one
    renamed = any(one.name == "activation_checkpointing" for one in fields(TrainingArguments))
    never = steps + 1  # the watch says when
    return {
        "output_dir": str(out / "checkpoints"),
        "max_steps": steps,
        "per_device_train_batch_size": 1,
        "learning_rate": config.learning_rate,
        "weight_decay": config.weight_decay,
        "activation_checkpointing" if renamed else "gradient_checkpointing": config.save_memory,
        "bf16": placement.dtype == "bfloat16",
        "fp16": placement.dtype == "float16",
        "use_cpu": placement.device == "cpu",
        "dataloader_pin_memory": placement.device != "cpu",
        "seed": options.seed,
        "eval_strategy": "steps" if checked else "no",
        "eval_steps": never,
        "save_strategy": "steps",
        "save_steps": never,
        "save_total_limit": 2,
        "load_best_model_at_end": checked,
        "metric_for_best_model": METRIC if checked else None,
        "greater_is_better": True if checked else None,
        "logging_steps": max(1, min(20, steps // 20)),
        "report_to": "none",
        "disable_tqdm": True,
        "remove_unused_columns": False,
    }
