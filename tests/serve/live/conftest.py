"""A store in memory with the methods that `live` and the engine use, and services of tiny recommenders."""

import asyncio
import threading
from dataclasses import replace

import pytest

from llmrec.serve.config import EngineConfig, LearnConfig, ServeConfig
from llmrec.serve.engine import Engine
from llmrec.serve.live import Models
from llmrec.serve.records import Deployment, StoredEvent, StoredItem


class FakeStore:
    """Everything in dicts, under one lock."""

    def __init__(self):
        self._lock = threading.Lock()
        self._items, self._events, self._deployments = {}, [], []
        self._erased, self.profiles, self.gone = {}, {}, {}
        self._seq = 0
        self.reads = 0
        self.fails = None

    def _check(self):
        if self.fails is not None:
            raise self.fails

    def put_items(self, items):
        with self._lock:
            self._check()
            for item_id, fields, state in items:
                self._seq += 1
                before = self._items.get(item_id)
                known = {} if before is None else before.fields
                self._items[item_id] = StoredItem(self._seq, item_id, {**known, **fields}, state)
            return self._seq

    def items_after(self, seq, limit=1000):
        with self._lock:
            return sorted((i for i in self._items.values() if i.seq > seq), key=lambda i: i.seq)[:limit]

    def last_item_seq(self):
        return self._seq

    def event(self, user_id, item_id, kind="view", time=2_000_000_000, rating=None):
        with self._lock:
            seq = len(self._events) + 1
            self._events.append(StoredEvent(seq, f"e{seq}", user_id, item_id, kind, time, rating))
            return seq

    def user_events(self, user_id, *, after=0, limit=1000):
        self.reads += 1
        self._check()
        return [event for event in self._events if event.user_id == user_id and event.seq > after][-limit:]

    def dismissed(self, user_id):
        gone = set()
        for event in self._events:
            if event.user_id == user_id and event.kind in ("dismiss", "restore"):
                (gone.add if event.kind == "dismiss" else gone.discard)(event.item_id)
        return frozenset(gone)

    def profile(self, user_id):
        return self.profiles.get(user_id)

    def erase(self, user_id):
        self._erased[user_id] = len(self._events)
        self._events = [replace(e, user_id=None) if e.user_id == user_id else e for e in self._events]
        self.profiles.pop(user_id, None)

    def erased_at_seq(self, user_id):
        return self._erased.get(user_id)

    def erased_among(self, user_ids):
        return {user: self._erased[user] for user in user_ids if user in self._erased}

    def add_deployment(self, alias, path, bundle, *, now, why):
        self._check()
        self._deployments.append(Deployment(len(self._deployments) + 1, alias, path, bundle, now, why))
        return self._deployments[-1]

    def deployments(self, alias=None):
        return [one for one in reversed(self._deployments) if alias in (None, one.alias)]


@pytest.fixture
def store():
    return FakeStore()


@pytest.fixture(scope="session")
def hybrid_bundle(hybrid, tmp_path_factory):
    return hybrid.save(tmp_path_factory.mktemp("bundles") / "hybrid")


@pytest.fixture
def config_of():
    def make(bundles, learn=None, **engine):
        bundles = bundles if isinstance(bundles, dict) else {"default": bundles}
        return ServeConfig(bundles=bundles, engine=EngineConfig(**engine), learn=learn or LearnConfig())

    return make


@pytest.fixture
def models(store, hybrid_bundle, config_of):
    models = Models(store, config_of(hybrid_bundle))
    models.start()
    return models


@pytest.fixture
def serving(store, config_of, hybrid_bundle, tmp_path):
    """Run a test's coroutine with an engine over a recommender; the recommender itself is what is served."""

    def run(recommender, work, **engine):
        models = Models(store, config_of(hybrid_bundle, **engine))
        models.start()
        models.change("default", lambda _: recommender)  # with the test's own components

        async def whole():
            made = Engine(models, store, config_of(tmp_path, **engine))
            await made.start()
            try:
                return await asyncio.wait_for(work(made, models), 60)
            finally:
                await made.stop()

        return asyncio.run(whole())

    return run
