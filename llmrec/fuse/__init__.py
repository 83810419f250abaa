"""Fusions: several score columns become one ranking."""

from llmrec.fuse.base import Fusion, column_ranks
from llmrec.fuse.rrf import ReciprocalRankFusion, RrfConfig, fit_rrf

__all__ = ["Fusion", "ReciprocalRankFusion", "RrfConfig", "column_ranks", "fit_rrf"]
