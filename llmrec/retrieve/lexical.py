"""BM25: items whose text shares rare words with a wish, or with the texts of the history."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from pydantic import Field

from llmrec.component import Component, ComponentConfig, FitContext
from llmrec.data import Catalog
from llmrec.errors import DataError
from llmrec.retrieve.base import recency_matrix
from llmrec.retrieve.reading import AllScores, Read, best_in_blocks, score_in_blocks
from llmrec.retrieve.sparse import dense_product, mark_no_evidence
from llmrec.retrieve.words import WordKind, split_words
from llmrec.text import Template, load_template, render_items
from llmrec.types import BoolArray, Float32Array, Int32Array, Queries, Ranking, State

__all__ = ["COMPONENT", "Bm25", "Bm25Config", "fit_bm25"]

TAIL = 1024
"""Items that may wait outside the index, whatever the size of the catalog."""

TAIL_SHARE = 0.02
"""Share of the catalog that may wait outside the index, if that is more."""

NO_ROWS = np.empty(0, dtype=np.int32)


class Bm25Config(ComponentConfig):
    """Settings of BM25.

    Attributes:
        item_template: renders items.
        tokenizer: how texts become words; see `llmrec.retrieve.words.split_words`.
        k1: how much the second and third occurrence of a word in a text still add.
        b: how much long texts are held back; 0 not at all, 1 in full.
        history: without a wish, the newest items of the history, at most so many, are the query.
        decay: weight of an item of the history relative to the one after it.
    """

    item_template: str = "item/genres"
    tokenizer: WordKind = "auto"
    k1: float = Field(default=1.2, gt=0)
    b: float = Field(default=0.75, ge=0, le=1)
    history: int = Field(default=10, ge=1)
    decay: float = Field(default=0.8, gt=0, le=1)


@dataclass(frozen=True, slots=True, eq=False)
class Words:
    """What is known of words: the vocabulary, and the statistics of the catalog that was fitted.

    Items that come later bring new words, which count as words that no item had; what words weigh stays as it was, so
    that the scores of old items do not move.

    Attributes:
        places: the column of each word.
        idf: Float32[V], the weight of each word.
        mean_length: words in an item text, on average.
        unseen: the weight of a word that no item had.
    """

    places: Mapping[str, int]
    idf: Float32Array
    mean_length: float
    unseen: float

    def extended(self, texts: Sequence[Sequence[str]]) -> Self:
        """Return the same with the new words of some texts; the same object if there are none."""
        new = dict.fromkeys(word for text in texts for word in text if word not in self.places)
        if not new:
            return self
        places = {**self.places, **dict(zip(new, range(len(self.places), len(self.places) + len(new)), strict=True))}
        idf = np.concatenate([self.idf, np.full(len(new), self.unseen, np.float32)])
        return replace(self, places=places, idf=idf)

    def counts(self, texts: Sequence[Sequence[str]]) -> sp.csr_matrix:
        """Count words: Float32 CSR [n, V]; words outside the vocabulary are left out."""
        rows = [Counter(self.places[word] for word in text if word in self.places) for text in texts]
        offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum([len(row) for row in rows], dtype=np.int64)])
        columns = np.fromiter((place for row in rows for place in row), np.int32, int(offsets[-1]))
        values = np.fromiter((count for row in rows for count in row.values()), np.float32, int(offsets[-1]))
        return sp.csr_matrix((values, columns, offsets), shape=(len(texts), len(self.idf)))

    def weights(self, counts: sp.csr_matrix, k1: float, b: float) -> sp.csr_matrix:
        """What each word of some texts adds to their score: Float32 CSR [n, V] for word counts [n, V].

        BM25 (Robertson and Zaragoza, "The Probabilistic Relevance Framework: BM25 and Beyond", 2009) in the variant of
        Lucene, whose weights are never negative.
        """
        lengths = np.asarray(counts.sum(axis=1), dtype=np.float32).ravel()
        damped = np.repeat(k1 * (1 - b + b * lengths / self.mean_length), np.diff(counts.indptr))
        values = self.idf[counts.indices] * counts.data / (counts.data + damped)
        return sp.csr_matrix((values.astype(np.float32), counts.indices, counts.indptr), shape=counts.shape)


@dataclass(frozen=True, slots=True, eq=False)
class Bm25:
    """Scores an item by the weights of the words that its text shares with the query.

    The query is the free-text wish if there is one, else the words of the newest items of the history.

    Attributes:
        name: the score column.
        config: its settings.
        catalog: all items.
        item_template: renders items.
        words: the vocabulary and its weights.
        counts: Float32 CSR [m, V'], how often each item of the index has each word.
        index: Float32 CSR [V', m], what each word adds to the score of each of them.
        tail: Float32 CSR [t, V], the counts of items that are new or changed since; they count from here.
        tail_rows: Int32[t], the items of the tail.
    """

    component: ClassVar[str] = "bm25"
    name: str
    config: Bm25Config
    catalog: Catalog
    item_template: Template
    words: Words
    counts: sp.csr_matrix
    index: sp.csr_matrix
    tail: sp.csr_matrix
    tail_rows: Int32Array

    def retrieve(self, queries: Queries, k: int) -> Ranking:
        """Return the k best items per query, of those that share a word with it."""
        return best_in_blocks(self.read(queries), k)

    def score(self, queries: Queries, items: Int32Array) -> Float32Array:
        """Score items, Float32[n, k]; NaN at pads and for items that share no word with the query."""
        return score_in_blocks(self.read(queries), items)

    def read(self, queries: Queries) -> Read:
        """Read queries, to propose and to score from the same work."""
        return AllScores.of(self._all, queries, self.catalog.active, self.catalog.tie_order)

    def similar(self, rows: Int32Array, k: int) -> Ranking:
        """Return the k items whose text shares most with each given item's, without the item itself.

        Args:
            rows: Int32[n], catalog rows.
            k: list length.
        """
        alone = Queries(offsets=np.arange(len(rows) + 1, dtype=np.int64), items=np.asarray(rows, dtype=np.int32))
        return self.retrieve(replace(alone, exclude=alone.histories), k)

    def with_items(self, catalog: Catalog, changed: Int32Array) -> Self:
        """Return the same retriever over a grown catalog; the texts of new and changed items are read."""
        fresh = np.arange(len(self.catalog), len(catalog), dtype=np.int32)
        rows = np.concatenate([changed, fresh]).astype(np.int32)
        if len(rows) == 0:
            return replace(self, catalog=catalog)
        texts = _read(self.item_template, catalog, self.config.tokenizer, rows)
        words = self.words.extended(texts)
        keep = np.flatnonzero(~np.isin(self.tail_rows, rows))
        tail = _stacked(self.tail[keep], words.counts(texts))
        tail_rows = np.concatenate([self.tail_rows[keep], rows])
        more = replace(self, catalog=catalog, words=words, tail=tail, tail_rows=tail_rows)
        return more._folded() if len(tail_rows) > max(TAIL, TAIL_SHARE * len(catalog)) else more

    def forgetting(self, items: BoolArray) -> Self:
        """Return the retriever as it is: it knows items by their texts alone."""
        return self

    def state(self) -> State:
        """Return the words, their counts, the template and the settings."""
        counts = self._folded().counts
        config = {
            "settings": self.config.model_dump(),
            "item_template": self.item_template.to_dict(),
            "mean_length": self.words.mean_length,
            "unseen": self.words.unseen,
        }
        arrays: dict[str, NDArray[Any]] = {
            "words": np.frombuffer("\n".join(self.words.places).encode(), dtype=np.uint8),
            "idf": self.words.idf,
            "values": counts.data,
            "columns": counts.indices.astype(np.int32),
            "offsets": counts.indptr.astype(np.int64),
        }
        return State(config, arrays)

    def _all(self, queries: Queries) -> Float32Array:
        asked = self._asked(queries)
        n_words, n_items = self.index.shape
        scores = dense_product(asked[:, :n_words], self.index)
        if n_items < len(self.catalog):
            scores = np.pad(scores, ((0, 0), (0, len(self.catalog) - n_items)))
        if len(self.tail_rows):
            weights = self.words.weights(self.tail, self.config.k1, self.config.b)
            scores[:, self.tail_rows] = (asked @ weights.T).toarray()
        mark_no_evidence(scores)
        return scores

    def _asked(self, queries: Queries) -> sp.csr_matrix:
        """Float32 CSR [n, V]: how often each query asks for each word."""
        past = recency_matrix(_newest(queries, self.config.history), self.config.decay, len(self.catalog))
        needed, places = np.unique(past.indices, return_inverse=True)
        narrow = sp.csr_matrix((past.data, places.astype(np.int32), past.indptr), shape=(len(queries), len(needed)))
        asked = narrow @ self._counts_of(needed)
        if queries.texts is not None:
            asked = asked + self.words.counts(
                [split_words(text or "", self.config.tokenizer) for text in queries.texts]
            )
        return sp.csr_matrix(asked)

    def _counts_of(self, items: Int32Array) -> sp.csr_matrix:
        """Float32 CSR [n, V]: the word counts of some items."""
        if len(self.tail_rows) == 0:
            return sp.csr_matrix(self.counts[items])
        order = np.argsort(self.tail_rows)
        place = np.minimum(np.searchsorted(self.tail_rows, items, sorter=order), len(order) - 1)
        in_tail = self.tail_rows[order[place]] == items
        old = self.counts[np.where(in_tail, 0, items)]
        rows = np.where(in_tail, len(items) + np.arange(len(items)), np.arange(len(items)))
        return sp.csr_matrix(_stacked(old, self.tail[order[place]])[rows])

    def _folded(self) -> Self:
        """Return the same with all items in the index."""
        if len(self.tail_rows) == 0:
            return self
        counts = self._counts_of(np.arange(len(self.catalog), dtype=np.int32))
        index = _index(self.words, counts, self.config)
        return replace(self, counts=counts, index=index, tail=_no_items(counts.shape[1]), tail_rows=NO_ROWS)


def fit_bm25(catalog: Catalog, config: Bm25Config, *, name: str = "bm25") -> Bm25:
    """Index a catalog's item texts; see `Words.weights` for the method.

    Args:
        catalog: all items; removed ones count in the statistics too.
        config: its settings.
        name: the score column.

    Raises:
        DataError: no item text has a word.
    """
    template = load_template(config.item_template)
    texts = _read(template, catalog, config.tokenizer)
    places = {word: place for place, word in enumerate(dict.fromkeys(word for text in texts for word in text))}
    if not places:
        raise DataError(f"no item text of template {config.item_template} has a word; choose another item_template")
    n = len(texts)
    bare = Words(places, np.zeros(len(places), np.float32), float(np.mean([len(text) for text in texts])), _idf(n, 0))
    counts = bare.counts(texts)
    words = replace(bare, idf=_idf(n, np.bincount(counts.indices, minlength=len(places))).astype(np.float32))
    index = _index(words, counts, config)
    return Bm25(name, config, catalog, template, words, counts, index, _no_items(len(places)), NO_ROWS)


def _index(words: Words, counts: sp.csr_matrix, config: Bm25Config) -> sp.csr_matrix:
    """Float32 CSR [V, n]: what each word adds to the score of each item."""
    return sp.csr_matrix(words.weights(counts, config.k1, config.b).T)


def _idf(n: int, holders: Any) -> Any:
    """What a word weighs that `holders` of n texts have."""
    return np.log1p((n - holders + 0.5) / (holders + 0.5))


def _read(template: Template, catalog: Catalog, kind: WordKind, rows: Int32Array | None = None) -> list[list[str]]:
    return [split_words(text, kind) for text in render_items(template, catalog, rows)]


def _newest(queries: Queries, count: int) -> Queries:
    """The newest items of each history, none where there is a wish, with their weights and nothing else."""
    lengths = np.where(queries.wishes, 0, np.minimum(np.diff(queries.offsets), count))
    offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])
    places = np.arange(offsets[-1]) + np.repeat(queries.offsets[1:] - offsets[1:], lengths)
    weights = None if queries.weights is None else queries.weights[places]
    return Queries(offsets=offsets, items=queries.items[places], weights=weights)


def _stacked(above: sp.csr_matrix, below: sp.csr_matrix) -> sp.csr_matrix:
    """Put the counts of some items under those of others that may know fewer words."""
    shape = (above.shape[0], max(above.shape[1], below.shape[1]))
    wide = sp.csr_matrix((above.data, above.indices, above.indptr), shape=shape)
    return sp.csr_matrix(sp.vstack([wide, below], format="csr"))


def _no_items(width: int) -> sp.csr_matrix:
    return sp.csr_matrix(np.empty((0, width), dtype=np.float32))


def _fit(context: FitContext, config: Bm25Config) -> Bm25:
    return fit_bm25(context.catalog, config, name=context.name)


def _load(name: str, state: State, catalog: Catalog) -> Bm25:
    saved, arrays = state.config, state.arrays
    config = Bm25Config.model_validate(saved["settings"])
    places = {word: place for place, word in enumerate(bytes(arrays["words"]).decode().split("\n"))}
    words = Words(places, arrays["idf"], float(saved["mean_length"]), float(saved["unseen"]))
    counts = sp.csr_matrix((arrays["values"], arrays["columns"], arrays["offsets"]), shape=(len(catalog), len(places)))
    return Bm25(
        name=name,
        config=config,
        catalog=catalog,
        item_template=Template.from_dict(saved["item_template"]),
        words=words,
        counts=counts,
        index=_index(words, counts, config),
        tail=_no_items(len(places)),
        tail_rows=NO_ROWS,
    )


COMPONENT = Component("retriever", Bm25Config, _fit, _load)
