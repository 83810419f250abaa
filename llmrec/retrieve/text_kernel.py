"""How alike the texts of two items are, as a kernel that linear item-item models take beside the log."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Literal

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from pydantic import Field

from llmrec.component import ComponentConfig, silent
from llmrec.data import Catalog
from llmrec.models import EmbeddingCache, TextEncoder
from llmrec.retrieve.quantised import embed_items
from llmrec.retrieve.words import split_words
from llmrec.text import load_template, render_items
from llmrec.types import BoolArray, Float32Array

__all__ = ["TextKernelConfig", "add_text_kernel", "text_vectors", "tfidf"]

BLOCK = 2048
"""Rows of the kernel made at once."""


class TextKernelConfig(ComponentConfig):
    """Settings of the text kernel.

    Attributes:
        text_weight: how much likeness of texts counts beside the log; 0: not at all, and no text is read.
        text_kernel: "tfidf": shared words and pairs of words, rare ones more; "dense": the cosine of the encoder's
            vectors, the mean vector taken off.
        item_template: renders items.
        encoder: for "dense": a named model, a folder, or a hub id.
    """

    text_weight: float = Field(default=0.0, ge=0)
    text_kernel: Literal["tfidf", "dense"] = "tfidf"
    item_template: str = "item/genres"
    encoder: str = "minilm"


def add_text_kernel(
    gram: NDArray[np.float64],
    catalog: Catalog,
    known: BoolArray,
    config: TextKernelConfig,
    progress: Callable[[str], None] = silent,
) -> None:
    """Add `config.text_weight` times the texts' cosines to Float64[n, n], block by block.

    To a ridge regression between items, each word is then one more user, who took the items that have it. Items that
    nobody took are left out: they would take weight from those that histories hold.

    Args:
        gram: changed in place.
        catalog: all items.
        known: Bool[n], the items with an interaction.
        config: nothing is done where its `text_weight` is 0.
        progress: told about downloads.
    """
    if config.text_weight == 0:
        return
    rows = np.flatnonzero(known)
    vectors = text_vectors(catalog, config, progress)[rows]
    for start in range(0, len(rows), BLOCK):
        block = vectors[start : start + BLOCK] @ vectors.T
        likeness = block.toarray() if sp.issparse(block) else block
        gram[np.ix_(rows[start : start + BLOCK], rows)] += config.text_weight * likeness


def text_vectors(
    catalog: Catalog, config: TextKernelConfig, progress: Callable[[str], None] = silent
) -> Float32Array | sp.csr_matrix:
    """One vector an item, of length 1, or 0 where its text says nothing: Float32[n, dim], or CSR for "tfidf"."""
    texts = render_items(load_template(config.item_template), catalog)
    if config.text_kernel == "tfidf":
        return tfidf([split_words(text) for text in texts])
    encoder = TextEncoder.load(config.encoder, cache=EmbeddingCache.default(), progress=progress)
    vectors = embed_items(encoder, texts, None).vectors
    centred = vectors - vectors.mean(axis=0)
    norms = np.linalg.norm(centred, axis=1, keepdims=True)
    return np.asarray(centred / np.maximum(norms, 1e-12), dtype=np.float32)


def tfidf(texts: Sequence[Sequence[str]], min_texts: int = 2) -> sp.csr_matrix:
    """Weigh words and pairs of adjacent words: rows of length 1, or empty.

    A term found c times in a text weighs (1 + ln c) * (1 + ln((1 + n) / (1 + texts that have it))), as
    scikit-learn's TfidfVectorizer with `sublinear_tf` counts.

    Args:
        texts: n lists of words.
        min_texts: terms of fewer texts are left out: they make no two texts alike.

    Returns:
        Float32 CSR [n, terms].
    """
    counted = [Counter([*words, *map(" ".join, pairwise(words))]) for words in texts]
    holders = Counter(term for counts in counted for term in counts)
    places = {term: i for i, term in enumerate(term for term, count in holders.items() if count >= min_texts)}
    kept = [{places[term]: count for term, count in counts.items() if term in places} for counts in counted]
    offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum([len(row) for row in kept], dtype=np.int64)])
    columns = np.fromiter((place for row in kept for place in row), np.int32, int(offsets[-1]))
    counts = np.fromiter((count for row in kept for count in row.values()), np.float64, int(offsets[-1]))
    rarity = 1 + np.log((1 + len(texts)) / (1 + np.bincount(columns, minlength=len(places))))
    matrix = sp.csr_matrix(((1 + np.log(counts)) * rarity[columns], columns, offsets), shape=(len(texts), len(places)))
    norms = np.sqrt(np.asarray(matrix.multiply(matrix).sum(axis=1)).ravel())
    return sp.csr_matrix(sp.diags(1 / np.maximum(norms, 1e-12)) @ matrix, dtype=np.float32)
