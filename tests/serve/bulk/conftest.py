"""A real server with the bulk addresses over a service that is made of a dictionary."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import pytest
import uvicorn
from fastapi import FastAPI

from llmrec.serve.api import bulk
from llmrec.serve.config import EngineConfig, LimitsConfig, ServeConfig
from llmrec.serve.http.drain import Door
from llmrec.serve.http.edge import Edge, EdgeSettings
from llmrec.serve.http.gate import Gate
from llmrec.serve.http.handlers import add_handlers
from llmrec.serve.http.keys import KeyCache
from llmrec.serve.http.metrics import HttpMetrics
from llmrec.serve.problems import Unprocessable
from llmrec.serve.records import Added, Key
from llmrec.serve.views import Listed, ListedItem, Readiness

SECRETS = {name: f"llmrec_{name}_{'x' * 43}" for name in ("read", "feedback", "admin")}


@dataclass
class FakeService:
    """Knows items whose ids begin with "i"; keeps events by id."""

    config: ServeConfig = field(
        default_factory=lambda: ServeConfig(
            bundles={"default": "none"},
            limits=LimitsConfig(body_bytes=2_000, batch=8),
            engine=EngineConfig(batch=4),
        )
    )
    events: dict = field(default_factory=dict)
    items: dict = field(default_factory=dict)
    calls: list = field(default_factory=list)
    keyed: bool = False
    ok: bool = True
    fails: list = field(default_factory=list)
    hold: threading.Event = field(default_factory=threading.Event)
    now: int = 0
    most: int = 0

    def ready(self):
        return Readiness(self.ok)

    async def has_keys(self):
        return self.keyed

    async def find_key(self, secret):
        name = next((name for name, known in SECRETS.items() if known == secret), None)
        return name and Key(name, name, (name,), None, 0.0)

    def _enter(self, what):
        self.calls.append(what)
        if self.fails:
            failure = self.fails.pop(0)
            if failure is not None:
                raise failure

    async def add_events(self, events, *, idempotency_key=None, caller=""):
        self._enter(("events", len(events)))
        while self.hold.is_set():
            await asyncio.sleep(0.01)
        for place, event in enumerate(events):
            if not event.item_id.startswith("i"):
                raise Unprocessable(f"event {place}: there is no such item.")
        ids, repeats = [], []
        for event in events:
            name = event.event_id or f"made-{len(self.events)}"
            ids.append(name)
            repeats.append(name in self.events)
            self.events.setdefault(name, replace(event, event_id=name))
        return Added(tuple(ids), tuple(repeats), len(self.events))

    async def put_items(self, items, *, replace):
        self._enter(("items", len(items), replace))
        assert len({item.id for item in items}) == len(items)
        for item in items:
            if "title" not in item.fields:
                raise Unprocessable("a title is needed.")
        self.items.update({item.id: dict(item.fields) for item in items})
        return len(items)

    async def recommend(self, asked, *, log=True, anonymous=None):
        self._enter(("list", asked.user_id, log, anonymous))
        self.now += 1
        self.most = max(self.most, self.now)
        await asyncio.sleep(0.001)
        self.now -= 1
        items = tuple(ListedItem(f"i{n}", n + 1, 1.0 / (n + 1), None, {"title": "é"}) for n in range(asked.k))
        return Listed(items, f"imp-{asked.user_id}" if log else None, asked.alias, "b0", timings={"total": 0.002})


@dataclass
class Served:
    url: str
    port: int
    service: FakeService
    app: FastAPI


@contextmanager
def serving(service) -> Iterator[Served]:
    app = FastAPI(openapi_url=None)
    door = Door()
    app.state.service, app.state.door = service, door
    app.state.gate = Gate(KeyCache(service), "127.0.0.1", 6_000)
    app.router.routes.extend(bulk.router.routes)
    add_handlers(app)
    app.add_middleware(Edge, settings=EdgeSettings(door, HttpMetrics(door), 2_000, ("/v1/bulk/",)))
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="critical", lifespan="off", ws="none"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    until = time.monotonic() + 20
    while not server.started and time.monotonic() < until:
        time.sleep(0.01)
    assert server.started
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield Served(f"http://127.0.0.1:{port}", port, service, app)
    finally:
        service.hold.clear()
        server.should_exit = server.force_exit = True
        thread.join(20)
        assert not thread.is_alive()


@pytest.fixture
def service():
    return FakeService()


@pytest.fixture
def served(service):
    with serving(service) as found:
        yield found


@pytest.fixture
def secrets():
    """Secrets by their scope."""
    return SECRETS
