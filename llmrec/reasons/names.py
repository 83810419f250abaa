"""Which items of a catalog a text names."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Self

__all__ = ["ItemNames", "words"]

SHORTEST = 4
"""A name of fewer letters and digits, such as "It", is a word like any other; its capitals tell where it is a name."""

_WIDE = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
# Scripts without spaces: every sign is a word.
_WORD = re.compile(rf"[{_WIDE}]|[^\W_{_WIDE}]+")
_BRACKETS = re.compile(r"\s*[(\[\uff08][^()\[\]\uff08\uff09]*[)\]\uff09]\s*$")
_ARTICLE = re.compile(r"^(.*\S),\s*(the|a|an|le|la|les|l'|il|el|der|die|das)$", re.IGNORECASE)

Words = tuple[str, ...]


def words(text: str) -> Words:
    """The words of a text, in one spelling: without accents' and widths' variants, capitals and invisible signs."""
    plain = unicodedata.normalize("NFKC", text)
    seen = "".join(sign for sign in plain if unicodedata.category(sign) != "Cf")
    return tuple(_WORD.findall(seen.casefold()))


@dataclass(frozen=True, slots=True)
class ItemNames:
    """The names of all items, as they stand in the catalog and as people shorten them.

    "Godfather, The (1972)" is also found as "Godfather, The", "The Godfather" and "Godfather".

    Attributes:
        known: the names' words.
        lengths: how many words names have.
    """

    known: frozenset[Words]
    lengths: tuple[int, ...]

    @classmethod
    def of(cls, names: Iterable[str]) -> Self:
        """Know these names."""
        known = {spelled for name in names for spelled in _spellings(name) if len("".join(spelled)) >= SHORTEST}
        return cls(frozenset(known), tuple(sorted({len(spelled) for spelled in known})))

    def others(self, text: str, named: Sequence[str]) -> list[Words]:
        """The names in a text that are none of the given ones, nor a part of one that stands there.

        Args:
            text: the text.
            named: names that may stand in it.
        """
        told = words(text)
        allowed = {spelled for name in named for spelled in _spellings(name)}
        covered = _covered(told, allowed)
        found = []
        for length in self.lengths:
            for start in range(len(told) - length + 1):
                part = told[start : start + length]
                inside = any(begin <= start and start + length <= end for begin, end in covered)
                if part in self.known and part not in allowed and not inside:
                    found.append(part)
        return found


def _covered(told: Words, allowed: Iterable[Words]) -> list[tuple[int, int]]:
    """Where allowed names stand."""
    return [
        (start, start + len(name))
        for name in allowed
        for start in range(len(told) - len(name) + 1)
        if name and told[start : start + len(name)] == name
    ]


def _spellings(name: str) -> set[Words]:
    """The words of a name, whole and shortened."""
    bare = _BRACKETS.sub("", name)
    found = {words(name), words(bare)}
    if turned := _ARTICLE.match(bare):
        title, article = turned.groups()
        found |= {words(title), words(f"{article} {title}")}
    return found - {()}
