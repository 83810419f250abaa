"""What may be stored: checked before a write joins others, so that one bad value spoils nobody else's."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from llmrec.serve.problems import Unprocessable

__all__ = ["LONGEST", "dumped", "finite", "loaded", "plain", "plain_or_none", "storable", "whole"]

LONGEST = 512
"""Characters of an id or name: PostgreSQL indexes at most 2,704 bytes."""

_LARGEST = 2**63 - 1


def plain(what: str, text: str) -> str:
    """The text, if both databases can hold it as an id or name.

    Args:
        what: its name for the error, such as "user_id".
        text: the id.

    Raises:
        Unprocessable: it is too long, or holds a NUL or half of a surrogate pair.
    """
    if len(text) > LONGEST:
        raise Unprocessable(f"{what} has {len(text):,} characters; at most {LONGEST} are kept.")
    return storable(what, text)


def storable(what: str, text: str) -> str:
    """The text, if both databases can hold it, however long.

    Raises:
        Unprocessable: it holds a NUL or half of a surrogate pair.
    """
    if "\0" in text or not _encodes(text):
        raise Unprocessable(f"{what} holds a NUL character or half of a surrogate pair, which cannot be stored.")
    return text


def plain_or_none(what: str, text: str | None) -> str | None:
    """As `plain`; None stays None."""
    return None if text is None else plain(what, text)


def whole(what: str, number: float | None) -> int | None:
    """The number, if it is whole and fits in 64 bits.

    Raises:
        Unprocessable: it does not.
    """
    if number is None:
        return None
    if not math.isfinite(number) or int(number) != number or abs(number) > _LARGEST:
        raise Unprocessable(f"{what} must be a whole number of at most 64 bits.")
    return int(number)


def finite(what: str, number: float | None) -> float | None:
    """The number, if it is one.

    Raises:
        Unprocessable: it is infinite or not a number.
    """
    if number is None:
        return None
    try:
        value = float(number)
    except OverflowError:
        value = math.inf
    if not math.isfinite(value):
        raise Unprocessable(f"{what} must be a finite number.")
    return value


def dumped(what: str, value: Mapping[str, Any] | Sequence[Any]) -> str:
    """As JSON in ASCII, which every database can hold whatever the characters.

    Raises:
        Unprocessable: there is no JSON for it.
    """
    try:
        return json.dumps(value, separators=(",", ":"))
    except (TypeError, ValueError, RecursionError):
        raise Unprocessable(f"{what} holds a value that JSON has no form for.") from None


def loaded(text: str) -> Any:
    """What `dumped` made the text of."""
    return json.loads(text)


def _encodes(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
