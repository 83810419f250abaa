"""What a batch of events must hold before it is stored."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from llmrec.serve.config import LimitsConfig
from llmrec.serve.problems import NotFound, TooLarge, Unprocessable
from llmrec.serve.records import ACTIONS, Impression, NewEvent

__all__ = ["check_events", "is_storable", "tied", "tied_all"]

LONGEST_ID = 512
LONGEST_KIND = 64
"""Characters."""

AHEAD = 86_400
"""Seconds that a clock elsewhere may be ahead; a time beyond that is in milliseconds, or wrong."""

Known = Callable[[Sequence[str]], Sequence[bool]]


def check_events(events: Sequence[NewEvent], known: Known, limits: LimitsConfig, now: float) -> None:
    """Check a batch of events, each value for itself, then that the items are known.

    Args:
        events: the batch.
        known: whether each item is in a catalog.
        limits: how many there may be.
        now: seconds since the epoch.

    Raises:
        TooLarge: too many.
        Unprocessable: a value does not fit; its 0-based place is named, never the value.
    """
    if len(events) > limits.batch:
        raise TooLarge(f"{len(events)} events in one request, at most {limits.batch} are taken; send them in parts")
    for place, event in enumerate(events):
        if wrong := _wrong(event, now):
            raise Unprocessable(f"events[{place}].{wrong}")
    there = known([event.item_id for event in events])
    if not all(there):
        lacking = [place for place, one in enumerate(there) if not one]
        more = "" if len(lacking) == 1 else f", nor are {len(lacking) - 1} others"
        raise Unprocessable(f"events[{lacking[0]}].item_id is not in the catalog{more}; put the item first")


def _wrong(event: NewEvent, now: float) -> str | None:
    """What is wrong with an event; None: nothing."""
    if event.user_id is None and event.impression_id is None:
        return "user_id is missing; only feedback on an impression can do without"
    for name, text, longest in (
        ("user_id", event.user_id, LONGEST_ID),
        ("item_id", event.item_id, LONGEST_ID),
        ("event_id", event.event_id, LONGEST_ID),
        ("kind", event.kind, LONGEST_KIND),
    ):
        if text is not None and not is_storable(text, longest):
            return f"{name} must be 1 to {longest} characters, none of them NUL"
    if event.time is not None and not 0 <= event.time <= now + AHEAD:
        return "time is not in the past; give seconds since 1970, not milliseconds"
    if event.rating is not None and not math.isfinite(event.rating):
        return "rating must be a finite number"
    return None


def is_storable(text: str, longest: int = LONGEST_ID) -> bool:
    """Whether every database can hold a text: not empty, not too long, no NUL, no half of a surrogate pair."""
    return 0 < len(text) <= longest and "\0" not in text and not any("\ud800" <= sign <= "\udfff" for sign in text)


def tied_all(events: Sequence[NewEvent], impressions: Mapping[str, Impression | None]) -> list[NewEvent]:
    """Tie every event that names an impression to it.

    Args:
        events: a batch.
        impressions: those that are named, by id; None: there is none.

    Raises:
        NotFound: there is no such impression.
        Unprocessable: see `tied`.
    """
    return [
        event
        if event.impression_id is None
        else tied(event, impressions[event.impression_id], where=f"events[{place}].")
        for place, event in enumerate(events)
    ]


def tied(event: NewEvent, impression: Impression | None, *, where: str = "") -> NewEvent:
    """Return an event with user and place as the list that it names has them.

    Args:
        event: names an impression.
        impression: what the store has under that name.
        where: the event's place in its request, for messages.

    Raises:
        NotFound: there is no such impression.
        Unprocessable: the item was not in it, it was shown to another user, or the kind says nothing of a shown item.
    """
    if impression is None:
        raise NotFound(f"{where}impression_id: there is no such impression")
    if event.kind not in ACTIONS:
        raise Unprocessable(f"{where}kind must be one of {', '.join(ACTIONS)} where an impression is named")
    if event.item_id not in impression.items:
        raise Unprocessable(f"{where}item_id: the item was not in this impression")
    place = impression.items.index(event.item_id) + 1
    if event.user_id is not None and event.user_id != impression.user_id:
        raise Unprocessable(f"{where}user_id: the impression was made for another user")
    if event.place is not None and event.place != place:
        raise Unprocessable(f"{where}place: the item stood at place {place}")
    return replace(event, user_id=impression.user_id, place=place)
