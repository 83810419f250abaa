"""Whether a model's tokenizer knows the words of a catalog: an English one reads Chinese as a row of unknown signs."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from llmrec.types import Int32Array

__all__ = ["UnknownCounter", "UnknownTokensWarning", "VocabularyReport", "check_vocabulary", "warn_unknown"]

SAMPLE = 2000
"""Texts that are looked at: the share is known to about one percent, in some hundredths of a second."""

TOLERATED = 0.05
"""Share of unknown tokens above which there is a warning; of text in a model's own languages it is well below 1 %."""

EXAMPLES, EXAMPLE_LENGTH = 3, 60


class UnknownTokensWarning(UserWarning):
    """Many tokens of the texts are unknown to the tokenizer of the model that is to read them."""


class UnknownCounter(Protocol):
    """Whatever knows which tokens of a text are unknown: a TextEncoder, PairScorer or TextReader."""

    @property
    def name(self) -> str:
        """The model's name."""

    def count_tokens(self, texts: Sequence[str]) -> Int32Array:
        """Int32[n]: tokens of each text, without special tokens."""

    def count_unknown(self, texts: Sequence[str]) -> Int32Array:
        """Int32[n]: those of them that stand for signs the tokenizer does not know."""


@dataclass(frozen=True, slots=True)
class VocabularyReport:
    """What a tokenizer does not know of some texts.

    Many unknown tokens are a sure sign that a model cannot read the texts; few are no proof that it can: what an
    English tokenizer can spell letter by letter (Greek, Russian), or in bytes, is known to it and means little.

    Attributes:
        model: the name of the model whose tokenizer it is.
        texts: how many texts were looked at.
        tokens: how many tokens they have.
        unknown: how many of these are unknown; an unknown word is one token, however long.
        examples: the starts of the texts with the largest shares of unknown tokens.
    """

    model: str
    texts: int
    tokens: int
    unknown: int
    examples: tuple[str, ...]

    @property
    def share(self) -> float:
        """Unknown tokens among all, 0 to 1."""
        return self.unknown / self.tokens if self.tokens else 0.0

    @property
    def poor(self) -> bool:
        """Whether so much is unknown that the model cannot be expected to tell the texts apart."""
        return self.share > TOLERATED

    @property
    def message(self) -> str:
        """What is wrong and what to do, for people."""
        shown = ", ".join(repr(example) for example in self.examples)
        looked_at = f"{self.texts:,} text{'' if self.texts == 1 else 's'}"
        return (
            f"{self.share:.0%} of the tokens of {looked_at} are unknown to the tokenizer of {self.model}, "
            f"such as in {shown}; unknown signs all look the same to it, so it can hardly tell such texts apart. "
            "Use a model of the texts' language, or a multilingual one, such as "
            "sentence-transformers/paraphrase-multilingual-MiniLM-L12-v2"
        )


def check_vocabulary(texts: Sequence[str], model: UnknownCounter) -> VocabularyReport:
    """Count the tokens of texts that a model's tokenizer does not know; no weights are read.

    Args:
        texts: n texts; of more than 2,000, that many are looked at, evenly spread and always the same.
        model: whose tokenizer is asked.
    """
    if len(texts) > SAMPLE:
        texts = [texts[place] for place in np.linspace(0, len(texts) - 1, SAMPLE).astype(np.int64)]
    tokens, unknown = model.count_tokens(texts).astype(np.int64), model.count_unknown(texts).astype(np.int64)
    worst = np.argsort(-unknown / np.maximum(tokens, 1), kind="stable")
    starts = (texts[place][:EXAMPLE_LENGTH] for place in worst.tolist() if unknown[place])
    examples = list(dict.fromkeys(starts))[:EXAMPLES]
    return VocabularyReport(model.name, len(texts), int(tokens.sum()), int(unknown.sum()), tuple(examples))


def warn_unknown(texts: Sequence[str], model: UnknownCounter) -> None:
    """Warn once, with `UnknownTokensWarning`, if more than 5 % of the tokens of texts are unknown to a model.

    Args:
        texts: n texts that the model is about to read; see `check_vocabulary`.
        model: whose tokenizer is asked.
    """
    report = check_vocabulary(texts, model)
    if report.poor:
        warnings.warn(report.message, UnknownTokensWarning, stacklevel=2)
