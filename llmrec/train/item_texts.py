"""The catalog's texts, embedded for what is trained over them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from llmrec.component import FitContext
from llmrec.models import EmbeddingCache, TextEncoder
from llmrec.retrieve.quantised import embed_items
from llmrec.text import Template, load_template, render_items, warn_unknown
from llmrec.types import BoolArray, Float32Array

__all__ = ["ItemTexts", "embed_texts"]


class ReadsTexts(Protocol):
    """Settings that say how texts are read; see `SequenceConfig`."""

    @property
    def encoder(self) -> str:
        """A named model, a folder, or a hub id."""

    @property
    def item_template(self) -> str:
        """Renders items."""

    @property
    def max_tokens(self) -> int:
        """Longer texts are cut."""


@dataclass(frozen=True, slots=True, eq=False)
class ItemTexts:
    """What is known of the texts.

    Attributes:
        encoder: embeds texts.
        template: renders items.
        embeddings: Float32[n_items, e].
        mean: Float32[e], the mean of the known items'.
    """

    encoder: TextEncoder
    template: Template
    embeddings: Float32Array
    mean: Float32Array


def embed_texts(context: FitContext, config: ReadsTexts, known: BoolArray) -> ItemTexts:
    """Embed the catalog's texts; `known` items, Bool[n_items], have interactions."""
    encoder = TextEncoder.load(
        config.encoder, max_tokens=config.max_tokens, cache=EmbeddingCache.default(), progress=context.progress
    )
    template = load_template(config.item_template)
    rendered = render_items(template, context.catalog)
    warn_unknown(rendered, encoder)
    embedded = embed_items(encoder, rendered, context.train)
    mean = embedded.vectors[known].mean(axis=0).astype(np.float32)
    return ItemTexts(embedded.encoder, template, embedded.vectors, mean)
