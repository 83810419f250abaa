"""Fitting the sequence retriever: texts are embedded, a network is trained, and all is put together."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from llmrec.component import Component, FitContext
from llmrec.data import Holdout, Interactions
from llmrec.errors import DataError
from llmrec.models.sequence_encoder import SequenceEncoder
from llmrec.retrieve.sequence import (
    ItemVectors,
    SequenceConfig,
    SequenceRetriever,
    TextAdaptor,
    TextPart,
    centred,
    load_sequence,
)
from llmrec.train.epochs import Judged
from llmrec.train.item_texts import ItemTexts, embed_texts
from llmrec.train.sequence_data import cut_windows
from llmrec.train.sequence_run import Lesson, Trained, train_sequence
from llmrec.types import BoolArray, Int64Array

__all__ = ["COMPONENT", "fit_sequence"]


def fit_sequence(context: FitContext, config: SequenceConfig) -> SequenceRetriever:
    """Train on every place of every history; items without interactions are known by their text alone.

    With `config.patience` and validation cases, the best epoch is kept; a refit (`context.earlier`) trains for as many
    epochs as that.

    Args:
        context: what to learn from; checkpoints are kept in its folder.
        config: its settings.

    Raises:
        DataError: no user has two interactions.
    """
    train, n_items = context.train, len(context.catalog)
    counts = np.bincount(train.items, minlength=n_items)
    known = counts > 0
    texts = None if config.items == "id" else embed_texts(context, config, known)
    lesson = _lesson(train, counts, texts, config)

    def assemble(trained: Trained) -> SequenceRetriever:
        return _assemble(context, config, texts, known, trained)

    judge, cases = None, context.validation
    if config.patience is not None and cases is not None and len(cases):
        judge = _judge(cases, assemble, context.seed)
        # with other cases to judge by, another epoch may be the best
        active = hashlib.sha256(context.catalog.active.tobytes()).hexdigest()
        lesson = replace(lesson, key=f"{lesson.key} {cases.fingerprint} {active} {context.seed}")
    earlier = context.earlier if isinstance(context.earlier, SequenceRetriever) else None
    trained = train_sequence(
        config,
        lesson,
        context.work / context.name,
        seed=context.seed + config.seed,
        epochs=None if earlier is None else earlier.epochs,
        judge=judge,
        progress=context.progress,
    )
    return assemble(trained)


def _lesson(train: Interactions, counts: Int64Array, texts: ItemTexts | None, config: SequenceConfig) -> Lesson:
    known = counts > 0
    places = (np.cumsum(known) - 1).astype(np.int32)
    windows = cut_windows(train.offsets, places[train.items], config.max_length)
    if len(windows) == 0:
        raise DataError("no user has two interactions to learn an order from; remove sequence from the retrievers")
    embeddings = None if texts is None else centred(texts.embeddings[known], texts.mean)
    digest = hashlib.sha256(train.fingerprint.encode())
    if embeddings is not None:
        digest.update(embeddings.tobytes())
    return Lesson(windows, counts[known] / counts.sum(), embeddings, digest.hexdigest())


def _assemble(
    context: FitContext, config: SequenceConfig, texts: ItemTexts | None, known: BoolArray, trained: Trained
) -> SequenceRetriever:
    """Put arrays in the place of what was trained, one row for each item of the catalog."""
    table, new_bias = trained.table, float(trained.table.array("new_bias")[0])
    ids = np.zeros((len(known), config.dim), dtype=np.float32)
    if "ids" in table.weights:
        ids[known] = table.array("ids")
    read, text, bias = np.zeros_like(ids), None, np.full(len(known), new_bias, dtype=np.float32)
    bias[known] = table.array("biases")
    if texts is not None:
        adaptor = TextAdaptor(texts.mean, table.array("adaptor"), table.array("offset"), new_bias)
        read, text = adaptor(texts.embeddings), TextPart(texts.encoder, texts.template, adaptor)
    return SequenceRetriever(
        name=context.name,
        config=config,
        network=SequenceEncoder.of(trained.shape, table.body),
        items=ItemVectors(ids, read, bias, known.copy() if text is None else np.ones_like(known)),
        text=text,
        active=context.catalog.active,
        tie_order=context.catalog.tie_order,
        epochs=trained.epochs,
    )


def _judge(cases: Holdout, assemble: Callable[[Trained], SequenceRetriever], seed: int) -> Callable[[Trained], float]:
    """NDCG@10 on validation cases."""
    asked = Judged.some(cases, seed)
    return lambda trained: asked.ndcg(assemble(trained))


COMPONENT = Component("retriever", SequenceConfig, fit_sequence, load_sequence)
