import asyncio
import threading
import time
from dataclasses import replace

import numpy as np
import pytest

from llmrec.fuse import ReciprocalRankFusion, RrfConfig
from llmrec.serve.asked import Asked
from llmrec.serve.problems import Broken, NotFound, TooLate, TooMany, Unavailable, Unprocessable
from llmrec.stage import Stage

HISTORY = ("i1", "i4")
ASKED = Asked(history=HISTORY, k=4)


class Scorer:
    """A second stage's scorer that does as it is told: scores, raises, or holds on until it is let go."""

    name = "second"
    component = "second"

    def __init__(self):
        self.calls, self.error, self.gate, self.entered = 0, None, None, threading.Event()

    def score(self, queries, items):
        self.calls += 1
        self.entered.set()
        if self.gate is not None:
            assert self.gate.wait(30)
        if self.error is not None:
            raise self.error
        return np.where(items >= 0, -items, np.nan).astype(np.float32)


@pytest.fixture
def scorer():
    return Scorer()


@pytest.fixture
def two_stages(hybrid, scorer):
    fusion = ReciprocalRankFusion("second_fusion", RrfConfig(), {"hybrid": 1.0, "second": 1.0})
    first = replace(hybrid.stages[0], keep=6)
    return replace(hybrid, stages=(first, Stage("rerank", (), (scorer,), fusion, 6)))


def alone(recommender, k=4, **asked):
    ranking = recommender.recommend(recommender.queries(**(asked or {"histories": [list(HISTORY)]})), k)
    return [one.item_id for one in recommender.decode(ranking)[0]]


async def blocked(engine):
    """Keep the worker busy; returns what lets it go, and the task."""
    gate, begun = threading.Event(), threading.Event()

    def hold():
        begun.set()
        assert gate.wait(30)
        return "held"

    task = asyncio.create_task(engine.run(hold, deadline=time.monotonic() + 40))
    await asyncio.to_thread(begun.wait, 10)
    return gate, task


# --- answers --------------------------------------------------------------------------------------------------------


def test_an_answer_is_the_recommenders_list_with_its_times(serving, two_stages):
    async def work(engine, models):
        answer = await engine.ask(ASKED)
        assert list(answer.items) == alone(two_stages)
        assert set(answer.timings) == {"queue", "history", "hybrid", "rerank", "policies", "total"}
        assert (answer.degraded, answer.left_out, answer.propensities) == (False, (), None)
        assert answer.snapshot is models.snapshot()
        view = engine.state()
        assert (view.answered, view.waiting, view.working, view.refused, view.late) == (1, 0, 0, 0, 0)
        assert set(view.stages) == {"default/hybrid", "default/rerank"}

    serving(two_stages, work)


def test_a_known_user_is_asked_with_history_events_and_dismissals(serving, hybrid, store):
    async def work(engine, models):
        answer = await engine.ask(Asked(user_id="u3", k=4))
        log = hybrid.histories
        assert list(answer.items) == alone(hybrid, users=["u3"])
        store.event("u3", "i11", time=1_900_000_000)
        store.event("u3", answer.items[0], "dismiss")
        models.forget("u3")
        row = int(log.users.rows(["u3"])[0])
        ids = hybrid.catalog.items.decode(log.histories[row])
        later = await engine.ask(Asked(user_id="u3", k=4))
        want = alone(hybrid, histories=[list(dict.fromkeys([*ids, "i11"]))], exclude=[[answer.items[0]]])
        assert list(later.items) == want
        cold = await engine.ask(Asked(user_id="nobody", k=4))
        assert list(cold.items) == alone(hybrid, histories=[[]])

    serving(hybrid, work)


@pytest.mark.parametrize(
    ("asked", "error", "message"),
    [
        (Asked(alias="x"), NotFound, "no alias 'x'"),
        (Asked(kind="similar", item_id="x"), NotFound, "item_id: there is no such item"),
        (Asked(history=("i1", "x", "y")), Unprocessable, r"history\[1\], history\[2\]"),
        (Asked(history=(), exclude=("x",)), Unprocessable, r"exclude\[0\]"),
        (Asked(history=(), allow=("i1", "x")), Unprocessable, "allow: 1 of its items"),
        (Asked(history=(), filters={"colour": ("red",)}), Unprocessable, "no field 'colour'"),
        (Asked(history=(), diversity=0.5), Unprocessable, "has no policy of that kind"),
        (Asked(history=(), wish=" "), Unprocessable, "wish"),
        (Asked(kind="search", text=""), Unprocessable, "what to search for"),
    ],
)
def test_what_does_not_fit_is_refused_and_leaves_no_place_taken(serving, hybrid, asked, error, message):
    async def work(engine, _):
        with pytest.raises(error, match=message):
            await engine.ask(asked)
        assert engine.state().waiting == 0

    serving(hybrid, work)


