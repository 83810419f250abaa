"""A service in memory: a dozen items, and the behaviour that callers of the real one see."""

from __future__ import annotations

import asyncio
import secrets
import time
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any

from llmrec.reasons.explanation import Explanation, Reason
from llmrec.serve.config import ServeConfig
from llmrec.serve.problems import BadRequest, Conflict, NotFound, Unavailable, Unprocessable
from llmrec.serve.records import Added, Deployment, Erased, Impression, Job, Key, NewEvent, StoredEvent
from llmrec.serve.views import (
    AliasView,
    CandidateView,
    DayCounts,
    DriftView,
    EngineView,
    ItemView,
    Listed,
    ListedItem,
    Page,
    Readiness,
    StageView,
    Status,
    Traced,
    UserView,
)

BUNDLE = "0123456789abcdef"
FIELDS = ("title", "year", "genres")


@dataclass(frozen=True)
class FakeExperiment:
    name: str
    variants: dict[str, str]
    weights: dict[str, float]
    kind: str = "ab"
    state: str = "running"
    created: float = 1.0
    salt: str = "not to be shown"


@dataclass(frozen=True)
class FakeReport:
    experiment: str
    variants: dict[str, Any]


@dataclass
class FakeStore:
    values: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)

    def put_value(self, space, name, value, *, expect_absent=False):
        if expect_absent and (space, name) in self.values:
            raise Conflict("it is there")
        self.values[space, name] = dict(value)

    def value(self, space, name):
        return self.values.get((space, name))


def make_config(**changes: Any) -> ServeConfig:
    return ServeConfig(bundles={"default": "bundle"}, page=False, **changes)


