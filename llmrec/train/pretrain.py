"""Pretraining an encoder further on the texts of a catalog, by masked language modelling."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field

from llmrec.assets import find_asset
from llmrec.component import ComponentConfig
from llmrec.data import Catalog
from llmrec.errors import MissingExtraError, ModelError
from llmrec.models import TextEncoder, best_placement, quiet_transformers
from llmrec.text import load_template, render_items
from llmrec.train.encoder_config import TrainOptions

__all__ = ["PretrainConfig", "pretrain_encoder"]


class PretrainConfig(ComponentConfig):
    """Settings of masked language modelling.

    Source: Gururangan et al., Don't stop pretraining: adapt language models to domains and tasks, ACL 2020.

    Attributes:
        encoder: the model to start from: a named model, a folder, or a hub id.
        item_template: renders items.
        max_tokens: longer texts are cut.
        epochs: passes over the item texts.
        batch_size: texts per step.
        masked: the share of tokens to guess.
        learning_rate: the highest learning rate; it warms up over a tenth, then falls linearly.
        head_learning_rate: the same for the head that guesses, which encoders do not bring along.
    """

    encoder: str = "minilm"
    item_template: str = "item/genres"
    max_tokens: int = Field(default=32, ge=8)
    epochs: int = Field(default=1, gt=0)
    batch_size: int = Field(default=64, gt=0)
    masked: float = Field(default=0.15, gt=0, lt=1)
    learning_rate: float = Field(default=5e-5, gt=0)
    head_learning_rate: float = Field(default=1e-3, gt=0)


def pretrain_encoder(
    config: PretrainConfig, catalog: Catalog, out: Path, *, options: TrainOptions | None = None
) -> TextEncoder:
    """Train an encoder's transformer to guess masked words of the item texts; pooling and prompts stay.

    Args:
        config: the settings.
        catalog: all items.
        out: folder for the model; it loads with plain `SentenceTransformer(out)` and with `TextEncoder.load(out)`.
        options: seed and progress; it is too short to be worth resuming.

    Raises:
        MissingExtraError: sentence-transformers is not installed.
        ModelError: the model has no mask token, or transformers no masked language model of its kind.
    """
    try:
        from sentence_transformers import SentenceTransformer
    except ImportError as error:
        raise MissingExtraError("sentence-transformers", "train") from error
    import torch
    from transformers import AutoModelForMaskedLM

    options = options or TrainOptions()
    base = find_asset(config.encoder, progress=options.progress)
    texts = render_items(load_template(config.item_template), catalog)
    with quiet_transformers():
        model = SentenceTransformer(
            str(base),
            device=best_placement().device,
            local_files_only=True,
            model_kwargs={"dtype": torch.float32},
            processor_kwargs={"split_special_tokens": True},
        )
        inner = model.transformers_model
        torch.manual_seed(options.seed)
        if model.tokenizer.mask_token_id is None or type(inner.config) not in AutoModelForMaskedLM._model_mapping:
            raise ModelError(f"{config.encoder} cannot guess masked words; leave pretraining out, or choose another")
        guesser = AutoModelForMaskedLM.from_config(inner.config).to(inner.device)
        setattr(guesser, guesser.base_model_prefix, inner)
        guesser.tie_weights()
        _fit(guesser, model.tokenizer, texts, config, options)
        shutil.rmtree(out, ignore_errors=True)
        model.eval().save_pretrained(str(out), create_model_card=False)
    return TextEncoder.load(str(out), max_tokens=config.max_tokens)


def _fit(guesser: Any, tokenizer: Any, texts: list[str], config: PretrainConfig, options: TrainOptions) -> None:
    import torch

    placement = best_placement().floating
    inner = {id(part) for part in guesser.base_model.parameters()}
    head = [part for part in guesser.parameters() if id(part) not in inner]
    optimizer = torch.optim.AdamW(
        [
            {"params": list(guesser.base_model.parameters()), "lr": config.learning_rate},
            {"params": head, "lr": config.head_learning_rate},
        ]
    )
    per_epoch = -(-len(texts) // config.batch_size)
    steps = per_epoch * config.epochs
    warmup = max(1, steps // 10)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min((step + 1) / warmup, (steps - step) / max(1, steps - warmup))
    )
    batches = _batches(tokenizer, texts, config, options.seed)
    guesser.train()
    for step, batch in enumerate(batches, start=1):
        moved = {name: part.to(placement.device) for name, part in batch.items()}
        mixed = placement.dtype != "float32"
        with torch.autocast(torch.device(placement.device).type, dtype=placement.torch_dtype, enabled=mixed):
            loss = guesser(**moved).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(guesser.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        schedule.step()
        if step % 20 == 0 or step == steps:
            options.progress(f"pretraining: step {step}/{steps}, loss {loss.item():.3f}")


def _batches(tokenizer: Any, texts: list[str], config: PretrainConfig, seed: int) -> Any:
    """Yield masked batches of texts of about one length; other masks in every epoch."""
    from transformers import DataCollatorForLanguageModeling

    mask: Callable[[Any], Any] = DataCollatorForLanguageModeling(tokenizer, mlm_probability=config.masked, seed=seed)
    tokens = tokenizer(texts, truncation=True, max_length=config.max_tokens)["input_ids"]
    lengths = np.array([len(ids) for ids in tokens])
    rng = np.random.default_rng(seed)
    for _ in range(config.epochs):
        order = np.lexsort((rng.random(len(texts)), lengths))
        starts = rng.permutation(np.arange(0, len(texts), config.batch_size))
        for start in starts:
            rows = order[start : start + config.batch_size]
            yield mask([{"input_ids": tokens[row]} for row in rows])
