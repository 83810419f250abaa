"""Lists: recorded before they leave, assigned to variants, explained and traced."""

from __future__ import annotations

import asyncio
import time

import pytest

from llmrec.serve.asked import Asked
from llmrec.serve.problems import NotFound, Problem, TooLarge, TooLate, Unavailable, Unprocessable

ANN = Asked(user_id="u3", k=5)


def test_a_list_is_recorded_before_it_leaves(using, clock):
    async def work(service):
        service.engine.degraded = True
        listed = await service.recommend(ANN)
        return listed, service.store.impression(listed.impression_id)

    listed, shown = using(work)
    assert shown.items == tuple(one.item_id for one in listed.items)
    assert shown.scores == pytest.approx([one.score for one in listed.items])
    assert (shown.user_id, shown.alias, shown.bundle) == ("u3", "default", listed.bundle)
    assert (shown.time, shown.degraded, shown.experiment, shown.propensities) == (clock.now, True, None, None)
    assert (listed.degraded, listed.left_out) == (True, ("rerank",))
    assert [one.rank for one in listed.items] == [1, 2, 3, 4, 5]
    assert listed.items[0].fields.keys() == {"title", "year", "genres"}
    assert {"total", "record"} <= listed.timings.keys()


def test_without_a_record_there_is_no_list(using):
    async def work(service):
        def full(_impressions):
            raise Unavailable("the disk is full")

        service.store.add_impressions = full
        with pytest.raises(Unavailable):
            await service.recommend(ANN)
        return await service.recommend(ANN, log=False)

    assert using(work).impression_id is None


def test_a_record_that_takes_too_long_is_too_late(using):
    async def work(service):
        service.store.add_impressions = lambda _impressions: time.sleep(0.5)
        with pytest.raises(TooLate):
            await service.recommend(Asked(user_id="u3", deadline=time.monotonic() + 0.25))

    using(work)


def test_impression_ids_cannot_be_guessed(using):
    async def work(service):
        return {(await service.recommend(ANN)).impression_id for _ in range(20)}

    ids = using(work)
    assert len(ids) == 20
    assert all(len(one) >= 22 for one in ids)


def test_lists_are_those_of_the_recommender(using, hybrid):
    async def work(service):
        listed = await service.recommend(Asked(history=("i1", "i4"), wish="night", k=4))
        return [one.item_id for one in listed.items]

    expected = hybrid.decode(hybrid.recommend(hybrid.queries(histories=[["i1", "i4"]], wishes=["night"]), 4))[0]
    assert using(work) == [one.item_id for one in expected]


def test_search_and_similar_leave_no_trace(using):
    async def work(service):
        found = await service.search(Asked(kind="search", text="river", k=3))
        near = await service.similar(Asked(kind="similar", item_id="i2", k=3))
        with pytest.raises(NotFound):
            await service.similar(Asked(kind="similar", item_id="nothing"))
        with pytest.raises(Unprocessable):
            await service.search(Asked())
        return found, near, service.store.impressions_between(0, 2e9)

    found, near, shown = using(work)
    assert (len(found.items), len(near.items), shown) == (3, 3, [])
    assert found.impression_id is None


@pytest.mark.parametrize("kind", ["ab", "interleave"])
def test_an_experiment_chooses_until_it_is_stopped(using, kind):
    async def work(service):
        await service.create_experiment("rankers", {"old": "default", "new": "other"}, kind=kind)
        lists = [await service.recommend(Asked(user_id=f"u{n}", k=6)) for n in range(12) for _ in range(2)]
        unlogged = await service.recommend(ANN, log=False)
        named = await service.recommend(Asked(alias="other", user_id="u1"))
        nobody = await service.recommend(Asked(history=("i1",)))
        visitor = await service.recommend(Asked(history=("i1",)), anonymous="cookie")
        await service.stop_experiment("rankers")
        later = await service.recommend(ANN)
        report = await service.report_experiment("rankers")
        shown = [service.store.impression(one.impression_id) for one in lists]
        return lists, (unlogged, named, nobody, later), visitor, shown, report

    lists, outside, visitor, shown, report = using(work)
    assert {one.experiment for one in lists} == {visitor.experiment} == {"rankers"}
    assert {one.experiment for one in outside} == {None}
    assert report is not None
    if kind == "ab":
        assert {(one.variant, one.alias) for one in lists} == {("old", "default"), ("new", "other")}
        assert [one.variant for one in lists[::2]] == [one.variant for one in lists[1::2]]
        assert all(one.sources is None for one in shown)
    else:
        assert {one.variant for one in lists} == {None}
        assert {source for one in shown for source in one.sources} <= {"old", "new", ""}
        assert {"old", "new"} <= {source for one in shown for source in one.sources}
        assert all(len(one.sources) == len(one.items) for one in shown)
        assert all(list(one.scores) == sorted(one.scores, reverse=True) for one in shown)


