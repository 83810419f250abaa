"""What a caller gives to the service."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["Event", "Wanted"]


@dataclass(frozen=True, slots=True)
class Wanted:
    """The list that is wanted; whoever it is for is a user, a history, a wish, or nobody known.

    Attributes:
        user_id: for whom; a user of whom nothing is known is no error.
        history: item ids, oldest first, instead of what is known of the user.
        wish: what is wished for, in words.
        profile: fields of the user, instead of stored ones.
        k: items wanted.
        alias: the pipeline, by its name; None: the default one, or what an experiment chooses.
        exclude: item ids that must not come back.
        allow: only these may come back.
        filters: field of the catalog to the values that are accepted, all fields together.
        diversity: 0 to 1, in the place of the strength of the pipeline's diversity policy.
        at: the time of the request, in seconds since the epoch; None: now.
        anonymous: a key of somebody who has no user id, such as a session's; experiments treat the same key alike.
    """

    user_id: str | None = None
    history: Sequence[str] | None = None
    wish: str | None = None
    profile: Mapping[str, Any] | None = None
    k: int = 10
    alias: str | None = None
    exclude: Sequence[str] = ()
    allow: Sequence[str] | None = None
    filters: Mapping[str, Sequence[str]] | None = None
    diversity: float | None = None
    at: int | None = None
    anonymous: str | None = None


@dataclass(frozen=True, slots=True)
class Event:
    """Something a person did.

    Attributes:
        user_id: who.
        item_id: with which item.
        kind: "view", "click", "like", "buy", "dismiss", "restore", or as the log of the bundle names them.
        time: seconds since the epoch; None: when it arrives.
        rating: how it was rated.
        event_id: the caller's own id of it, unique; an event whose id is there is not stored twice.
        impression_id: the list on which it was done.
        place: 1-based place in that list.
    """

    user_id: str
    item_id: str
    kind: str = "view"
    time: int | None = None
    rating: float | None = None
    event_id: str | None = None
    impression_id: str | None = None
    place: int | None = None
