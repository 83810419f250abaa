"""How alike items are: by their texts' embeddings, or by the values they share in some fields."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol, Self

import numpy as np

from llmrec.data import Catalog
from llmrec.models import TextEncoder
from llmrec.policy.fields import FieldValues, rows_to_read
from llmrec.text import Template, render_items
from llmrec.types import Float32Array, Int32Array, State, select_rows

__all__ = ["FieldLikeness", "Likeness", "TextLikeness"]


class Likeness(Protocol):
    """Gives items vectors, whose inner product says how alike two items are: 1 = the same, 0 = nothing in common."""

    def vectors(self, items: Int32Array) -> Float32Array:
        """Return Float32[n, dim] of length one (or zero: nothing is known) for Int32[n] items, no pads."""

    def with_items(self, catalog: Catalog, changed: Int32Array) -> Self:
        """Return the same over a catalog that has grown or changed."""

    def state(self) -> State:
        """Return what it needs to come back."""


@dataclass(frozen=True, slots=True, eq=False)
class TextLikeness:
    """Items are as alike as the embeddings of their texts.

    Attributes:
        encoder: embeds texts.
        template: renders items.
        embeddings: Float32[n_items, dim], unit norm.
    """

    encoder: TextEncoder
    template: Template
    embeddings: Float32Array

    @classmethod
    def read(cls, catalog: Catalog, encoder: TextEncoder, template: Template) -> Self:
        """Embed a catalog's item texts; texts in the encoder's cache cost no model call."""
        texts = render_items(template, catalog)
        encoder = encoder.calibrated(texts)
        return cls(encoder, template, encoder.encode_items(texts))

    def vectors(self, items: Int32Array) -> Float32Array:
        """Return the embeddings."""
        return self.embeddings[items]

    def with_items(self, catalog: Catalog, changed: Int32Array) -> Self:
        """Return the same over a catalog that has grown or changed: one encoder call."""
        rows = rows_to_read(len(self.embeddings), catalog, changed)
        grown = np.zeros((len(catalog), self.embeddings.shape[1]), dtype=np.float32)
        grown[: len(self.embeddings)] = self.embeddings
        if len(rows):
            grown[rows] = self.encoder.encode_items(render_items(self.template, catalog, rows))
        return replace(self, embeddings=grown)

    def state(self) -> State:
        """Return the embeddings, the template and the encoder's files."""
        files = {f"encoder/{name}": path for name, path in self.encoder.files().items()}
        return State({"item_template": self.template.to_dict()}, {"embeddings": self.embeddings}, files)

    @classmethod
    def from_state(cls, state: State, max_tokens: int) -> Self:
        """Rebuild what `state` returned."""
        folder: Path = state.files["encoder/config.json"].parent
        encoder = TextEncoder.load(str(folder), max_tokens=max_tokens)
        return cls(encoder, Template.from_dict(state.config["item_template"]), state.arrays["embeddings"])


@dataclass(frozen=True, slots=True, eq=False)
class FieldLikeness:
    """Items are as alike as they share values: the cosine of their sets of values, the mean over the fields.

    An item without any value is unlike every other.

    Attributes:
        fields: what every item has in each field.
    """

    fields: tuple[FieldValues, ...]

    def vectors(self, items: Int32Array) -> Float32Array:
        """Return one dimension for each value that these items have."""
        parts = [_multi_hot(values, items) for values in self.fields]
        vectors = np.concatenate(parts, axis=1)
        norms = np.linalg.norm(vectors, axis=1, keepdims=True)
        unit: Float32Array = (vectors / np.maximum(norms, 1e-12)).astype(np.float32)
        return unit

    def with_items(self, catalog: Catalog, changed: Int32Array) -> Self:
        """Return the same over a catalog that has grown or changed."""
        return replace(self, fields=tuple(values.with_items(catalog, changed) for values in self.fields))

    def state(self) -> State:
        """Return nothing: the catalog knows."""
        return State()


def _multi_hot(values: FieldValues, items: Int32Array) -> Float32Array:
    """Float32[n, n_values]: each item's values, of length one together; zero where it has none."""
    offsets, entries = select_rows(values.rows.offsets, items.astype(np.int64))
    counts = np.diff(offsets)
    found, columns = np.unique(values.rows.values[entries], return_inverse=True)
    vectors = np.zeros((len(items), len(found)), dtype=np.float32)
    vectors[np.repeat(np.arange(len(items)), counts), columns] = np.repeat(1 / np.sqrt(np.maximum(counts, 1)), counts)
    return vectors
