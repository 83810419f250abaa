"""The exploration policy: now and then a place shows an item from further down, with a known chance."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from llmrec.component import Component, ComponentConfig, FitContext
from llmrec.data import Catalog
from llmrec.policy.lists import reordered
from llmrec.types import Float32Array, Int64Array, Queries, Ranking, State

__all__ = ["COMPONENT", "Exploration", "ExplorationConfig"]


class ExplorationConfig(ComponentConfig):
    """Settings of exploration.

    Attributes:
        epsilon: the chance that a place shows an item from further down instead of its own.
        pool: how many items further down have a chance.
        seed: of the draws; none: the pipeline's.
    """

    epsilon: float = Field(default=0.1, ge=0, le=1)
    pool: int = Field(default=50, ge=1, le=10_000)
    seed: int | None = None


@dataclass(frozen=True, slots=True)
class Exploration:
    """Epsilon-greedy for each place, with exact propensities.

    The items below the first k, at most `config.pool` of them, are shuffled and dealt to the places one each; each
    place shows its dealt item instead of its own with chance epsilon, independently of the others. So an item of the
    first k either stands at its own place or is not shown, and

    - the propensity of an item at its own place is 1 - epsilon,
    - that of each of the m items further down is epsilon / m, at every place.

    This is the chance that the item stands at this place, over all draws; it says nothing of the other places. Where
    m < k, only m of the k places, drawn at random, have an item dealt: then it is 1 - epsilon * m / k and epsilon / k.

    The draws are a function of the seed and of what the query holds: its history, its wish and its time `at`. The
    same query gets the same list, alone, in a batch, and again; give `at` to draw anew for each request.

    Attributes:
        name: the policy's name in this pipeline.
        config: its settings.
        seed: of the draws.
    """

    component: ClassVar[str] = "exploration"
    name: str
    config: ExplorationConfig
    seed: int

    def prepare(self, queries: Queries) -> Queries:
        """Return the queries unchanged."""
        return queries

    def depth(self, k: int) -> int:
        """Return k and the pool."""
        return k + self.config.pool

    def apply(self, queries: Queries, ranking: Ranking, k: int) -> Ranking:
        """Draw the lists; their propensities replace those that were given."""
        n, k = len(ranking), min(k, ranking.items.shape[1])
        pool = min(self.config.pool, ranking.items.shape[1] - k)
        below = (ranking.items[:, k : k + pool] >= 0).sum(axis=1, keepdims=True)
        dealt = np.maximum(below, k)  # cards: the items below, and blanks up to one for each place
        draws = _draws(queries, self.seed, k + max(pool, k)) if n else np.empty((0, k + max(pool, k)))
        explored = draws[:, :k] < self.config.epsilon
        cards = np.where(np.arange(max(pool, k)) < dealt, draws[:, k:], np.inf)
        hand = np.argsort(cards, axis=1, kind="stable")[:, :k].astype(np.int64)
        explored &= hand < below
        order = np.where(explored, k + hand, np.arange(k, dtype=np.int64))
        chance = self.config.epsilon * np.where(explored, 1.0, below) / np.maximum(dealt, 1)
        shown = np.where(explored, chance, 1 - chance).astype(np.float32)
        return _with_propensities(ranking, order, shown, k)

    def state(self) -> State:
        """Return the settings and the seed."""
        return State({"settings": self.config.model_dump(mode="json"), "seed": self.seed})


def _with_propensities(ranking: Ranking, order: Int64Array, shown: Float32Array, k: int) -> Ranking:
    propensities = np.zeros(ranking.items.shape, dtype=np.float32)
    np.put_along_axis(propensities, order, shown, axis=1)
    known = Ranking(ranking.items, ranking.scores, propensities)
    return reordered(known, order, np.ones(order.shape, dtype=np.bool_), k)


def _draws(queries: Queries, seed: int, count: int) -> NDArray[np.float64]:
    """Float64[n, count]: uniform numbers in [0, 1) that depend on the seed and the query alone."""
    draws = np.empty((len(queries), count))
    start = hashlib.blake2b(f"{seed}\0".encode(), digest_size=16)
    histories = queries.histories
    for row in range(len(queries)):
        digest = start.copy()
        digest.update(histories[row].astype("<i4").tobytes())
        digest.update(b"" if queries.at is None else b"at" + int(queries.at[row]).to_bytes(8, "little", signed=True))
        wish = None if queries.texts is None else queries.texts[row]
        digest.update(b"" if not wish else b"wish" + wish.encode("utf-8", "surrogatepass"))
        draws[row] = np.random.Generator(np.random.PCG64(int.from_bytes(digest.digest(), "little"))).random(count)
    return draws


def _fit(context: FitContext, config: ExplorationConfig) -> Exploration:
    return Exploration(context.name, config, context.seed if config.seed is None else config.seed)


def _load(name: str, state: State, catalog: Catalog) -> Exploration:
    return Exploration(name, ExplorationConfig.model_validate(state.config["settings"]), state.config["seed"])


COMPONENT = Component("policy", ExplorationConfig, _fit, _load)
