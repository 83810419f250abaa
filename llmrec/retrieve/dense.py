"""Dense retrieval: item texts and users in one vector space, searched with FAISS."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar, Self

import numpy as np
from pydantic import Field

from llmrec.component import Component, ComponentConfig, FitContext, silent
from llmrec.data import Catalog, Interactions
from llmrec.models import EmbeddingCache, TextEncoder
from llmrec.retrieve.base import recency_matrix
from llmrec.retrieve.index_choice import IndexKind, build_nearest, load_nearest, sample_vectors
from llmrec.retrieve.nearest import Nearest
from llmrec.retrieve.quantised import embed_items
from llmrec.retrieve.stored import Storage, StoredVectors
from llmrec.retrieve.vectors import Vectors
from llmrec.text import Template, load_template, render_items, render_users, warn_unknown
from llmrec.types import BoolArray, Float32Array, Int32Array, Queries, Ranking, State

__all__ = ["COMPONENT", "Dense", "DenseConfig", "encoder_folder", "fit_dense"]

SAMPLES = 256
"""Histories, or items, that the recall of an approximate index is measured with."""


class DenseConfig(ComponentConfig):
    """Settings of dense retrieval.

    Attributes:
        encoder: a named model, a folder, or a hub id.
        item_template: renders items.
        user_template: renders users to be encoded; none: a user is the recency-weighted mean of the item
            vectors of the history.
        decay: weight of an interaction relative to the one after it in that mean.
        max_tokens: longer texts are cut by the encoder.
        index: how the nearest items are found: "exact"; "hnsw", a graph; "ivfpq", compressed vectors; or "auto",
            by the size of the catalog.
        min_recall: the least share of the true 100 nearest that an approximate index must find, else search is exact.
        storage: how the numbers of item vectors are kept: "float32", "float16" or "int8"; scores are exact cosines of
            what is kept.
    """

    encoder: str = "minilm"
    item_template: str = "item/genres"
    user_template: str | None = None
    decay: float = Field(default=0.8, gt=0, le=1)
    max_tokens: int = Field(default=128, ge=8)
    index: IndexKind = "auto"
    min_recall: float = Field(default=0.95, gt=0, le=1)
    storage: Storage = "float32"


@dataclass(frozen=True, slots=True, eq=False)
class Dense:
    """Scores an item by the cosine between its vector and the query's.

    A query's vector is its free-text wish if it has one, else its rendered user text or its history's mean.

    Attributes:
        name: the score column.
        config: its settings.
        catalog: all items.
        nearest: the vectors of all items, unit norm, and an index over them.
        encoder: embeds texts.
        item_template: renders items.
        user_template: renders users, or None.
        quantised: what was measured of the encoder at the fit, if it runs in int8; see `Quantisation`.
    """

    component: ClassVar[str] = "dense"
    name: str
    config: DenseConfig
    catalog: Catalog
    nearest: Nearest
    encoder: TextEncoder
    item_template: Template
    user_template: Template | None
    quantised: Mapping[str, float | int | None] | None = None

    def retrieve(self, queries: Queries, k: int) -> Ranking:
        """Return the k nearest items per query; none for a query with neither wish nor usable history."""
        vectors, _ = self.query_vectors(queries)
        return self.nearest.search(vectors, queries, min(k, len(self.catalog)), self.catalog)

    def score(self, queries: Queries, items: Int32Array) -> Float32Array:
        """Return cosines, Float32[n, k]; NaN at pads and for queries with neither wish nor usable history."""
        vectors, usable = self.query_vectors(queries)
        scores = self.nearest.vectors.cosines(vectors, items)
        scores[~usable] = np.nan
        return scores

    def query_vectors(self, queries: Queries) -> tuple[Float32Array, BoolArray]:
        """Embed queries.

        Returns:
            Float32[n, dim], unit norm or zero; Bool[n], False where there is nothing to embed.
        """
        if self.user_template is None:
            vectors = _history_means(queries, self.config.decay, self.nearest.vectors)
        else:
            budget = self.encoder.text_budget
            texts = render_users(self.user_template, self.catalog, queries, budget, self.encoder).texts
            vectors = self.encoder.encode_users(texts)
            vectors[(np.diff(queries.offsets) == 0) & (queries.profiles is None)] = 0
        wishes = queries.wishes
        if queries.texts is not None and wishes.any():
            vectors[wishes] = self.encoder.encode_users([text for text in queries.texts if text])
        norms = np.linalg.norm(vectors, axis=1, keepdims=True)
        return (vectors / np.maximum(norms, 1e-12)).astype(np.float32), norms[:, 0] > 0

    @property
    def vectors(self) -> Float32Array:
        """Float32[n_items, dim], unit norm; a copy where items came, changed or are packed: see `item_vectors`."""
        return self.nearest.vectors.array()

    def item_vectors(self, rows: Int32Array) -> Float32Array:
        """Return the vectors of some items: Float32[..., dim], unit norm, for Int32[...] rows, no pads."""
        return self.nearest.vectors.take(rows)

    def similar(self, rows: Int32Array, k: int) -> Ranking:
        """Return the k items whose text is nearest to each given item's, without the item itself.

        Args:
            rows: Int32[n], catalog rows.
            k: list length.
        """
        offsets = np.arange(len(rows) + 1, dtype=np.int64)
        queries = Queries(offsets=offsets, items=rows, exclude=Queries(offsets=offsets, items=rows).histories)
        return self.nearest.search(self.item_vectors(rows), queries, min(k, len(self.catalog)), self.catalog)

    def with_items(self, catalog: Catalog, changed: Int32Array) -> Self:
        """Return the same retriever over a grown catalog: one encoder call for the new and the changed items."""
        fresh = np.arange(len(self.nearest.vectors), len(catalog), dtype=np.int32)
        rows = np.concatenate([changed, fresh]).astype(np.int32)
        if len(rows) == 0:
            return replace(self, catalog=catalog)
        texts = render_items(self.item_template, catalog, rows)
        warn_unknown(texts, self.encoder)
        return replace(self, catalog=catalog, nearest=self.nearest.grown(self.encoder.encode_items(texts), rows))

    def forgetting(self, items: BoolArray) -> Self:
        """Return the retriever as it is: it knows items by their texts alone."""
        return self

    def state(self) -> State:
        """Return vectors, the index and its measured recall, templates, settings and the encoder's files."""
        nearest = self.nearest.state()
        config = {
            "index": nearest.config,
            "settings": self.config.model_dump(),
            "item_template": self.item_template.to_dict(),
            "user_template": None if self.user_template is None else self.user_template.to_dict(),
            "quantised": None if self.quantised is None else dict(self.quantised),
        }
        files = {f"encoder/{name}": path for name, path in self.encoder.files().items()}
        return State(config, nearest.arrays, files)


