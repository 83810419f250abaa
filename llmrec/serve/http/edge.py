"""The outermost layer: every request gets an id, bounds, a place in the metrics, a line in the log, safe headers."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, field
from urllib.parse import unquote_to_bytes

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from llmrec.serve.http.body import Bounded, check_length, read_off
from llmrec.serve.http.drain import Door
from llmrec.serve.http.headers import secure
from llmrec.serve.http.logs import ACCESS, log_failure
from llmrec.serve.http.metrics import HttpMetrics
from llmrec.serve.http.problem import problem_response
from llmrec.serve.http.trace import CURRENT, Trace, trace_of
from llmrec.serve.problems import BadRequest, Broken, Problem, Unavailable

__all__ = ["ALWAYS_OPEN", "Edge", "EdgeSettings"]

ALWAYS_OPEN = frozenset({"/livez", "/readyz", "/metrics"})
"""Paths that are answered also while the service drains or is full."""

_LOG = logging.getLogger(ACCESS)


@dataclass(frozen=True, slots=True)
class EdgeSettings:
    """What the edge needs.

    Attributes:
        door: counts requests, and closes.
        metrics: counts answers.
        body_bytes: of a body.
        unbounded: beginnings of paths whose bodies are bounded elsewhere.
    """

    door: Door
    metrics: HttpMetrics
    body_bytes: int
    unbounded: tuple[str, ...] = ()


@dataclass(slots=True)
class _Answer:
    """What went out so far."""

    status: int = 0
    sent: int = 0
    begun: float = field(default_factory=time.perf_counter)


class Edge:
    """ASGI middleware, pure: it adds no task and copies no body."""

    def __init__(self, app: ASGIApp, settings: EdgeSettings) -> None:
        self._app = app
        self._settings = settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        trace = trace_of(headers.get("x-request-id"), headers.getlist("traceparent"))
        token = CURRENT.set(trace)
        door = self._settings.door
        answer = _Answer()
        bounded = Bounded(receive, self._most(scope))
        refusal = self._refusal(scope)  # before it is counted in
        door.enter()
        try:
            await self._serve(scope, bounded, _Sender(send, trace, answer, door), refusal)
        finally:
            door.leave()
            self._note(scope, answer, bounded.read)
            CURRENT.reset(token)

    async def _serve(self, scope: Scope, receive: Receive, send: _Sender, refusal: Problem | None) -> None:
        """Answer; what fails unexpectedly becomes a problem that says nothing of it."""
        if refusal is not None:
            await read_off(scope, receive)
            # what follows on the connection may be a part of a body that nobody reads
            await problem_response(refusal, headers={"Connection": "close"})(scope, receive, send)
            return
        try:
            await self._app(scope, receive, send)
        except Exception as error:  # noqa: BLE001 - the last place where it can become an answer
            log_failure(_route(scope) or "no route", error)
            if send.answer.status:  # half an answer is out; only a broken connection says that it is not whole
                raise _BrokenError from None
            problem = Broken("Something is wrong with the service; its log has more under this request id.")
            await problem_response(problem)(scope, receive, send)

    def _most(self, scope: Scope) -> int | None:
        return None if scope["path"].startswith(self._settings.unbounded or ("\0",)) else self._settings.body_bytes

    def _refusal(self, scope: Scope) -> Problem | None:
        """Why a request is not even looked at; None: it is."""
        try:
            unquote_to_bytes(scope.get("raw_path") or b"").decode()
            unquote_to_bytes(scope.get("query_string") or b"").decode()
            check_length(scope, self._most(scope))
        except UnicodeDecodeError:
            return BadRequest("The address is not UTF-8 under its percent signs.")
        except Problem as problem:
            return problem
        if scope["path"] in ALWAYS_OPEN:
            return None
        if self._settings.door.closed:
            return Unavailable("The service is about to stop; ask again.", retry_after=1.0)
        if self._settings.door.full:
            return Unavailable("Too many requests are worked on; ask again.", retry_after=1.0)
        return None

    def _note(self, scope: Scope, answer: _Answer, read: int) -> None:
        seconds = time.perf_counter() - answer.begun
        route, method, status = _route(scope), scope["method"], answer.status or 499
        self._settings.metrics.count(route, method, status, seconds)
        if _LOG.isEnabledFor(logging.INFO):
            fields = {
                "method": method[:16],
                "route": route or "none",
                "status": status,
                "ms": round(1e3 * seconds, 2),
                "bytes_in": read,
                "bytes_out": answer.sent,
            }
            _LOG.info("request", extra={"fields": fields})


class _BrokenError(Exception):
    """An answer broke off; without a text, and without what caused it."""


class _Sender:
    """An ASGI `send` that adds headers and counts."""

    def __init__(self, send: Send, trace: Trace, answer: _Answer, door: Door) -> None:
        self._send = send
        self._trace = trace
        self._door = door
        self.answer = answer

    async def __call__(self, message: Message) -> None:
        """Send a message."""
        if message["type"] == "http.response.start":
            self.answer.status = message["status"]
            headers = MutableHeaders(raw=message["headers"])
            secure(headers)
            headers["X-Request-ID"] = self._trace.request_id
            headers["traceresponse"] = self._trace.parent
            if self._door.closed:
                headers["Connection"] = "close"
            message["headers"] = headers.raw
        elif message["type"] == "http.response.body":
            self.answer.sent += len(message.get("body", b""))
        await self._send(message)


def _route(scope: Scope) -> str:
    """The template of the route that was found; empty: none."""
    route = scope.get("route")
    return str(getattr(route, "path_format", "") or getattr(route, "path", ""))
