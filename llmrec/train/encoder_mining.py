"""What hard negatives for an encoder are mined with."""

from __future__ import annotations

from dataclasses import dataclass

from llmrec.component import Proposes
from llmrec.data import Catalog, Interactions
from llmrec.models import EmbeddingCache, TextEncoder
from llmrec.retrieve import EaseConfig, Retriever, fit_dense, fit_ease
from llmrec.train.encoder_config import EncoderConfig
from llmrec.types import Queries, Ranking

__all__ = ["Alone", "miner_of"]


@dataclass(frozen=True, slots=True)
class Alone:
    """A retriever as something that recommends.

    Attributes:
        retriever: ranks the catalog.
    """

    retriever: Retriever

    def recommend(self, queries: Queries, k: int) -> Ranking:
        """Return the k best items per query, those of its history too."""
        return self.retriever.retrieve(queries, k)


def miner_of(config: EncoderConfig, catalog: Catalog, train: Interactions) -> Proposes:
    """Fit what `mined_by` names: EASE, or dense retrieval with the encoder as it is before the tuning."""
    if config.mined_by == "ease":
        return Alone(fit_ease(train, catalog, EaseConfig()))
    encoder = TextEncoder.load(config.encoder, max_tokens=config.max_tokens, cache=EmbeddingCache.default())
    return Alone(fit_dense(catalog, config, encoder, train=train))