def _history_means(queries: Queries, decay: float, vectors: Vectors) -> Float32Array:
    """Float32[n, dim]: recency-weighted sums of the vectors of each history; their direction is the mean's."""
    return vectors.weighted_sums(recency_matrix(queries, decay, len(vectors)))


def fit_dense(
    catalog: Catalog,
    config: DenseConfig,
    encoder: TextEncoder,
    *,
    name: str = "dense",
    train: Interactions | None = None,
    progress: Callable[[str], None] = silent,
) -> Dense:
    """Embed a catalog's item texts and index them.

    Args:
        catalog: all items.
        config: its settings.
        encoder: embeds texts; texts in its cache cost no model call.
        name: the score column.
        train: histories to measure an approximate index with; item vectors if None.
        progress: told what is going on.
    """
    template = load_template(config.item_template)
    texts = render_items(template, catalog)
    warn_unknown(texts, encoder)
    embedded = embed_items(encoder, texts, train)
    vectors = StoredVectors.pack(embedded.vectors, config.storage)
    user = None if config.user_template is None else load_template(config.user_template)
    samples = _samples(vectors, config.decay, train)
    nearest = build_nearest(vectors, config.index, config.min_recall, samples, progress)
    return Dense(name, config, catalog, nearest, embedded.encoder, template, user, embedded.quantised)


def _samples(vectors: StoredVectors, decay: float, train: Interactions | None) -> Float32Array:
    """Query vectors as they will be asked: means of training histories, evenly spaced among users; else items."""
    users = np.empty(0, np.int64) if train is None else np.flatnonzero(np.diff(train.offsets) > 0)
    if train is None or len(users) == 0:
        return sample_vectors(vectors, SAMPLES)
    some = users[:: max(1, len(users) // SAMPLES)][:SAMPLES]
    means = _history_means(train.queries(some), decay, Vectors.of(vectors))
    norms = np.linalg.norm(means, axis=1, keepdims=True)
    return np.asarray((means / np.maximum(norms, 1e-12))[norms[:, 0] > 0], dtype=np.float32)


def _fit(context: FitContext, config: DenseConfig) -> Dense:
    encoder = TextEncoder.load(
        config.encoder, max_tokens=config.max_tokens, cache=EmbeddingCache.default(), progress=context.progress
    )
    return fit_dense(
        context.catalog, config, encoder, name=context.name, train=context.train, progress=context.progress
    )


def _load(name: str, state: State, catalog: Catalog) -> Dense:
    config = DenseConfig.model_validate(state.config["settings"])
    encoder = TextEncoder.load(str(encoder_folder(state.files)), max_tokens=config.max_tokens)
    user = state.config["user_template"]
    # a bundle of before there was a choice of index has none in its state: it was searched exactly
    index = State(state.config.get("index", {"kind": "exact"}), state.arrays)
    return Dense(
        name=name,
        config=config,
        catalog=catalog,
        nearest=load_nearest(index, config.min_recall),
        encoder=encoder,
        item_template=Template.from_dict(state.config["item_template"]),
        user_template=None if user is None else Template.from_dict(user),
        quantised=state.config.get("quantised"),
    )


def encoder_folder(files: Mapping[str, Path]) -> Path:
    """The encoder's folder among a state's files; its transformer, and so config.json, may lie in a folder below."""
    name, path = next((name, path) for name, path in files.items() if name.startswith("encoder/"))
    return path.parents[name.count("/") - 1]


COMPONENT = Component("retriever", DenseConfig, _fit, _load)
