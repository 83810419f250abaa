"""What an answer of OpenAI's protocol holds; each raises as Python does where it is not there."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = ["Read", "counted", "echoed", "first_tokens", "said", "weighed"]


def said(answer: dict[str, Any]) -> str:
    """The text of a chat's answer."""
    return str(answer["choices"][0]["message"]["content"] or "")


def counted(answer: dict[str, Any]) -> tuple[int, int]:
    """Tokens read and said; 0 where the server does not count."""
    counts = answer.get("usage") or {}
    return int(counts.get("prompt_tokens") or 0), int(counts.get("completion_tokens") or 0)


@dataclass(frozen=True, slots=True)
class Read:
    """The tokens of a text that a server has read.

    Attributes:
        values: natural log-likelihood of each after those before it; None for a first one.
        starts: where each begins and where the last one ends, in letters; empty where the server does not say it.
    """

    values: list[float | None]
    starts: list[int]

    def behind(self, prompt: str, more: str, alone: Read) -> list[float | None]:
        """Those of `more`, behind a prompt that ends a line: a token ends there, but alone it may have fewer."""
        # a server that counts other letters (of a token in front, of parts of letters) is not asked where tokens begin
        if self.starts and self.starts[-1] == len(prompt) + len(more):
            return [value for value, start in zip(self.values, self.starts, strict=False) if start >= len(prompt)]
        return self.values[len(alone.values) :]


def echoed(answer: dict[str, Any]) -> Read:
    """The tokens that were read, without those that were said."""
    told = answer["choices"][0].get("logprobs") or {}
    values = told.get("token_logprobs") or []
    more = (answer.get("usage") or {}).get("completion_tokens")
    read = max(0, len(values) - (1 if more is None else int(more)))
    starts = [int(start) for start in (told.get("text_offset") or [])[: read + 1]]
    found = [None if value is None else float(value) for value in values[:read]]
    return Read(found, starts if len(starts) == read + 1 else [])


def first_tokens(answer: dict[str, Any]) -> list[tuple[bytes, float]]:
    """The likeliest first tokens of an answer, without spaces around, and their log-likelihoods; none if not given."""
    content = (answer["choices"][0].get("logprobs") or {}).get("content") or [{}]
    shown = content[0].get("top_logprobs") or []
    return [(_bytes_of(one).strip(), float(one["logprob"])) for one in shown]


def _bytes_of(token: dict[str, Any]) -> bytes:
    """A token's bytes: of a part of a letter, its text says nothing."""
    return bytes(token["bytes"]) if token.get("bytes") else str(token["token"]).encode()


def weighed(tokens: Sequence[tuple[bytes, float]], answers: Sequence[bytes]) -> list[float]:
    """Log-likelihood of each answer, by the first tokens that begin it and no other one."""
    mine: dict[int, list[float]] = {place: [] for place in range(len(answers))}
    for token, value in tokens:
        begun = [place for place, answer in enumerate(answers) if answer == token] or [
            place for place, answer in enumerate(answers) if token and answer.startswith(token)
        ]
        if len(begun) == 1:
            mine[begun[0]].append(value)
    if not any(mine.values()):
        return [math.nan] * len(answers)
    least = min(value for _, value in tokens)
    return [float(np.logaddexp.reduce(values)) if values else least for values in mine.values()]
