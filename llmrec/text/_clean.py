"""Catalog and profile values as clean one-line text."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from datetime import date, datetime
from typing import Any

import numpy as np

__all__ = ["clean_text", "clean_value", "clean_values"]

# Blank space and control characters (C0, C1, line and paragraph separators), and halves of surrogate pairs,
# which no tokenizer can read. A value must not be able to lay out the prompt.
_JUNK = re.compile(r"[\s\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]+")


def clean_text(text: str) -> str:
    """Put one space for every run of blank space and control characters, and none at the ends."""
    if text.isprintable() and "  " not in text:
        return text.strip()
    return _JUNK.sub(" ", text).strip()


def clean_value(value: Any) -> str:
    """Write any field value as text: null as "", whole floats without ".0", lists (sets in order) with commas."""
    if isinstance(value, str):
        return clean_text(value)
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() else repr(value)
    if isinstance(value, (datetime, date)):
        return value.isoformat()
    if isinstance(value, (list, tuple, set, frozenset)):
        texts = [text for text in map(clean_value, value) if text]
        return ", ".join(sorted(texts) if isinstance(value, (set, frozenset)) else texts)
    return clean_text(str(value))


def clean_values(values: Iterable[Any]) -> list[str]:
    """Clean a column."""
    return [clean_value(value) for value in values]
