"""A service over tiny recommenders; all its parts are real but the learner."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace

import pytest

from llmrec.serve.asked import Asked
from llmrec.serve.config import ServeConfig
from llmrec.serve.engine import Answer, Engine
from llmrec.serve.experiments import Experiments
from llmrec.serve.live import Models
from llmrec.serve.service import Service
from llmrec.serve.service._parts import Parts
from llmrec.serve.store import open_store

START = 1_700_000_000.0


class Clock:
    """A clock that is set."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> float:
        return self.now


class HeldEngine:
    """The engine, and what a test does before each request."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.start, self.stop, self.run, self.state = engine.start, engine.stop, engine.run, engine.state
        self.before: Callable[[Asked], Awaitable[None]] | None = None
        self.degraded = False

    async def ask(self, asked: Asked) -> Answer:
        if self.before is not None:
            await self.before(asked)
        answer = await self.engine.ask(asked)
        return replace(answer, degraded=True, left_out=("rerank",)) if self.degraded else answer


@dataclass
class QuietLearner:
    """Learns nothing."""

    running: bool = False
    woken: int = 0

    def start(self) -> None:
        self.running = True

    def stop(self) -> None:
        self.running = False

    def wake(self) -> None:
        self.woken += 1

    def lag(self) -> int:
        return 3


@pytest.fixture(scope="session")
def bundle(hybrid, tmp_path_factory):
    """A saved recommender: popularity, EASE and dense retrieval."""
    from llmrec.testing.data import tiny_users

    return replace(hybrid, users=tiny_users()).save(tmp_path_factory.mktemp("served") / "shop")


@pytest.fixture(scope="session")
def other_bundle(hybrid, tmp_path_factory):
    """Another one: popularity alone."""
    stage = hybrid.stages[0]
    plain = replace(stage, retrievers=stage.retrievers[:1])
    return replace(hybrid, stages=(plain,)).save(tmp_path_factory.mktemp("served") / "other")


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def config(bundle, other_bundle, tmp_path):
    return ServeConfig(bundles={"default": bundle, "other": other_bundle}, store=str(tmp_path / "store.sqlite"))


@pytest.fixture
def make(clock):
    """Put a service together that is not started."""

    def made(config: ServeConfig) -> Service:
        store = open_store(config.store)
        models = Models(store, config, clock)
        experiments = Experiments(store, models.aliases, refresh_s=float("inf"), clock=clock)
        engine = HeldEngine(Engine(models, store, config))
        return Service(Parts.of(config, store, models, engine, QuietLearner(), experiments, clock))

    return made


@pytest.fixture
def using(config, make):
    """Do something with a started service, which is stopped in the end."""

    def run(work, settings: ServeConfig = config):
        async def inside():
            service = make(settings)
            try:
                await service.start()
                return await work(service)
            finally:
                await service.stop()

        return asyncio.run(inside())

    return run
