"""What callers pass where lists of ids belong, checked before a string is read letter by letter."""

from __future__ import annotations

from collections.abc import Iterable
from numbers import Integral
from typing import Any

from llmrec.errors import ConfigError, DataError
from llmrec.types import Item

__all__ = ["check_count", "check_items", "check_list", "check_lists"]


def check_list(values: Any, name: str, what: str = "ids") -> None:
    """Check that an argument is a list and not one string; None passes.

    Args:
        values: the argument.
        name: what it is called.
        what: what it should hold.

    Raises:
        DataError: it is one string, or no list at all.
    """
    if isinstance(values, str | bytes):
        raise DataError(f"{name} must be a list of {what}, got one string; write [{values!r}]")
    if values is not None and not (isinstance(values, Iterable) and hasattr(values, "__len__")):
        raise DataError(f"{name} must be a list of {what}, got {values!r}")


def check_lists(values: Any, name: str) -> None:
    """Check that an argument is a list of lists of ids, one per query; None passes.

    Raises:
        DataError: it, or one of its lists, is one string or no list at all; names which.
    """
    if isinstance(values, str | bytes):
        raise DataError(f"{name} must be a list of lists of ids, got one string; write [[{values!r}]]")
    check_list(values, name, "lists of ids")
    for place, ids in enumerate(() if values is None else values):
        if ids is None:
            raise DataError(f"{name}[{place}] must be a list of ids, got None; write [] for none")
        check_list(ids, f"{name}[{place}]")


def check_items(items: Any) -> None:
    """Check that an argument is a list of `Item` whose ids are text.

    Raises:
        DataError: it is not; says what to write.
    """
    if isinstance(items, Item):
        raise DataError("items must be a list of Item, got one Item; put it in brackets")
    check_list(items, "items", "Item")
    for item in items:
        if not isinstance(item, Item):
            raise DataError(f"items must be a list of Item, got {item!r} in it; write Item(id, {{field: value}})")
        if not isinstance(item.id, str):
            raise DataError(f"an item's id is text, got {item.id!r}; write Item({str(item.id)!r}, ...)")


def check_count(k: Any, name: str = "k") -> None:
    """Check the length of a list that is asked for.

    Raises:
        ConfigError: it is not a whole number of at least 1.
    """
    if isinstance(k, bool) or not isinstance(k, Integral):
        raise ConfigError(f"{name} must be a whole number, got {k!r}")
    if k < 1:
        raise ConfigError(f"{name} must be at least 1, got {k}")
