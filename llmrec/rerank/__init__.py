"""Rerankers: scorers that look closely at the few candidates that survive."""

from llmrec.rerank.cross_encoder import CrossEncoder, Pairs, load_cross_encoder, render_pairs, user_budget

__all__ = ["CrossEncoder", "Pairs", "load_cross_encoder", "render_pairs", "user_budget"]
