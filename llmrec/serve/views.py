"""What the service answers, as values: the HTTP layer turns them into JSON, the page into HTML."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from llmrec.serve.records import ItemState, StoredEvent

__all__ = [
    "AliasView",
    "CandidateView",
    "DayCounts",
    "DriftView",
    "EngineView",
    "ItemView",
    "Listed",
    "ListedItem",
    "Page",
    "Readiness",
    "StageView",
    "Status",
    "Traced",
    "UserView",
]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ListedItem:
    """An item of a list.

    Attributes:
        item_id: its id.
        rank: 1-based.
        score: higher is better; comparable within one list only.
        propensity: the chance of its place; None where nothing is drawn by lot.
        fields: of the catalog, by name.
    """

    item_id: str
    rank: int
    score: float
    propensity: float | None
    fields: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Listed:
    """A list that leaves.

    Attributes:
        items: best first.
        impression_id: what feedback names; None: the list was not recorded.
        alias: the pipeline that made it.
        bundle: the version of its bundle.
        experiment: that chose the pipeline; None: none.
        variant: of the experiment; None: none.
        degraded: whether stages were left out.
        left_out: which.
        timings: seconds, by "queue", "history", each stage's name, "policies", "total".
    """

    items: tuple[ListedItem, ...]
    impression_id: str | None
    alias: str
    bundle: str
    experiment: str | None = None
    variant: str | None = None
    degraded: bool = False
    left_out: tuple[str, ...] = ()
    timings: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class CandidateView:
    """A candidate in a stage.

    Attributes:
        item_id: its id.
        title: what to call it, from the catalog's fields.
        rank: 1-based, after the stage.
        came_in: 1-based rank after the stage before; None: it was not there.
        columns: score by scorer; None: no evidence.
        source_ranks: rank in each retriever's list; absent: not in it.
        kept: whether it went on.
        dropped_by: the policy that took it out after the last stage; None: none.
    """

    item_id: str
    title: str
    rank: int
    came_in: int | None
    columns: Mapping[str, float | None]
    source_ranks: Mapping[str, int]
    kept: bool
    dropped_by: str | None = None


@dataclass(frozen=True, slots=True)
class StageView:
    """What a stage did.

    Attributes:
        name: the stage.
        found: how many candidates it ranked.
        kept: how many may go on.
        columns: the names of its score columns, the fused one last.
        candidates: the best of them, best first.
    """

    name: str
    found: int
    kept: int
    columns: tuple[str, ...]
    candidates: tuple[CandidateView, ...]


@dataclass(frozen=True, slots=True)
class Traced:
    """How a list came about.

    Attributes:
        alias: the pipeline.
        bundle: the version of its bundle.
        stages: in order.
        final: the list.
        from_fallback: ids of the final list that no stage proposed.
        excluded: how many items were excluded before any stage.
        history: the history that was read, oldest first.
    """

    alias: str
    bundle: str
    stages: tuple[StageView, ...]
    final: tuple[ListedItem, ...]
    from_fallback: tuple[str, ...]
    excluded: int
    history: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ItemView:
    """An item of the catalog.

    Attributes:
        item_id: its id.
        fields: by name.
        state: whether it may be recommended.
        texts: by retriever, the text as it is indexed.
        trained: whether it was in the bundle's catalog when that was fitted.
    """

    item_id: str
    fields: Mapping[str, Any]
    state: ItemState
    texts: Mapping[str, str] = field(default_factory=dict)
    trained: bool = True


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """Some of many.

    Attributes:
        entries: in order.
        next: a cursor for what follows; None: nothing follows.
    """

    entries: tuple[T, ...]
    next: str | None


@dataclass(frozen=True, slots=True)
class UserView:
    """What the service knows of a user.

    Attributes:
        user_id: who.
        known: whether anything is known.
        history: item ids as a request would use them, oldest first.
        profile: by field.
        events: the newest events of the store, oldest first.
        dismissed: items that never come back.
    """

    user_id: str
    known: bool
    history: tuple[str, ...]
    profile: Mapping[str, Any]
    events: tuple[StoredEvent, ...]
    dismissed: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Readiness:
    """Whether requests are answered.

    Attributes:
        ok: True: yes.
        reasons: why not.
    """

    ok: bool
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class AliasView:
    """A pipeline in use.

    Attributes:
        alias: its name.
        bundle: the version of its bundle.
        version: grows with every change.
        loaded: seconds since the epoch.
        fitted: when the bundle was made, seconds since the epoch; None: unknown.
        items: that may be recommended.
        users: whose histories the bundle holds.
        stages: names, in order.
        policies: names, in order.
    """

    alias: str
    bundle: str
    version: int
    loaded: float
    fitted: float | None
    items: int
    users: int
    stages: tuple[str, ...]
    policies: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class EngineView:
    """The engine now.

    Attributes:
        waiting: requests in the queue.
        working: requests in the batch that is worked on.
        queue: how many may wait.
        answered: since the start.
        refused: 429 since the start.
        late: 504 since the start.
        degraded: lists without their later stages since the start.
        restarts: of the worker.
        latency: milliseconds by "p50", "p95", "p99", of the last thousand answers.
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
    latency: Mapping[str, float]
    stages: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class DriftView:
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
        ready: see `Readiness`.
        started: seconds since the epoch.
        aliases: pipelines.
        engine: see `EngineView`.
        learner_lag: events that are not learned yet.
        store_ok: whether the database answers.
        events: in the store.
        days: counts of the last 14 days, newest first.
        coverage: share of the items of each alias that were in a list since the start.
        drift: of inputs.
    """

    ready: Readiness
    started: float
    aliases: tuple[AliasView, ...]
    engine: EngineView
    learner_lag: int
    store_ok: bool
    events: int
    days: tuple[DayCounts, ...]
    coverage: Mapping[str, float]
    drift: tuple[DriftView, ...]
