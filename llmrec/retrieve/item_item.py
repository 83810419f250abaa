"""Item-item weights read with a recency-weighted history: what EASE, item-kNN and next-item models come to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Protocol, Self

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from llmrec.component import ComponentConfig
from llmrec.data import Catalog, Interactions
from llmrec.retrieve.base import recency_matrix
from llmrec.retrieve.best import descending_bits, rank_ties
from llmrec.retrieve.reading import AllScores, Read, best_in_blocks, score_in_blocks
from llmrec.retrieve.ridge import known_items
from llmrec.retrieve.sparse import dense_product, mark_no_evidence
from llmrec.types import BoolArray, Float32Array, Int32Array, Queries, Ranking, State

__all__ = ["Counter", "ItemItem", "PairCounts", "ReadsHistory", "keep_highest", "keep_strongest", "load_item_item"]

BLOCK = 1024
"""Columns of a dense matrix that are cut at once."""


class ReadsHistory(Protocol):
    """Settings that say how a history is read."""

    @property
    def decay(self) -> float:
        """Weight of an interaction relative to the one after it."""

    def model_dump(self) -> dict[str, Any]:
        """Return all settings as JSON values."""


class PairCounts(Protocol):
    """What sparse weights are made of: sums over users, to which more can be added."""

    @property
    def weights(self) -> sp.csr_matrix:
        """Float32 CSR [n_items, n_items], as `ItemItem` reads them."""

    def learning(self, before: Interactions, after: Interactions, tie_order: NDArray[np.uint64]) -> Self:
        """Return the same with what some users did since; see `Learns.learning`."""


Counter = Callable[[Interactions, Any, Any], "PairCounts | None"]
"""Given a log, settings, and the weights fitted on it, counts what they are made of; None if that would not fit."""


@dataclass(frozen=True, slots=True, eq=False)
class ItemItem:
    """Scores an item by the recency-weighted sum of its weights from the items of the history.

    Attributes:
        component: the registered name of what was fitted.
        name: the score column.
        config: its settings.
        weights: [m, m] over the m items of the catalog at fit time; row i: what an item i of the history adds to the
            score of each item. Float32 array, or Float32 CSR of the strongest only.
        known: Bool[n_items], True for items with an interaction in training.
        active: Bool[n_items], False for deleted items.
        tie_order: UInt64[n_items].
        forgotten: Bool[n_items], True for items that count as new, in histories too; None: there are none.
        counter: how to count what the weights are made of; None: they do not learn.
        counts: what they are made of, once it was counted; not saved.
    """

    component: str
    name: str
    config: ReadsHistory
    weights: Float32Array | sp.csr_matrix
    known: BoolArray
    active: BoolArray
    tie_order: NDArray[np.uint64]
    forgotten: BoolArray | None = None
    counter: Counter | None = None
    counts: PairCounts | None = None

    def retrieve(self, queries: Queries, k: int) -> Ranking:
        """Return the k best items per query; none for a query without a usable history."""
        return best_in_blocks(self.read(queries), k)

    def score(self, queries: Queries, items: Int32Array) -> Float32Array:
        """Score items, Float32[n, k]; NaN at pads, for items unseen in training, and where no weight is stored."""
        return score_in_blocks(self.read(queries), items)

    def read(self, queries: Queries) -> Read:
        """Read queries, to propose and to score from the same work."""
        return AllScores.of(self._all, queries, self.active, self.tie_order)

    def with_items(self, catalog: Catalog, changed: Int32Array) -> Self:
        """Return the same model over a grown catalog; it has no evidence on the new items."""
        more = (0, len(catalog) - len(self.known))
        known, forgotten = np.pad(self.known, more), None if self.forgotten is None else np.pad(self.forgotten, more)
        return replace(self, known=known, active=catalog.active, tie_order=catalog.tie_order, forgotten=forgotten)

    def forgetting(self, items: BoolArray) -> Self:
        """Return the same model without evidence on some items; histories are read as if these were not in them."""
        forgotten = items if self.forgotten is None else self.forgotten | items
        return replace(self, known=self.known & ~items, forgotten=forgotten)

    @property
    def learns(self) -> bool:
        """Whether it learns from what users do: where weights are made of counts."""
        return self.counter is not None

    def with_counts(self, log: Interactions) -> Self:
        """Return the same model with the counts of its log, if they fit into memory."""
        return self if self.counter is None else replace(self, counts=self.counter(log, self.config, self.weights))

    def learning(self, before: Interactions, after: Interactions) -> Self:
        """Return the model with what users did since; without counts, itself. New items are learned as others are."""
        if self.counts is None:
            return self
        counts = self.counts.learning(before, after, self.tie_order)
        return replace(self, counts=counts, weights=counts.weights, known=self.known | known_items(after))

    def state(self) -> State:
        """Return the weights and settings."""
        return State(self.config.model_dump(), {**_arrays(self.weights), "known": self.known})

    def added(self, queries: Queries) -> Float32Array | sp.csr_matrix:
        """Return what the histories add to the score of each of the m items: [n, m], as the weights are stored."""
        product: Any = self._history(queries)[:, : self.weights.shape[0]] @ self.weights
        added: Float32Array | sp.csr_matrix = product
        return added

    def _history(self, queries: Queries) -> sp.csr_matrix:
        history = recency_matrix(queries, self.config.decay, len(self.known))
        if self.forgotten is not None:
            history.data *= ~self.forgotten[history.indices]
        return history

    def _all(self, queries: Queries) -> Float32Array:
        more = len(self.known) - self.weights.shape[0]
        history = self._history(queries)
        if sp.issparse(self.weights):
            scores = dense_product(history[:, : self.weights.shape[0]], self.weights)
            mark_no_evidence(scores)
        else:
            scores = np.asarray(history[:, : self.weights.shape[0]] @ self.weights, dtype=np.float32)
            # weights may be negative: dislikes are evidence too
            scores[~(abs(history) @ self.known.astype(np.float32) > 0)] = np.nan
        if more:
            scores = np.pad(scores, ((0, 0), (0, more)), constant_values=np.nan)
        scores[:, np.flatnonzero(~self.known)] = np.nan
        return scores


def load_item_item(
    component: str,
    settings: type[ComponentConfig],
    name: str,
    state: State,
    catalog: Catalog,
    counter: Counter | None = None,
) -> ItemItem:
    """Bring a model back from `ItemItem.state`.

    Args:
        component: its registered name.
        settings: the class of its settings, which must be a `ReadsHistory`.
        name: the score column.
        state: what was saved; that of an item-kNN of before there was this class does not hold `known`.
        catalog: all items.
        counter: see `ItemItem`.
    """
    arrays = state.arrays
    weights = _weights(arrays)
    trained = arrays.get("known", np.ones(weights.shape[0], dtype=np.bool_))
    known = np.zeros(len(catalog), dtype=np.bool_)
    known[: len(trained)] = trained
    config: Any = settings.model_validate(state.config)
    return ItemItem(component, name, config, weights, known, catalog.active, catalog.tie_order, counter=counter)


def _arrays(weights: Float32Array | sp.csr_matrix) -> dict[str, NDArray[Any]]:
    if not sp.issparse(weights):
        return {"weights": weights}
    return {
        "values": weights.data,
        "columns": weights.indices.astype(np.int32),
        "offsets": weights.indptr.astype(np.int64),
    }


def _weights(arrays: Any) -> Float32Array | sp.csr_matrix:
    if "weights" in arrays:
        dense: Float32Array = arrays["weights"]
        return dense
    m = len(arrays["offsets"]) - 1
    return sp.csr_matrix((arrays["values"], arrays["columns"], arrays["offsets"]), shape=(m, m))


def keep_strongest(weights: Float32Array, count: int, tie_order: NDArray[np.uint64]) -> sp.csr_matrix:
    """Keep the `count` largest absolute weights that each item is scored with: Float32 CSR of a Float32[m, m].

    Cut by scored item (column), not by item of the history: else rare items, weak in every row, would lose theirs.
    Of equal weights at the edge, those of the lowest `tie_order` stay.
    """
    m = len(weights)
    count, ties = min(count, m), rank_ties(tie_order)
    rows, values = np.empty((m, count), np.int32), np.empty((m, count), np.float32)
    for start in range(0, m, BLOCK):
        block = weights[:, start : start + BLOCK].T
        keys = (descending_bits(np.abs(block)) << np.uint64(32)) | ties
        rows[start : start + BLOCK] = np.argpartition(keys, count - 1, axis=1)[:, :count]
        values[start : start + BLOCK] = np.take_along_axis(block, rows[start : start + BLOCK].astype(np.int64), axis=1)
    columns = np.repeat(np.arange(m, dtype=np.int32), count)
    kept = sp.csr_matrix((values.ravel(), (rows.ravel(), columns)), shape=(m, m))
    kept.eliminate_zeros()
    return kept


def keep_highest(weights: sp.csr_matrix, count: int, tie_order: NDArray[np.uint64]) -> sp.csr_matrix:
    """Keep the `count` highest of each row of a Float32 CSR [r, m]; equal ones by `tie_order`, lowest first."""
    keys = (descending_bits(weights.data) << np.uint64(32)) | rank_ties(tie_order)[weights.indices]
    keep = np.ones(len(keys), dtype=np.bool_)
    for row in np.flatnonzero(np.diff(weights.indptr) > count):
        start, stop = weights.indptr[row : row + 2]
        keep[start + np.argpartition(keys[start:stop], count - 1)[count:]] = False
    lengths = np.add.reduceat(np.append(keep, False), weights.indptr[:-1]) * (np.diff(weights.indptr) > 0)
    offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])
    return sp.csr_matrix((weights.data[keep], weights.indices[keep], offsets), shape=weights.shape)
