"""Matrix factorisations, read without user ids: a user's vector is made of the history, of item vectors alone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Protocol, Self

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from llmrec.component import ComponentConfig
from llmrec.data import Catalog
from llmrec.retrieve.base import recency_matrix
from llmrec.retrieve.best import Ties
from llmrec.retrieve.products import ItemSide, Products
from llmrec.retrieve.reading import Read, allowed_items, best_in_blocks, score_in_blocks
from llmrec.types import BoolArray, Float32Array, Int32Array, Queries, Ranking, State

__all__ = ["Factors", "FoldIn", "FoldsIn", "load_factors", "make_factors", "one_blas_thread"]

FoldIn = Literal["ridge", "mean"]


class FoldsIn(Protocol):
    """Settings that say how a history becomes a user vector."""

    @property
    def decay(self) -> float:
        """Weight of an interaction relative to the one after it."""

    @property
    def fold_in(self) -> FoldIn:
        """How: "ridge", the vector that ALS would give such a user; "mean", of the item vectors."""

    @property
    def confidence(self) -> float:
        """How much more an interaction counts than none, in the ridge."""

    @property
    def fold_in_l2(self) -> float:
        """Penalty on the length of the user vector, in the ridge."""

    def model_dump(self) -> dict[str, Any]:
        """Return all settings as JSON values."""


@dataclass(frozen=True, slots=True, eq=False)
class Factors:
    """Scores an item by the product of its vector with one made of the history, plus the item's own bias.

    Attributes:
        component: the registered name of what was fitted.
        name: the score column.
        config: its settings.
        vectors: Float32[m, f], of the m items of the catalog at fit time.
        bias: Float32[m].
        gram: Float32[f, f], the sum of the outer products of the vectors of the known items; None: it is not needed.
        known: Bool[n_items], True for items with an interaction in training.
        active: Bool[n_items], False for deleted items.
        tie_order: UInt64[n_items].
        items: the vectors as queries meet them, made of the others.
    """

    component: str
    name: str
    config: FoldsIn
    vectors: Float32Array
    bias: Float32Array
    gram: Float32Array | None
    known: BoolArray
    active: BoolArray
    tie_order: NDArray[np.uint64]
    items: ItemSide = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "items", ItemSide.of(self.vectors, self.bias, self.known))

    def retrieve(self, queries: Queries, k: int) -> Ranking:
        """Return the k best items per query; none for a query without a usable history."""
        return best_in_blocks(self.read(queries), k)

    def score(self, queries: Queries, items: Int32Array) -> Float32Array:
        """Score items, Float32[n, k]; NaN at pads, for items unseen in training, and without a usable history."""
        return score_in_blocks(self.read(queries), items)

    def read(self, queries: Queries) -> Read:
        """Make user vectors, to propose and to score from the same work."""
        users, usable = self.user_vectors(queries)
        ties = Ties.of(self.tie_order, len(queries))
        return Products(users, usable, self.items, queries, allowed_items(self.active, queries), ties)

    def with_items(self, catalog: Catalog, changed: Int32Array) -> Self:
        """Return the same model over a grown catalog; it has no evidence on the new items."""
        return type(self)(
            component=self.component,
            name=self.name,
            config=self.config,
            vectors=self.vectors,
            bias=self.bias,
            gram=self.gram,
            known=_padded(self.known, len(catalog)),
            active=catalog.active,
            tie_order=catalog.tie_order,
        )

    def forgetting(self, items: BoolArray) -> Self:
        """Return the same model without evidence on some items."""
        return replace(self, known=self.known & ~items)

    def state(self) -> State:
        """Return the vectors and settings."""
        return State(self.config.model_dump(), {"vectors": self.vectors, "bias": self.bias, "known": self.known})

    def user_vectors(self, queries: Queries) -> tuple[Float32Array, BoolArray]:
        """Make user vectors of histories.

        Returns:
            Float32[n, f]; Bool[n], False where no item of the history was known in training.
        """
        history = recency_matrix(queries, self.config.decay, len(self.known))[:, : len(self.vectors)]
        history.data *= self.known[history.indices]
        history.eliminate_zeros()
        usable = np.diff(history.indptr) > 0
        if self.gram is None:
            total = np.asarray(abs(history).sum(axis=1), dtype=np.float32)
            return np.asarray(history @ self.vectors / np.maximum(total, 1e-12), dtype=np.float32), usable
        return _ridge(history, self.vectors, self.gram, self.config), usable


def make_factors(
    component: str,
    name: str,
    config: FoldsIn,
    vectors: Float32Array,
    bias: Float32Array,
    known: BoolArray,
    catalog: Catalog,
) -> Factors:
    """Put a factorisation together; what it says of items that nobody took is dropped."""
    vectors = np.ascontiguousarray(np.where(known[: len(vectors), None], vectors, 0), dtype=np.float32)
    return _factors(component, name, config, vectors, bias, known, catalog)


def _factors(
    component: str,
    name: str,
    config: FoldsIn,
    vectors: Float32Array,
    bias: Float32Array,
    known: BoolArray,
    catalog: Catalog,
) -> Factors:
    gram = None if config.fold_in == "mean" else np.einsum("if,ig->fg", vectors, vectors)
    known = _padded(known, len(catalog))
    return Factors(component, name, config, vectors, bias, gram, known, catalog.active, catalog.tie_order)


def load_factors(component: str, settings: type[ComponentConfig], name: str, state: State, catalog: Catalog) -> Factors:
    """Bring a factorisation back from `Factors.state`.

    Args:
        component: its registered name.
        settings: the class of its settings, which must be a `FoldsIn`.
        name: the score column.
        state: what was saved.
        catalog: all items.
    """
    config: Any = settings.model_validate(state.config)
    arrays = state.arrays
    return _factors(component, name, config, arrays["vectors"], arrays["bias"], arrays["known"], catalog)


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Let BLAS use one thread, as implicit asks for (and warns): its own threads call BLAS, and they would multiply."""
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1, "blas"):
        yield


def _ridge(history: sp.csr_matrix, vectors: Float32Array, gram: Float32Array, config: FoldsIn) -> Float32Array:
    """User vectors, Float32[n, f], of one small system a query.

    (Y'Y + fold_in_l2 + confidence sum_i |w_i| y_i y_i') x = (1 + confidence) sum_i max(w_i, 0) y_i: for weights of 1
    what ALS solves for a user; an older interaction pulls less, a dislike (w_i < 0) pulls to nothing.
    """
    f = vectors.shape[1]
    base = gram + config.fold_in_l2 * np.eye(f, dtype=np.float32)
    users = np.zeros((history.shape[0], f), dtype=np.float32)
    for row in np.flatnonzero(np.diff(history.indptr)):
        part = slice(history.indptr[row], history.indptr[row + 1])
        taken, weights = vectors[history.indices[part]], history.data[part]
        left = base + config.confidence * (taken.T * np.abs(weights)) @ taken
        users[row] = np.linalg.solve(left, (1 + config.confidence) * np.maximum(weights, 0) @ taken)
    return users


def _padded(known: BoolArray, n_items: int) -> BoolArray:
    longer = np.zeros(n_items, dtype=np.bool_)
    longer[: len(known)] = known
    return longer
