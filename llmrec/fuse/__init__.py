"""Fusions: several score columns become one ranking."""

from llmrec.fuse.base import Fusion, column_ranks
from llmrec.fuse.features import Features
from llmrec.fuse.lambdamart import LambdaMart, LambdaMartConfig
from llmrec.fuse.lambdamart_fit import fit_lambdamart
from llmrec.fuse.rrf import ReciprocalRankFusion, RrfConfig, fit_rrf

__all__ = [
    "Features",
    "Fusion",
    "LambdaMart",
    "LambdaMartConfig",
    "ReciprocalRankFusion",
    "RrfConfig",
    "column_ranks",
    "fit_lambdamart",
    "fit_rrf",
]
