"""Running it: pipelines, fits, how the service is."""

from __future__ import annotations

from typing import Annotated

from fastapi import Path, Query, Request, Response

from llmrec.serve.api import examples
from llmrec.serve.api.fields import Alias, Id, Kind
from llmrec.serve.api.inputs import RefitIn
from llmrec.serve.api.operation import ALWAYS, BODY, guarded_router, operation, reply, service_of
from llmrec.serve.api.outputs import AliasesOut, DeploymentsOut, JobsOut
from llmrec.serve.problems import NotFound
from llmrec.serve.records import Job
from llmrec.serve.views import AliasView, Status

__all__ = ["router"]

router = guarded_router("admin")

OfAlias = Annotated[Alias, Path(examples=["default"])]
_CHANGES = (*ALWAYS, 404, 409)


@operation(router, "GET /aliases", need="read", out=AliasesOut, example={"aliases": [examples.ALIAS]}, refuses=ALWAYS)
async def list_aliases(request: Request) -> Response:
    """List the pipelines that can be asked."""
    return reply(AliasesOut((await service_of(request).status()).aliases), AliasesOut)


@operation(
    router,
    "POST /admin/aliases/{alias}/reload",
    need="admin",
    out=AliasView,
    example=examples.ALIAS,
    refuses=_CHANGES,
)
async def reload_alias(request: Request, alias: OfAlias) -> Response:
    """Load an alias's folder again, beside the old pipeline, and swap; a failure leaves the old one."""
    await service_of(request).deploy(alias)
    return await _alias(request, alias)


@operation(
    router,
    "POST /admin/aliases/{alias}/rollback",
    need="admin",
    out=AliasView,
    example=examples.ALIAS,
    refuses=_CHANGES,
)
async def rollback_alias(request: Request, alias: OfAlias) -> Response:
    """Go back to what an alias stood for before."""
    await service_of(request).rollback(alias)
    return await _alias(request, alias)


@operation(
    router,
    "GET /admin/deployments",
    need="admin",
    out=DeploymentsOut,
    example={"deployments": [examples.DEPLOYMENT]},
    refuses=(*ALWAYS, 404),
)
async def list_deployments(
    request: Request, alias: Annotated[Alias | None, Query(description="Of which; none: of all.")] = None
) -> Response:
    """List what aliases have stood for, newest first."""
    return reply(DeploymentsOut(tuple(await service_of(request).deployments(alias))), DeploymentsOut)


@operation(
    router,
    "POST /admin/refit",
    need="admin",
    out=Job,
    example=examples.JOB,
    status=202,
    refuses=(*_CHANGES, *BODY),
)
async def refit(request: Request, body: RefitIn) -> Response:
    """Begin to fit a pipeline anew on everything that is known now; the job says how it goes."""
    return reply(await service_of(request).refit(body.alias, force=body.force), Job, 202)


@operation(router, "GET /admin/jobs", need="admin", out=JobsOut, example={"jobs": [examples.JOB]}, refuses=ALWAYS)
async def list_jobs(
    request: Request,
    kind: Annotated[Kind | None, Query(description='Such as "refit"; none: all.')] = None,
    limit: Annotated[int, Query(ge=1, le=200, description="Jobs at most.")] = 50,
) -> Response:
    """List jobs, newest first."""
    return reply(JobsOut(tuple(await service_of(request).jobs(kind, limit))), JobsOut)


@operation(router, "GET /admin/jobs/{job_id}", need="admin", out=Job, example=examples.JOB, refuses=(*ALWAYS, 404))
async def get_job(request: Request, job_id: Annotated[Id, Path(examples=["job-example"])]) -> Response:
    """Show how a job goes."""
    return reply(await service_of(request).job(job_id), Job)


@operation(router, "GET /admin/status", need="admin", out=Status, example=examples.STATUS, refuses=ALWAYS)
async def get_status(request: Request) -> Response:
    """Show everything that a person who runs the service wants to see at once."""
    return reply(await service_of(request).status(), Status)


async def _alias(request: Request, alias: str) -> Response:
    found = next((view for view in (await service_of(request).status()).aliases if view.alias == alias), None)
    if found is None:
        raise NotFound(f"There is no pipeline {alias!r}.")
    return reply(found, AliasView)
