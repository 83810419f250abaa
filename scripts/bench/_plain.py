"""What one writes without llmrec: sentence-transformers, a FAISS index, a cross-encoder. The peer of `speed.py`.

Same weights, same texts, same candidates, same depth and the same threads as ours; everything at its default settings.
`lowered` is the variant of one more line: all weights in bfloat16.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # of the bindings, while they are imported
    import faiss
from sentence_transformers import CrossEncoder, SentenceTransformer
from transformers import AutoModelForSequenceClassification, AutoTokenizer

Floats = NDArray[np.float32]


class Plain:
    """Retrieve with a text encoder and an exact index, rerank with a cross-encoder.

    Args:
        encoder: folder of a text encoder.
        cross_encoder: folder of a cross-encoder.
        max_tokens: of a pair.
        lowered: whether the weights are bfloat16.
    """

    def __init__(self, encoder: Path, cross_encoder: Path, max_tokens: int, *, lowered: bool) -> None:
        self.encoder = SentenceTransformer(str(encoder), device="cpu")
        self.reranker = CrossEncoder(str(cross_encoder), device="cpu", max_length=max_tokens)
        if lowered:
            self.encoder.bfloat16()
            self.reranker.model.bfloat16()
        self.texts: Sequence[str] = ()

    def index_items(self, texts: Sequence[str], vectors: Floats) -> None:
        """Take item texts and their vectors, Float32[n, dim], unit norm."""
        self.texts, self.vectors = texts, vectors
        self.index = faiss.IndexFlatIP(vectors.shape[1])
        self.index.add(vectors)

    def encode(self, texts: Sequence[str]) -> Floats:
        """Float32[n, dim], unit norm."""
        return np.asarray(self.encoder.encode(list(texts), normalize_embeddings=True), np.float32)

    def retrieve(self, history: Sequence[int], k: int) -> list[int]:
        """The k items nearest to the mean of the history's vectors, later ones counting more, without the history."""
        weights = 0.8 ** np.arange(len(history))[::-1]
        user = (self.vectors[list(history)] * weights[:, None]).sum(axis=0, keepdims=True)
        user /= np.linalg.norm(user)
        _, found = self.index.search(user.astype(np.float32), k + len(history))
        return [int(item) for item in found[0] if item not in history][:k]

    def rerank(self, user: str, items: Sequence[str]) -> Floats:
        """Float32[n]: raw scores of pairs of the user's text and item texts."""
        pairs = [(user, item) for item in items]
        found = self.reranker.predict(pairs, show_progress_bar=False, activation_fn=torch.nn.Identity())
        return np.asarray(found, np.float32)

    def recommend(self, history: Sequence[int], k: int, retrieved: int, reranked: int) -> list[int]:
        """The k best of the first `reranked` of the `retrieved` nearest items."""
        items = self.retrieve(history, retrieved)[:reranked]
        user = "; ".join(self.texts[item] for item in reversed(history))
        scores = self.rerank(user, [self.texts[item] for item in items])
        return [items[place] for place in np.argsort(-scores)[:k]]


def masked_scores(folder: Path, user: str, items: Sequence[str], max_tokens: int) -> Floats:
    """Float32[n], by transformers alone: each pair by itself, in float32, the candidate masked from the history."""
    tokenizer = AutoTokenizer.from_pretrained(folder, split_special_tokens=True)
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    scores = []
    for item in items:
        pair = tokenizer([user], [item], truncation="longest_first", max_length=max_tokens, return_tensors="pt")
        history = pair["token_type_ids"][0] == 0
        history[0] = False
        allowed = ~history[:, None] | history[None, :]
        with torch.inference_mode():
            scores.append(model(**{**pair, "attention_mask": allowed[None, None]}).logits.item())
    return np.array(scores, np.float32)
