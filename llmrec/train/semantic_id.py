"""Fitting generative retrieval: texts become ids, and a network learns to write the next one."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import numpy as np

from llmrec.component import Component, FitContext
from llmrec.errors import DataError
from llmrec.models.code_decoder import CodeDecoder, CodeShape
from llmrec.retrieve.semantic_id import CodeReading, SemanticIdConfig, SemanticIdRetriever, load_semantic_id
from llmrec.retrieve.semantic_ids import SemanticIds, learn_codebooks
from llmrec.train.epochs import Judged
from llmrec.train.item_texts import embed_texts
from llmrec.train.semantic_id_run import IdLesson, train_semantic_id
from llmrec.train.sequence_data import cut_windows
from llmrec.types import Int64Array

__all__ = ["COMPONENT", "fit_semantic_id"]

CODES = ((5_000, 64), (20_000, 128))
"""Codes of a level, for catalogs up to so many items that somebody has taken; above, `MOST`."""

MOST = 256


def fit_semantic_id(context: FitContext, config: SemanticIdConfig) -> SemanticIdRetriever:
    """Make ids of the texts, and train on every place of every history.

    Codebooks are learned from the items that have interactions; the others are as items that come later. With
    `config.patience` and validation cases, the best epoch is kept; a refit (`context.earlier`) trains for as many.

    Args:
        context: what to learn from; checkpoints are kept in its folder.
        config: its settings.

    Raises:
        DataError: no user has two interactions.
    """
    train, catalog, seed = context.train, context.catalog, context.seed + config.seed
    windows = cut_windows(train.offsets, train.items, config.max_length)
    if len(windows) == 0:
        raise DataError("no user has two interactions to learn an order from; remove semantic_id from the retrievers")
    counts = np.bincount(train.items, minlength=len(catalog))
    ids, reading = _ids(context, config, counts, seed)
    sizes = (*(reading.codebooks.centres.shape[1],) * config.levels, ids.digits + 1)
    shape = CodeShape(sizes, config.dim, config.layers, config.heads, config.dropout, config.max_length)

    def assemble(decoder: CodeDecoder, epochs: int) -> SemanticIdRetriever:
        return SemanticIdRetriever(
            name=context.name,
            config=config,
            decoder=decoder,
            ids=ids,
            reading=reading,
            active=catalog.active,
            tie_order=catalog.tie_order,
            epochs=epochs,
        )

    judge, key = _judge(context, config, assemble)
    digest = hashlib.sha256(f"{train.fingerprint} {key}".encode() + ids.codes.tobytes()).hexdigest()
    earlier = context.earlier if isinstance(context.earlier, SemanticIdRetriever) else None
    trained = train_semantic_id(
        config,
        IdLesson(shape, windows, ids, digest),
        context.work / context.name,
        seed=seed,
        epochs=None if earlier is None else earlier.epochs,
        judge=judge,
        progress=context.progress,
    )
    return assemble(trained.decoder, trained.epochs)


def _ids(
    context: FitContext, config: SemanticIdConfig, counts: Int64Array, seed: int
) -> tuple[SemanticIds, CodeReading]:
    """Ids of all items, by codebooks of those that somebody has taken: Int64[n_items] counts."""
    known = counts > 0
    texts = embed_texts(context, config, known)
    codes = config.codes or codes_for(int(known.sum()))
    codebooks = learn_codebooks(texts.embeddings[known], texts.mean, config.levels, codes, seed)
    ids = SemanticIds.number(codebooks.encode(texts.embeddings), counts, context.catalog.tie_order)
    return ids, CodeReading(texts.encoder, texts.template, codebooks)


def codes_for(known: int) -> int:
    """How many codes a level has: enough that few items share all of theirs, few enough that many share one."""
    return next((codes for most, codes in CODES if known <= most), MOST)


def _judge(
    context: FitContext, config: SemanticIdConfig, assemble: Callable[[CodeDecoder, int], SemanticIdRetriever]
) -> tuple[Callable[[CodeDecoder, int], float] | None, str]:
    """NDCG@10 on validation cases, and what it depends on; None where there is nothing to judge by."""
    cases = context.validation
    if config.patience is None or cases is None or len(cases) == 0:
        return None, ""
    asked, active = Judged.some(cases, context.seed), hashlib.sha256(context.catalog.active.tobytes()).hexdigest()
    key = f"{cases.fingerprint} {active} {context.seed}"
    return lambda decoder, epochs: asked.ndcg(assemble(decoder, epochs)), key


COMPONENT = Component("retriever", SemanticIdConfig, fit_semantic_id, load_semantic_id)
