"""Cleaning a catalog or user table: one row an id, texts repaired, what cannot be used set aside."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from llmrec.data._arrow import column_of, rename_columns
from llmrec.data._encode import id_strings
from llmrec.data._repair import Repaired, has_text, repair_ids, repair_text
from llmrec.data._rows import Rows
from llmrec.data._tally import Tally
from llmrec.data.sources import Source, gather
from llmrec.errors import DataError
from llmrec.types import BoolArray

__all__ = ["TableShape", "clean_table"]


@dataclass(frozen=True, slots=True)
class TableShape:
    """What a table must look like.

    Attributes:
        id_column: the column of ids.
        id_name: what the ids are called afterwards.
        rename: old to new names of fields.
        required: fields, by their new names, that must hold something.
    """

    id_column: str
    id_name: str
    rename: Mapping[str, str]
    required: Sequence[str] = ()


def clean_table(source: Source, shape: TableShape, tally: Tally) -> Any:
    """Read a table and keep the rows that can be used.

    Args:
        source: the rows.
        shape: what the table must look like.
        tally: told of every row.

    Returns:
        A pa.Table: ids first, none empty, each once, then the fields under their new names.

    Raises:
        DataError: a column is missing, or ids are of a type that ids cannot have.
    """
    table, places, bad = gather(source)
    tally.read += table.num_rows
    tally.reject_bad(bad)
    if bad and not table.column_names:
        tally.check()  # lines of JSON, and none of them is an object: what is wrong with them is what to tell
    hint = f"Name the column of the ids in {'user' if source.what.startswith('users') else 'item'}_id."
    column = _whole(column_of(table, shape.id_column, source.what, hint))
    raw = id_strings(column, f"column {shape.id_column!r} of the {source.what}")
    fields = table.drop_columns([shape.id_column])
    ours = rename_columns(fields, shape.rename, source.what).column_names
    if shape.id_name in ours:
        raise DataError(
            f"the {source.what} has both {shape.id_column!r} as its id and a field {shape.id_name!r}; rename the field."
        )
    ids = repair_ids(raw.values)
    texts = [repair_text(_whole(part)) for part in fields.columns]
    rows = Rows(table, lambda chosen: places[chosen], tally)
    rows.reject("missing_id", ~has_text(ids.values) & ~raw.bad, raw.values)
    rows.reject("bad_id", raw.bad, column)
    for name in shape.required:
        if name not in ours:
            raise DataError(f"required names {name!r}; the fields of the {source.what} are {ours}.")
        empty = ~has_text(texts[ours.index(name)].values)
        rows.reject("empty_text", empty, pa.array([name] * table.num_rows))
    _reject_repeated(rows, ids.values, raw.values)
    _mark_repaired(rows, [Repaired(raw.values, ids.classes), *texts], tally)
    if tally.part == "catalog":
        rows.note("no_text", ~_has_any_text(texts, table.num_rows))
    clean = [ids.values, *(repaired.values for repaired in texts)]
    kept = pa.table(clean, names=[shape.id_column, *fields.column_names]).filter(pa.array(rows.kept))
    return source.finish(kept, (shape.id_column,)).rename_columns([shape.id_name, *ours])


def _whole(column: Any) -> Any:
    """Return a column as one pa.Array."""
    if not isinstance(column, pa.ChunkedArray):
        return column
    if column.num_chunks == 1:
        return column.chunk(0)
    return pa.concat_arrays(column.chunks) if column.chunks else pa.array([], column.type)


def _has_any_text(columns: Sequence[Repaired], n: int) -> BoolArray:
    found = np.zeros(n, dtype=np.bool_)
    for column in columns:
        kind = column.values.type
        if pa.types.is_string(kind) or (pa.types.is_list(kind) and pa.types.is_string(kind.value_type)):
            found |= has_text(column.values)
    return found


def _reject_repeated(rows: Rows, ids: Any, raw: Any) -> None:
    """Keep the first row of each id; the others are repeats, or collide with it only since they were repaired."""
    at = np.flatnonzero(rows.kept)
    codes = ids.take(pa.array(at)).dictionary_encode().indices.to_numpy(zero_copy_only=False)
    _, first, inverse = np.unique(codes, return_index=True, return_inverse=True)
    before = at[first][inverse]
    later = at != before
    if not later.any():
        return
    at, before = at[later], before[later]
    alike = pc.equal(raw.take(pa.array(at)), raw.take(pa.array(before))).to_numpy(zero_copy_only=False)
    for name, chosen in (("duplicate_id", at[alike]), ("colliding_id", at[~alike])):
        wrong = np.zeros(len(rows.kept), dtype=np.bool_)
        wrong[chosen] = True
        rows.reject(name, wrong, raw)


def _mark_repaired(rows: Rows, columns: Sequence[Repaired], tally: Tally) -> None:
    """Count, by class, the rows that are in and were repaired in any column; show the first repaired value."""
    touched = np.zeros(len(rows.kept), dtype=np.bool_)
    for name in ("padded_id", "control_characters", "not_nfc"):
        marks = [column.classes[name] for column in columns if name in column.classes]
        if marks:
            found = np.logical_or.reduce(marks) & rows.kept
            touched |= found
            rows.repaired(name, found, columns[0].values)
    tally.repaired += int(touched.sum())
