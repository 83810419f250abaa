"""Names that candidates bear in a chat: random ones, so that no title can speak for an item or know its own."""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np

from llmrec.errors import ModelError
from llmrec.models import ChatTokenizer

__all__ = ["LABEL", "AliasPool", "labelled", "seeded"]

LETTERS = "BCDFGHJKLMNPQRSTVWXZ"
"""No vowels, so that no two make a word."""

ENOUGH = 100
"""Aliases that take the same number of tokens, at least; of the shortest there are so many of."""

SEPARATOR = " > "
"""Between two aliases of an answer."""

LABEL = 4
"""Signs that are written around an alias: two brackets, a space, the line's end; none takes more than a token."""

_WORD = re.compile(r"[A-Za-z]+")


@dataclass(frozen=True, slots=True)
class AliasPool:
    """Aliases that a tokenizer writes in the same number of tokens, so that none is the start of another.

    Of a model whose tokens only its server knows, as many as letters and signs can take; they are not to be held to.

    Attributes:
        first: the tokens of each where an answer begins.
        later: its tokens behind another one, what separates them included.
    """

    first: dict[str, tuple[int, ...]]
    later: dict[str, tuple[int, ...]]

    @classmethod
    def of(cls, tokens: ChatTokenizer | None) -> AliasPool:
        """Find the shortest aliases of a tokenizer; ModelError if it cannot tell enough of them apart."""
        names = ["".join(pair) for pair in product(LETTERS, repeat=2)]
        if tokens is None:
            unknown = dict.fromkeys(names, (0,) * len(SEPARATOR + names[0]))
            return cls(unknown, unknown)
        first = {name: tuple(tokens.text(name)) for name in names}
        later = {name: tuple(tokens.text(SEPARATOR + name)) for name in names}
        sizes = Counter((len(later[name]), len(first[name])) for name in names)
        size = min((size for size, count in sizes.items() if count >= ENOUGH and min(size) > 0), default=None)
        chosen = [name for name in names if (len(later[name]), len(first[name])) == size]
        distinct = min(len({ids[name] for name in chosen}) for ids in (first, later))
        if size is None or distinct < len(chosen):
            raise ModelError("the model's tokenizer does not tell pairs of letters apart; it cannot rank a list")
        return cls({name: first[name] for name in chosen}, {name: later[name] for name in chosen})

    @property
    def length(self) -> int:
        """Tokens of an alias, at most, alone or behind another one."""
        return max(len(ids) for ids in (*self.first.values(), *self.later.values()))

    def draw(self, rng: np.random.Generator, count: int, shown: Iterable[str]) -> list[str]:
        """Draw aliases, none of which is a word of a text that is shown, whatever its case, if there are so many."""
        names = list(self.first)
        words = {word.upper() for text in shown for word in _WORD.findall(text)}
        mixed = [names[place] for place in rng.permutation(len(names))]
        return sorted(mixed, key=lambda name: name in words)[:count]

    def next_ids(self, aliases: Sequence[str], said: Sequence[int]) -> list[int]:
        """Ids that may come after an answer so far: of aliases that it does not hold yet, and of separators."""
        left, rest, pieces = set(aliases), tuple(said), self.first
        while left:
            found = next((name for name in left if rest[: len(pieces[name])] == pieces[name]), None)
            if found is None:
                break
            left.remove(found)
            rest, pieces = rest[len(pieces[found]) :], self.later
        return sorted({pieces[name][len(rest)] for name in left if pieces[name][: len(rest)] == rest})

    def answer_tokens(self, count: int) -> int:
        """Tokens of an answer that names so many aliases."""
        first, later = (len(next(iter(ids.values()))) for ids in (self.first, self.later))
        return first + (count - 1) * later


def labelled(alias: str, text: str) -> str:
    """A line that shows a candidate."""
    return f"[{alias}] {text}"


def seeded(*content: Any) -> np.random.Generator:
    """A random generator that is the same wherever the same is asked: of JSON values."""
    digest = hashlib.sha256(json.dumps(content).encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:16]))
