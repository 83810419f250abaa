"""Files of JSON lines, streamed in and out: a line of answer for each line, in order, and a summary at the end.

Events are stored, and items put, as many at a time as have come in; lists are made as many at a time as the engine
answers together. Nothing is read on before that, so that a caller who sends faster, or reads slower, waits.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, TypeVar, cast

from fastapi import Header, Query, Request, Response
from fastapi.routing import APIRoute
from pydantic import BaseModel, TypeAdapter
from starlette.requests import ClientDisconnect

from llmrec.serve.api._bulk_work import Answer, Events, Items, Lists, Work
from llmrec.serve.api._lines import MEDIA_TYPES, Line, LinesResponse, read_lines
from llmrec.serve.api.inputs import EventIn, ItemIn, RecommendIn
from llmrec.serve.api.operation import ALWAYS, BODY, guarded_router, operation, service_of
from llmrec.serve.http.drain import Door
from llmrec.serve.http.problem import Unsupported
from llmrec.serve.http.route import caller_of
from llmrec.serve.problems import Problem, Unavailable

if TYPE_CHECKING:
    from llmrec.serve.http.gate import Need
    from llmrec.serve.service import Service

__all__ = ["router"]

FirstLine = Annotated[int, Query(ge=1, le=10**12, description="The number of the first line, for one part of many.")]
IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        pattern=r"^[!-~]{1,200}$",
        description="With the same key, the same line at the same number is stored once, whether or not it has an id.",
    ),
]

F = TypeVar("F", bound=Callable[..., Any])

_ANYTHING: TypeAdapter[Any] = TypeAdapter(Any)


router = guarded_router("bulk")


def _streamed(need: Need, kind: type[BaseModel]) -> Callable[[F], F]:
    """Add an endpoint that reads and writes lines; it is named as its address: `bulk_items` is POST /bulk/items."""

    def add(endpoint: F) -> F:
        path = endpoint.__name__.removeprefix("bulk_")
        operation(router, f"POST /bulk/{path}", need=need, out=None, refuses=(*ALWAYS, *BODY))(endpoint)
        asked = f"Lines of JSON, each as `{kind.__name__}`."
        told = 'A line of JSON for each line, with its "line" and "status"; the last one holds the "summary".'
        cast(APIRoute, router.routes[-1]).openapi_extra = {
            "requestBody": {"required": True, "content": {MEDIA_TYPES[0]: {"schema": _text(asked)}}},
            "responses": {"200": {"description": told, "content": {MEDIA_TYPES[0]: {"schema": _text(told)}}}},
        }
        return endpoint

    return add


def _text(about: str) -> dict[str, str]:
    return {"type": "string", "description": about}


@_streamed("feedback", EventIn)
async def bulk_interactions(
    request: Request, first_line: FirstLine = 1, idempotency_key: IdempotencyKey = None
) -> Response:
    """Store events, a line each."""
    service = service_of(request)
    work = Events(service, caller_of(request).id, idempotency_key)
    return _answer(request, service, work, service.config.limits.batch, first_line)


@_streamed("admin", ItemIn)
async def bulk_items(
    request: Request,
    first_line: FirstLine = 1,
    replace: Annotated[bool, Query(description="Whether fields that are not named become empty.")] = True,
) -> Response:
    """Add or change items, a line each."""
    service = service_of(request)
    return _answer(request, service, Items(service, replace), service.config.limits.batch, first_line)


@_streamed("read", RecommendIn)
async def bulk_recommend(
    request: Request,
    first_line: FirstLine = 1,
    log: Annotated[bool, Query(description="Whether lists are recorded whose line does not say.")] = True,
) -> Response:
    """Make lists, a line each."""
    service = service_of(request)
    return _answer(request, service, Lists(service, log), service.config.engine.batch, first_line)


def _answer(request: Request, service: Service, work: Work, most: int, first: int) -> Response:
    """Answer a request line by line.

    Raises:
        Unsupported: the body is not said to be lines of JSON.
        Unavailable: the service is not ready.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind not in MEDIA_TYPES:
        raise Unsupported(f"Send the body as 'Content-Type: {MEDIA_TYPES[0]}', a line of JSON each.")
    if not service.ready().ok:
        raise Unavailable("The service is not ready; ask again.", retry_after=1.0)
    groups = read_lines(request.stream(), most=most, longest=service.config.limits.body_bytes, first=first)
    door: Door = request.app.state.door
    return LinesResponse(_written(groups, work, lambda: door.closed or not service.ready().ok))


@dataclass(slots=True)
class _Summary:
    """What became of all lines."""

    lines: int = 0
    done: int = 0
    failed: int = 0
    repeats: int = 0
    complete: bool = True
    detail: str = ""

    def count(self, answer: Answer) -> None:
        self.lines += 1
        if isinstance(answer, Problem):
            self.failed += 1
        else:
            self.done += 1
            self.repeats += bool(answer.get("repeat"))


async def _written(groups: AsyncIterator[list[Line]], work: Work, stops: Callable[[], bool]) -> AsyncIterator[bytes]:
    """The lines of the answer, a group at a time."""
    summary = _Summary()
    try:
        async for group in groups:
            if summary.lines and stops():
                raise Unavailable("The service is about to stop; send the rest again.")
            answers = await work(group)
            for answer in answers:
                summary.count(answer)
            yield b"".join(_line_of(line, answer) for line, answer in zip(group, answers, strict=True))
    except ClientDisconnect:
        return
    except Problem as problem:  # the body does not come, or the service stops; what was answered stays done
        if not summary.lines:
            raise
        summary.complete, summary.detail = False, problem.detail
    told = {name: getattr(summary, name) for name in ("lines", "done", "failed", "repeats", "complete", "detail")}
    yield _dumped({"summary": told})


def _line_of(line: Line, answer: Answer) -> bytes:
    if not isinstance(answer, Problem):
        return _dumped({"line": line.number, "status": 200, **answer})
    told = {"type": f"urn:llmrec:problem:{answer.type}", "title": answer.title, "detail": answer.detail}
    return _dumped({"line": line.number, "status": answer.status, **told})


def _dumped(values: Mapping[str, Any]) -> bytes:
    return _ANYTHING.dump_json(values, warnings=False) + b"\n"
