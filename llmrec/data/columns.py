"""Which columns of a log hold what."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["USUAL", "InteractionColumns", "usual_columns"]

_USERS = ("user_id", "user")
_ITEMS = ("item_id", "item")
_TIMES = ("timestamp", "time", "t", "datetime")
_KINDS = ("kind", "event_type", "event")
USUAL = frozenset((*_USERS, *_ITEMS, *_TIMES, *_KINDS, "weight", "rating"))
"""Every name `usual_columns` looks for."""


@dataclass(frozen=True, slots=True)
class InteractionColumns:
    """Which columns of a table hold what.

    Attributes:
        user: user ids.
        item: item ids.
        time: when; None if the rows are already in order, oldest first.
        weight: how much each interaction counts; None if all count the same.
        kind: what kind of interaction it was ("view", "buy", ...); None if they are all of one kind.
        rating: how the user rated the item; None if nobody did. Ratings are shown in texts and weigh nothing.
    """

    user: str = "user_id"
    item: str = "item_id"
    time: str | None = "timestamp"
    weight: str | None = None
    kind: str | None = None
    rating: str | None = None

    @property
    def names(self) -> list[str]:
        """All columns that are named, each once."""
        named = (self.user, self.item, self.time, self.weight, self.kind, self.rating)
        return list(dict.fromkeys(name for name in named if name is not None))


def usual_columns(names: Sequence[str]) -> InteractionColumns:
    """Find the usual columns of a log; RecTools and LensKit frames have them, too.

    Args:
        names: the columns there are.

    Returns:
        For users "user_id" or "user", for items "item_id" or "item", for the time "timestamp", "time", "t" or
        "datetime", or None: rows are in order; "weight"; for the kind "kind", "event_type" or "event"; "rating". Of
        several, the first.
    """
    return InteractionColumns(
        user=_first(_USERS, names) or _USERS[0],
        item=_first(_ITEMS, names) or _ITEMS[0],
        time=_first(_TIMES, names),
        weight=_first(("weight",), names),
        kind=_first(_KINDS, names),
        rating=_first(("rating",), names),
    )


def _first(usual: Sequence[str], names: Sequence[str]) -> str | None:
    return next((name for name in usual if name in names), None)
