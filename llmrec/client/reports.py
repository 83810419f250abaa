"""What the service says of itself to those who run it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

__all__ = ["AliasInfo", "DayCounts", "Deployment", "Drift", "EngineInfo", "Experiment", "Job", "Readiness", "Status"]


@dataclass(frozen=True, slots=True)
class AliasInfo:
    """A pipeline in use.

    Attributes:
        alias: its name.
        bundle: the version of its bundle.
        version: grows with every change.
        loaded: seconds since the epoch.
        fitted: when the bundle was made; None: unknown.
        items: that may be recommended.
        users: whose histories the bundle holds.
        stages: names, in order.
        policies: names, in order.
    """

    alias: str
    bundle: str
    version: int = 0
    loaded: float = 0.0
    fitted: float | None = None
    items: int = 0
    users: int = 0
    stages: tuple[str, ...] = ()
    policies: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Deployment:
    """A bundle that an alias has stood for.

    Attributes:
        seq: grows by order of deployment.
        alias: the name that clients know.
        bundle: its version.
        time: seconds since the epoch.
        why: "start", "reload", "rollback" or "refit".
    """

    seq: int
    alias: str
    bundle: str
    time: float
    why: str


@dataclass(frozen=True, slots=True)
class Job:
    """Work that takes longer than an answer.

    Attributes:
        id: of the job.
        kind: "refit" or "prompt_compare".
        state: "waiting", "running", "done" or "failed".
        asked: what was asked for.
        progress: 0 to 1.
        message: what goes on; the error where it failed.
        result: empty until it is done.
        created: seconds since the epoch.
        updated: seconds since the epoch.
    """

    id: str
    kind: str
    state: Literal["waiting", "running", "done", "failed"]
    asked: Mapping[str, Any] = field(default_factory=dict)
    progress: float = 0.0
    message: str = ""
    result: Mapping[str, Any] = field(default_factory=dict)
    created: float = 0.0
    updated: float = 0.0


@dataclass(frozen=True, slots=True)
class Readiness:
    """Whether the service answers requests.

    Attributes:
        ok: whether it does.
        reasons: why not.
    """

    ok: bool
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class EngineInfo:
    """What answers requests, now.

    Attributes:
        waiting: requests in the queue.
        working: requests in the batch that is worked on.
        queue: how many may wait.
        answered: since the start.
        refused: 429 since the start.
        late: 504 since the start.
        degraded: lists without their later stages since the start.
        restarts: of the worker.
        latency: milliseconds by "p50", "p95", "p99".
        stages: milliseconds by stage, moving averages.
    """

    waiting: int
    working: int
    queue: int
    answered: int
    refused: int
    late: int
    degraded: int
    restarts: int
    latency: Mapping[str, float] = field(default_factory=dict)
    stages: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Drift:
    """How what is asked now differs from what was asked at first.

    Attributes:
        name: "history length", "unknown items", "wishes", "unknown users".
        before: share by bucket, of the first day since the start.
        now: share by bucket, of the last hour.
        index: population stability index; above .25 it is another population.
    """

    name: str
    before: Mapping[str, float]
    now: Mapping[str, float]
    index: float


@dataclass(frozen=True, slots=True)
class DayCounts:
    """What became of the lists of one alias in one day (UTC).

    Attributes:
        day: "YYYY-MM-DD".
        alias: the pipeline.
        bundle: the version of its bundle.
        impressions: lists.
        clicks: on their items.
        likes: of their items.
        buys: of their items.
        dismissals: of their items.
    """

    day: str
    alias: str
    bundle: str
    impressions: int
    clicks: int
    likes: int
    buys: int
    dismissals: int


@dataclass(frozen=True, slots=True)
class Status:
    """Everything that a person who runs the service wants to see at once.

    Attributes:
        ready: whether requests are answered.
        started: seconds since the epoch.
        aliases: pipelines.
        engine: what answers.
        learner_lag: events that are not learned yet.
        store_ok: whether the database answers.
        events: in the store.
        days: counts of the last 14 days, newest first.
        coverage: share of the items of each alias that were in a list since the start.
        drift: of inputs.
    """

    ready: Readiness
    started: float
    aliases: tuple[AliasInfo, ...]
    engine: EngineInfo
    learner_lag: int
    store_ok: bool
    events: int
    days: tuple[DayCounts, ...] = ()
    coverage: Mapping[str, float] = field(default_factory=dict)
    drift: tuple[Drift, ...] = ()


@dataclass(frozen=True, slots=True)
class Experiment:
    """Which pipeline a user gets, by lot.

    Attributes:
        name: of the experiment.
        variants: variant to alias.
        weights: share of users by variant.
        kind: "ab", or "interleave": both lists in one.
        state: whether it runs.
        created: seconds since the epoch.
    """

    name: str
    variants: Mapping[str, str]
    weights: Mapping[str, float] = field(default_factory=dict)
    kind: Literal["ab", "interleave"] = "ab"
    state: str = "running"
    created: float = 0.0
