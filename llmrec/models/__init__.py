"""Pretrained models: text encoders, pair scorers, where they run, and the cache of what they computed."""

from __future__ import annotations

from llmrec.models._causal import Asked, Tree, trees
from llmrec.models.cache import EmbeddingCache
from llmrec.models.chat import ChatTokenizer, Message
from llmrec.models.chat_model import ChatModel, open_chat_model
from llmrec.models.device import Placement, QuantisationWarning, best_placement, explain_placement
from llmrec.models.encoder import TextEncoder
from llmrec.models.language_model import LanguageModel, Usage, takes_trees
from llmrec.models.measure import measure_speeds
from llmrec.models.pair_scorer import PairScorer
from llmrec.models.quiet import quiet_transformers
from llmrec.models.reader import TextReader
from llmrec.models.remote_model import Patience, RemoteChat, RemoteLanguageModel, without_control
from llmrec.models.sharing import in_threads
from llmrec.models.speeds import known_speeds
from llmrec.models.threads import cpu_threads, set_threads

__all__ = [
    "Asked",
    "ChatModel",
    "ChatTokenizer",
    "EmbeddingCache",
    "LanguageModel",
    "Message",
    "PairScorer",
    "Patience",
    "Placement",
    "QuantisationWarning",
    "RemoteChat",
    "RemoteLanguageModel",
    "TextEncoder",
    "TextReader",
    "Tree",
    "Usage",
    "best_placement",
    "cpu_threads",
    "explain_placement",
    "in_threads",
    "known_speeds",
    "measure_speeds",
    "open_chat_model",
    "quiet_transformers",
    "set_threads",
    "takes_trees",
    "trees",
    "without_control",
]
