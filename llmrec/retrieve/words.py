"""Texts to words, for matching by words: any script, no language setting."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from typing import Literal

__all__ = ["WordKind", "split_words"]

WordKind = Literal["auto", "words", "bigrams"]

_RUN = re.compile(r"[^\W_]+")
# Han (with its extensions), kana, Hangul: written without spaces, or with particles joined to the word.
_CJK = "\u3005-\u3007\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff\U00020000-\U0003134f"
_SCRIPT = re.compile(f"[{_CJK}]+|[^{_CJK}]+")
_IS_CJK = re.compile(f"[{_CJK}]")


def split_words(text: str, kind: WordKind = "auto") -> list[str]:
    """Split a text into lower-case words, in order, repeats kept.

    Args:
        text: any text; width and compatibility forms are unified (NFKC), case is folded.
        kind: "words": runs of letters and digits; "bigrams": each run as its overlapping pairs of characters, so that
            a part of a word is found and a slip of the pen does little harm; "auto": words, but Chinese, Japanese
            and Korean runs as bigrams, since spaces do not part their words.

    Returns:
        The words; a run of one character is a word in every kind.
    """
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    return [word for run in _RUN.findall(folded) for word in _parts(run, kind)]


def _parts(run: str, kind: WordKind) -> Iterator[str]:
    if kind == "words":
        yield run
    elif kind == "bigrams":
        yield from _bigrams(run)
    else:
        for part in _SCRIPT.findall(run):
            yield from _bigrams(part) if _IS_CJK.match(part) else (part,)


def _bigrams(run: str) -> Iterator[str]:
    if len(run) == 1:
        yield run
    for start in range(len(run) - 1):
        yield run[start : start + 2]
