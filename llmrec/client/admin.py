"""What needs a key of scope "admin": pipelines, refits, experiments, how the service is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from llmrec.client._http import Call, Connection, parse, segment
from llmrec.client.reports import AliasInfo, Deployment, Experiment, Job, Status

__all__ = ["Admin"]

CHANGE_S = 300.0
"""Seconds that the loading of a bundle may take."""


class Admin:
    """The part of a client for those who run the service; threads may share it."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def status(self) -> Status:
        """Return how the service is.

        Raises:
            ServiceError: see `llmrec.client.errors`; so of all methods.
        """
        found: Status = parse(Status, self._connection.send(Call("GET", "/v1/admin/status")))
        return found

    def reload(self, alias: str = "default") -> AliasInfo:
        """Load an alias's folder again, beside the old pipeline, and swap; a failure leaves the old one."""
        return self._change(alias, "reload")

    def rollback(self, alias: str = "default") -> AliasInfo:
        """Go back to the bundle that the alias stood for before.

        Not asked again where it is unclear whether it was done, since twice would lead somewhere else.
        """
        return self._change(alias, "rollback")

    def deployments(self, alias: str | None = None) -> tuple[Deployment, ...]:
        """Return what aliases have stood for, newest first."""
        response = self._connection.send(Call("GET", "/v1/admin/deployments", params={"alias": alias}))
        found: tuple[Deployment, ...] = parse(tuple[Deployment, ...], response, "deployments")
        return found

    def refit(self, alias: str = "default", *, force: bool = False) -> Job:
        """Begin to fit an alias's pipeline anew on everything that is known now.

        Args:
            alias: whose.
            force: deploy it even where it is surely worse on the newest events.
        """
        body = {"alias": alias, "force": force}
        found: Job = parse(Job, self._connection.send(Call("POST", "/v1/admin/refit", body, repeat="unsent")))
        return found

    def job(self, job_id: str) -> Job:
        """Return a job."""
        found: Job = parse(Job, self._connection.send(Call("GET", f"/v1/admin/jobs/{segment(job_id)}")))
        return found

    def jobs(self, kind: str | None = None, limit: int = 50) -> tuple[Job, ...]:
        """Return jobs, newest first."""
        response = self._connection.send(Call("GET", "/v1/admin/jobs", params={"kind": kind, "limit": limit}))
        found: tuple[Job, ...] = parse(tuple[Job, ...], response, "jobs")
        return found

    def experiments(self) -> tuple[Experiment, ...]:
        """Return all experiments, newest first."""
        response = self._connection.send(Call("GET", "/v1/admin/experiments"))
        found: tuple[Experiment, ...] = parse(tuple[Experiment, ...], response, "experiments")
        return found

    def create_experiment(
        self,
        name: str,
        variants: Mapping[str, str],
        *,
        weights: Mapping[str, float] | None = None,
        kind: str = "ab",
    ) -> Experiment:
        """Begin an experiment over the users of the alias "default".

        Args:
            name: new.
            variants: variant name to alias.
            weights: share of users by variant; None: equal.
            kind: "ab" or "interleave".
        """
        body = {"name": name, "variants": dict(variants), "kind": kind}
        if weights is not None:
            body["weights"] = dict(weights)
        response = self._connection.send(Call("POST", "/v1/admin/experiments", body, repeat="unsent"))
        found: Experiment = parse(Experiment, response)
        return found

    def report(self, name: str) -> Mapping[str, Any]:
        """Return what an experiment shows so far; it holds however often one looks."""
        response = self._connection.send(Call("GET", f"/v1/admin/experiments/{segment(name)}"))
        found: Mapping[str, Any] = parse(Mapping[str, Any], response)
        return found

    def stop_experiment(self, name: str) -> Experiment:
        """Stop an experiment; its numbers stay."""
        path = f"/v1/admin/experiments/{segment(name)}/stop"
        found: Experiment = parse(Experiment, self._connection.send(Call("POST", path)))
        return found

    def _change(self, alias: str, what: str) -> AliasInfo:
        call = Call("POST", f"/v1/admin/aliases/{segment(alias)}/{what}", repeat="unsent", timeout=CHANGE_S)
        found: AliasInfo = parse(AliasInfo, self._connection.send(call))
        return found
