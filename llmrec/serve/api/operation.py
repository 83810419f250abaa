"""How an operation is declared: what it needs, what it answers, what it may refuse, with an example of each."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar, cast

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from pydantic import TypeAdapter

from llmrec.serve.http.gate import Need
from llmrec.serve.http.problem import MEDIA_TYPE, NotAllowed, TooSlow, Unsupported
from llmrec.serve.http.route import GuardedRoute, needs
from llmrec.serve.problems import (
    BadRequest,
    Broken,
    Conflict,
    Forbidden,
    NotFound,
    Problem,
    TooLarge,
    TooLate,
    TooMany,
    Unauthorized,
    Unavailable,
    Unprocessable,
)

if TYPE_CHECKING:
    from llmrec.serve.service import Service

__all__ = ["ALWAYS", "ASKS", "BODY", "guarded_router", "operation", "refusals", "reply", "service_of"]

F = TypeVar("F", bound=Callable[..., Any])

_ALL: tuple[type[Problem], ...] = (
    BadRequest,
    Unauthorized,
    Forbidden,
    NotFound,
    NotAllowed,
    TooSlow,
    Conflict,
    TooLarge,
    Unsupported,
    Unprocessable,
    TooMany,
    Broken,
    Unavailable,
    TooLate,
)
_BY_STATUS = {problem.status: problem for problem in _ALL}

ALWAYS = (400, 401, 403, 413, 422, 429, 500, 503)
"""What any guarded operation may answer."""

BODY = (408, 415)
"""And one that reads a body."""

ASKS = (404, 504)
"""And one that asks the engine."""


def guarded_router(tag: str) -> APIRouter:
    """A router of version 1 whose routes are guarded."""
    return APIRouter(prefix="/v1", tags=[tag], route_class=GuardedRoute)


def operation(
    router: APIRouter,
    method_and_path: str,
    *,
    need: Need,
    out: Any,
    example: Any = None,
    refuses: Iterable[int] = ALWAYS,
    status: int = 200,
) -> Callable[[F], F]:
    """Add an endpoint to a router.

    Args:
        router: which.
        method_and_path: such as "GET /items".
        need: the scope of a key that may call it.
        out: the type of the answer's body; None: it has none.
        example: of the body, JSON.
        refuses: statuses of the problems it may answer.
        status: when all is well.
    """
    method, path = method_and_path.split()

    def add(endpoint: F) -> F:
        responses = refusals(refuses) | {status: {"description": "Done."}}
        if example is not None:
            responses[status]["content"] = {"application/json": {"example": example}}
        router.add_api_route(
            path,
            needs(need)(endpoint),
            methods=[method],
            response_model=out,
            status_code=status,
            responses=responses,
            operation_id=endpoint.__name__,
            summary=(endpoint.__doc__ or "").partition("\n")[0].rstrip("."),
            response_class=Response if out is None else JSONResponse,
        )
        return endpoint

    return add


def refusals(statuses: Iterable[int]) -> dict[int | str, dict[str, Any]]:
    """What the document says about the problems with these statuses."""
    return {status: _refusal(status) for status in sorted(set(statuses))}


def reply(value: Any, kind: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """An answer, written in one pass and not checked again: the service's own values are of their types.

    Args:
        value: the body.
        kind: its type, as declared by the operation.
        status: of HTTP.
        headers: further ones.
    """
    content = _adapter(kind).dump_json(value, warnings=False)
    return Response(content, status, headers=dict(headers or {}), media_type="application/json")


def service_of(request: Request) -> Service:
    """The service that answers."""
    return cast("Service", request.app.state.service)


@cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


def _refusal(status: int) -> dict[str, Any]:
    problem = _BY_STATUS[status]
    about = (problem.__doc__ or problem.title).partition("\n")[0]
    example = {
        "type": f"urn:llmrec:problem:{problem.type}",
        "title": problem.title,
        "status": status,
        "detail": about,
        "request_id": "4bf92f3577b34da6a3ce929d0e0e4736",
    }
    schema = {"$ref": "#/components/schemas/Problem"}
    return {"description": about, "content": {MEDIA_TYPE: {"schema": schema, "example": example}}}
