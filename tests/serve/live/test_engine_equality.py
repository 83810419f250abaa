"""Whatever is asked together: every list is the one that the recommender gives alone."""

import asyncio
import threading
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from llmrec.build import fit
from llmrec.config import Config
from llmrec.serve.asked import Asked
from llmrec.serve.engine import Engine
from llmrec.serve.live import Models

IDS = [f"i{row}" for row in range(12)]
USERS = ["u0", "u1", "u2", "u5"]
NOW = 1_500_000_000


@pytest.fixture(scope="module")
def with_policies(bert, catalog, interactions):
    dense = {"encoder": str(bert), "item_template": "item/title"}
    policies = {
        "seen": {},
        "diversity": {"strength": 0.3, "fields": ["genres"]},
        "caps": {"field": "genres", "at_most": 2},
        "exploration": {"epsilon": 0.3, "pool": 4},
    }
    stage = {"name": "hybrid", "retrievers": {"popularity": {}, "dense": dense}}
    return fit(Config.from_dict({"stages": [stage], "policies": policies}), catalog, interactions)


ids = st.lists(st.sampled_from(IDS), max_size=5, unique=True).map(tuple)
recommended = st.builds(
    Asked,
    kind=st.just("recommend"),
    alias=st.sampled_from(["plain", "policies"]),
    k=st.integers(1, 14),
    history=ids,
    wish=st.sampled_from([None, "red night", "a river of stars and a zoo"]),
    profile=st.sampled_from([None, {"age": 3}]),
    exclude=ids,
    allow=st.one_of(st.none(), st.none(), ids),
    at=st.sampled_from([NOW, NOW + 1]),
)
known = st.builds(Asked, alias=st.sampled_from(["plain", "policies"]), user_id=st.sampled_from(USERS), at=st.just(NOW))
searched = st.builds(
    Asked,
    kind=st.just("search"),
    alias=st.just("plain"),
    text=st.sampled_from(["red", "blue zoo"]),
    k=st.integers(1, 9),
)
similar = st.builds(
    Asked, kind=st.just("similar"), alias=st.just("plain"), item_id=st.sampled_from(IDS), k=st.integers(1, 9)
)


@pytest.fixture(scope="module")
def running(hybrid, with_policies, tmp_path_factory):
    """An engine on an event loop of its own thread."""
    from llmrec.serve.config import EngineConfig, ServeConfig

    folder = tmp_path_factory.mktemp("equal")
    bundles = {"plain": hybrid.save(folder / "plain"), "policies": with_policies.save(folder / "policies")}
    config = ServeConfig(bundles=bundles, engine=EngineConfig(batch=8, queue=64))
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    store = _Nothing()
    models = Models(store, config)
    models.start()
    engine = Engine(models, store, config)

    def do(coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, loop).result(60)

    do(engine.start())
    yield lambda asked: do(_all(engine, asked)), {alias: models.snapshot(alias).recommender for alias in bundles}
    do(engine.stop())
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


class _Nothing:
    """A store that nothing was ever told."""

    def deployments(self, alias=None):
        return []

    def add_deployment(self, *args, **named):
        return None

    def items_after(self, seq, limit=1000):
        return []

    def user_events(self, user_id, *, after=0, limit=1000):
        return []

    def dismissed(self, user_id):
        return frozenset()

    def profile(self, user_id):
        return None

    def erased_at_seq(self, user_id):
        return None

    def erased_among(self, user_ids):
        return {}


async def _all(engine, asked):
    gate, begun = threading.Event(), threading.Event()

    def hold():
        begun.set()
        gate.wait(30)

    held = asyncio.create_task(engine.run(hold))
    while not begun.is_set():
        await asyncio.sleep(0.001)
    tasks = [asyncio.create_task(engine.ask(one)) for one in asked]
    while engine.state().waiting < len(asked):
        await asyncio.sleep(0.001)
    gate.set()
    await held
    return await asyncio.gather(*tasks)


def alone(recommender, asked):
    if asked.kind == "search":
        return recommender.search([asked.text], asked.k)
    if asked.kind == "similar":
        return recommender.similar([asked.item_id], asked.k)
    people = {"users": [asked.user_id]} if asked.user_id else {"histories": [list(asked.history)]}
    queries = recommender.queries(
        **people,
        wishes=None if asked.wish is None else [asked.wish],
        profiles=None if asked.profile is None else {name: [value] for name, value in asked.profile.items()},
        exclude=[list(asked.exclude)],
        allow=None if asked.allow is None else list(asked.allow),
        at=[asked.at],
    )
    return recommender.recommend(queries, asked.k)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.one_of(recommended, recommended, known, searched, similar), min_size=1, max_size=24))
def test_lists_are_what_the_recommender_gives_alone(running, asked):
    ask, recommenders = running
    for one, answer in zip(asked, ask(asked), strict=True):
        want = alone(recommenders[one.alias], one)
        decoded = recommenders[one.alias].decode(want)[0]
        assert list(answer.items) == [item.item_id for item in decoded]
        np.testing.assert_allclose(answer.scores, [item.score for item in decoded], rtol=1e-5, atol=1e-6)
        shown = [item.propensity for item in decoded]
        assert (answer.propensities is None) == (want.propensities is None)
        if answer.propensities is not None:
            np.testing.assert_array_equal(answer.propensities, np.float32(shown))
        assert not answer.degraded


def test_diversity_of_a_request_is_that_of_a_policy_of_this_strength(running):
    ask, recommenders = running
    strengths = [0.0, 0.9, None, 0.9]
    answers = ask([Asked(alias="policies", history=("i1",), k=5, diversity=one, at=NOW) for one in strengths])
    mine = recommenders["policies"]
    for strength, answer in zip(strengths, answers, strict=True):
        policies = [
            replace(one, config=one.config.model_copy(update={"strength": 0.3 if strength is None else strength}))
            if one.component == "diversity"
            else one
            for one in mine.policies
        ]
        other = replace(mine, policies=tuple(policies))
        want = other.recommend(other.queries(histories=[["i1"]], at=[NOW]), 5)
        assert list(answer.items) == [one.item_id for one in other.decode(want)[0]]
