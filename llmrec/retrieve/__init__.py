"""Retrievers: they propose items for a query, and can score any given ones."""

from llmrec.retrieve.base import Retriever, Scorer
from llmrec.retrieve.dense import Dense, DenseConfig, fit_dense
from llmrec.retrieve.ease import Ease, EaseConfig, fit_ease
from llmrec.retrieve.popular import Popularity, PopularityConfig, fit_popularity

__all__ = [
    "Dense",
    "DenseConfig",
    "Ease",
    "EaseConfig",
    "Popularity",
    "PopularityConfig",
    "Retriever",
    "Scorer",
    "fit_dense",
    "fit_ease",
    "fit_popularity",
]
