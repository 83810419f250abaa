"""Telling: what people did."""

from __future__ import annotations

from typing import Annotated

from fastapi import Header, Request, Response

from llmrec.serve.api import examples
from llmrec.serve.api.convert import events_of
from llmrec.serve.api.inputs import EventsIn, FeedbackIn
from llmrec.serve.api.operation import ALWAYS, BODY, guarded_router, operation, reply, service_of
from llmrec.serve.http.route import caller_of
from llmrec.serve.records import Added

__all__ = ["IdempotencyKey", "router"]

router = guarded_router("events")

IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        pattern=r"^[!-~]{1,200}$",
        description="The same key again, for the same body, stores nothing again and gives the first answer again.",
    ),
]
_REFUSES = (*ALWAYS, *BODY, 404, 409)


@operation(router, "POST /interactions", need="feedback", out=Added, example=examples.ADDED, refuses=_REFUSES)
async def add_interactions(request: Request, body: EventsIn, idempotency_key: IdempotencyKey = None) -> Response:
    """Store what people did.

    All events or none are stored, durably before the answer; the next request of their users reads them.
    """
    service = service_of(request)
    events = events_of(body, service.config.limits)
    added = await service.add_events(events, idempotency_key=idempotency_key, caller=caller_of(request).id)
    return reply(added, Added)


@operation(router, "POST /feedback", need="feedback", out=Added, example=examples.ADDED, refuses=_REFUSES)
async def add_feedback(request: Request, body: FeedbackIn, idempotency_key: IdempotencyKey = None) -> Response:
    """Store what was done with an item of a recorded list; user and place come from the list."""
    added = await service_of(request).feedback(
        body.impression_id,
        body.item_id,
        body.kind,
        event_id=body.event_id,
        idempotency_key=idempotency_key,
        caller=caller_of(request).id,
    )
    return reply(added, Added)
