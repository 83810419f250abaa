"""RecBole atomic files: tab-separated, a header of `name:type`, no quoting."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa

from llmrec.data.tables import read_delimited
from llmrec.errors import DataError

__all__ = ["find_recbole", "read_recbole"]

_TYPES = ("token", "token_seq", "float", "float_seq")


def find_recbole(folder: Path) -> str | None:
    """Return NAME if a folder holds NAME.inter and NAME.item, else None.

    Raises:
        DataError: there is more than one such pair, or only one file of it.
    """
    logs = {path.stem for path in folder.glob("*.inter")}
    items = {path.stem for path in folder.glob("*.item")}
    if not logs | items:
        return None
    if len(logs & items) != 1 or logs != items:
        there = ", ".join(sorted(p.name for kind in ("*.inter", "*.item") for p in folder.glob(kind)))
        raise DataError(f"{folder} must hold one NAME.inter and one NAME.item of one NAME; it holds {there}.")
    return next(iter(logs))


def read_recbole(stem: Path, suffix: str) -> Any:
    """Read one atomic file, such as NAME.inter.

    Args:
        stem: folder and NAME.
        suffix: ".inter", ".item" or ".user".

    Returns:
        A pa.Table with the types cut from the names: `float` columns are float64, all others text.

    Raises:
        DataError: the file is missing or malformed; names the line or the column.
    """
    path = Path(f"{stem}{suffix}")
    table = read_delimited(path, delimiter="\t", quotes=False)
    columns: dict[str, Any] = {}
    for header in table.column_names:
        name, _, kind = header.partition(":")
        if kind not in _TYPES:
            raise DataError(f"column {header!r} of {path} is not NAME:TYPE with a type of {', '.join(_TYPES)}.")
        columns[name] = _reals(table.column(header), name, path) if kind == "float" else table.column(header)
    return pa.table(columns)


def _reals(column: Any, name: str, path: Path) -> Any:
    try:
        return column.cast(pa.float64())
    except pa.ArrowInvalid as error:
        raise DataError(f"column {name!r} of {path} must hold numbers: {error}") from error
