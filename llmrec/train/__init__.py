"""Training: functions that make fine-tuned models from interactions."""

from llmrec.train.examples import hard_negatives, next_item_cases, random_negatives
from llmrec.train.pair_scorer import CrossEncoderConfig, PairExamples, train_pair_scorer

__all__ = [
    "CrossEncoderConfig",
    "PairExamples",
    "hard_negatives",
    "next_item_cases",
    "random_negatives",
    "train_pair_scorer",
]
