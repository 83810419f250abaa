"""Pretrained models: text encoders, pair scorers, where they run, and the cache of what they computed."""

from __future__ import annotations

from llmrec.models.cache import EmbeddingCache
from llmrec.models.device import Placement, best_placement, cpu_threads, explain_placement, set_threads
from llmrec.models.encoder import TextEncoder
from llmrec.models.pair_scorer import PairScorer
from llmrec.models.quiet import quiet_transformers
from llmrec.models.reader import TextReader
from llmrec.models.threads import in_threads

__all__ = [
    "EmbeddingCache",
    "PairScorer",
    "Placement",
    "TextEncoder",
    "TextReader",
    "best_placement",
    "cpu_threads",
    "explain_placement",
    "in_threads",
    "quiet_transformers",
    "set_threads",
]
