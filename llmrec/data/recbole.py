"""RecBole atomic files: tab-separated, a header of `name:type`, no quoting."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from llmrec.errors import DataError

__all__ = ["SUFFIXES", "find_recbole", "reals", "split_header"]

SUFFIXES = (".inter", ".item", ".user")
"""The extensions of atomic files."""

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


def split_header(headers: Sequence[str], path: Path) -> dict[str, str]:
    """Return the type of each column by its name, in order.

    Args:
        headers: "name:type" of each column.
        path: the file, for messages.

    Raises:
        DataError: a header is not of that form, or two columns have one name.
    """
    kinds: dict[str, str] = {}
    for header in headers:
        name, _, kind = header.partition(":")
        if kind not in _TYPES:
            raise DataError(f"column {header!r} of {path} is not NAME:TYPE with a type of {', '.join(_TYPES)}.")
        if name in kinds:
            raise DataError(f"{path} has two columns {name!r}; rename one of them.")
        kinds[name] = kind
    return kinds


def reals(column: Any, name: str, path: Path) -> Any:
    """Return a column of text as float64.

    Raises:
        DataError: a value is not a number.
    """
    try:
        return column.cast(pa.float64())
    except pa.ArrowInvalid as error:
        raise DataError(f"column {name!r} of {path} must hold numbers: {error}") from error
