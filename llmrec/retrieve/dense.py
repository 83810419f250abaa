"""Dense retrieval: item texts and users in one vector space, searched with FAISS."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar, Self

import numpy as np
from pydantic import Field

from llmrec.component import Component, ComponentConfig, FitContext
from llmrec.data import Catalog
from llmrec.models import EmbeddingCache, TextEncoder
from llmrec.retrieve.base import blocks, is_excluded, order_by_score, recency_matrix, stack
from llmrec.retrieve.faiss_index import ExactIndex
from llmrec.text import Template, load_template, render_items, render_users
from llmrec.types import BoolArray, Float32Array, Int32Array, Queries, Ranking, State

__all__ = ["COMPONENT", "Dense", "DenseConfig", "fit_dense"]

SPARE = 8
"""Neighbours fetched beyond k at first; more are fetched where scores at the cut are equal but for rounding."""

ROUNDING = np.float32(1e-5)
"""Cosines that FAISS and we compute differ by less than this."""


class DenseConfig(ComponentConfig):
    """Settings of dense retrieval.

    Attributes:
        encoder: a named model, a folder, or a hub id.
        item_template: renders items.
        user_template: renders users to be encoded; none: a user is the recency-weighted mean of the item
            vectors of the history.
        decay: weight of an interaction relative to the one after it in that mean.
        max_tokens: longer texts are cut by the encoder.
    """

    encoder: str = "minilm"
    item_template: str = "item/genres"
    user_template: str | None = None
    decay: float = Field(default=0.8, gt=0, le=1)
    max_tokens: int = Field(default=128, ge=8)


@dataclass(frozen=True, slots=True, eq=False)
class Dense:
    """Scores an item by the cosine between its vector and the query's.

    A query's vector is its free-text wish if it has one, else its rendered user text or its history's mean.

    Attributes:
        name: the score column.
        config: its settings.
        catalog: all items.
        vectors: Float32[n_items, dim], unit norm.
        index: FAISS over `vectors`.
        encoder: embeds texts.
        item_template: renders items.
        user_template: renders users, or None.
    """

    component: ClassVar[str] = "dense"
    name: str
    config: DenseConfig
    catalog: Catalog
    vectors: Float32Array
    index: ExactIndex
    encoder: TextEncoder
    item_template: Template
    user_template: Template | None

    def retrieve(self, queries: Queries, k: int) -> Ranking:
        """Return the k nearest items per query; none for a query with neither wish nor usable history."""
        width = min(k, len(self.catalog))
        vectors, usable = self.query_vectors(queries)
        parts = []
        for rows in blocks(len(queries), len(self.catalog)):
            parts.append(self._nearest(queries.take(rows), vectors[rows], usable[rows], width))
        return stack(parts, width)

    def score(self, queries: Queries, items: Int32Array) -> Float32Array:
        """Return cosines, Float32[n, k]; NaN at pads and for queries with neither wish nor usable history."""
        vectors, usable = self.query_vectors(queries)
        scores = self._cosines(vectors, items)
        scores[~usable] = np.nan
        return scores

    def query_vectors(self, queries: Queries) -> tuple[Float32Array, BoolArray]:
        """Embed queries.

        Returns:
            Float32[n, dim], unit norm or zero; Bool[n], False where there is nothing to embed.
        """
        if self.user_template is None:
            vectors = recency_matrix(queries, self.config.decay, len(self.vectors)) @ self.vectors
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

    def similar(self, rows: Int32Array, k: int) -> Ranking:
        """Return the k items whose text is nearest to each given item's, without the item itself.

        Args:
            rows: Int32[n], catalog rows.
            k: list length.
        """
        offsets = np.arange(len(rows) + 1, dtype=np.int64)
        queries = Queries(offsets=offsets, items=rows, exclude=Queries(offsets=offsets, items=rows).histories)
        usable = np.ones(len(rows), dtype=np.bool_)
        return self._nearest(queries, self.vectors[rows], usable, min(k, len(self.catalog)))

    def with_items(self, catalog: Catalog) -> Self:
        """Return the same retriever over a grown catalog: one encoder call for the new items."""
        fresh = np.arange(len(self.vectors), len(catalog), dtype=np.int32)
        texts = render_items(self.item_template, catalog, fresh)
        vectors = np.concatenate([self.vectors, self.encoder.encode_items(texts)])
        return replace(self, catalog=catalog, vectors=vectors, index=ExactIndex(vectors))

    def state(self) -> State:
        """Return vectors, templates, settings and the encoder's files."""
        config = {
            "settings": self.config.model_dump(),
            "item_template": self.item_template.to_dict(),
            "user_template": None if self.user_template is None else self.user_template.to_dict(),
        }
        files = {f"encoder/{name}": path for name, path in self.encoder.files().items()}
        return State(config, {"vectors": self.vectors}, files)

    def _nearest(self, queries: Queries, vectors: Float32Array, usable: BoolArray, k: int) -> Ranking:
        """Search with FAISS, and fetch more until every item that may belong into the k best is among the found.

        FAISS decides freely between equal scores; the lists must not depend on that, nor on the batch.
        """
        allowed = self.catalog.active if queries.allow is None else self.catalog.active & queries.allow
        excluded = 0 if queries.exclude is None else int(np.diff(queries.exclude.offsets).max(initial=0))
        items = np.full((len(queries), k), -1, dtype=np.int32)
        scores = np.zeros((len(queries), k), dtype=np.float32)
        asked, width = np.flatnonzero(usable & (k > 0)), k + excluded + SPARE
        while len(asked):
            near, found = self.index.search(vectors[asked], width, allowed)
            complete = (found[:, -1] < 0) | (found.shape[1] == len(self.catalog))
            banned = (found < 0) | is_excluded(found, queries.take(asked), len(self.catalog))
            floor = _at_place(np.where(banned, -np.inf, near), k) - ROUNDING
            enough = complete | (near[:, -1] < floor)
            found = np.where(banned | (near < floor[:, None]), -1, found)[enough]
            done = asked[enough]
            items[done], scores[done] = self._best(vectors[done], found.astype(np.int32), k)
            asked, width = asked[~enough], 4 * width
        return Ranking(items, scores)

    def _best(self, vectors: Float32Array, items: Int32Array, k: int) -> tuple[Int32Array, Float32Array]:
        """Order found items by exact cosine, ties by hash, and cut; Int32[n, k] and Float32[n, k], padded."""
        order = np.argsort(items < 0, axis=1, kind="stable")[:, : int((items >= 0).sum(axis=1).max(initial=0))]
        items = np.take_along_axis(items, order, axis=1)
        scores = np.nan_to_num(self._cosines(vectors, items), nan=0.0)
        order = order_by_score(scores, items, self.catalog.tie_order)[:, :k]
        pads = ((0, 0), (0, k - order.shape[1]))
        return (
            np.pad(np.take_along_axis(items, order, axis=1), pads, constant_values=-1),
            np.pad(np.take_along_axis(scores, order, axis=1), pads),
        )

    def _cosines(self, vectors: Float32Array, items: Int32Array) -> Float32Array:
        """Cosines of Float32[n, dim] with Int32[n, k] items, in bounded memory; NaN at pads."""
        scores = np.full(items.shape, np.nan, dtype=np.float32)
        for rows in blocks(len(items), items.shape[1] * self.vectors.shape[1]):
            picked = self.vectors[np.maximum(items[rows], 0)]
            # einsum, not BLAS: the result for one query must not depend on how many others are in the batch.
            scores[rows] = np.einsum("nd,nkd->nk", vectors[rows], picked)
        return np.where(items >= 0, scores, np.float32(np.nan)).astype(np.float32)


