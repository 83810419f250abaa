"""Columns of a log's chunk as numbers, with a mark where that cannot be."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from llmrec.data._repair import Repaired, has_text, repair_ids
from llmrec.errors import DataError
from llmrec.types import BoolArray, Float32Array, Int32Array

__all__ = ["EncodedIds", "IdStrings", "encode_ids", "encode_kinds", "id_strings", "read_reals"]

_NUMBER = r"^[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?$"


@dataclass(frozen=True, slots=True)
class IdStrings:
    """Ids as text.

    Attributes:
        values: pa.Array of strings, null where there is none or it is bad.
        bad: Bool[n], numbers that are not whole.
    """

    values: Any
    bad: BoolArray


@dataclass(frozen=True, slots=True)
class EncodedIds:
    """The ids of a chunk, each different one once.

    Attributes:
        codes: Int32[n], places in `texts`, -1 where there is no id at all.
        texts: the different ids, repaired; empty where there is none or it is bad.
        missing: Bool[n], no id.
        bad: Bool[n], something that is not an id.
        repaired: Bool[len(texts)] by class of repair.
    """

    codes: Int32Array
    texts: list[str]
    missing: BoolArray
    bad: BoolArray
    repaired: Mapping[str, BoolArray]


def id_strings(column: Any, where: str) -> IdStrings:
    """Turn a pa.Array of ids into text; whole numbers lose a fraction of zero.

    Raises:
        DataError: the column is of another type.
    """
    kind = column.type
    bad = np.zeros(len(column), dtype=np.bool_)
    if pa.types.is_floating(kind):
        values = pc.fill_null(column, np.nan).to_numpy(zero_copy_only=False).astype(np.float64)
        bad = ~np.isnan(values) & ~((np.floor(values) == values) & (np.abs(values) < 2.0**63))
        out = bad | np.isnan(values)
        column = pa.array(np.where(out, 0, values).astype(np.int64), mask=out)
    elif not (pa.types.is_integer(kind) or pa.types.is_string(kind)):
        raise DataError(f"{where} is of type {kind}; ids must be text or whole numbers.")
    return IdStrings(column.cast(pa.string()), bad)


def encode_ids(column: Any, where: str) -> EncodedIds:
    """Encode a pa.Array of ids and repair the different ones.

    Raises:
        DataError: the column is of a type that ids cannot have.
    """
    return _encode(column, where, repair=True)


def encode_kinds(column: Any, where: str) -> EncodedIds:
    """Encode a pa.Array of kinds; nothing is repaired.

    Raises:
        DataError: the column is neither text nor whole numbers.
    """
    return _encode(column, where, repair=False)


def _encode(column: Any, where: str, repair: bool) -> EncodedIds:
    encoded = column.dictionary_encode()
    codes: Int32Array = pc.fill_null(encoded.indices, -1).to_numpy(zero_copy_only=False).astype(np.int32)
    strings = id_strings(encoded.dictionary, where)
    repaired = repair_ids(strings.values) if repair else Repaired(strings.values, {})
    missing = ~has_text(repaired.values) & ~strings.bad
    texts = pc.fill_null(repaired.values, "").to_pylist()
    return EncodedIds(
        codes, texts, np.append(missing, True)[codes], np.append(strings.bad, False)[codes], repaired.classes
    )


def read_reals(column: Any, where: str) -> tuple[Float32Array, BoolArray]:
    """Read a pa.Array of numbers, or of numbers written as text.

    Returns:
        Float32[n], NaN where there is none, and Bool[n], where there is something that is not a finite number.

    Raises:
        DataError: the column is of another type.
    """
    kind = column.type
    bad = np.zeros(len(column), dtype=np.bool_)
    if pa.types.is_string(kind):
        written = pc.fill_null(pc.match_substring_regex(column, _NUMBER), True)
        blank = pc.fill_null(pc.equal(column, ""), False)
        bad = pc.invert(pc.or_(written, blank)).to_numpy(zero_copy_only=False)
        column = pc.if_else(pc.and_(written, pc.invert(blank)), column, pa.scalar(None, pa.string()))
    elif not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)):
        raise DataError(f"{where} is of type {kind}; it must hold numbers.")
    values = pc.fill_null(column.cast(pa.float64()), np.nan).to_numpy(zero_copy_only=False)
    with np.errstate(over="ignore"):
        narrow: Float32Array = values.astype(np.float32)
    return narrow, bad | np.isinf(narrow)
