"""Writing TOML: the standard library only reads it, and a configuration shown should be one that can be used."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

__all__ = ["write_toml"]

_Path = tuple[str, ...]
_BARE = re.compile(r"[A-Za-z0-9_-]+")


def write_toml(values: Mapping[str, Any], note: Callable[[_Path], str] = lambda _path: "") -> str:
    """Write JSON-like values as TOML 1.0 that reads back equal.

    TOML has no null: what is None is left out, and named in a comment where it would stand.

    Args:
        values: keys to str, int, float, bool, None, lists and mappings of these.
        note: a comment for the value at a path (stages and the like by "name", if they have one); empty: none.

    Returns:
        The text: tables under headers, lists of tables as `[[...]]`, everything else in one line.
    """
    lines: list[str] = []
    _table(values, (), (), note, lines)
    return "\n".join(lines).strip() + "\n"


def _table(
    table: Mapping[str, Any], header: _Path, path: _Path, note: Callable[[_Path], str], lines: list[str]
) -> None:
    """Write a table: first its own values, then the tables in it, since a header ends what stands before it.

    Args:
        table: what to write.
        header: its keys as TOML writes them.
        path: its keys as `note` knows them.
        note: comments.
        lines: written to.
    """
    for key, value in table.items():
        if not _is_table(value) and not _is_tables(value):
            comment = note((*path, key))
            lines.append(_assignment(key, value) + (f"  # {comment}" if comment else ""))
    for key, value in table.items():
        own = (*header, key)
        if _is_table(value):
            if not value or not all(_is_table(part) or _is_tables(part) for part in value.values()):
                lines.extend(["", f"[{'.'.join(map(_key, own))}]"])
            _table(value, own, (*path, key), note, lines)
        elif _is_tables(value):
            for place, part in enumerate(value):
                lines.extend(["", f"[[{'.'.join(map(_key, own))}]]"])
                _table(part, own, (*path, key, str(part.get("name", place))), note, lines)


def _assignment(key: str, value: Any) -> str:
    return f"# {_key(key)}: none" if value is None else f"{_key(key)} = {_inline(value)}"


def _is_table(value: Any) -> bool:
    return isinstance(value, Mapping)


def _is_tables(value: Any) -> bool:
    return isinstance(value, Sequence) and bool(value) and all(isinstance(part, Mapping) for part in value)


def _inline(value: Any) -> str:
    """One value in one line.

    Raises:
        TypeError: TOML has no such value.
    """
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return repr(value) if math.isfinite(value) else str(value).lower()
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_key(k)} = {_inline(v)}" for k, v in value.items() if v is not None) + "}"
    if isinstance(value, Sequence):
        return "[" + ", ".join(_inline(part) for part in value) + "]"
    raise TypeError(f"TOML has no {type(value).__name__}: {value!r}")


def _key(key: str) -> str:
    return key if _BARE.fullmatch(key) else _text(key)


def _text(text: str) -> str:
    """A basic string; JSON escapes all that TOML wants escaped but the delete character."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
