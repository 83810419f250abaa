"""Arrow tables from anything, with every id a non-empty string."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from llmrec.data.vocab import Vocab
from llmrec.errors import DataError
from llmrec.types import Int32Array

__all__ = [
    "ARROW_ERRORS",
    "as_table",
    "bytes_to_table",
    "column_of",
    "first_bad_row",
    "lookup",
    "missing_column",
    "plain_table",
    "read_ids",
    "rename_columns",
    "row_numbers",
    "stored_ids",
    "table_to_bytes",
    "vocab_of",
]

_BATCH = 10_000
ARROW_ERRORS = (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError)


def as_table(source: Any, what: str) -> Any:
    """Turn a table-like object into a pa.Table with plain column types.

    Args:
        source: a pa.Table or record batch, a pandas or polars data frame, a Hugging Face data set, anything
            with an Arrow C stream, a mapping of columns, or a list of row dicts.
        what: what the table is, for messages.

    Raises:
        DataError: the object is not a table, has mixed types in a column or two columns of one name.
    """
    try:
        table = _import_table(source)
    except (*ARROW_ERRORS, TypeError, ValueError) as error:
        raise DataError(f"cannot read the {what} from a {type(source).__name__}: {error}") from error
    names = table.column_names
    if len(set(names)) < len(names):
        raise DataError(f"the {what} has two columns of one name: {names}; rename one of them.")
    return plain_table(table)


def plain_table(table: Any) -> Any:
    """Undo, in every column, the encodings that differ between sources."""
    return pa.table({name: _plain(table.column(name)) for name in table.column_names})


def _import_table(source: Any) -> Any:
    if hasattr(source, "with_format"):  # a Hugging Face data set
        return _import_hugging_face(source)
    if isinstance(source, Mapping):
        return pa.table(dict(source))
    if isinstance(source, Sequence) and not isinstance(source, str | bytes):
        return pa.Table.from_pylist(list(source))
    if type(source).__module__.partition(".")[0] == "pandas":
        return pa.Table.from_pandas(source, preserve_index=False)
    if hasattr(source, "__arrow_c_stream__"):
        return pa.table(source)
    if hasattr(source, "__arrow_c_array__"):
        return pa.Table.from_batches([pa.record_batch(source)])
    raise TypeError("expected an Arrow, pandas or polars table, a mapping of columns or a list of row dicts")


def _import_hugging_face(source: Any) -> Any:
    if isinstance(source, Mapping):
        raise TypeError(
            f"it holds the splits {', '.join(source)}; give one of them, such as data[{next(iter(source))!r}]"
        )
    if hasattr(source, "__len__"):
        return source.with_format("arrow")[:]  # rows as selected and shuffled
    batches = [pa.table(dict(batch)) for batch in source.iter(_BATCH)]  # one that streams
    return pa.concat_tables(batches, promote_options="permissive")


def _plain(column: Any) -> Any:
    """Undo the encodings that differ between sources, so that the same data always looks the same."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        # Not a cast: Arrow cannot cast dictionaries of string views, which polars makes.
        parts = [_plain(part.dictionary).take(part.indices) for part in column.chunks]
        column = pa.chunked_array([*parts, _plain(pa.array([], kind.value_type))])
        kind = column.type
    wanted = _plain_type(kind)
    return column if wanted == kind else column.cast(wanted)


def _plain_type(kind: Any) -> Any:
    types = pa.types
    if types.is_null(kind) or types.is_large_string(kind) or types.is_string_view(kind):
        return pa.string()
    if types.is_list(kind) or types.is_large_list(kind):
        return pa.list_(kind.value_type if types.is_null(kind.value_type) else _plain_type(kind.value_type))
    return kind


def rename_columns(table: Any, rename: Mapping[str, str] | None, what: str) -> Any:
    """Rename columns by a mapping of old to new names.

    Raises:
        DataError: an old name is not there, or a new name is there already.
    """
    if not rename:
        return table
    for name in rename:
        column_of(table, name, what)
    names = [rename.get(name, name) for name in table.column_names]
    if len(set(names)) < len(names):
        raise DataError(f"renaming {dict(rename)} gives the {what} two columns of one name: {names}.")
    return table.rename_columns(names)


def column_of(table: Any, name: str, what: str, hint: str = "") -> Any:
    """Return a column.

    Raises:
        DataError: there is no such column; names the columns there are.
    """
    if name not in table.column_names:
        raise missing_column(what, name, table.column_names, hint)
    return table.column(name)


