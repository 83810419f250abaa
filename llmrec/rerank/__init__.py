"""Rerankers: scorers that look closely at the few candidates that survive."""

from llmrec.rerank.cross_encoder import CrossEncoder, Pairs, load_cross_encoder, render_pairs, user_budget
from llmrec.rerank.listwise import Listwise, ListwiseConfig, parse_permutation
from llmrec.rerank.pairwise import Pairwise, PairwiseConfig

__all__ = [
    "CrossEncoder",
    "Listwise",
    "ListwiseConfig",
    "Pairs",
    "Pairwise",
    "PairwiseConfig",
    "load_cross_encoder",
    "parse_permutation",
    "render_pairs",
    "user_budget",
]
