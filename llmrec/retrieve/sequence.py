"""A causal network that reads the history in order and foretells the next item."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from llmrec.component import ComponentConfig
from llmrec.data import Catalog
from llmrec.models import TextEncoder
from llmrec.models.sequence_encoder import SequenceEncoder
from llmrec.models.sequence_model import Architecture
from llmrec.retrieve.best import Ties
from llmrec.retrieve.dense import encoder_folder
from llmrec.retrieve.products import ItemSide, Products
from llmrec.retrieve.reading import Read, allowed_items, best_in_blocks, score_in_blocks
from llmrec.text import Template, render_items, warn_unknown
from llmrec.types import BoolArray, Float32Array, Int32Array, Queries, Ranking, State

__all__ = ["ItemVectors", "SequenceConfig", "SequenceRetriever", "TextAdaptor", "TextPart", "centred", "load_sequence"]


class SequenceConfig(ComponentConfig):
    """Settings of the sequence retriever and its training.

    Attributes:
        items: what an item's vector is made of: "id", learned for each item; "text", its text's embedding through a
            learned adaptor; "both", their sum.
        architecture: "transformer" or "gru".
        encoder: a named model, a folder, or a hub id.
        item_template: renders items.
        max_tokens: longer texts are cut by the encoder.
        dim: length of an item's vector.
        layers: of the network.
        heads: attention heads of the transformer.
        dropout: share of values dropped in training.
        id_dropout: how often, in training, an item is treated as one that is new: known by its text alone.
        max_length: the latest so many items of a history are read.
        epochs: passes over the histories.
        batch_size: histories per step.
        learning_rate: the highest; it warms up over a tenth of the steps, then falls to nothing along a cosine.
        weight_decay: of all weights but biases.
        loss: "softmax" over all items; "sampled" softmax, corrected; "gbce"; "auto": softmax up to 5,000 items.
        negatives: items drawn in each step, where the loss draws any.
        patience: stop after so many epochs without a better NDCG@10 on the validation cases, and keep the best epoch;
            none: train all epochs.
        seed: added to the pipeline's: two retrievers that differ in it alone are worth more together than either.
        checkpoint_minutes: what a killed training loses at most; it goes on where a fit in the same folder stopped.
    """

    items: Literal["id", "text", "both"] = "both"
    architecture: Architecture = "transformer"
    encoder: str = "minilm"
    item_template: str = "item/genres"
    max_tokens: int = Field(default=128, ge=8)
    dim: int = Field(default=128, ge=4)
    layers: int = Field(default=2, ge=1)
    heads: int = Field(default=2, ge=1)
    dropout: float = Field(default=0.4, ge=0, lt=1)
    id_dropout: float = Field(default=0.1, ge=0, lt=1)
    max_length: int = Field(default=200, ge=1)
    epochs: int = Field(default=25, ge=1)
    batch_size: int = Field(default=64, ge=1)
    learning_rate: float = Field(default=1e-3, gt=0)
    weight_decay: float = Field(default=0.01, ge=0)
    loss: Literal["auto", "softmax", "sampled", "gbce"] = "auto"
    negatives: int = Field(default=2048, ge=1)
    patience: int | None = Field(default=5, ge=1)
    seed: int = Field(default=0, ge=0)
    checkpoint_minutes: float = Field(default=3.0, ge=0)

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.architecture == "transformer" and self.dim % self.heads:
            raise ValueError(f"heads must divide dim: {self.dim} / {self.heads} is no whole number")
        return self


@dataclass(frozen=True, slots=True, eq=False)
class TextAdaptor:
    """From a text's embedding to that part of an item's vector that its text decides.

    Attributes:
        mean: Float32[e], taken off every embedding: what all texts have in common tells nothing.
        weight: Float32[dim, e].
        offset: Float32[dim].
        bias: the score offset of an item that is known by its text alone.
    """

    mean: Float32Array
    weight: Float32Array
    offset: Float32Array
    bias: float

    def __call__(self, embeddings: Float32Array) -> Float32Array:
        """Turn Float32[n, e] into Float32[n, dim]."""
        return (centred(embeddings, self.mean) @ self.weight.T + self.offset).astype(np.float32)


def centred(embeddings: Float32Array, mean: Float32Array) -> Float32Array:
    """Take the mean off, and give each row length one."""
    rest = embeddings - mean
    lengths = np.maximum(np.linalg.norm(rest, axis=1, keepdims=True), 1e-12)
    return np.asarray(rest / lengths, dtype=np.float32)


@dataclass(frozen=True, slots=True, eq=False)
class ItemVectors:
    """What is known of the items; n rows.

    Attributes:
        learned: Float32[n, dim], from interactions; zero where there were none.
        read: Float32[n, dim], from texts; zero where texts are not read.
        bias: Float32[n], score offsets.
        known: Bool[n], False for items of which nothing is known: their vector is zero.
    """

    learned: Float32Array
    read: Float32Array
    bias: Float32Array
    known: BoolArray

    @property
    def vectors(self) -> Float32Array:
        """Float32[n, dim]: both parts together."""
        return self.learned + self.read

    def grown(self, n_items: int) -> ItemVectors:
        """Return a copy with rows of which nothing is known at the end."""
        more = n_items - len(self.bias)
        rows = ((0, more), (0, 0))
        return ItemVectors(
            np.pad(self.learned, rows),
            np.pad(self.read, rows),
            np.pad(self.bias, (0, more)),
            np.pad(self.known, (0, more)),
        )


@dataclass(frozen=True, slots=True, eq=False)
class TextPart:
    """How items' texts are read.

    Attributes:
        encoder: embeds texts.
        template: renders items.
        adaptor: turns embeddings into parts of item vectors.
    """

    encoder: TextEncoder
    template: Template
    adaptor: TextAdaptor

    def read(self, catalog: Catalog, rows: Int32Array) -> Float32Array:
        """Read the texts of some items: Float32[m, dim]."""
        texts = render_items(self.template, catalog, rows)
        warn_unknown(texts, self.encoder)
        return self.adaptor(self.encoder.encode_items(texts))


@dataclass(frozen=True, slots=True, eq=False)
class SequenceRetriever:
    """Scores an item by the dot product of its vector with the state of a network that has read the history.

    The network reads the same item vectors that it is scored against (Kang and McAuley, "Self-Attentive Sequential
    Recommendation", ICDM 2018), made of text and of what was learned of each item. An item without interactions is
    known by its text at once. The weights of interactions and free-text wishes are not read.

    Attributes:
        name: the score column.
        config: its settings.
        network: reads histories.
        items: what is known of the items.
        text: how texts are read; None where they are not.
        active: Bool[n_items], False for deleted items.
        tie_order: UInt64[n_items].
        epochs: how many epochs it was trained.
        side: the items' vectors as queries meet them, made of `items`.
    """

    component: ClassVar[str] = "sequence"
    name: str
    config: SequenceConfig
    network: SequenceEncoder
    items: ItemVectors
    text: TextPart | None
    active: BoolArray
    tie_order: np.ndarray[Any, np.dtype[np.uint64]]
    epochs: int
    side: ItemSide = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "side", ItemSide.of(self.items.vectors, self.items.bias, self.items.known))

    def retrieve(self, queries: Queries, k: int) -> Ranking:
        """Return the k best items per query; none for a query without a usable history."""
        return best_in_blocks(self.read(queries), k)

    def score(self, queries: Queries, items: Int32Array) -> Float32Array:
        """Score items, Float32[n, k]; NaN for items of which nothing is known and queries without a usable history."""
        return score_in_blocks(self.read(queries), items)

    def read(self, queries: Queries) -> Read:
        """Let the network read the histories, to propose and to score from the same work."""
        histories = queries.histories.where(self.items.known[queries.items])
        return Products(
            users=self.network.encode(histories, self.side.vectors),
            usable=np.diff(histories.offsets) > 0,
            items=self.side,
            queries=queries,
            allowed=allowed_items(self.active, queries),
            ties=Ties.of(self.tie_order, len(queries)),
        )

    def with_items(self, catalog: Catalog, changed: Int32Array) -> Self:
        """Return the same retriever over a grown catalog: one encoder call for the new and the changed items.

        What was learned of a changed item still counts for it.
        """
        old, items = len(self.items.bias), self.items.grown(len(catalog))
        rows = np.concatenate([changed, np.arange(old, len(catalog), dtype=np.int32)]).astype(np.int32)
        if self.text is not None and len(rows):
            items.read[rows] = self.text.read(catalog, rows)
            items.bias[old:] = self.text.adaptor.bias
            items.known[old:] = True
        return replace(self, items=items, active=catalog.active, tie_order=catalog.tie_order)

    def forgetting(self, items: BoolArray) -> Self:
        """Return the same retriever knowing some items by their texts alone; not at all where it reads none."""
        old, reads = self.items, self.text is not None
        forgotten = ItemVectors(
            learned=np.where(items[:, None], np.float32(0), old.learned),
            read=old.read,
            bias=np.where(items, np.float32(self.text.adaptor.bias if self.text else 0), old.bias),
            known=old.known if reads else old.known & ~items,
        )
        return replace(self, items=forgotten)

    def state(self) -> State:
        """Return vectors, the network's and the adaptor's weights, the template, settings and the encoder's files."""
        items = self.items
        arrays: dict[str, Any] = {"learned": items.learned, "bias": items.bias, "known": items.known}
        arrays |= {f"network.{name}": array for name, array in self.network.arrays().items()}
        config: dict[str, Any] = {"settings": self.config.model_dump(), "network": self.network.config()}
        config["epochs"] = self.epochs
        if self.text is None:
            return State(config, arrays)
        adaptor = self.text.adaptor
        arrays |= {"read": items.read, "adaptor.mean": adaptor.mean, "adaptor.weight": adaptor.weight}
        arrays["adaptor.offset"] = adaptor.offset
        config |= {"item_template": self.text.template.to_dict(), "new_item_bias": adaptor.bias}
        return State(config, arrays, {f"encoder/{name}": path for name, path in self.text.encoder.files().items()})


def load_sequence(name: str, state: State, catalog: Catalog) -> SequenceRetriever:
    """Bring a sequence retriever back from its state; nothing is looked for on a network."""
    config = SequenceConfig.model_validate(state.config["settings"])
    arrays = state.arrays
    weights = {key.removeprefix("network."): a for key, a in arrays.items() if key.startswith("network.")}
    network = SequenceEncoder.load(state.config["network"], weights)
    learned = arrays["learned"]
    read = arrays["read"] if "read" in arrays else np.zeros_like(learned)
    items = ItemVectors(learned, read, arrays["bias"], arrays["known"])
    text = _load_text(config, state) if "item_template" in state.config else None
    return SequenceRetriever(
        name=name,
        config=config,
        network=network,
        items=items,
        text=text,
        active=catalog.active,
        tie_order=catalog.tie_order,
        epochs=state.config["epochs"],
    )


def _load_text(config: SequenceConfig, state: State) -> TextPart:
    arrays, bias = state.arrays, float(state.config["new_item_bias"])
    adaptor = TextAdaptor(arrays["adaptor.mean"], arrays["adaptor.weight"], arrays["adaptor.offset"], bias)
    encoder = TextEncoder.load(str(encoder_folder(state.files)), max_tokens=config.max_tokens)
    return TextPart(encoder, Template.from_dict(state.config["item_template"]), adaptor)
