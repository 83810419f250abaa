"""Training: functions that make fine-tuned models from interactions."""

from llmrec.train.encoder import read_record, train_encoder
from llmrec.train.encoder_config import EncoderConfig, TrainOptions
from llmrec.train.examples import hard_negatives, next_item_cases
from llmrec.train.pair_config import CrossEncoderConfig
from llmrec.train.pair_lists import PairLists
from llmrec.train.pair_scorer import train_pair_scorer
from llmrec.train.pretrain import PretrainConfig, pretrain_encoder
from llmrec.train.sequence import fit_sequence
from llmrec.train.tuned_dense import tuned_encoder

__all__ = [
    "CrossEncoderConfig",
    "EncoderConfig",
    "PairLists",
    "PretrainConfig",
    "TrainOptions",
    "fit_sequence",
    "hard_negatives",
    "next_item_cases",
    "pretrain_encoder",
    "read_record",
    "train_encoder",
    "train_pair_scorer",
    "tuned_encoder",
]
