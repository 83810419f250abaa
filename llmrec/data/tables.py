"""Tables from files: delimited text, JSON lines and Parquet, read strictly, with errors that name the line."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from llmrec.data.report import CLASSES
from llmrec.data.sources import gather, open_source
from llmrec.errors import DataError

__all__ = ["read_table"]


def read_table(path: str | Path, ids: Sequence[str] = ("item_id", "user_id")) -> Any:
    """Read a table from a file, by its extension.

    .csv and .tsv: UTF-8 with a header line and double quotes around values where needed; an empty value is null. A
    column becomes whole numbers or reals if all of its values are plainly written numbers, otherwise it stays text,
    and columns named in `ids` always do ("007" stays "007"). .jsonl and .ndjson: one object a line; text stays text.
    .parquet. .inter, .item and .user: RecBole atomic files; columns of type `float` become reals. All but Parquet may
    be gzipped (.csv.gz).

    Args:
        path: the file.
        ids: columns that are never parsed as numbers; names that are not there are ignored.

    Returns:
        A pa.Table.

    Raises:
        DataError: the file is missing, of another kind or damaged, or a row cannot be read; names the line.
    """
    source = open_source(path, "table")
    table, _, bad = gather(source)
    if bad:
        more = f", and {len(bad) - 1} more lines" if len(bad) > 1 else ""
        raise DataError(
            f"line {bad[0].place}{more} of {path} cannot be read: {CLASSES[bad[0].name]} ({bad[0].detail}). "
            "Correct the file."
        )
    return source.finish(table, ids)
