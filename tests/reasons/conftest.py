"""A recommender whose every score is known: how like an item is to what was chosen."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest

from llmrec.component import FitContext, find_component
from llmrec.data import Catalog, Interactions
from llmrec.fuse import ReciprocalRankFusion, RrfConfig
from llmrec.pipeline import Recommender
from llmrec.policy import Seen
from llmrec.retrieve import fit_popularity
from llmrec.retrieve.best import order_by_score
from llmrec.stage import Stage
from llmrec.types import Ranking

TITLES = ["Heat", "Body Heat", "Toy Story (1995)", "Godfather, The (1972)", "霸王别姬", "Alien", "Alien 3", "Up"]


@dataclass(frozen=True)
class Like:
    """Scores an item by the history item that is most like it; of two alike, either will do."""

    alike: np.ndarray
    catalog: Catalog
    name: str = "like"

    def score(self, queries, items):
        scores = np.full(items.shape, np.nan, np.float32)
        for row in range(len(queries)):
            past = queries.histories[row]
            if len(past):
                scores[row] = self.alike[np.maximum(items[row], 0)][:, past].max(axis=1)
        return np.where(items >= 0, scores, np.float32(np.nan))

    def retrieve(self, queries, k):
        items = np.tile(np.arange(len(self.catalog), dtype=np.int32), (len(queries), 1))
        barred = np.array([np.isin(items[0], queries.exclude[row]) for row in range(len(queries))])
        items = np.where(barred, -1, items)
        scores = np.nan_to_num(self.score(queries, items), nan=-1.0)
        order = order_by_score(np.where(items < 0, -np.inf, scores), items, self.catalog.tie_order)[:, :k]
        return Ranking(np.take_along_axis(items, order, 1), np.take_along_axis(scores, order, 1))


@pytest.fixture(scope="session")
def films():
    return Catalog.from_table(
        {
            "item_id": [f"f{row}" for row in range(8)],
            "title": TITLES,
            "genres": ["Crime", "Noir", None] * 2 + ["SF"] * 2,
        }
    )


def make(catalog, alike, taken, *rules):
    """A recommender over likenesses, and over how often each item was taken."""
    users = [f"u{user}" for item, times in enumerate(taken) for user in range(times)]
    items = [f"f{item}" for item, times in enumerate(taken) for _ in range(times)]
    log = Interactions.from_table({"user_id": users, "item_id": items}, catalog)
    popularity = fit_popularity(log, catalog)
    fusion = ReciprocalRankFusion("fusion", RrfConfig(), {"like": 1.0, "popularity": 0.01})
    like = Like(np.asarray(alike, np.float32), catalog)
    stage = Stage("one", ((popularity, 8), (like, 8)), (), fusion, 8)
    return Recommender(catalog, (stage,), (Seen(), *rules), popularity)


@pytest.fixture(scope="session")
def alike():
    """f0 and f1 are as like f2 as each other; f3 is like f4 only; f7 is like nothing."""
    found = np.random.default_rng(1).uniform(0, 0.3, (8, 8))
    found[2, [0, 1]] = 0.9
    found[3], found[7] = 0.0, 0.0
    found[3, 4] = 0.8
    return found


@pytest.fixture(scope="session")
def toy(films, alike):
    return make(films, alike, [1, 1, 1, 1, 1, 1, 1, 6])


@pytest.fixture(scope="session")
def pinned(films, alike):
    component = find_component("pin")
    rule = component.fit(FitContext("pin", films, None), component.config.model_validate({"items": {"f6": 1}}))
    return make(films, alike, [1] * 8, rule)


@pytest.fixture(scope="session")
def blend(hybrid):
    """The hybrid recommender with a fusion in which everything counts."""
    fusion = ReciprocalRankFusion("fusion", RrfConfig(), {"ease": 1.0, "dense": 0.7, "popularity": 0.1})
    return replace(hybrid, stages=(replace(hybrid.stages[0], fusion=fusion),))


@pytest.fixture(scope="session")
def recommender_of():
    return make
