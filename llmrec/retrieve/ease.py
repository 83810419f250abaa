"""EASE: a linear item-item model in closed form, read with a recency-weighted history."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from scipy.linalg import lapack

from llmrec.component import Component, ComponentConfig, FitContext
from llmrec.data import Catalog, Interactions
from llmrec.errors import ConfigError, DataError
from llmrec.retrieve.base import recency_matrix, retrieve_dense_scores, score_dense_scores
from llmrec.retrieve.memory import available_memory
from llmrec.types import BoolArray, Float32Array, Int32Array, Queries, Ranking, State

__all__ = ["COMPONENT", "Ease", "EaseConfig", "fit_ease"]

BLOCK = 2048
"""Rows filled or mirrored at once: what is beside the two matrices stays small."""


class EaseConfig(ComponentConfig):
    """Settings of EASE.

    Attributes:
        l2: ridge penalty (lambda in the paper), > 0.
        decay: weight of an interaction relative to the one after it when scoring; 1 weighs all alike.
        max_items: refuse larger catalogs: memory grows with the square of the catalog. Whatever it is, a catalog whose
            matrices do not fit into the memory that is free is refused.
    """

    l2: float = Field(default=200.0, gt=0)
    decay: float = Field(default=0.8, gt=0, le=1)
    max_items: int = Field(default=20_000, gt=0)


@dataclass(frozen=True, slots=True, eq=False)
class Ease:
    """Scores an item by the recency-weighted sum of its learned similarity to the history.

    Attributes:
        name: the score column.
        config: its settings.
        weights: Float32[m, m], item-item weights over the m items of the catalog at fit time; zero diagonal.
        known: Bool[n_items], True for items with an interaction in training.
        active: Bool[n_items], False for deleted items.
        tie_order: UInt64[n_items].
    """

    component: ClassVar[str] = "ease"
    name: str
    config: EaseConfig
    weights: Float32Array
    known: BoolArray
    active: BoolArray
    tie_order: NDArray[np.uint64]

    def retrieve(self, queries: Queries, k: int) -> Ranking:
        """Return the k best items per query; none for a query without a usable history."""
        return retrieve_dense_scores(self._all, queries, k, self.active, self.tie_order)

    def score(self, queries: Queries, items: Int32Array) -> Float32Array:
        """Score items, Float32[n, k]; NaN for items unseen in training and queries without a usable history."""
        return score_dense_scores(self._all, queries, items, len(self.known))

    def with_items(self, catalog: Catalog, changed: Int32Array) -> Self:
        """Return the same model over a grown catalog; it has no evidence on the new items."""
        known = np.zeros(len(catalog), dtype=np.bool_)
        known[: len(self.known)] = self.known
        return type(self)(self.name, self.config, self.weights, known, catalog.active, catalog.tie_order)

    def state(self) -> State:
        """Return the weights and settings."""
        return State(self.config.model_dump(), {"weights": self.weights, "known": self.known})

    def _all(self, queries: Queries) -> Float32Array:
        history = recency_matrix(queries, self.config.decay, len(self.known))
        usable = abs(history) @ self.known.astype(np.float32) > 0  # weights may be negative: dislikes are evidence too
        m = len(self.weights)
        scores = np.full((len(queries), len(self.known)), np.nan, dtype=np.float32)
        scores[:, :m] = history[:, :m] @ self.weights
        scores[~usable] = np.nan
        scores[:, ~self.known] = np.nan
        return scores


def fit_ease(interactions: Interactions, catalog: Catalog, config: EaseConfig, *, name: str = "ease") -> Ease:
    """Fit EASE in closed form (Steck, "Embarrassingly Shallow Autoencoders for Sparse Data", WWW 2019, eq. 8).

    Args:
        interactions: what users did; the order within a history does not matter for fitting.
        catalog: all items.
        config: its settings.
        name: the score column.

    Returns:
        The fitted model.

    Raises:
        ConfigError: the catalog is larger than `config.max_items`, or its matrices than the memory that is free.
    """
    n = len(catalog)
    _check_size(n, config.max_items)
    gram = _gram(interactions)
    known = gram.diagonal() > 0
    gram[np.diag_indices(n)] += config.l2
    weights = _symmetric_inverse(gram)
    weights /= -weights.diagonal()
    weights[np.diag_indices(n)] = 0.0
    return Ease(name, config, weights, known, catalog.active, catalog.tie_order)


def _check_size(n: int, max_items: int) -> None:
    """Raise ConfigError for a catalog too large: a matrix in float64 and one in float32 stand side by side."""
    needed, free = 12 * n * n, available_memory()
    if n > max_items:
        raise ConfigError(
            f"EASE over {n:,} items needs about {needed / 2**30:.0f} GiB; max_items is {max_items:,}. "
            "Raise ease.max_items, or remove EASE from the stage's retrievers"
        )
    if free is not None and needed > free:
        raise ConfigError(
            f"EASE over {n:,} items needs about {needed / 2**30:.1f} GiB and {free / 2**30:.1f} GiB are free. "
            "Free memory, use item_knn in its place, or remove EASE from the stage's retrievers"
        )


def _gram(interactions: Interactions) -> NDArray[np.float64]:
    """Float64[n, n]: how often two items share a user. Filled by blocks: the sparse product may be larger than it."""
    matrix = interactions.matrix().astype(np.float64)
    by_item = matrix.T.tocsr()
    gram = np.empty((matrix.shape[1], matrix.shape[1]))
    for start in range(0, len(gram), BLOCK):
        gram[start : start + BLOCK] = (by_item[start : start + BLOCK] @ matrix).toarray()
    return gram


def _symmetric_inverse(gram: NDArray[np.float64]) -> Float32Array:
    """Invert a symmetric positive definite matrix in its own memory, which is lost; the result is float32."""
    factor, failed = lapack.dpotrf(gram.T, lower=1, overwrite_a=1, clean=0)
    if not failed:
        factor, failed = lapack.dpotri(factor, lower=1, overwrite_c=1)
    if failed:
        raise DataError("the item-item matrix cannot be inverted; raise ease.l2")
    inverse = np.empty(gram.shape, dtype=np.float32)
    for start in range(0, len(gram), BLOCK):  # LAPACK fills the lower triangle only
        stop = min(start + BLOCK, len(gram))
        corner = np.tril(factor[start:stop, start:stop])
        inverse[start:stop, start:stop] = corner + np.tril(corner, -1).T
        inverse[stop:, start:stop] = factor[stop:, start:stop]
        inverse[start:stop, stop:] = factor[stop:, start:stop].T
    return inverse


def _fit(context: FitContext, config: EaseConfig) -> Ease:
    return fit_ease(context.train, context.catalog, config, name=context.name)


def _load(name: str, state: State, catalog: Catalog) -> Ease:
    known = np.zeros(len(catalog), dtype=np.bool_)
    known[: len(state.arrays["known"])] = state.arrays["known"]
    config = EaseConfig.model_validate(state.config)
    return Ease(name, config, state.arrays["weights"], known, catalog.active, catalog.tie_order)


COMPONENT = Component("retriever", EaseConfig, _fit, _load)