def test_filters_and_lists_of_ids_limit_what_comes_back(serving, hybrid):
    async def work(engine, _):
        records = {one["item_id"]: one for one in hybrid.catalog.records(np.arange(12, dtype=np.int32))}
        dramas = [i for i, one in records.items() if one["genres"] == "Drama"]
        found = await engine.ask(Asked(history=HISTORY, k=12, filters={"genres": ("Drama",)}))
        assert list(found.items) == alone(hybrid, 12, histories=[list(HISTORY)], allow=dramas)
        years = await engine.ask(Asked(history=(), k=12, filters={"year": ("1980", "1981"), "genres": ("Comedy",)}))
        assert years.items == ("i1",)
        both = await engine.ask(Asked(kind="search", text="red", k=12, allow=("i1", "i2"), exclude=("i1",)))
        assert both.items == ("i2",)
        near = await engine.ask(Asked(kind="similar", item_id="i0", k=3, filters={"genres": ("Drama",)}))
        everything = hybrid.decode(hybrid.similar(["i0"], 12))[0]
        assert list(near.items) == [one.item_id for one in everything if one.item_id in dramas][:3]

    serving(hybrid, work)


def test_a_fault_of_ours_is_broken_and_says_nothing_of_what_was_asked(serving, two_stages, scorer, caplog):
    scorer.error = ValueError("secret wish")

    async def work(engine, _):
        with pytest.raises(Broken):
            await engine.ask(ASKED)

    serving(two_stages, work, degrade=False)
    assert "secret" not in caplog.text
    assert "ValueError" in caplog.text


# --- degraded -------------------------------------------------------------------------------------------------------


def test_a_stage_that_raises_is_left_out(serving, two_stages, scorer, hybrid):
    scorer.error = OSError("the model is away")

    async def work(engine, _):
        answer = await engine.ask(ASKED)
        first = replace(two_stages, stages=two_stages.stages[:1])
        assert list(answer.items) == alone(first)
        assert (answer.degraded, answer.left_out) == (True, ("rerank",))
        assert set(answer.timings) == {"queue", "history", "hybrid", "policies", "total"}
        assert engine.state().degraded == 1
        scorer.error = None
        whole = await engine.ask(ASKED)
        assert (list(whole.items), whole.degraded) == (alone(two_stages), False)

    serving(two_stages, work)


def test_a_stage_that_fails_again_and_again_is_not_asked(serving, two_stages, scorer):
    scorer.error = OSError("the model is away")

    async def work(engine, _):
        for _ in range(6):
            assert (await engine.ask(ASKED)).degraded
        assert scorer.calls == 3

    serving(two_stages, work)


def test_one_that_breaks_a_stage_does_not_cost_the_others_of_its_batch_theirs(serving, two_stages, scorer):
    real = scorer.score

    def picky(queries, items):
        if any(9 in history.tolist() for history in map(queries.histories.__getitem__, range(len(queries)))):
            raise ValueError("not with this one")
        return real(queries, items)

    scorer.score = picky

    async def work(engine, _):
        gate, task = await blocked(engine)
        asked = [ASKED, Asked(history=("i9",), k=4), ASKED]
        answers = asyncio.gather(*(engine.ask(one) for one in asked))
        while engine.state().waiting < 3:
            await asyncio.sleep(0.01)
        gate.set()
        await task
        assert [answer.degraded for answer in await answers] == [False, True, False]

    serving(two_stages, work)


def test_a_stage_that_does_not_come_back_in_time_is_left_out(serving, two_stages, scorer):
    async def work(engine, _):
        scorer.gate = threading.Event()
        answer = await engine.ask(replace(ASKED, deadline=time.monotonic() + 3))
        assert not scorer.gate.is_set()
        assert list(answer.items) == alone(replace(two_stages, stages=two_stages.stages[:1]))
        assert answer.left_out == ("rerank",)
        scorer.gate.set()

    serving(two_stages, work)


def test_without_degrading_a_deadline_is_a_deadline(serving, two_stages, scorer):
    async def work(engine, _):
        scorer.gate = threading.Event()
        with pytest.raises(TooLate):
            await engine.ask(replace(ASKED, deadline=time.monotonic() + 0.3))
        scorer.gate.set()
        assert engine.state().late == 1

    serving(two_stages, work, degrade=False)


# --- places and deadlines -------------------------------------------------------------------------------------------


def test_a_full_line_refuses_and_says_when_to_come_again(serving, two_stages, scorer):
    async def work(engine, _):
        gate, task = await blocked(engine)
        waiting = [asyncio.create_task(engine.ask(ASKED)) for _ in range(2)]
        while engine.state().waiting < 2:
            await asyncio.sleep(0.01)
        with pytest.raises(TooMany) as caught:
            await engine.ask(ASKED)
        assert 0 < caught.value.retry_after <= 30
        waiting[0].cancel()
        await asyncio.gather(waiting[0], return_exceptions=True)
        assert engine.state().waiting == 1  # its place is free at once
        waiting.append(asyncio.create_task(engine.ask(ASKED)))
        await asyncio.sleep(0)
        gate.set()
        assert await task == "held"
        answers = await asyncio.gather(*waiting[1:])
        assert [list(answer.items) for answer in answers] == [alone(two_stages)] * 2
        assert engine.state().refused == 1

    serving(two_stages, work, queue=2)


