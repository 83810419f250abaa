"""From bodies to what the service understands, once the limits hold."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from llmrec.serve.api.inputs import (
    EventIn,
    EventsIn,
    ExplainIn,
    ItemsIn,
    ListIn,
    PersonIn,
    SearchIn,
    SimilarIn,
    TraceIn,
)
from llmrec.serve.asked import Asked
from llmrec.serve.config import LimitsConfig, ServeConfig
from llmrec.serve.problems import TooLarge, Unprocessable
from llmrec.serve.records import NewEvent

__all__ = ["asked_of", "check_batch", "check_fields", "check_items", "events_of"]

DEFAULT_K = 10


def asked_of(body: ListIn, config: ServeConfig, deadline_ms: int | None = None) -> Asked:
    """What a body asks for.

    Raises:
        TooLarge: it is over a limit.
        Unprocessable: the deadline is longer than may be asked for.
    """
    limits = config.limits
    _check_list(body, limits)
    kind: Literal["recommend", "search", "similar"] = "recommend"
    if isinstance(body, (SearchIn, SimilarIn)):
        kind = "search" if isinstance(body, SearchIn) else "similar"
    person = body if isinstance(body, PersonIn) else None
    return Asked(
        kind=kind,
        alias=body.alias or "default",
        k=body.k or min(DEFAULT_K, limits.k),
        user_id=person.user_id if person else None,
        history=None if person is None or person.history is None else tuple(person.history),
        wish=person.wish if person else None,
        profile=person.profile if person else None,
        exclude=tuple(body.exclude),
        allow=None if body.allow is None else tuple(body.allow),
        filters={name: tuple(values) for name, values in body.filters.items()},
        diversity=body.diversity,
        text=body.text if isinstance(body, SearchIn) else None,
        item_id=body.item_id if isinstance(body, SimilarIn) else None,
        at=person.at if person else None,
        deadline=_deadline(deadline_ms, config.engine.longest_deadline_ms),
    )


def events_of(body: EventsIn, limits: LimitsConfig) -> list[NewEvent]:
    """The events of a body.

    Raises:
        TooLarge: there are too many.
    """
    check_batch("/events", body.events, limits)
    return [_event(event) for event in body.events]


def check_batch(pointer: str, entries: Sequence[Any], limits: LimitsConfig) -> None:
    """Refuse a batch over the limit.

    Raises:
        TooLarge: there are too many.
    """
    _check(pointer, len(entries), limits.batch, "entries")


def check_items(body: ItemsIn, limits: LimitsConfig) -> None:
    """Refuse items over the limits, or one twice.

    Raises:
        TooLarge: they are over a limit.
        Unprocessable: an id is there twice.
    """
    check_batch("/items", body.items, limits)
    if len({item.item_id for item in body.items}) < len(body.items):
        raise Unprocessable("body /items: an id is there more than once; name each item once.")
    for at, item in enumerate(body.items):
        check_fields(f"/items/{at}/fields", item.fields, limits)


def check_fields(pointer: str, fields: Mapping[str, Any], limits: LimitsConfig) -> None:
    """Refuse fields whose texts are over the limit.

    Raises:
        TooLarge: one is.
    """
    for value in fields.values():
        texts = value if isinstance(value, list) else [value]
        longest = max((len(text) for text in texts if isinstance(text, str)), default=0)
        _check(pointer, longest, limits.text_chars, "characters of a text")


def _check_list(body: ListIn, limits: LimitsConfig) -> None:
    _check("/k", body.k or 0, limits.k, "items")
    _check("/exclude", len(body.exclude), limits.ids, "ids")
    _check("/allow", len(body.allow or ()), limits.ids, "ids")
    _check("/filters", max(map(len, body.filters.values()), default=0), limits.ids, "values of a field")
    if isinstance(body, PersonIn):
        _check("/history", len(body.history or ()), limits.history, "items")
        _check("/wish", len(body.wish or ""), limits.text_chars, "characters")
        check_fields("/profile", body.profile or {}, limits)
    if isinstance(body, SearchIn):
        _check("/text", len(body.text), limits.text_chars, "characters")
    if isinstance(body, ExplainIn):
        _check("/item_ids", len(body.item_ids or ()), limits.k, "ids")
    if isinstance(body, TraceIn):
        _check("/candidates", body.candidates or 0, limits.candidates, "candidates")


def _check(pointer: str, size: int, most: int, what: str) -> None:
    if size > most:
        raise TooLarge(f"body {pointer}: at most {most:,} {what}, not {size if size < 10**15 else 'so many'}.")


def _deadline(ms: int | None, longest: int) -> float:
    if ms is None:
        return 0.0
    if ms > longest:
        raise Unprocessable(f"header X-Deadline-Ms: at most {longest:,} milliseconds.")
    return time.monotonic() + ms / 1e3


def _event(event: EventIn) -> NewEvent:
    return NewEvent(
        user_id=event.user_id,
        item_id=event.item_id,
        kind=event.kind,
        time=event.time,
        rating=event.rating,
        event_id=event.event_id,
        impression_id=event.impression_id,
        place=event.place,
    )
