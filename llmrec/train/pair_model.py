"""The network of a cross-encoder while it is trained: a base model with a head that says nothing yet.

Imports torch; `llmrec.train.pair_run` imports it when training begins.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from llmrec.errors import ConfigError
from llmrec.models import Placement, quiet_transformers
from llmrec.train.pair_packed import pack, packed_logits
from llmrec.types import Float32Array

__all__ = ["PairNetwork", "keep_layers", "new_network", "share_history"]

SCORED_AT_ONCE = 64
"""Pairs; with no gradients, so this bounds little memory."""


@dataclass(frozen=True, slots=True, eq=False)
class PairNetwork:
    """What is trained.

    Attributes:
        module: weights in float32.
        tokenizer: as in serving, a "[SEP]" in a title is text.
        new: names of the weights that the base model did not bring along.
        placement: where products are taken, and in which format.
        max_tokens: of a pair, special tokens included.
        shared_history: whether a history is read once for all its candidates; see `llmrec.models._shared_history`.
    """

    module: Any
    tokenizer: Any
    new: frozenset[str]
    placement: Placement
    max_tokens: int
    shared_history: bool

    def logits(self, users: Sequence[str], items: Sequence[str]) -> torch.Tensor:
        """Float32[m] for m pairs, with gradients where these are on; neighbours of one user share the history."""
        as_tensors: dict[str, Any] = {} if self.shared_history else {"padding": True, "return_tensors": "pt"}
        features = self.tokenizer(
            list(users), list(items), truncation="longest_first", max_length=self.max_tokens, **as_tensors
        )
        device, lowered = self.placement.device, self.placement.torch_dtype
        with torch.autocast(torch.device(device).type, lowered, enabled=lowered != torch.float32):
            if self.shared_history:
                logits = packed_logits(self.module, pack(features["input_ids"], features["token_type_ids"]))
            else:
                logits = self.module(**features.to(device)).logits[:, 0]
        return logits.float()

    def score(self, users: Sequence[str], items: Sequence[str]) -> Float32Array:
        """Float32[m], without dropout and gradients; short pairs beside short ones, or pairs of one history."""
        lengths = np.array([len(user) + len(item) for user, item in zip(users, items, strict=True)])
        if self.shared_history:
            known: dict[str, int] = {}
            lengths = np.array([known.setdefault(user, len(known)) for user in users])
        found = np.empty(len(lengths), dtype=np.float32)
        self.module.eval()
        with torch.no_grad():
            order = np.argsort(lengths, kind="stable")
            for start in range(0, len(order), SCORED_AT_ONCE):
                part = order[start : start + SCORED_AT_ONCE].tolist()
                found[part] = self.logits([users[row] for row in part], [items[row] for row in part]).cpu().numpy()
        return found

    def save(self, folder: Path) -> None:
        """Write the model as plain `CrossEncoder(folder)` and `PairScorer.load` open it."""
        with quiet_transformers():
            self.module.save_pretrained(folder)
            self.tokenizer.save_pretrained(folder)


def new_network(
    base: Path, placement: Placement, max_tokens: int, *, layers: int | None = None, shared_history: bool = False
) -> PairNetwork:
    """Open a base model with one output; where its head is new, it gives every pair the same score.

    Args:
        base: its folder.
        placement: where it is trained.
        max_tokens: of a pair, special tokens included.
        layers: keep so many of its layers; see `keep_layers`. None: all.
        shared_history: whether a history is read once for all its candidates; the configuration will say so.

    Raises:
        ConfigError: so many layers cannot be kept, or the base cannot read a history once.
    """
    with quiet_transformers():
        tokenizer = AutoTokenizer.from_pretrained(base, local_files_only=True, split_special_tokens=True)
        module, info = AutoModelForSequenceClassification.from_pretrained(
            base, num_labels=1, local_files_only=True, use_safetensors=True, dtype=torch.float32,
            output_loading_info=True,
        )  # fmt: skip
    if layers is not None:
        keep_layers(module, layers)
    if shared_history:
        share_history(module, tokenizer)
    new = frozenset(info["missing_keys"])
    last = [part for part in module.modules() if isinstance(part, torch.nn.Linear) and part.out_features == 1][-1]
    if any(weight is last.weight for name, weight in module.named_parameters() if name in new):
        # training starts from the first stage's order, not from noise added to it
        torch.nn.init.zeros_(last.weight)
        torch.nn.init.zeros_(last.bias)
    return PairNetwork(module.to(placement.device), tokenizer, new, placement, max_tokens, shared_history)


def share_history(module: Any, tokenizer: Any) -> None:
    """Let a model's configuration say that it reads a history once, so that `PairScorer` does; ConfigError if not."""
    kinds = tokenizer("a", "a")["token_type_ids"] if "token_type_ids" in tokenizer.model_input_names else []
    if module.config.model_type != "bert" or kinds != sorted(kinds) or set(kinds) != {0, 1}:
        raise ConfigError(
            f"shared_history needs a BERT, and the base model is of type {module.config.model_type}; leave it out, or "
            "start from a model like MiniLM or BERT"
        )
    module.config.shared_history = True


def keep_layers(module: Any, count: int) -> None:
    """Take layers out of a transformer in place; its configuration says the new number, so that it can be saved.

    Those that stay are evenly spaced and the last is one of them, as its vectors are what a head reads (Sanh et al.,
    "DistilBERT, a distilled version of BERT", 2019, start from every second layer).

    Args:
        module: one of transformers' models, whose encoder is a plain pile of like layers, as that of BERT, RoBERTa,
            ELECTRA, MPNet and DistilBERT.
        count: layers to keep.

    Raises:
        ConfigError: it has fewer layers, or they are shared, or differ from each other by their place.
    """
    config = module.config
    there = int(config.num_hidden_layers)
    if count == there:
        return
    if count > there:
        raise ConfigError(f"layers = {count}, but the base model has only {there}; choose 1 to {there}")
    base = module.base_model
    holder: Any = getattr(base, "encoder", None) or getattr(base, "transformer", None)
    pile = getattr(holder, "layer", None)
    by_place = any(isinstance(value, list) and len(value) == there for value in config.to_dict().values())
    if not isinstance(pile, torch.nn.ModuleList) or len(pile) != there or by_place:
        raise ConfigError(
            f"layers = {count}: a base model of type {config.model_type} has no plain pile of like layers, so none can "
            "be taken out; leave layers out, or start from a model like BERT, RoBERTa, ELECTRA, MPNet or DistilBERT"
        )
    holder.layer = torch.nn.ModuleList([pile[place * there // count - 1] for place in range(1, count + 1)])
    config.num_hidden_layers = count
