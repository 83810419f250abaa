"""Training: functions that make fine-tuned models from interactions.

The public names load when they are first used: what is fitted here is also loaded from here, and to load it takes none
of what training needs.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from llmrec.train.encoder import train_encoder
    from llmrec.train.encoder_config import EncoderConfig, TrainOptions
    from llmrec.train.examples import hard_negatives, next_item_cases
    from llmrec.train.impressions import Impressions, read_impressions
    from llmrec.train.language_config import LanguageModelConfig
    from llmrec.train.language_model import train_language_model
    from llmrec.train.pair_config import CrossEncoderConfig
    from llmrec.train.pair_lists import PairLists
    from llmrec.train.pair_scorer import train_pair_scorer
    from llmrec.train.preferences import PreferenceConfig, train_preferences
    from llmrec.train.pretrain import PretrainConfig, pretrain_encoder
    from llmrec.train.record import read_record
    from llmrec.train.semantic_id import fit_semantic_id
    from llmrec.train.sequence import fit_sequence
    from llmrec.train.tuned_dense import tuned_encoder

__all__ = [
    "CrossEncoderConfig",
    "EncoderConfig",
    "Impressions",
    "LanguageModelConfig",
    "PairLists",
    "PreferenceConfig",
    "PretrainConfig",
    "TrainOptions",
    "fit_semantic_id",
    "fit_sequence",
    "hard_negatives",
    "next_item_cases",
    "pretrain_encoder",
    "read_impressions",
    "read_record",
    "train_encoder",
    "train_language_model",
    "train_pair_scorer",
    "train_preferences",
    "tuned_encoder",
]

_HOMES = {
    "CrossEncoderConfig": "pair_config",
    "EncoderConfig": "encoder_config",
    "Impressions": "impressions",
    "LanguageModelConfig": "language_config",
    "PairLists": "pair_lists",
    "PreferenceConfig": "preferences",
    "PretrainConfig": "pretrain",
    "TrainOptions": "encoder_config",
    "fit_semantic_id": "semantic_id",
    "fit_sequence": "sequence",
    "hard_negatives": "examples",
    "next_item_cases": "examples",
    "pretrain_encoder": "pretrain",
    "read_impressions": "impressions",
    "read_record": "record",
    "train_encoder": "encoder",
    "train_language_model": "language_model",
    "train_pair_scorer": "pair_scorer",
    "train_preferences": "preferences",
    "tuned_encoder": "tuned_dense",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"llmrec.train.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'llmrec.train' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
