"""Repairs of text, on whole columns: invisible characters, Unicode form, spaces around ids."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from llmrec.types import BoolArray

__all__ = ["Repaired", "has_text", "repair_ids", "repair_text"]

# Control characters but tab and line breaks, marks and overrides of direction, spaces of no width. Zero-width joiners
# belong to the spelling of some languages and to emoji: only ids lose them.
_INVISIBLE = (
    r"\x00-\x08\x0B\x0C\x0E-\x1F\x7F-\x{9F}"
    r"\x{61C}\x{200B}\x{200E}\x{200F}\x{202A}-\x{202E}\x{2060}\x{2066}-\x{2069}\x{FEFF}"
)
_IN_TEXT = f"[{_INVISIBLE}]"
_IN_IDS = rf"[{_INVISIBLE}\t\n\r\x{{200C}}\x{{200D}}]"


@dataclass(frozen=True, slots=True)
class Repaired:
    """A repaired column.

    Attributes:
        values: the column, nulls where they were.
        classes: Bool[n] by class: the rows it was repaired in. Only classes with a row.
    """

    values: Any
    classes: Mapping[str, BoolArray]


def repair_text(column: Any) -> Repaired:
    """Remove control and invisible characters and bring text to Unicode NFC.

    Args:
        column: a pa.Array of strings or of lists of strings; any other type comes back as it is.
    """
    kind = column.type
    if pa.types.is_string(kind):
        return _repair(column, _IN_TEXT, trim=False)
    if not (pa.types.is_list(kind) and pa.types.is_string(kind.value_type)):
        return Repaired(column, {})
    inner = _repair(column.flatten(), _IN_TEXT, trim=False)
    if not inner.classes:
        return Repaired(column, {})
    lengths = pc.fill_null(pc.list_value_length(column), 0).to_numpy(zero_copy_only=False)
    owner = np.repeat(np.arange(len(column)), lengths)
    ends = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])
    missing = column.is_null() if column.null_count else None
    values = pa.ListArray.from_arrays(pa.array(ends, pa.int32()), inner.values, mask=missing)
    return Repaired(values, {n: np.bincount(owner[m], minlength=len(column)) > 0 for n, m in inner.classes.items()})


def repair_ids(column: Any) -> Repaired:
    """Repair a pa.Array of ids as text is repaired, and remove spaces around them and joiners and breaks in them."""
    return _repair(column, _IN_IDS, trim=True)


def has_text(column: Any) -> BoolArray:
    """Return Bool[n]: where a column of any type holds something: no null, no NaN, no blank text, no empty list."""
    kind = column.type
    there = pc.is_valid(column)
    if pa.types.is_string(kind):
        there = pc.greater(pc.utf8_length(pc.utf8_trim_whitespace(column)), 0)
    elif pa.types.is_floating(kind):
        there = pc.invert(pc.is_nan(column))
    elif pa.types.is_list(kind):
        there = pc.greater(pc.list_value_length(column), 0)
    found: BoolArray = pc.fill_null(there, False).to_numpy(zero_copy_only=False)
    return found


def _repair(column: Any, invisible: str, trim: bool) -> Repaired:
    classes: dict[str, BoolArray] = {}
    column = _replaced(column, pc.replace_substring_regex(column, invisible, ""), "control_characters", classes)
    if not pc.all(pc.string_is_ascii(column), min_count=0).as_py():
        column = _replaced(column, pc.utf8_normalize(column, form="NFC"), "not_nfc", classes)
    if trim:
        column = _replaced(column, pc.utf8_trim_whitespace(column), "padded_id", classes)
    return Repaired(column, classes)


def _replaced(old: Any, new: Any, name: str, classes: dict[str, BoolArray]) -> Any:
    changed = pc.fill_null(pc.not_equal(old, new), False).to_numpy(zero_copy_only=False)
    if not changed.any():
        return old
    classes[name] = changed
    return new
