"""Writing TOML with a comment beside each value: what is shown of a configuration should be one that can be used."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

__all__ = ["write_toml"]

_Path = tuple[str, ...]


def write_toml(values: Mapping[str, Any], note: Callable[[_Path], str] = lambda _path: "") -> str:
    """Write JSON-like values as TOML 1.0 that reads back equal.

    TOML has no null: what is None is left out, and named in a comment where it would stand.

    Args:
        values: keys to str, int, float, bool, None, lists and mappings of these.
        note: a comment for the value at a path (stages and the like by "name", if they have one); empty: none.

    Returns:
        The text: tables under headers, lists of tables as `[[...]]`, everything else in one line.

    Raises:
        TypeError: TOML has no such value.
    """
    import tomlkit

    document = tomlkit.document()
    _fill(document, values, (), note)
    return tomlkit.dumps(document).strip() + "\n"


def _fill(into: Any, table: Mapping[str, Any], path: _Path, note: Callable[[_Path], str]) -> None:
    """Write a table: first its own values, then the tables in it, since a header ends what stands before it."""
    import tomlkit

    for key, value in table.items():
        if value is None:
            said = note((*path, key))
            into.add(tomlkit.comment(f"{tomlkit.key(key).as_string()}: none" + (f"  # {said}" if said else "")))
        elif not _is_table(value) and not _is_tables(value):
            item = tomlkit.item(_inline(value))
            if said := note((*path, key)):
                item.comment(said)
                item.trivia.comment_ws = "  "
            into.append(key, item)
    for key, value in table.items():
        if _is_table(value):
            below = tomlkit.table()
            _fill(below, value, (*path, key), note)
            into.append(key, below)
        elif _is_tables(value):
            parts = tomlkit.aot()
            for place, part in enumerate(value):
                below = tomlkit.table()
                _fill(below, part, (*path, key, str(part.get("name", place))), note)
                parts.append(below)
            into.append(key, parts)


def _is_table(value: Any) -> bool:
    return isinstance(value, Mapping)


def _is_tables(value: Any) -> bool:
    return isinstance(value, Sequence) and bool(value) and all(isinstance(part, Mapping) for part in value)


def _inline(value: Any) -> Any:
    """A value that stands in one line, its tables too; nulls are left out of them."""
    import tomlkit

    if _is_table(value):
        table = tomlkit.inline_table()
        table.update({key: _inline(part) for key, part in value.items() if part is not None})
        return table
    if isinstance(value, Sequence) and not isinstance(value, str):
        items = tomlkit.array()
        for part in value:
            items.append(_inline(part))
        return items
    return value
