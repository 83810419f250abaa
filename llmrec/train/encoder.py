"""Tuning a text encoder on behaviour, with sentence-transformers."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from llmrec.assets import find_asset
from llmrec.component import Proposes
from llmrec.data import Catalog, Holdout, Interactions
from llmrec.errors import ConfigError, DataError, MissingExtraError
from llmrec.models import TextEncoder, best_placement, quiet_transformers
from llmrec.train.encoder_check import RetrieverCheck
from llmrec.train.encoder_config import EncoderConfig, TrainOptions
from llmrec.train.encoder_mining import miner_of
from llmrec.train.encoder_pairs import EncoderPairs, PairShape, draw_pairs, texts_of
from llmrec.train.record import check_apart, check_report, close_record, open_record, reports, write_record

if TYPE_CHECKING:
    from llmrec.train.watch import Watch

__all__ = ["train_encoder", "training_key"]


@dataclass(frozen=True, slots=True)
class _Run:
    """One training.

    Attributes:
        config: its settings.
        catalog: all items.
        out: the model's folder.
        pairs: what is learned.
        check: measures the encoder, or None.
        options: how it runs.
    """

    config: EncoderConfig
    catalog: Catalog
    out: Path
    pairs: EncoderPairs
    check: RetrieverCheck | None
    options: TrainOptions


def train_encoder(
    config: EncoderConfig,
    catalog: Catalog,
    train: Interactions,
    validation: Holdout | None,
    out: Path,
    *,
    first_stage: Proposes | None = None,
    options: TrainOptions | None = None,
) -> TextEncoder:
    """Tune an encoder so that a user's vector is near the vectors of the items taken next.

    The weights kept are those of the check at which `Dense` ranked best what the validation users took next; those it
    began with if no check was better.

    Args:
        config: the settings; `encoder` names the model to start from.
        catalog: all items.
        train: what may be learned from.
        validation: whom to measure with, asked as they will be; None: no checks, the last weights are kept.
        out: folder for the model; it loads with plain `SentenceTransformer(out)` and with `TextEncoder.load(out)`.
            Adapters are merged, and, but for those of a pretrained model, kept in the folder "adapter" too, as PEFT
            saves them.
        first_stage: mines the hard negatives, where the settings want some; None: what `mined_by` names.
        options: seed, resuming, reports.

    Returns:
        The tuned encoder.

    Raises:
        MissingExtraError: sentence-transformers, or for adapters peft, is not installed.
        ConfigError: a setting does not fit the model, or the folder holds something else.
        DataError: nobody has two interactions.
    """
    options = options or TrainOptions()
    _check_installed(config, options)
    key = training_key(config, catalog, train, validation, options.seed)
    check_apart(out, find_asset(config.encoder, progress=options.progress))
    record = open_record(out, key, options.resume)
    if record.get("finished"):
        options.progress(f"encoder: the same training is finished already in {out.name}")
        return TextEncoder.load(str(out), max_tokens=config.max_tokens)
    shape = PairShape(
        pairs=config.pairs,
        per_user=config.per_user,
        history=config.history if config.user_template is None else 0,
        decay=config.decay,
        negatives=config.negatives,
        negative_depth=config.negative_depth,
    )
    if config.negatives and first_stage is None:
        first_stage = miner_of(config, catalog, train)
    pairs = draw_pairs(shape, train, seed=options.seed, first_stage=first_stage)
    if len(pairs) == 0:
        raise DataError("no user has two interactions, so there is no pair to tune an encoder on; use `dense` instead")
    check = None
    if validation is not None and len(validation):
        check = RetrieverCheck.on_sample(config, catalog, validation, config.check_users, options.seed)
    _train(_Run(config, catalog, out, pairs, check, options), record)
    shutil.rmtree(out / "checkpoints", ignore_errors=True)
    return TextEncoder.load(str(out), max_tokens=config.max_tokens)


def training_key(
    config: EncoderConfig, catalog: Catalog, train: Interactions, validation: Holdout | None, seed: int
) -> str:
    """Return a hash of all that a training's result depends on, but for the machine; the model to start from too."""
    base = TextEncoder.load(config.encoder, max_tokens=config.max_tokens)
    digest = hashlib.sha256()
    unused = {"index", "min_recall", "encoder"}
    for part in (
        version("llmrec"),
        json.dumps(config.model_dump(mode="json", exclude=unused), sort_keys=True),
        base.fingerprint,
        catalog.fingerprint,
        train.fingerprint,
        str(seed),
    ):
        digest.update(part.encode() + b"\0")
    if validation is not None:
        digest.update(validation.fingerprint.encode())
    return digest.hexdigest()


def _check_installed(config: EncoderConfig, options: TrainOptions) -> None:
    """Find a missing package before any work is done."""
    for package in ("sentence_transformers", "datasets", "accelerate", *(["peft"] if config.lora_rank else [])):
        if find_spec(package) is None:
            raise MissingExtraError(package, "train")
    check_report(options.report_to)


