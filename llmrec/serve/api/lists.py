"""Asking: lists, why they are as they are, and how they came about."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Annotated, Any

from fastapi import Header, Request, Response

from llmrec.serve.api import examples
from llmrec.serve.api.convert import asked_of
from llmrec.serve.api.fields import limited
from llmrec.serve.api.inputs import ExplainIn, RecommendIn, SearchIn, SimilarIn, TraceIn
from llmrec.serve.api.operation import ALWAYS, ASKS, BODY, guarded_router, operation, reply, service_of
from llmrec.serve.api.outputs import ExplanationOut, ExplanationsOut, ListOut, list_out
from llmrec.serve.asked import Asked
from llmrec.serve.http.gone import unless_gone
from llmrec.serve.http.headers import server_timing
from llmrec.serve.views import Listed, Traced

__all__ = ["Deadline", "router"]

router = guarded_router("lists")

Deadline = Annotated[
    int | None,
    Header(
        alias="X-Deadline-Ms",
        ge=1,
        description="Milliseconds after which the answer is of no use; none: as configured.",
        json_schema_extra=limited("maximum", "longest_deadline_ms"),
    ),
]

_CANDIDATES = 50
_REFUSES = (*ALWAYS, *BODY, *ASKS)


@operation(router, "POST /recommend", need="read", out=ListOut, example=examples.LIST, refuses=(*_REFUSES, 409))
async def recommend(request: Request, body: RecommendIn, deadline: Deadline = None) -> Response:
    """Make a list for a user, a history, a wish, or nobody known.

    It is recorded before it is answered, unless `log` is false; `impression_id` is what feedback names.
    """
    service = service_of(request)
    asked = asked_of(body, service.config, deadline)
    work = service.recommend(asked, log=body.log, anonymous=body.anonymous)
    return _answer(await unless_gone(request, work))


@operation(router, "POST /similar", need="read", out=ListOut, example=examples.LIST, refuses=_REFUSES)
async def similar(request: Request, body: SimilarIn, deadline: Deadline = None) -> Response:
    """Find the items that are most like one; not recorded."""
    return await _list(request, service_of(request).similar, asked_of(body, service_of(request).config, deadline))


@operation(router, "POST /search", need="read", out=ListOut, example=examples.LIST, refuses=_REFUSES)
async def search(request: Request, body: SearchIn, deadline: Deadline = None) -> Response:
    """Find the items that are nearest to a text; not recorded."""
    return await _list(request, service_of(request).search, asked_of(body, service_of(request).config, deadline))


@operation(
    router,
    "POST /explain",
    need="read",
    out=ExplanationsOut,
    example={"explanations": [examples.EXPLANATION]},
    refuses=_REFUSES,
)
async def explain(request: Request, body: ExplainIn, deadline: Deadline = None) -> Response:
    """Say why items are recommended: what it is without which they would stand lower."""
    service = service_of(request)
    work = service.explain(asked_of(body, service.config, deadline), body.item_ids, body.reasons)
    found = await unless_gone(request, work)
    return reply(ExplanationsOut(tuple(map(ExplanationOut.of, found))), ExplanationsOut)


@operation(router, "POST /trace", need="read", out=Traced, example=examples.TRACE, refuses=_REFUSES)
async def trace(request: Request, body: TraceIn, deadline: Deadline = None) -> Response:
    """Show how a list comes about: the best candidates of every stage, with their scores; not recorded."""
    service = service_of(request)
    candidates = body.candidates or min(_CANDIDATES, service.config.limits.candidates)
    work = service.trace(asked_of(body, service.config, deadline), candidates)
    return reply(await unless_gone(request, work), Traced)


async def _list(request: Request, ask: Callable[[Asked], Coroutine[Any, Any, Listed]], asked: Asked) -> Response:
    return _answer(await unless_gone(request, ask(asked)))


def _answer(listed: Listed) -> Response:
    return reply(list_out(listed), ListOut, headers={"Server-Timing": server_timing(listed.timings)})
