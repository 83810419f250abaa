"""Retrievers: they propose items for a query, and can score any given ones."""

from llmrec.retrieve.base import Retriever, Scorer
from llmrec.retrieve.dense import Dense, DenseConfig, fit_dense
from llmrec.retrieve.ease import Ease, EaseConfig, fit_ease
from llmrec.retrieve.lexical import Bm25, Bm25Config, fit_bm25
from llmrec.retrieve.neighbours import ItemKnn, ItemKnnConfig, fit_item_knn
from llmrec.retrieve.popular import Popularity, PopularityConfig, fit_popularity

__all__ = [
    "Bm25",
    "Bm25Config",
    "Dense",
    "DenseConfig",
    "Ease",
    "EaseConfig",
    "ItemKnn",
    "ItemKnnConfig",
    "Popularity",
    "PopularityConfig",
    "Retriever",
    "Scorer",
    "fit_bm25",
    "fit_dense",
    "fit_ease",
    "fit_item_knn",
    "fit_popularity",
]