def missing_column(what: str, name: str, names: Sequence[str], hint: str = "") -> DataError:
    """Return the error that says that a column is not there, and which are."""
    if len(names) == 1 and (found := re.search(r"[;|\t]", names[0])):
        hint = f"Its values seem to be separated by {found[0]!r}; save it with commas, or with tabs as .tsv."
    return DataError(f"the {what} has no column {name!r}; its columns are {list(names)}. {hint}".rstrip())


def read_ids(table: Any, name: str, what: str) -> Any:
    """Return a column of ids as strings; whole numbers lose a fraction of zero, strings stay as they are.

    Raises:
        DataError: the column is missing, of another type, or has a null or empty id; names the first row.
    """
    column = column_of(table, name, what)
    kind = column.type
    where = f"column {name!r} of the {what}"
    if column.null_count:
        row = first_true(pc.is_null(column))
        raise DataError(f"{where} has no id in {column.null_count} rows, first in row {row + 1}; fill or drop them.")
    if pa.types.is_floating(kind):
        row = first_true(pc.invert(pc.fill_null(pc.equal(column, pc.floor(column)), False)))
        if row >= 0:
            raise DataError(f"{where} holds {column[row].as_py()} in row {row + 1}, which is not an id.")
        column = column.cast(pa.int64())
    elif not (pa.types.is_integer(kind) or pa.types.is_string(kind)):
        raise DataError(f"{where} is of type {kind}; ids must be text or whole numbers.")
    column = column.cast(pa.string())
    row = first_true(pc.equal(column, ""))
    if row >= 0:
        raise DataError(f"{where} has an empty id in row {row + 1}; fill or drop the row.")
    return column


def first_true(mask: Any) -> int:
    """Return the place of the first True of a boolean column, or -1."""
    return int(pc.index(mask, True).as_py())


def first_bad_row(column: Any, convert: Callable[[Any], Any]) -> int:
    """Return the first place whose value `convert` refuses with an Arrow error, by bisection."""
    low, high = 0, len(column)  # the conversion of [:low] works, that of [:high] does not
    while high - low > 1:
        middle = (low + high) // 2
        try:
            convert(column.slice(low, middle - low))
        except ARROW_ERRORS:
            high = middle
        else:
            low = middle
    return low


def vocab_of(column: Any) -> tuple[Vocab, Int32Array]:
    """Number the distinct strings of a column by first appearance; return them and each value's row."""
    encoded = (
        column.combine_chunks().dictionary_encode() if len(column) else pa.array([], pa.string()).dictionary_encode()
    )
    if isinstance(encoded, pa.ChunkedArray):
        encoded = encoded.unify_dictionaries().combine_chunks()
    rows: Int32Array = np.asarray(encoded.indices.to_numpy(zero_copy_only=False), dtype=np.int32)
    names = encoded.dictionary
    return Vocab(names), rows


def lookup(vocab: Vocab, column: Any) -> Int32Array:
    """Return the row of each string of a column, Int32[n], -1 where it is unknown."""
    found = pc.fill_null(pc.index_in(column, value_set=vocab.column), -1)
    rows: Int32Array = np.asarray(found.to_numpy(), dtype=np.int32)
    return rows


def row_numbers(rows: NDArray[np.integer[Any]]) -> Any:
    """Return row numbers as a pa.Array, null below 0.

    `pa.array`, as most of pyarrow.compute, imports pandas where it is installed: a quarter of a second.
    """
    numbers = np.ascontiguousarray(rows, dtype=np.int64)
    there = np.packbits(numbers >= 0, bitorder="little")
    return pa.Array.from_buffers(pa.int64(), len(numbers), [pa.py_buffer(there), pa.py_buffer(numbers)])


def stored_ids(table: Any, name: str, what: str) -> tuple[str, ...]:
    """The ids of a table that `table_to_bytes` has written.

    Raises:
        DataError: there is no such column, or it does not hold text.
    """
    if name not in table.column_names or not pa.types.is_string(table.schema.field(name).type):
        raise DataError(f"the stored {what} has no column {name!r} of ids; save it again from the source.")
    return tuple(table.column(name).to_pylist())


def table_to_bytes(table: Any) -> NDArray[np.uint8]:
    """Write a table as an Arrow IPC stream, Uint8[bytes]."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return np.frombuffer(sink.getvalue(), dtype=np.uint8)


def bytes_to_table(raw: NDArray[np.uint8]) -> Any:
    """Read a table written by `table_to_bytes`.

    Raises:
        DataError: the bytes are damaged.
    """
    try:
        return pa.ipc.open_stream(pa.py_buffer(np.ascontiguousarray(raw))).read_all()
    except (*ARROW_ERRORS, OSError) as error:
        raise DataError(f"the stored table is damaged: {error}; save it again from the source.") from error
