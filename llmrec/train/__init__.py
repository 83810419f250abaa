"""Training: functions that make fine-tuned models from interactions.

The public names load when they are first used: what is fitted here is also loaded from here, and to load it takes none
of what training needs.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from llmrec.train.encoder import read_record, train_encoder
    from llmrec.train.encoder_config import EncoderConfig, TrainOptions
    from llmrec.train.examples import hard_negatives, next_item_cases
    from llmrec.train.pair_config import CrossEncoderConfig
    from llmrec.train.pair_lists import PairLists
    from llmrec.train.pair_scorer import train_pair_scorer
    from llmrec.train.pretrain import PretrainConfig, pretrain_encoder
    from llmrec.train.semantic_id import fit_semantic_id
    from llmrec.train.sequence import fit_sequence
    from llmrec.train.tuned_dense import tuned_encoder

__all__ = [
    "CrossEncoderConfig",
    "EncoderConfig",
    "PairLists",
    "PretrainConfig",
    "TrainOptions",
    "fit_semantic_id",
    "fit_sequence",
    "hard_negatives",
    "next_item_cases",
    "pretrain_encoder",
    "read_record",
    "train_encoder",
    "train_pair_scorer",
    "tuned_encoder",
]

_HOMES = {
    "CrossEncoderConfig": "pair_config",
    "EncoderConfig": "encoder_config",
    "PairLists": "pair_lists",
    "PretrainConfig": "pretrain",
    "TrainOptions": "encoder_config",
    "fit_semantic_id": "semantic_id",
    "fit_sequence": "sequence",
    "hard_negatives": "examples",
    "next_item_cases": "examples",
    "pretrain_encoder": "pretrain",
    "read_record": "encoder",
    "train_encoder": "encoder",
    "train_pair_scorer": "pair_scorer",
    "tuned_encoder": "tuned_dense",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"llmrec.train.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'llmrec.train' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
