"""Whether it lives, whether it is ready, and its metrics."""

from __future__ import annotations

import asyncio
import time

from fastapi import APIRouter, Request, Response
from fastapi.responses import PlainTextResponse

from llmrec.serve.api.operation import ALWAYS, operation, refusals, reply, service_of
from llmrec.serve.api.outputs import LiveOut
from llmrec.serve.http.drain import Door
from llmrec.serve.http.gauges import StatusGauges
from llmrec.serve.http.metrics import CONTENT_TYPE, HttpMetrics, exposition
from llmrec.serve.http.problem import problem_response
from llmrec.serve.http.route import GuardedRoute, needs
from llmrec.serve.problems import Unavailable
from llmrec.serve.views import Readiness, Status

__all__ = ["router"]

STATUS_S = 5.0
"""Seconds that the status may take for the metrics."""

router = APIRouter(tags=["health"], route_class=GuardedRoute)
_PROBE = (400, 413, 500)


@operation(router, "GET /livez", need="public", out=LiveOut, example={"ok": True}, refuses=_PROBE)
async def livez(request: Request) -> Response:
    """Say that the process answers; asks nothing else."""
    return reply(LiveOut(ok=True), LiveOut)


@operation(
    router,
    "GET /readyz",
    need="public",
    out=Readiness,
    example={"ok": True, "reasons": []},
    refuses=(*_PROBE, 503),
)
async def readyz(request: Request) -> Response:
    """Say whether requests are answered; 503 with `reasons` where they are not."""
    door: Door = request.app.state.door
    ready = Readiness(False, ("draining",)) if door.closed else service_of(request).ready()
    if ready.ok:
        return reply(ready, Readiness)
    problem = Unavailable("Not ready: " + ", ".join(ready.reasons), retry_after=1.0)
    return problem_response(problem, members={"ok": False, "reasons": list(ready.reasons)})


async def metrics(request: Request) -> Response:
    """Metrics for Prometheus."""
    try:
        status: Status | None = await asyncio.wait_for(service_of(request).status(), STATUS_S)
    except Exception:  # noqa: BLE001 - the other metrics say more than none; that the status is missing is one itself
        status = None
    door: Door = request.app.state.door
    http: HttpMetrics = request.app.state.metrics
    text = await asyncio.to_thread(exposition, http, StatusGauges(status, time.time(), door.closed))
    return Response(text, headers={"Content-Type": CONTENT_TYPE})


router.add_api_route(
    "/metrics",
    needs("read")(metrics),
    response_model=None,
    response_class=PlainTextResponse,
    responses=refusals(ALWAYS) | {200: {"description": "Metrics.", "content": {"text/plain": {"example": "up 1"}}}},
    operation_id="metrics",
    summary="Metrics for Prometheus",
)