def _at_place(scores: Float32Array, k: int) -> Float32Array:
    """Float32[n]: the k-th highest score of each row, -inf where a row has fewer columns."""
    if scores.shape[1] < k:
        return np.full(len(scores), -np.inf, dtype=np.float32)
    return np.partition(scores, scores.shape[1] - k, axis=1)[:, scores.shape[1] - k]


def fit_dense(catalog: Catalog, config: DenseConfig, encoder: TextEncoder, *, name: str = "dense") -> Dense:
    """Embed a catalog's item texts and index them.

    Args:
        catalog: all items.
        config: its settings.
        encoder: embeds texts; texts in its cache cost no model call.
        name: the score column.
    """
    template = load_template(config.item_template)
    vectors = encoder.encode_items(render_items(template, catalog))
    user = None if config.user_template is None else load_template(config.user_template)
    return Dense(name, config, catalog, vectors, ExactIndex(vectors), encoder, template, user)


def _fit(context: FitContext, config: DenseConfig) -> Dense:
    encoder = TextEncoder.load(
        config.encoder, max_tokens=config.max_tokens, cache=EmbeddingCache.default(), progress=context.progress
    )
    return fit_dense(context.catalog, config, encoder, name=context.name)


def _load(name: str, state: State, catalog: Catalog) -> Dense:
    config = DenseConfig.model_validate(state.config["settings"])
    encoder = TextEncoder.load(str(_folder(state)), max_tokens=config.max_tokens)
    user = state.config["user_template"]
    return Dense(
        name=name,
        config=config,
        catalog=catalog,
        vectors=state.arrays["vectors"],
        index=ExactIndex(state.arrays["vectors"]),
        encoder=encoder,
        item_template=Template.from_dict(state.config["item_template"]),
        user_template=None if user is None else Template.from_dict(user),
    )


def _folder(state: State) -> Path:
    return state.files["encoder/config.json"].parent


COMPONENT = Component("retriever", DenseConfig, _fit, _load)