def test_anonymous_people_are_told_apart_in_experiments_and_by_nobody_else(using):
    async def work(service):
        await service.create_experiment("rankers", {"old": "default", "new": "other"})
        asked = Asked(history=("i1",))
        lists = [await service.recommend(asked, anonymous=f"cookie {n}") for n in range(6) for _ in range(2)]
        own = await service.recommend(ANN, anonymous="cookie 1")
        first = lists[2].items[0].item_id
        await service.feedback(lists[2].impression_id, first, "click")
        shown = [service.store.impression(one.impression_id) for one in (*lists, own)]
        return shown, service.store.outcomes("rankers"), await service.report_experiment("rankers")

    shown, outcomes, report = using(work)
    assert [one.unit for one in shown[0:12:2]] == [one.unit for one in shown[1:12:2]]
    assert len({one.unit for one in shown[:12]}) == 6
    assert not any("cookie" in one.unit for one in shown[:12])
    assert shown[-1].unit is None
    people = [one for one in outcomes if one.user_id != ANN.user_id]
    assert sorted(one.impressions for one in people) == [2] * 6
    assert [one.clicks for one in people if one.user_id == shown[2].unit] == [1]
    assert (report.users, report.left_out) == (7, 0)


def test_one_experiment_at_a_time_newest_first(using, clock):
    async def work(service):
        await service.create_experiment("one", {"a": "default", "b": "other"})
        with pytest.raises(Problem):
            await service.create_experiment("two", {"a": "default", "b": "other"})
        await service.stop_experiment("one")
        clock.now += 1
        await service.create_experiment("two", {"a": "default", "b": "other"})
        with pytest.raises(Unprocessable):
            await service.create_experiment("three", {"a": "default", "b": "nowhere"})
        return [one.name for one in await service.list_experiments()]

    assert using(work) == ["two", "one"]


def test_traces_show_what_the_list_shows(using):
    async def work(service):
        return await service.trace(ANN, 3), await service.recommend(ANN, log=False), await service.user("u3")

    traced, listed, user = using(work)
    assert [one.item_id for one in traced.final] == [one.item_id for one in listed.items]
    assert traced.history == user.history
    (stage,) = traced.stages
    assert stage.columns == ("popularity", "ease", "dense", "hybrid")
    assert len(stage.candidates) == 3 <= stage.found
    assert [one.rank for one in stage.candidates] == [1, 2, 3]
    best = stage.candidates[0]
    assert best.columns["hybrid"] is not None
    assert best.kept
    assert best.came_in is None
    assert best.title
    assert set(best.source_ranks) <= {"popularity", "ease", "dense"}


def test_traces_are_bounded(using):
    async def work(service):
        with pytest.raises(TooLarge):
            await service.trace(ANN, 100_000)
        with pytest.raises(Unprocessable):
            await service.trace(Asked(history=("nothing",)))
        with pytest.raises(Unprocessable):
            await service.trace(Asked(diversity=0.5, history=("i1",)))

    using(work)


def test_explanations(using):
    async def work(service):
        best = await service.explain(ANN, None, 2)
        named = await service.explain(ANN, [best[1].item], 2)
        with pytest.raises(NotFound) as unknown:
            await service.explain(ANN, ["secret-item"])
        with pytest.raises(TooLarge):
            await service.explain(ANN, [])
        history = (await service.user("u3")).history
        with pytest.raises(Unprocessable):
            await service.explain(ANN, [history[0]])
        return best, named, unknown.value.detail

    best, named, detail = using(work)
    assert len(best) == 5
    assert (named[0].item, named[0].rank) == (best[1].item, best[1].rank)
    assert "secret" not in detail


def test_two_lists_at_once_do_not_wait_for_each_other(using):
    async def work(service):
        both = asyncio.Event()
        inside = []

        async def meet(asked):
            inside.append(asked)
            if len(inside) == 2:
                both.set()
            await asyncio.wait_for(both.wait(), 10)

        service.engine.before = meet
        return await asyncio.gather(service.recommend(ANN), service.recommend(Asked(user_id="u4")))

    assert len(using(work)) == 2
