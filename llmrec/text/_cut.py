"""The longest start of a text that fits: after a word, or after a character where a script writes no spaces."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import numpy as np

from llmrec.types import BoolArray

__all__ = ["longest_starts", "units"]

# Chinese and Japanese write no spaces: kana, ideographs and their full-width signs are each a place to cut after.
_WIDE = "\u3000-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff00-\uffef\U00020000-\U0003ffff"
_UNIT = re.compile(f" ?(?:[{_WIDE}]|[^ {_WIDE}]+)")

Fits = Callable[[Sequence[tuple[int, str]]], BoolArray]


def units(text: str) -> list[str]:
    """Split cleaned text after every word and every ideograph; the pieces joined are the text."""
    return _UNIT.findall(text)


def longest_starts(texts: Sequence[str], fits: Fits, within_words: Sequence[bool]) -> list[str]:
    """Find the longest start of each text that fits, by bisection.

    Args:
        texts: n cleaned texts.
        fits: given m pairs of a text's place and a start of it, returns Bool[m].
        within_words: n flags: whether a text may be cut within its first word, where not even that one fits.

    Returns:
        n starts, "" where none fits.
    """
    starts = _bisect([units(text) for text in texts], fits)
    none = [place for place, start in enumerate(starts) if not start and within_words[place]]
    letters = _bisect(
        [list(texts[place]) for place in none],
        lambda asked: fits([(none[which], start) for which, start in asked]),
    )
    for place, start in zip(none, letters, strict=True):
        starts[place] = start
    return starts


def _bisect(pieces: Sequence[Sequence[str]], fits: Fits) -> list[str]:
    low, high = np.zeros(len(pieces), np.int64), np.array([len(p) for p in pieces], np.int64)
    while len(open_rows := np.flatnonzero(low < high)):
        middle = (low + high + 1)[open_rows] // 2
        good = fits([(r, "".join(pieces[r][:m])) for r, m in zip(open_rows.tolist(), middle.tolist(), strict=True)])
        low[open_rows] = np.where(good, middle, low[open_rows])
        high[open_rows] = np.where(good, high[open_rows], middle - 1)
    return ["".join(p[:count]) for p, count in zip(pieces, low.tolist(), strict=True)]
