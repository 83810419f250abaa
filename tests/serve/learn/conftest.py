"""A store and models in memory, with the methods that learning needs, and a bundle to begin with."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from types import SimpleNamespace

import numpy as np
import pytest

from llmrec.build import fit
from llmrec.config import Config
from llmrec.data import Interactions
from llmrec.serve.config import LearnConfig, ServeConfig
from llmrec.serve.problems import NotFound
from llmrec.serve.records import Deployment, StoredEvent, StoredItem
from llmrec.testing.data import tiny_catalog

DAY = 86_400
START = 1_700_000_000


class MemoryStore:
    """What the store does, in lists."""

    def __init__(self):
        self.events: list[StoredEvent] = []
        self.items: dict[str, StoredItem] = {}
        self.erased: dict[str, int] = {}
        self.profiles: dict[str, dict[str, object]] = {}
        self.models: dict[str, list[str]] = {}
        self.deployments: list[Deployment] = []
        self.failing = False
        self.closed = False
        self._seq = 0

    def add(self, *rows, kind="view"):
        """Add (user, item) or (user, item, kind) rows, a minute apart."""
        for user, item, *more in rows:
            self._seq += 1
            time = START + 60 * self._seq
            self.events.append(StoredEvent(self._seq, f"e{self._seq}", user, item, (more or [kind])[0], time))

    def put(self, item_id, fields, state="active"):
        self.items[item_id] = StoredItem(len(self.items) + 1, item_id, fields, state)

    def erase(self, user_id):
        self.events = [event for event in self.events if event.user_id != user_id]
        self.profiles.pop(user_id, None)
        self.erased[user_id] = self._seq

    def last_seq(self):
        return self._seq

    def events_after(self, seq, limit=1000):
        if self.failing:
            raise OSError("no database for user u7")
        return [event for event in self.events if event.seq > seq][:limit]

    def user_events(self, user_id, *, after=0, limit=1000):
        return [e for e in self.events if e.user_id == user_id and e.seq > after][-limit:]

    def items_after(self, seq, limit=1000):
        return sorted((item for item in self.items.values() if item.seq > seq), key=lambda item: item.seq)[:limit]

    def profiles_after(self, user_id, limit=1000):
        return sorted(pair for pair in self.profiles.items() if pair[0] > user_id)[:limit]

    def erased_at_seq(self, user_id):
        return self.erased.get(user_id)

    def note_models(self, bundle, user_ids):
        self.models[bundle] = list(user_ids)

    def add_deployment(self, alias, path, bundle, *, now, why):
        self.deployments.append(Deployment(len(self.deployments) + 1, alias, path, bundle, now, why))
        return self.deployments[-1]

    def close(self):
        self.closed = True


class MemoryModels:
    """Recommenders by alias; `meanwhile` is called once, before the next change."""

    def __init__(self, **recommenders):
        self.now = dict(recommenders)
        self.meanwhile: Callable[[], None] | None = None
        self.lock = threading.Lock()

    def aliases(self):
        return list(self.now)

    def snapshot(self, alias="default"):
        if alias not in self.now:
            raise NotFound(f"no alias {alias}")
        return SimpleNamespace(recommender=self.now[alias])

    def change(self, alias, by):
        done, self.meanwhile = self.meanwhile, None
        if done is not None:
            done()
        with self.lock:
            self.now[alias] = by(self.now[alias])


@dataclass(frozen=True)
class Shop:
    """A catalog, a log and a pipeline."""

    catalog: object
    log: Interactions
    config: Config
    learn: LearnConfig

    def fit(self, log=None, catalog=None):
        return fit(self.config, catalog or self.catalog, self.log if log is None else log)

    def serve(self, **learn):
        return ServeConfig(bundles={"default": "b"}, learn=self.learn.model_copy(update=learn))


PIPELINE = {
    "popularity": {},
    "item_knn": {"neighbours": 4, "shrinkage": 1.0},
    "transition": {"window": 3, "gap_decay": 0.5, "neighbours": 4},
    "ease": {"l2": 5.0},
}


def shop_log(catalog, n_users=25, seed=0):
    """A timed log in which item i is mostly followed by item i + 1."""
    rng, table = np.random.default_rng(seed), {"user_id": [], "item_id": [], "timestamp": []}
    for user in range(n_users):
        first, length = int(rng.integers(0, 8)), int(rng.integers(3, 7))
        for place in range(length):
            table["user_id"].append(f"u{user}")
            table["item_id"].append(f"i{(first + place) % 12}")
            table["timestamp"].append(START - 100 * DAY + place * DAY + user)
    return Interactions.from_table(table, catalog)


@pytest.fixture(scope="session")
def shop():
    catalog = tiny_catalog(12)
    config = Config.from_dict({"stages": [{"name": "one", "retrievers": PIPELINE}]})
    return Shop(catalog, shop_log(catalog), config, LearnConfig())


@pytest.fixture(scope="session")
def fitted(shop):
    return shop.fit()


@pytest.fixture
def bundle(fitted, tmp_path):
    return fitted.save(tmp_path / "old")


@pytest.fixture
def store():
    return MemoryStore()


@pytest.fixture
def models(fitted):
    return MemoryModels(default=fitted)


@pytest.fixture
def whole(shop):
    """The log of the shop with events: what a refit would learn from, by the public way of making a log."""

    def build(events, catalog=None, without=()):
        catalog = catalog or shop.catalog
        users = np.repeat(np.arange(shop.log.n_users), np.diff(shop.log.offsets))
        rows = [
            (user, item, time)
            for user, item, time in zip(
                shop.log.users.decode(users), catalog.items.decode(shop.log.items), shop.log.times.tolist(), strict=True
            )
            if user not in without
        ]
        rows += [(e.user_id, e.item_id, e.time) for e in events]
        names = ("user_id", "item_id", "timestamp")
        return Interactions.from_table(dict(zip(names, map(list, zip(*rows, strict=True)), strict=True)), catalog)

    return build


@pytest.fixture
def with_seq():
    return lambda recommender, seq: replace(recommender, about={**recommender.about, "store_seq": seq})
