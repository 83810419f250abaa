"""What becomes of lines: events that are stored, items that are put, lists that are made."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import from_json

from llmrec.serve.api._lines import Line
from llmrec.serve.api._together import apart, patiently, together
from llmrec.serve.api.convert import asked_of, check_fields, events_of
from llmrec.serve.api.inputs import EventIn, EventsIn, ItemIn, RecommendIn
from llmrec.serve.api.outputs import list_out
from llmrec.serve.http.problem import pointers
from llmrec.serve.http.route import is_slim
from llmrec.serve.problems import BadRequest, Problem, TooLarge, Unprocessable
from llmrec.serve.records import NewEvent

if TYPE_CHECKING:
    from llmrec.serve.service import Service
    from llmrec.types import Item

__all__ = ["Answer", "Events", "Items", "Lists", "Work"]

B = TypeVar("B", bound=BaseModel)
T = TypeVar("T")

Answer = Mapping[str, Any] | Problem
"""What becomes of a line, beside its number."""

Work = Callable[[Sequence[Line]], Awaitable[list[Answer]]]
"""Answers lines, each for itself."""


@dataclass(frozen=True, slots=True)
class _Placed(Generic[T]):
    """Something good, and the place of its line in the group."""

    at: int
    value: T


@dataclass(frozen=True, slots=True)
class Events:
    """Stores events.

    Attributes:
        service: where.
        caller: the id of the key that asks.
        key: of the whole file; events without an id get one made of it, the same in every try. None: a new one each.
    """

    service: Service
    caller: str
    key: str | None

    async def __call__(self, lines: Sequence[Line]) -> list[Answer]:
        """Store a group."""
        read = [_read(EventIn, line, self.service.config.limits.body_bytes, self._event(line)) for line in lines]
        return await _each(read, lambda event: event.event_id, self._store)

    def _event(self, line: Line) -> Callable[[EventIn], NewEvent]:
        def made(body: EventIn) -> NewEvent:
            event = events_of(EventsIn.model_construct(events=[body]), self.service.config.limits)[0]
            if event.event_id is not None or self.key is None:
                return event
            known = "\0".join((self.caller, self.key, str(line.number))).encode()
            name = hashlib.sha256(hashlib.sha256(known).digest() + (line.data or b"")).hexdigest()
            return replace(event, event_id=name[:32])

        return made

    async def _store(self, events: Sequence[NewEvent]) -> list[Answer]:
        added = await self.service.add_events(events, idempotency_key=None, caller=self.caller)
        return [
            {"event_id": event_id, "repeat": repeat}
            for event_id, repeat in zip(added.event_ids, added.repeats, strict=True)
        ]


@dataclass(frozen=True, slots=True)
class Items:
    """Puts items.

    Attributes:
        service: where.
        replace: whether fields that are not named become empty.
    """

    service: Service
    replace: bool

    async def __call__(self, lines: Sequence[Line]) -> list[Answer]:
        """Put a group."""
        limits = self.service.config.limits

        def made(body: ItemIn) -> Item:
            from llmrec.types import Item

            check_fields("/fields", body.fields, limits)
            return Item(body.item_id, body.fields)

        read = [_read(ItemIn, line, limits.body_bytes, made) for line in lines]
        return await _each(read, lambda item: item.id, self._put)

    async def _put(self, items: Sequence[Item]) -> list[Answer]:
        await self.service.put_items(items, replace=self.replace)
        return [{"item_id": item.id} for item in items]


@dataclass(frozen=True, slots=True)
class Lists:
    """Makes lists.

    Attributes:
        service: where.
        log: whether a list is recorded whose line does not say.
    """

    service: Service
    log: bool

    async def __call__(self, lines: Sequence[Line]) -> list[Answer]:
        """Make the lists of a group, all at once: the engine answers them together."""
        return list(await asyncio.gather(*map(self._one, lines)))

    async def _one(self, line: Line) -> Answer:
        config = self.service.config
        body = _read(RecommendIn, line, config.limits.body_bytes, lambda body: body)
        if isinstance(body, Problem):
            return body
        log = body.log if "log" in body.model_fields_set else self.log

        async def ask() -> Answer:
            asked = asked_of(body, config)
            listed = await self.service.recommend(asked, log=log, anonymous=body.anonymous)
            return {"answer": list_out(listed)}

        return await patiently(ask)


async def _each(
    read: Sequence[T | Problem], name: Callable[[T], str | None], do: Callable[[Sequence[T]], Awaitable[list[Answer]]]
) -> list[Answer]:
    """Do what can be done with what could be read, in order, names that come twice one after the other."""
    good = [_Placed(at, value) for at, value in enumerate(read) if not isinstance(value, Problem)]
    found: dict[int, Answer] = {at: value for at, value in enumerate(read) if isinstance(value, Problem)}
    for run in apart(good, lambda placed: name(placed.value)):
        answers = await together([placed.value for placed in run], do)
        found.update(zip((placed.at for placed in run), answers, strict=True))
    return [found[at] for at in range(len(read))]


def _read(kind: type[B], line: Line, longest: int, make: Callable[[B], T]) -> T | Problem:
    """Read a line and make of it what the service takes; what is wrong never says what stands there."""
    if line.data is None:
        return TooLarge(f"A line may hold {longest:,} bytes.")
    try:
        value = from_json(line.data, allow_inf_nan=False)
        if not is_slim(value):
            return TooLarge("An object of the line has too many members.")
        return make(kind.model_validate(value))
    except ValidationError as error:
        found = pointers([{**one, "loc": ("body", *one["loc"])} for one in error.errors()])
        return Unprocessable("; ".join(f"{one['pointer'] or '/'}: {one['detail']}" for one in found[:3]))
    except ValueError as error:  # says a place, not what stands there
        return BadRequest(f"The line is not JSON: {error}.")
    except Problem as problem:
        return problem
