"""TRL's trainer for supervised tuning, reading what the questions of a case have in common once.

Imports torch, transformers and TRL; `llmrec.train.language_model` imports it when training begins.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.nn import functional
from trl import SFTTrainer

from llmrec.models import Tree, trees
from llmrec.train.language_examples import LanguageExamples
from llmrec.train.watch import METRIC, WatchedTrainer

__all__ = ["LanguageCollator", "LanguageTrainer"]


@dataclass(frozen=True, slots=True)
class LanguageCollator:
    """Makes a batch of some cases.

    Attributes:
        examples: all of them.
        shared: whether the questions of a case become a tree, of which every token is read once; not every
            architecture can. Otherwise each is a row of its own.
        pad: the id that fills up.
    """

    examples: LanguageExamples
    shared: bool
    pad: int

    def trees(self, case: int) -> list[Tree]:
        """What is read for a case."""
        asked = self.examples.case(case)
        budget = sum(len(one.read) for one in asked)
        parts = [asked] if self.shared else [[one] for one in asked]
        return [tree for part in parts for tree in trees(part, budget)]

    def size(self, case: int) -> int:
        """Tokens read for a case."""
        return sum(len(tree.ids) for tree in self.trees(case))

    def __call__(self, steps: Sequence[dict[str, list[int]]]) -> dict[str, torch.Tensor]:
        """Return what a model is called with, and from which logits which tokens are foretold.

        Returns:
            "input_ids" Int64[b, t], "attention_mask", "position_ids" of trees, "logits_to_keep" Int64[p]: the places
            of any row from which something is foretold; "cells" Int64[w] of the [b, p] logits, "wanted" Int64[w]: the
            tokens that are foretold there.
        """
        rows = [tree for step in steps for case in step["cases"] for tree in self.trees(case)]
        length = max(len(tree.ids) for tree in rows)
        ids = np.full((len(rows), length), self.pad, dtype=np.int64)
        for row, tree in enumerate(rows):
            ids[row, : len(tree.ids)] = tree.ids
        kept = np.unique(np.concatenate([tree.places for tree in rows]).astype(np.int64))
        cells = [row * len(kept) + np.searchsorted(kept, tree.places) for row, tree in enumerate(rows)]
        found = {
            "input_ids": ids,
            "logits_to_keep": kept,
            "cells": np.concatenate(cells).astype(np.int64),
            "wanted": np.concatenate([tree.wanted for tree in rows]).astype(np.int64),
            **(self._tree_masks(rows, length) if self.shared else _row_masks(rows, length)),
        }
        return {name: torch.from_numpy(array) for name, array in found.items()}

    def _tree_masks(self, rows: Sequence[Tree], length: int) -> dict[str, np.ndarray[Any, Any]]:
        positions = np.zeros((len(rows), length), dtype=np.int64)
        # a pad looks at itself: attention to nothing is no number
        masks = np.broadcast_to(np.eye(length, dtype=np.bool_), (len(rows), length, length)).copy()
        for row, tree in enumerate(rows):
            size = len(tree.ids)
            positions[row, :size] = tree.positions()
            masks[row, :size, :size] = tree.allowed()
        return {"position_ids": positions, "attention_mask": masks[:, None]}


def _row_masks(rows: Sequence[Tree], length: int) -> dict[str, np.ndarray[Any, Any]]:
    sizes = np.array([len(tree.ids) for tree in rows])
    return {"attention_mask": (np.arange(length) < sizes[:, None]).astype(np.int64)}


class LanguageTrainer(WatchedTrainer, SFTTrainer):  # type: ignore[misc]
    """Learns answers, their tokens alone, in the order it is given.

    TRL's own loss would on a CPU take the chances of all tokens of the vocabulary at every token of a prompt.

    Attributes:
        measure: how good the model is now; None: it is never measured.
    """

    measure: Callable[[Any], float] | None = None
    control: Any

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        """In order: the steps are planned, and a resumed run sees what it would have seen."""
        return torch.utils.data.SequentialSampler(train_dataset or self.train_dataset)

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """Return the mean cross-entropy of the tokens of the answers."""
        cells, wanted = inputs.pop("cells"), inputs.pop("wanted")
        logits = model(**inputs, use_cache=False).logits
        return functional.cross_entropy(logits.flatten(0, 1)[cells].float(), wanted)

    def evaluate(self, *_: Any, **__: Any) -> dict[str, float]:
        """Measure the scorer with the model as it is now."""
        assert self.measure is not None
        found = {METRIC: self.measure(self.model), "eval_spent": self.watch.spent()}
        self.log(found)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, found)
        return found
