"""The sentence-transformers trainer, as an encoder is tuned with it: batches of distinct texts, and checks.

Imports torch and sentence-transformers; `llmrec.train.encoder` imports it when training begins.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from sentence_transformers.base.evaluation import BaseEvaluator
from sentence_transformers.base.sampler import DefaultBatchSampler
from sentence_transformers.sentence_transformer.trainer import SentenceTransformerTrainer

from llmrec.train.encoder_pairs import EncoderPairs
from llmrec.train.watch import METRIC, Watch, WatchedTrainer
from llmrec.types import Int32Array

__all__ = ["Collator", "EncoderTrainer", "Evaluator", "in_order"]


class Collator:
    """Makes a batch of some pairs: its distinct texts once, short ones first, and which of them make which pair.

    Attributes:
        valid_label_columns: what sentence-transformers asks a collator for; there is none.
    """

    valid_label_columns: tuple[str, ...] = ()

    def __init__(
        self, pairs: EncoderPairs, texts: Sequence[str], lengths: Int32Array, model: Any, max_tokens: int
    ) -> None:
        self._pairs, self._texts, self._lengths = pairs, texts, lengths
        self._model, self._max_tokens = model, max_tokens

    def __call__(self, rows: Sequence[dict[str, int]]) -> dict[str, Any]:
        """Return the features of the texts, "text_...", and "label": the arrays of a `PairBatch` as tensors."""
        batch = self._pairs.batch(np.array([row["pair"] for row in rows], dtype=np.int64))
        by_length = np.argsort(self._lengths[batch.texts], kind="stable")
        features = self._tokens([self._texts[text] for text in batch.texts[by_length]])
        arrays = {name: getattr(batch, name) for name in ("anchors", "weights", "positives", "hidden", "log_chances")}
        arrays["order"] = np.argsort(by_length)
        labels = {name: torch.from_numpy(array) for name, array in arrays.items()}
        return {f"text_{name}": part for name, part in features.items()} | {"label": labels}

    def _tokens(self, texts: list[str]) -> dict[str, Any]:
        """Tokenize; the limit is this training's, not the model's."""
        limit = self._model.max_seq_length
        self._model.max_seq_length = self._max_tokens
        try:
            features: dict[str, Any] = self._model.preprocess(texts)
        finally:
            self._model.max_seq_length = limit
        return features


def in_order(
    dataset: Any, *, batch_size: int, drop_last: bool, valid_label_columns: Any, generator: Any, seed: int
) -> Any:
    """Batches in the order of the data set, which is shuffled already: a resumed run sees what it would have seen."""
    sampler = torch.utils.data.SequentialSampler(dataset)
    return DefaultBatchSampler(sampler, batch_size=batch_size, drop_last=drop_last)


class Evaluator(BaseEvaluator):  # type: ignore[misc]
    """Lets the trainer measure the retriever."""

    def __init__(self, measure: Callable[[Any], float], watch: Watch) -> None:
        super().__init__()
        self.primary_metric = METRIC.removeprefix("eval_")
        self._measure, self._watch = measure, watch

    def __call__(
        self, model: Any, output_path: str | None = None, epoch: int = -1, steps: int = -1
    ) -> dict[str, float]:
        """Return the retriever's NDCG@10, and the seconds that training took so far."""
        return {METRIC.removeprefix("eval_"): self._measure(model), "spent": self._watch.spent()}


class EncoderTrainer(WatchedTrainer, SentenceTransformerTrainer):  # type: ignore[misc]
    """Trains an encoder as a `Watch` says."""

    def add_model_card_callback(self, default_args_dict: dict[str, Any]) -> None:
        """Write no model card."""
