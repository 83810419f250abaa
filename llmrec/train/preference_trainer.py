"""TRL's trainer for direct preference optimisation, over token ids that are made already.

Imports torch, transformers and TRL; `llmrec.train.preferences` imports it when training begins.
"""

from __future__ import annotations

from typing import Any

from torch.utils.data import SequentialSampler
from trl import DPOTrainer

from llmrec.train.watch import WatchedTrainer

__all__ = ["PreferenceTrainer"]


class PreferenceTrainer(WatchedTrainer, DPOTrainer):  # type: ignore[misc]
    """Learns pairs in the order it is given."""

    def _prepare_dataset(self, dataset: Any, *_: Any, **__: Any) -> Any:
        """Take ids as they are: TRL would make them from texts, in which a control token is one."""
        return dataset

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        """In order: the pairs are shuffled, and a resumed run sees what it would have seen."""
        return SequentialSampler(train_dataset or self.train_dataset)
