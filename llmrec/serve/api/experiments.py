"""Experiments: which pipeline serves users better."""

from __future__ import annotations

from dataclasses import asdict, is_dataclass
from typing import Annotated, Any

from fastapi import Path, Request, Response

from llmrec.serve.api import examples
from llmrec.serve.api.fields import Name
from llmrec.serve.api.inputs import ExperimentIn
from llmrec.serve.api.operation import ALWAYS, BODY, guarded_router, operation, reply, service_of
from llmrec.serve.api.outputs import ExperimentOut, ExperimentsOut, ReportOut
from llmrec.serve.problems import Unprocessable

__all__ = ["router"]

router = guarded_router("experiments")

ExperimentName = Annotated[Name, Path(examples=["ranker-2"])]


@operation(
    router,
    "GET /admin/experiments",
    need="admin",
    out=ExperimentsOut,
    example={"experiments": [examples.EXPERIMENT]},
    refuses=ALWAYS,
)
async def list_experiments(request: Request) -> Response:
    """List all experiments, newest first."""
    found = await service_of(request).list_experiments()
    return reply(ExperimentsOut(tuple(map(ExperimentOut.of, found))), ExperimentsOut)


@operation(
    router,
    "POST /admin/experiments",
    need="admin",
    out=ExperimentOut,
    example=examples.EXPERIMENT,
    status=201,
    refuses=(*ALWAYS, *BODY, 404, 409),
)
async def create_experiment(request: Request, body: ExperimentIn) -> Response:
    """Begin an experiment over the users of the alias "default"."""
    if body.weights is not None and set(body.weights) != set(body.variants):
        raise Unprocessable("body /weights: name each variant once, or leave the weights out.")
    found = await service_of(request).create_experiment(body.name, body.variants, weights=body.weights, kind=body.kind)
    return reply(ExperimentOut.of(found), ExperimentOut, 201)


@operation(
    router,
    "GET /admin/experiments/{name}",
    need="admin",
    out=ReportOut,
    example={"experiment": "ranker-2"},
    refuses=(*ALWAYS, 404),
)
async def report_experiment(request: Request, name: ExperimentName) -> Response:
    """Show what an experiment shows so far; it holds however often one looks."""
    found: Any = await service_of(request).report_experiment(name)
    return reply(asdict(found) if is_dataclass(found) and not isinstance(found, type) else dict(found), ReportOut)


@operation(
    router,
    "POST /admin/experiments/{name}/stop",
    need="admin",
    out=ExperimentOut,
    example=examples.EXPERIMENT | {"state": "stopped"},
    refuses=(*ALWAYS, 404, 409),
)
async def stop_experiment(request: Request, name: ExperimentName) -> Response:
    """Stop an experiment; its numbers stay."""
    return reply(ExperimentOut.of(await service_of(request).stop_experiment(name)), ExperimentOut)
