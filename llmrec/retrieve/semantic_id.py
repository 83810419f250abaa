"""Generative retrieval: a small causal model writes the id of the next item, code by code."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from llmrec.component import ComponentConfig
from llmrec.data import Catalog
from llmrec.models import TextEncoder, in_threads
from llmrec.models.code_decoder import CodeDecoder, Past, Paths
from llmrec.retrieve.base import blocks
from llmrec.retrieve.code_tree import CodeTree, best_leaves, leaf_scores
from llmrec.retrieve.dense import encoder_folder
from llmrec.retrieve.reading import allowed_items
from llmrec.retrieve.semantic_ids import Codebooks, SemanticIds
from llmrec.text import Template, render_items, warn_unknown
from llmrec.types import BoolArray, Float32Array, Int32Array, Int64Array, Queries, Ranking, State

__all__ = ["CodeReading", "SemanticIdConfig", "SemanticIdRetriever", "load_semantic_id"]

SHARED = 16
"""Queries that a thread takes at once."""


class SemanticIdConfig(ComponentConfig):
    """Settings of generative retrieval and its training.

    Attributes:
        encoder: a named model, a folder, or a hub id.
        item_template: renders items.
        max_tokens: longer texts are cut by the encoder.
        levels: codes of an item, beside its number among the items of the same codes.
        codes: of each level; none: by the size of the catalog.
        dim: length of a code's vector.
        layers: of the transformer.
        heads: its attention heads.
        dropout: share of values dropped in training.
        id_dropout: how often, in training, an item is treated as one that is new: known by its codes alone.
        max_length: the latest so many items of a history are read.
        epochs: passes over the histories.
        batch_size: histories per step.
        learning_rate: the highest; it warms up over a tenth of the steps, then falls to nothing along a cosine.
        weight_decay: of all weights but biases.
        patience: stop after so many epochs without a better NDCG@10 on the validation cases, and keep the best epoch;
            none: train all epochs.
        seed: added to the pipeline's.
        checkpoint_minutes: what a killed training loses at most; it goes on where a fit in the same folder stopped.
    """

    encoder: str = "minilm"
    item_template: str = "item/genres"
    max_tokens: int = Field(default=128, ge=8)
    levels: int = Field(default=2, ge=1, le=8)
    codes: int | None = Field(default=None, ge=2)
    dim: int = Field(default=128, ge=4)
    layers: int = Field(default=2, ge=1)
    heads: int = Field(default=4, ge=1)
    dropout: float = Field(default=0.3, ge=0, lt=1)
    id_dropout: float = Field(default=0.1, ge=0, lt=1)
    max_length: int = Field(default=50, ge=1)
    epochs: int = Field(default=20, ge=1)
    batch_size: int = Field(default=64, ge=1)
    learning_rate: float = Field(default=1e-3, gt=0)
    weight_decay: float = Field(default=0.01, ge=0)
    patience: int | None = Field(default=5, ge=1)
    seed: int = Field(default=0, ge=0)
    checkpoint_minutes: float = Field(default=3.0, ge=0)

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.dim % self.heads:
            raise ValueError(f"heads must divide dim: {self.dim} / {self.heads} is no whole number")
        return self


@dataclass(frozen=True, slots=True, eq=False)
class CodeReading:
    """How items' texts become codes.

    Attributes:
        encoder: embeds texts.
        template: renders items.
        codebooks: turns embeddings into codes.
    """

    encoder: TextEncoder
    template: Template
    codebooks: Codebooks

    def codes(self, catalog: Catalog, rows: Int32Array) -> Int32Array:
        """Read the texts of some items: Int32[m, levels]."""
        texts = render_items(self.template, catalog, rows)
        warn_unknown(texts, self.encoder)
        return self.codebooks.encode(self.encoder.encode_items(texts))


@dataclass(frozen=True, slots=True, eq=False)
class SemanticIdRetriever:
    """Scores an item by how likely a causal model is to write its id behind those of the history.

    After TIGER (Rajput et al., "Recommender Systems with Generative Retrieval", NeurIPS 2023), with a decoder alone.
    The score is the logarithm of the id's chance among all ids that could be written, those of no item too: so what
    may come back for a query, and what came to the catalog later, changes no item's score. The search along the tree of
    ids is exact. A new item is known by its codes at once; those of one bucket are scored alike. The weights of
    interactions and free-text wishes are not read.

    Attributes:
        name: the score column.
        config: its settings.
        decoder: the trained network.
        ids: of the items.
        reading: how texts are read.
        active: Bool[n_items], False for deleted items.
        tie_order: UInt64[n_items].
        epochs: how many epochs it was trained.
        tokens: Int64[n_items, levels + 1], the ids as the network reads them, each level's codes from 0 on.
        tree: of all items.
    """

    component: ClassVar[str] = "semantic_id"
    name: str
    config: SemanticIdConfig
    decoder: CodeDecoder
    ids: SemanticIds
    reading: CodeReading
    active: BoolArray
    tie_order: NDArray[np.uint64]
    epochs: int
    tokens: Int64Array = field(init=False, repr=False)
    tree: CodeTree = field(init=False, repr=False)

    def __post_init__(self) -> None:
        tokens = self.ids.tokens(self.decoder.shape.sizes[-1] - 1)
        object.__setattr__(self, "tokens", tokens)
        object.__setattr__(self, "tree", CodeTree.of(tokens))

    def retrieve(self, queries: Queries, k: int) -> Ranking:
        """Return the k best items per query; none for a query without a history."""
        shape = len(queries), min(k, len(self.active))
        items, scores = np.full(shape, -1, dtype=np.int32), np.zeros(shape, dtype=np.float32)
        tree = self.tree.only(allowed_items(self.active, queries), self.tokens)
        places = self._places(tree)

        def search(rows: Int64Array) -> None:
            for row in rows:
                excluded = np.empty(0, np.int64) if queries.exclude is None else places[queries.exclude[row]]
                excluded = np.unique(excluded[excluded >= 0])
                reader, start = self._read(queries, int(row))
                found = best_leaves(tree, reader, start, shape[1], excluded)
                rank = np.lexsort((self.tie_order[tree.items[found.places]], -found.scores))[: shape[1]]
                items[row, : len(rank)] = tree.items[found.places[rank]]
                scores[row, : len(rank)] = found.scores[rank]

        self._on_threads(search, queries)
        return Ranking(items, scores)

    def score(self, queries: Queries, items: Int32Array) -> Float32Array:
        """Score items, Float32[n, k]; NaN for queries without a history."""
        out = np.full(items.shape, np.nan, dtype=np.float32)
        places = self._places(self.tree)

        def score(rows: Int64Array) -> None:
            for row in rows:
                there = items[row] >= 0
                if there.any():
                    wanted, back = np.unique(places[items[row, there]], return_inverse=True)
                    out[row, there] = leaf_scores(self.tree, *self._read(queries, int(row)), wanted)[back]

        self._on_threads(score, queries)
        return out

    def _on_threads(self, work: Any, queries: Queries) -> None:
        """Work on the queries with a history: each alone, as its matrices have hundreds of rows by themselves."""
        usable = np.flatnonzero(np.diff(queries.offsets))
        in_threads(work, [usable[rows] for rows in blocks(len(usable), 1, SHARED)])

    def _places(self, tree: CodeTree) -> Int64Array:
        """Int64[n_items]: each item's place among the leaves, -1 for none."""
        places = np.full(len(self.active), -1, dtype=np.int64)
        places[tree.items] = np.arange(len(tree.items))
        return places

    def _read(self, queries: Queries, row: int) -> tuple[_Reader, Paths]:
        """Let the network read one history."""
        shape = self.decoder.shape
        latest = queries.items[queries.offsets[row] : queries.offsets[row + 1]][-shape.max_length :]
        past, start = self.decoder.read((self.tokens[latest] + shape.starts).ravel())
        return _Reader(self.decoder, past, shape.starts), start

    def with_items(self, catalog: Catalog, changed: Int32Array) -> Self:
        """Return the same retriever over a grown catalog: one encoder call for the new and the changed items.

        No other item's id changes. A changed item keeps its id as long as its text has the same codes, else it is as
        new.
        """
        rows = np.concatenate([changed, np.arange(len(self.active), len(catalog), dtype=np.int32)]).astype(np.int32)
        ids = self.ids.placed(self.reading.codes(catalog, rows), rows) if len(rows) else self.ids
        return replace(self, ids=ids, active=catalog.active, tie_order=catalog.tie_order)

    def forgetting(self, items: BoolArray) -> Self:
        """Return the same retriever knowing some items by their codes alone."""
        return replace(self, ids=self.ids.forgetting(items))

    def state(self) -> State:
        """Return ids, codebooks, the network's weights, the template, settings and the encoder's files."""
        books = self.reading.codebooks
        arrays: dict[str, Any] = {"codes": self.ids.codes, "learned": self.ids.learned}
        arrays |= {"mean": books.mean, "centres": books.centres}
        arrays |= {f"network.{name}": array for name, array in self.decoder.arrays().items()}
        config = {
            "settings": self.config.model_dump(),
            "network": self.decoder.config(),
            "item_template": self.reading.template.to_dict(),
            "epochs": self.epochs,
        }
        return State(config, arrays, {f"encoder/{name}": path for name, path in self.reading.encoder.files().items()})


