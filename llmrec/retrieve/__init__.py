"""Retrievers: they propose items for a query, and can score any given ones."""

from llmrec.retrieve.als import AlsConfig, fit_als
from llmrec.retrieve.base import Retriever, Scorer
from llmrec.retrieve.bpr import BprConfig, fit_bpr
from llmrec.retrieve.dense import Dense, DenseConfig, fit_dense
from llmrec.retrieve.ease import EaseConfig, fit_ease
from llmrec.retrieve.era import Era, EraConfig, fit_era
from llmrec.retrieve.factors import Factors
from llmrec.retrieve.item_item import ItemItem
from llmrec.retrieve.lexical import Bm25, Bm25Config, fit_bm25
from llmrec.retrieve.lookalike import Lookalike, LookalikeConfig, fit_lookalike
from llmrec.retrieve.multvae import MultVae, MultVaeConfig, fit_multvae
from llmrec.retrieve.neighbours import ItemKnnConfig, fit_item_knn
from llmrec.retrieve.next_item import NextItemConfig, fit_next_item
from llmrec.retrieve.popular import Popularity, PopularityConfig, fit_popularity
from llmrec.retrieve.semantic_id import SemanticIdConfig, SemanticIdRetriever
from llmrec.retrieve.sequence import SequenceConfig, SequenceRetriever
from llmrec.retrieve.transition import TransitionConfig, fit_transition

__all__ = [
    "AlsConfig",
    "Bm25",
    "Bm25Config",
    "BprConfig",
    "Dense",
    "DenseConfig",
    "EaseConfig",
    "Era",
    "EraConfig",
    "Factors",
    "ItemItem",
    "ItemKnnConfig",
    "Lookalike",
    "LookalikeConfig",
    "MultVae",
    "MultVaeConfig",
    "NextItemConfig",
    "Popularity",
    "PopularityConfig",
    "Retriever",
    "Scorer",
    "SemanticIdConfig",
    "SemanticIdRetriever",
    "SequenceConfig",
    "SequenceRetriever",
    "TransitionConfig",
    "fit_als",
    "fit_bm25",
    "fit_bpr",
    "fit_dense",
    "fit_ease",
    "fit_era",
    "fit_item_knn",
    "fit_lookalike",
    "fit_multvae",
    "fit_next_item",
    "fit_popularity",
    "fit_transition",
]