def _train(run: _Run, record: dict[str, Any]) -> None:
    """Train, keep the best weights, and write the model and the record."""
    import torch

    from llmrec.train.encoder_model import new_encoder, plain_copy, save_adapter, save_encoder
    from llmrec.train.watch import last_checkpoint, scores_of

    config, options = run.config, run.options
    torch.manual_seed(options.seed)
    with quiet_transformers():
        base = _start(run)
        model = new_encoder(base, config, seed=options.seed)
        if run.check is not None and "before" not in record:
            options.progress(f"encoder: measuring it as it is with {len(run.check.cases)} validation users")
            record["before"] = run.check.measure(base)
            options.progress(f"encoder: before the tuning, validation NDCG@10 {record['before']:.4f}")
            write_record(run.out, record)
        checkpoint = last_checkpoint(run.out / "checkpoints")
        if checkpoint is not None:
            options.progress(f"encoder: going on from step {checkpoint.name.rpartition('-')[2]}")
        trainer, watch = _new_trainer(run, model, base)
        trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
        scores = scores_of(trainer.state)
        if scores and max(scores) <= record["before"]:
            options.progress("encoder: no check was better than before the tuning; the model stays as it was")
            model = new_encoder(base, config.model_copy(update={"lora_rank": 0}), seed=options.seed)
        elif config.lora_rank and not config.pretrain_epochs:  # the model they would belong to is not kept
            save_adapter(model, TextEncoder.load(config.encoder).name, run.out / "adapter")
        save_encoder(plain_copy(model), base, run.out)
    shutil.rmtree(run.out / "pretrained", ignore_errors=True)
    count, settings = len(run.pairs), config.model_dump(mode="json", exclude={"encoder"})
    close_record(
        run.out, record | {"pairs": count, "settings": settings}, trainer.state.global_step, watch.spent(), scores
    )


def _start(run: _Run) -> Path:
    """The folder of the model to start from; after pretraining, if that is wanted."""
    if run.config.pretrain_epochs == 0:
        return find_asset(run.config.encoder, progress=run.options.progress)
    from llmrec.train.pretrain import PretrainConfig, pretrain_encoder

    config = PretrainConfig(
        encoder=run.config.encoder,
        item_template=run.config.item_template,
        max_tokens=run.config.max_tokens,
        epochs=run.config.pretrain_epochs,
    )
    folder = run.out / "pretrained"
    pretrain_encoder(config, run.catalog, folder, options=run.options)
    return folder


def _measured(check: RetrieverCheck, base: Path) -> Callable[[Any], float]:
    """Return what measures a model in training as it would be saved and served now."""
    from llmrec.train.encoder_model import plain_copy, save_encoder

    def measure(model: Any) -> float:
        with tempfile.TemporaryDirectory(prefix="llmrec-") as place:
            save_encoder(plain_copy(model), base, Path(place))
            return check.measure(Path(place))

    return measure


def _new_trainer(run: _Run, model: Any, base: Path) -> tuple[Any, Watch]:
    from datasets import Dataset
    from transformers import PrinterCallback

    from llmrec.train.encoder_loss import InBatchLoss
    from llmrec.train.encoder_trainer import Collator, EncoderTrainer, Evaluator
    from llmrec.train.watch import Watch

    config, options = run.config, run.options
    counter = TextEncoder.load(config.encoder, max_tokens=config.max_tokens)
    texts = texts_of(run.pairs, run.catalog, config, counter, model.prompts)
    rng = np.random.default_rng(options.seed)
    order = np.concatenate([rng.permutation(len(run.pairs)) for _ in range(config.epochs)])
    steps = -(-len(order) // config.batch_size)
    watch = Watch("encoder", steps, config.checks, config.patience, config.minutes, options.progress)
    loss = InBatchLoss(
        model,
        chunk=config.chunk,
        cached=config.cached,
        temperature=config.temperature,
        correction=config.popularity_correction,
        dims=_dims(config, counter.dim),
    )
    trainer = EncoderTrainer(
        model=model,
        args=_arguments(run, steps),
        train_dataset=Dataset.from_dict({"pair": order.tolist()}),
        loss=loss,
        evaluator=None if run.check is None else Evaluator(_measured(run.check, base), watch),
        data_collator=Collator(run.pairs, texts, counter.count_tokens(texts), model, config.max_tokens),
        callbacks=[watch, *reports(options.report_to, run.out)],
    )
    trainer.watch = watch
    trainer.remove_callback(PrinterCallback)  # it prints to stdout, where results go
    return trainer, watch


def _dims(config: EncoderConfig, dim: int) -> tuple[int, ...]:
    """Lengths of the vectors that are trained, the whole one among them."""
    if any(part > dim for part in config.dims):
        raise ConfigError(f"dims {list(config.dims)} go beyond the {dim} numbers of a vector of {config.encoder}")
    return tuple(sorted({*config.dims, dim}, reverse=True)) if config.dims else ()


def _arguments(run: _Run, steps: int) -> Any:
    from sentence_transformers.sentence_transformer.training_args import SentenceTransformerTrainingArguments

    from llmrec.train.encoder_trainer import in_order
    from llmrec.train.watch import METRIC

    placement = best_placement().floating
    checked = run.check is not None
    never = steps + 1  # the watch says when
    return SentenceTransformerTrainingArguments(
        output_dir=str(run.out / "checkpoints"),
        max_steps=steps,
        per_device_train_batch_size=run.config.batch_size,
        batch_sampler=in_order,
        learning_rate=run.config.learning_rate,
        weight_decay=run.config.weight_decay,
        bf16=placement.dtype == "bfloat16",
        fp16=placement.dtype == "float16",
        use_cpu=placement.device == "cpu",
        dataloader_pin_memory=placement.device != "cpu",
        seed=run.options.seed,
        eval_strategy="steps" if checked else "no",
        eval_steps=never,
        save_strategy="steps",
        save_steps=never,
        save_total_limit=2,
        load_best_model_at_end=checked,
        metric_for_best_model=METRIC if checked else None,
        greater_is_better=True if checked else None,
        logging_steps=max(1, min(20, steps // 20)),
        report_to="none",
        disable_tqdm=True,
    )