def test_what_has_not_begun_by_its_deadline_never_begins(serving, two_stages, scorer):
    async def work(engine, _):
        gate, task = await blocked(engine)
        before = scorer.calls
        with pytest.raises(TooLate):
            await engine.ask(replace(ASKED, deadline=time.monotonic() + 0.05))
        assert engine.state().waiting == 0
        with pytest.raises(TooLate):
            await engine.ask(replace(ASKED, deadline=time.monotonic() - 1))
        gate.set()
        await task
        assert scorer.calls == before
        await engine.ask(ASKED)
        assert scorer.calls == before + 1

    serving(two_stages, work)


def test_those_that_wait_are_answered_together(serving, two_stages, scorer):
    async def work(engine, _):
        gate, task = await blocked(engine)
        before = scorer.calls
        asked = [Asked(history=(f"i{place}",), k=3) for place in range(8)]
        waiting = asyncio.gather(*(engine.ask(one) for one in asked))
        while engine.state().waiting < 8:
            await asyncio.sleep(0.01)
        gate.set()
        await task
        answers = await waiting
        assert scorer.calls == before + 2  # five and three
        want = [alone(two_stages, 3, histories=[list(one.history)]) for one in asked]
        assert [list(answer.items) for answer in answers] == want

    serving(two_stages, work, batch=5)


# --- the worker -----------------------------------------------------------------------------------------------------


def test_a_worker_that_dies_is_replaced_and_what_it_had_is_unavailable(serving, hybrid):
    async def work(engine, _):
        def die():
            raise SystemExit

        with pytest.raises(Unavailable) as caught:
            await engine.run(die)
        assert caught.value.retry_after == 1.0
        assert list((await engine.ask(ASKED)).items) == alone(hybrid)
        assert engine.state().restarts == 1

    serving(hybrid, work)


def test_a_worker_that_is_stuck_is_given_up(serving, hybrid):
    async def work(engine, _):
        gate = threading.Event()
        with pytest.raises(Unavailable):
            await engine.run(lambda: gate.wait(30), deadline=time.monotonic() + 30)
        assert list((await engine.ask(ASKED)).items) == alone(hybrid)
        gate.set()
        assert engine.state().restarts == 1

    serving(hybrid, work, stuck_s=1.0)


def test_other_work_is_done_in_turn_and_its_errors_are_its_own(serving, hybrid):
    from llmrec.errors import DataError

    async def work(engine, _):
        assert await engine.run(lambda: 7) == 7

        def fails(error):
            raise error

        with pytest.raises(DataError, match="mine"):
            await engine.run(lambda: fails(DataError("mine")))
        with pytest.raises(Broken):
            await engine.run(lambda: fails(KeyError("x")))
        with pytest.raises(NotFound):
            await engine.run(lambda: fails(NotFound("x")))

    serving(hybrid, work)


def test_a_stop_answers_what_was_accepted_and_takes_nothing_more(serving, hybrid):
    async def work(engine, _):
        gate, task = await blocked(engine)
        accepted = asyncio.create_task(engine.ask(ASKED))
        while engine.state().waiting < 1:
            await asyncio.sleep(0.01)
        stopping = asyncio.create_task(engine.stop())
        await asyncio.sleep(0.02)
        with pytest.raises(Unavailable):
            await engine.ask(ASKED)
        gate.set()
        await stopping
        assert await task == "held"
        assert list((await accepted).items) == alone(hybrid)

    serving(hybrid, work)


def test_a_stop_waits_only_so_long(serving, hybrid):
    async def work(engine, _):
        gate, task = await blocked(engine)
        accepted = asyncio.create_task(engine.ask(ASKED))
        while engine.state().waiting < 1:
            await asyncio.sleep(0.01)
        await engine.stop()
        for one in (task, accepted):
            with pytest.raises(Unavailable):
                await one
        gate.set()

    serving(hybrid, work, drain_s=0.1)


# --- changes while it answers ---------------------------------------------------------------------------------------


def test_no_request_fails_and_none_mixes_versions_while_items_and_bundles_change(serving, hybrid, tmp_path):
    other = hybrid.remove_items(["i0", "i1", "i2"]).save(tmp_path / "other")

    async def work(engine, models):
        seen, stop = [], asyncio.Event()

        async def ask():
            while not stop.is_set():
                seen.append(await engine.ask(Asked(history=(), wish="red night", k=12)))

        askers = [asyncio.create_task(ask()) for _ in range(4)]
        for round_ in range(3):
            await asyncio.to_thread(models.put_items, [(f"new{round_}", {"title": "red night"}, "active")])
            live = await engine.ask(Asked(history=(), wish="red night", k=20))
            assert f"new{round_}" in live.items  # the very next answer knows it
            await asyncio.to_thread(models.deploy, "default", other)
            await asyncio.to_thread(models.rollback, "default")
        stop.set()
        await asyncio.gather(*askers)
        by_version = {}
        for answer in seen:
            want = by_version.setdefault(
                answer.snapshot.version,
                alone(answer.snapshot.recommender, 12, histories=[[]], wishes=["red night"]),
            )
            assert list(answer.items) == want
        assert len(by_version) > 1

    serving(hybrid, work, queue=64)
