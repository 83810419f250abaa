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

from llmrec.models import Placement, quiet_transformers
from llmrec.types import Float32Array

__all__ = ["PairNetwork", "new_network"]

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
    """

    module: Any
    tokenizer: Any
    new: frozenset[str]
    placement: Placement
    max_tokens: int

    def logits(self, users: Sequence[str], items: Sequence[str]) -> torch.Tensor:
        """Float32[m] for m pairs, with gradients where these are on."""
        features = self.tokenizer(
            list(users), list(items), truncation="longest_first", max_length=self.max_tokens, padding=True,
            return_tensors="pt",
        )  # fmt: skip
        device, lowered = self.placement.device, self.placement.torch_dtype
        with torch.autocast(torch.device(device).type, lowered, enabled=lowered != torch.float32):
            logits: torch.Tensor = self.module(**features.to(device)).logits
        return logits[:, 0].float()

    def score(self, users: Sequence[str], items: Sequence[str]) -> Float32Array:
        """Float32[m], without dropout and gradients; short pairs beside short ones."""
        lengths = np.array([len(user) + len(item) for user, item in zip(users, items, strict=True)])
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


def new_network(base: Path, placement: Placement, max_tokens: int) -> PairNetwork:
    """Open a base model with one output; where its head is new, it gives every pair the same score."""
    with quiet_transformers():
        tokenizer = AutoTokenizer.from_pretrained(base, local_files_only=True, split_special_tokens=True)
        module, info = AutoModelForSequenceClassification.from_pretrained(
            base, num_labels=1, local_files_only=True, use_safetensors=True, dtype=torch.float32,
            output_loading_info=True,
        )  # fmt: skip
    new = frozenset(info["missing_keys"])
    last = [part for part in module.modules() if isinstance(part, torch.nn.Linear) and part.out_features == 1][-1]
    if any(weight is last.weight for name, weight in module.named_parameters() if name in new):
        # training starts from the first stage's order, not from noise added to it
        torch.nn.init.zeros_(last.weight)
        torch.nn.init.zeros_(last.bias)
    return PairNetwork(module.to(placement.device), tokenizer, new, placement, max_tokens)
