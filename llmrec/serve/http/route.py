"""Routes that check who asks before they read what is asked."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable, Iterator
from typing import Any, TypeVar, cast

from fastapi import Request, Response
from fastapi.routing import APIRoute
from pydantic_core import from_json
from starlette.routing import BaseRoute

from llmrec.serve.http.gate import Caller, Gate, Need
from llmrec.serve.http.problem import Unsupported
from llmrec.serve.problems import BadRequest, TooLarge

__all__ = ["GuardedRoute", "caller_of", "guarded_routes", "is_slim", "needs"]

F = TypeVar("F", bound=Callable[..., Any])

MEMBERS = 1_000
"""Of an object of a body; of a hundred thousand unknown ones each would be an error, which takes seconds."""


def needs(need: Need) -> Callable[[F], F]:
    """Say what an endpoint needs; one that does not say needs "admin"."""

    def mark(endpoint: F) -> F:
        endpoint.__llmrec_needs__ = need  # type: ignore[attr-defined]
        return endpoint

    return mark


def caller_of(request: Request) -> Caller:
    """Who asks, once the route let them in."""
    return cast(Caller, request.state.caller)


class _Json(Request):
    """A request whose JSON is read once, strictly: UTF-8, no NaN or Infinity, no lone surrogates, no deep nesting."""

    async def read_json(self) -> None:
        """Read the body, if there is one.

        Raises:
            BadRequest: it is no JSON.
            TooLarge: an object has too many members.
            Unsupported: it is not said to be JSON.
        """
        kind = self.headers.get("content-type", "").partition(";")[0].strip().lower()
        is_json = kind == "application/json" or (kind.startswith("application/") and kind.endswith("+json"))
        if kind and not is_json:
            raise Unsupported("Send the body as 'Content-Type: application/json'.")
        body = await self.body()
        if not body:
            return
        if not is_json:
            raise Unsupported("Send the body as 'Content-Type: application/json'.")
        try:
            self._json = from_json(body, allow_inf_nan=False)
        except ValueError as error:  # says a place, not what stands there
            raise BadRequest(f"The body is not JSON: {error}.") from None
        if not is_slim(self._json):
            raise TooLarge(f"An object of the body may have {MEMBERS:,} members.")


def is_slim(value: Any) -> bool:
    """Whether no object in a JSON value has more members than `MEMBERS`."""
    if isinstance(value, dict):
        return len(value) <= MEMBERS and all(map(is_slim, value.values()))
    return not isinstance(value, list) or all(is_slim(part) for part in value if isinstance(part, dict | list))


class GuardedRoute(APIRoute):
    """A route that lets its caller in first: no body is read for somebody who may not ask."""

    @property
    def need(self) -> Need:
        """What it needs."""
        return cast(Need, getattr(self.endpoint, "__llmrec_needs__", "admin"))

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The handler of FastAPI, behind the gate."""
        handle = super().get_route_handler()
        need = self.need
        reads_json = self.body_field is not None

        async def guarded(request: Request) -> Response:
            gate: Gate = request.app.state.gate
            request.state.caller = await gate.enter(request, need)
            if not reads_json:
                return await handle(request)
            read = _Json(request.scope, request.receive)
            await read.read_json()
            return await handle(read)

        return guarded


def guarded_routes(routes: Iterable[BaseRoute]) -> Iterator[GuardedRoute]:
    """The guarded ones among routes, also those of routers that were included."""
    for route in routes:
        inner = getattr(route, "original_router", None) or getattr(route, "included_router", None)
        if isinstance(route, GuardedRoute):
            yield route
        elif inner is not None:
            yield from guarded_routes(inner.routes)