@dataclass(frozen=True, slots=True, eq=False)
class _Reader:
    """Goes along paths from one history; see `llmrec.retrieve.code_tree.Reader`."""

    decoder: CodeDecoder
    past: Past
    starts: Int64Array

    def chances(self, here: Paths, level: int) -> Float32Array:
        return self.decoder.chances(here, level)

    def follow(self, here: Paths, rows: Int64Array, level: int, codes: Int64Array) -> Paths:
        return self.decoder.follow(self.past, here.take(rows), self.starts[level] + codes)


def load_semantic_id(name: str, state: State, catalog: Catalog) -> SemanticIdRetriever:
    """Bring the retriever back from its state; nothing is looked for on a network."""
    config = SemanticIdConfig.model_validate(state.config["settings"])
    arrays = state.arrays
    weights = {key.removeprefix("network."): a for key, a in arrays.items() if key.startswith("network.")}
    encoder = TextEncoder.load(str(encoder_folder(state.files)), max_tokens=config.max_tokens)
    template = Template.from_dict(state.config["item_template"])
    return SemanticIdRetriever(
        name=name,
        config=config,
        decoder=CodeDecoder.load(state.config["network"], weights),
        ids=SemanticIds(arrays["codes"], arrays["learned"]),
        reading=CodeReading(encoder, template, Codebooks(arrays["mean"], arrays["centres"])),
        active=catalog.active,
        tie_order=catalog.tie_order,
        epochs=state.config["epochs"],
    )
