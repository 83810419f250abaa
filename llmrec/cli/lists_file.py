"""Lists of many users in one file: user_id, rank, item_id, score."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmrec.errors import LlmrecError

if TYPE_CHECKING:
    from llmrec.data import Catalog, Vocab
    from llmrec.types import Int64Array, Ranking

__all__ = ["BATCH", "SUFFIXES", "write_lists"]

BATCH = 512
"""Users answered at once; after each batch, progress is reported."""
SUFFIXES = (".parquet", ".csv")


def write_lists(
    out: Path,
    catalog: Catalog,
    users: Vocab,
    rows: Int64Array,
    answer: Callable[[Int64Array], Ranking],
    say: Callable[[str], None],
) -> int:
    """Write lists batch by batch, so that memory stays bounded, and in one piece.

    Whatever happens, there is a whole new file, or what was there before.

    Args:
        out: the file; its name ends in one of `SUFFIXES`.
        catalog: knows the items' ids.
        users: user ids.
        rows: Int64[n], rows into `users`.
        answer: gives the lists of some of these rows.
        say: told how far it is.

    Returns:
        The number of recommendations written.

    Raises:
        LlmrecError: the file cannot be written.
    """
    partial = out.with_name(f".{out.stem}.{os.getpid()}.partial{out.suffix}")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        try:
            lines = _write(partial, catalog, users, rows, answer, say)
            partial.replace(out)
        finally:
            partial.unlink(missing_ok=True)
    except OSError as error:
        raise LlmrecError(f"cannot write {out}: {error.strerror or error}") from error
    return lines


def _write(
    place: Path,
    catalog: Catalog,
    users: Vocab,
    rows: Int64Array,
    answer: Callable[[Int64Array], Ranking],
    say: Callable[[str], None],
) -> int:
    import pyarrow as pa
    from pyarrow import csv, parquet

    schema = pa.schema(
        [("user_id", pa.string()), ("rank", pa.int32()), ("item_id", pa.string()), ("score", pa.float32())]
    )
    open_writer = csv.CSVWriter if place.suffix == ".csv" else parquet.ParquetWriter
    lines = 0
    with open_writer(place, schema) as writer:
        for start in range(0, len(rows), BATCH):
            part = rows[start : start + BATCH]
            columns = _columns(catalog, users, part, answer(part))
            writer.write_batch(pa.record_batch(columns, schema=schema))
            lines += len(columns[0])
            say(f"{min(start + BATCH, len(rows)):,} of {len(rows):,} users")
    return lines


def _columns(catalog: Catalog, users: Vocab, rows: Int64Array, ranking: Ranking) -> list[Any]:
    """Arrow columns user_id, rank, item_id, score; one row a recommendation."""
    import numpy as np
    import pyarrow as pa

    owners, places = np.nonzero(ranking.items >= 0)
    return [
        pa.array(users.decode(rows[owners]), pa.string()),
        pa.array(places + 1, pa.int32()),
        pa.array(catalog.items.decode(ranking.items[owners, places]), pa.string()),
        pa.array(ranking.scores[owners, places], pa.float32()),
    ]