class FakeService:
    """Like `llmrec.serve.service.Service`, of one event loop.

    Attributes:
        secrets: key by its secret; without any the service is open.
        delay: seconds that a list takes.
        broken: what every list raises.
        down: whether the store does not answer.
        cancelled: lists whose work was cancelled.
        lookups: how often keys were looked up.
    """

    def __init__(self, config: ServeConfig | None = None, delay: float = 0.0) -> None:
        self.config = config or make_config()
        self.store = FakeStore()
        self.secrets: dict[str, Key] = {}
        self.delay, self.broken, self.down = delay, None, False
        self.cancelled = self.lookups = self.begun = self.asks = 0
        self.started, self.stopped = 0.0, False
        self.last_asked = None
        self._items = {
            f"i{n}": ItemView(f"i{n}", {"title": f"A quiet night {n}", "year": 1990 + n}, "active")
            for n in range(1, 13)
        }
        first = Impression("imp-example", "u1", "default", BUNDLE, ("i2", "i3"), (2.0, 1.0), None, 1.0)
        self._impressions = {first.id: first}
        self._events: list[StoredEvent] = []
        self._answers: dict[tuple[str, str], tuple[Any, Added]] = {}
        self._profiles: dict[str, dict[str, Any]] = {"u1": {"age": 30}}
        self._aliases = {alias: [BUNDLE, "fedcba9876543210"] for alias in ("default", "other")}
        self._jobs = {"job-example": Job("job-example", "refit", "done", {"alias": "other"}, 1.0)}
        self._experiments = {"ranker-2": FakeExperiment("ranker-2", {"a": "default", "b": "other"}, {"a": 1, "b": 1})}

    def add_key(self, name: str, *scopes: str, per_minute: int | None = None, revoked: bool = False) -> str:
        secret = f"llmrec_{name}_{secrets.token_urlsafe(32)}"
        self.secrets[secret] = Key(name, name, scopes, per_minute, 1.0, revoked)
        return secret

    def revoke(self, secret: str) -> None:
        self.secrets[secret] = replace(self.secrets[secret], revoked=True)

    # life

    async def start(self) -> None:
        self.started = time.time()

    async def stop(self) -> None:
        self.stopped = True

    # lists

    async def recommend(self, asked, *, log=True, anonymous=None) -> Listed:
        listed = await self._list(asked)
        if not log:
            return listed
        impression = Impression(
            secrets.token_hex(8),
            asked.user_id,
            asked.alias,
            BUNDLE,
            tuple(i.item_id for i in listed.items),
            (),
            None,
            1.0,
        )
        self._impressions[impression.id] = impression
        return replace(listed, impression_id=impression.id)

    async def search(self, asked) -> Listed:
        return await self._list(asked)

    async def similar(self, asked) -> Listed:
        self._known(asked.item_id)
        return await self._list(asked)

    async def explain(self, asked, item_ids=None, reasons=3) -> list[Explanation]:
        listed = await self._list(asked)
        for item_id in item_ids or ():
            self._known(item_id)
        found = item_ids or [item.item_id for item in listed.items]
        reason = Reason("history", "i1", None, 2, 0.5, 1.0)
        return [Explanation(item_id, 1, 1.0, 12, (reason,), "You chose it.") for item_id in found]

    async def trace(self, asked, candidates=50) -> Traced:
        listed = await self._list(asked)
        views = tuple(
            CandidateView(i.item_id, "title", i.rank, None, {"pop": i.score, "text": None}, {"pop": i.rank}, True)
            for i in listed.items[:candidates]
        )
        stage = StageView("first", len(views), len(views), ("pop", "text"), views)
        return Traced(asked.alias, BUNDLE, (stage,), listed.items, (), 0, tuple(asked.history or ()))

    async def _list(self, asked) -> Listed:
        self.asks += 1
        self.last_asked = asked
        self._alias(asked.alias)
        self.begun += 1
        try:
            await asyncio.sleep(self.delay)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if self.broken is not None:
            raise self.broken
        for name in asked.filters:
            if name not in FIELDS:
                raise Unprocessable("body /filters: the catalog has no such field.")
        active = [item for item in self._items.values() if item.state == "active" and item.item_id not in asked.exclude]
        kept = [item for item in active if asked.allow is None or item.item_id in asked.allow][: asked.k]
        items = tuple(ListedItem(v.item_id, n, 1.0 / n, None, v.fields) for n, v in enumerate(kept, 1))
        return Listed(items, None, asked.alias, BUNDLE, timings={"queue": 0.001, "first stage": 0.002, "total": 0.003})

    # what people did

    async def add_events(self, events, *, idempotency_key=None, caller="") -> Added:
        content = tuple(events)
        name = (caller, idempotency_key)
        if idempotency_key is not None and name in self._answers:
            before, answer = self._answers[name]
            if before != content:
                raise Conflict("The idempotency key was used for other events.")
            return answer
        for place, event in enumerate(content):
            if event.item_id not in self._items:
                raise Unprocessable(f"body /events/{place}/item_id: there is no such item.")
        added = self._add(content)
        self._answers[name] = (content, added)
        return added

    def _add(self, events) -> Added:
        known = {event.event_id for event in self._events}
        ids, repeats = [], []
        for event in events:
            event_id = event.event_id or secrets.token_hex(8)
            ids.append(event_id)
            repeats.append(event_id in known)
            if event_id not in known:
                known.add(event_id)
                new = StoredEvent(
                    len(self._events) + 1,
                    event_id,
                    event.user_id,
                    event.item_id,
                    event.kind,
                    event.time or 1,
                    event.rating,
                )
                self._events.append(new)
        return Added(tuple(ids), tuple(repeats), len(self._events))

    async def feedback(self, impression_id, item_id, kind, *, event_id=None, idempotency_key=None, caller="") -> Added:
        impression = self._impressions.get(impression_id)
        if impression is None:
            raise NotFound("There is no such list.")
        if item_id not in impression.items:
            raise Unprocessable("body /item_id: the item was not in that list.")
        return self._add([NewEvent(impression.user_id, item_id, kind, event_id=event_id)])

    # items

    async def put_items(self, items, *, replace: bool) -> int:
        new = 0
        for item in items:
            if set(item.fields) - set(FIELDS):
                raise Unprocessable("body /fields: the catalog has no such field.")
            before = self._items.get(item.id)
            new += before is None or before.state == "removed"
            fields = {**({} if replace or before is None else before.fields), **item.fields}
            self._items[item.id] = ItemView(item.id, fields, "active", {}, before is not None)
        return new

    async def remove_items(self, item_ids) -> int:
        for item_id in item_ids:
            self._items[item_id] = replace(self._known(item_id), state="removed")
        return len(item_ids)

    async def item(self, item_id, alias="default") -> ItemView:
        self._alias(alias)
        if item_id not in self._items:
            raise NotFound("There is no such item.")
        return self._items[item_id]

    async def items(self, cursor=None, limit=50, find=None, alias="default") -> Page[ItemView]:
        self._alias(alias)
        if cursor is not None and not cursor.isdigit():
            raise BadRequest("The cursor is none of ours.")
        start = int(cursor or 0)
        found = [v for v in self._items.values() if find is None or find.lower() in str(v.fields).lower()]
        after = str(start + limit) if start + limit < len(found) else None
        return Page(tuple(found[start : start + limit]), after)

    def _known(self, item_id) -> ItemView:
        view = self._items.get(item_id)
        if view is None or view.state == "removed":
            raise NotFound("There is no such item.")
        return view

    # users

    async def user(self, user_id) -> UserView:
        events = tuple(event for event in self._events if event.user_id == user_id)
        profile = self._profiles.get(user_id, {})
        history = tuple(event.item_id for event in events)
        return UserView(user_id, bool(events or profile), history, profile, events, ())

    async def put_user(self, user_id, profile) -> None:
        self._profiles[user_id] = dict(profile)

    async def erase_user(self, user_id) -> Erased:
        before = len(self._events)
        self._events = [event for event in self._events if event.user_id != user_id]
        return Erased(before - len(self._events), 0, self._profiles.pop(user_id, None) is not None, (BUNDLE,))

    # pipelines

    def _alias(self, alias) -> list[str]:
        if alias not in self._aliases:
            raise NotFound("There is no such pipeline.")
        return self._aliases[alias]

    async def deploy(self, alias, path=None):
        self._alias(alias).insert(0, secrets.token_hex(8))
        return SimpleNamespace(alias=alias, bundle=self._aliases[alias][0])

    async def rollback(self, alias):
        if len(self._alias(alias)) < 2:
            raise Conflict("There is nothing before.")
        self._aliases[alias].pop(0)
        return SimpleNamespace(alias=alias, bundle=self._aliases[alias][0])

    async def deployments(self, alias=None) -> list[Deployment]:
        names = self._aliases if alias is None else {alias: self._alias(alias)}
        return [Deployment(1, name, "bundle", bundles[0], 1.0, "start") for name, bundles in names.items()]

    async def refit(self, alias="default", *, force=False) -> Job:
        self._alias(alias)
        job = Job(secrets.token_hex(8), "refit", "waiting", {"alias": alias, "force": force})
        self._jobs[job.id] = job
        return job

    async def job(self, job_id) -> Job:
        if job_id not in self._jobs:
            raise NotFound("There is no such job.")
        return self._jobs[job_id]

    async def jobs(self, kind=None, limit=50) -> list[Job]:
        return [job for job in self._jobs.values() if kind in (None, job.kind)][:limit]

    # experiments

    async def create_experiment(self, name, variants, *, weights=None, kind="ab") -> FakeExperiment:
        if name in self._experiments:
            raise Conflict("The name is taken.")
        for alias in variants.values():
            self._alias(alias)
        self._experiments[name] = FakeExperiment(
            name, dict(variants), dict(weights or dict.fromkeys(variants, 1.0)), kind
        )
        return self._experiments[name]

    async def stop_experiment(self, name) -> FakeExperiment:
        self._experiments[name] = replace(self._experiment(name), state="stopped")
        return self._experiments[name]

    async def list_experiments(self) -> list[FakeExperiment]:
        return list(self._experiments.values())

    async def report_experiment(self, name) -> FakeReport:
        return FakeReport(self._experiment(name).name, {"a": {"users": 3}})

    def _experiment(self, name) -> FakeExperiment:
        if name not in self._experiments:
            raise NotFound("There is no such experiment.")
        return self._experiments[name]

    # keys, and how it is

    async def find_key(self, secret) -> Key | None:
        self.lookups += 1
        if self.down:
            raise Unavailable("The store does not answer.")
        return self.secrets.get(secret)

    async def has_keys(self) -> bool:
        return bool(self.secrets)

    def ready(self) -> Readiness:
        return Readiness(False, ("store",)) if self.down else Readiness(True)

    async def status(self) -> Status:
        if self.down:
            raise Unavailable("The store does not answer.")
        aliases = tuple(
            AliasView(name, bundles[0], 1, 2.0, None, len(self._items), 3, ("first",), ())
            for name, bundles in self._aliases.items()
        )
        engine = EngineView(1, 2, 256, 10, 3, 4, 5, 6, {"p50": 1.0, "p99": 2.0}, {"first": 0.5})
        days = (DayCounts("2026-01-02", "default", BUNDLE, 3, 2, 1, 0, 0),)
        drift = (DriftView("history length", {"0": 1.0}, {"0": 0.5, "1": 0.5}, 0.3),)
        return Status(self.ready(), 1.0, aliases, engine, 7, True, len(self._events), days, {"default": 0.5}, drift)
