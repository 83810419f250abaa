"""What runs and what is to be done: deployments, jobs, and small values by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import astuple, replace
from typing import Any

from sqlalchemy import Connection, Row, delete, insert, select, update

from llmrec.serve.problems import Conflict, NotFound
from llmrec.serve.records import Deployment, Job
from llmrec.serve.store._plain import dumped, loaded
from llmrec.serve.store._sql import next_seq, put
from llmrec.serve.store._tables import DEPLOYMENTS, JOBS, VALUES

__all__ = ["add_job", "change_job", "deploy", "deployments", "drop_value", "job", "jobs", "put_value", "values"]

_DEPLOYMENT = tuple(column.name for column in DEPLOYMENTS.c)


def deploy(connection: Connection, wanted: Deployment) -> Deployment:
    """Store a deployment under the next number."""
    numbered = replace(wanted, seq=next_seq(connection, "deployments", 1))
    connection.execute(insert(DEPLOYMENTS), [dict(zip(_DEPLOYMENT, astuple(numbered), strict=True))])
    return numbered


def deployments(connection: Connection, alias: str | None) -> list[Deployment]:
    """Newest first; of one alias, or all."""
    statement = select(DEPLOYMENTS).order_by(DEPLOYMENTS.c.seq.desc())
    if alias is not None:
        statement = statement.where(DEPLOYMENTS.c.alias == alias)
    return [Deployment(*row) for row in connection.execute(statement)]


def add_job(connection: Connection, wanted: Job) -> None:
    """Store a new job."""
    connection.execute(insert(JOBS), [_job_row(wanted)])


def change_job(connection: Connection, job_id: str, now: float, changes: Mapping[str, Any]) -> Job:
    """Change the fields that are named; the job as it is then.

    Raises:
        NotFound: there is no such job.
    """
    before = job(connection, job_id)
    if before is None:
        raise NotFound("There is no job of this id.")
    after = replace(before, updated=now, **changes)
    connection.execute(update(JOBS).where(JOBS.c.id == job_id).values(_job_row(after)))
    return after


def job(connection: Connection, job_id: str) -> Job | None:
    """By id."""
    row = connection.execute(select(JOBS).where(JOBS.c.id == job_id)).one_or_none()
    return None if row is None else _job(row)


def jobs(connection: Connection, kind: str | None, limit: int) -> list[Job]:
    """Newest first; of one kind, or all."""
    statement = select(JOBS).order_by(JOBS.c.created.desc(), JOBS.c.id).limit(limit)
    if kind is not None:
        statement = statement.where(JOBS.c.kind == kind)
    return [_job(row) for row in connection.execute(statement)]


def put_value(connection: Connection, space: str, name: str, value: str, expect_absent: bool) -> None:
    """Store a value, as JSON, in the place of the old one.

    Raises:
        Conflict: there is an old one, and none was expected.
    """
    if expect_absent and values(connection, space, name):
        raise Conflict("There is something of this name already. Take another name.")
    put(connection, VALUES, [{"space": space, "name": name, "value": value}])


def values(connection: Connection, space: str, name: str | None = None) -> dict[str, Mapping[str, Any]]:
    """By name, in the order of names; all of the space, or the one that is named."""
    statement = select(VALUES.c.name, VALUES.c.value).where(VALUES.c.space == space).order_by(VALUES.c.name)
    if name is not None:
        statement = statement.where(VALUES.c.name == name)
    return {found: loaded(text) for found, text in connection.execute(statement)}


def drop_value(connection: Connection, space: str, name: str) -> None:
    """Delete a value; nothing happens where there is none."""
    connection.execute(delete(VALUES).where(VALUES.c.space == space, VALUES.c.name == name))


def _job_row(what: Job) -> dict[str, Any]:
    return {
        "id": what.id,
        "kind": what.kind,
        "state": what.state,
        "asked": dumped("asked", what.asked),
        "progress": what.progress,
        "message": what.message.replace("\0", "").encode("utf-8", "replace").decode(),
        "result": dumped("result", what.result),
        "created": what.created,
        "updated": what.updated,
    }


def _job(row: Row[Any]) -> Job:
    fields = dict(row._mapping)
    return Job(**{**fields, "asked": loaded(fields["asked"]), "result": loaded(fields["result"])})
