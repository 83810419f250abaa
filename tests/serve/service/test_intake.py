"""What people did: stored, read by the next request, tied to lists; items that were dismissed stay away."""

from __future__ import annotations

from dataclasses import replace

import pytest

from llmrec.serve.asked import Asked
from llmrec.serve.problems import Conflict, NotFound, Unprocessable
from llmrec.serve.records import NewEvent


def ids(listed):
    return [one.item_id for one in listed.items]


def test_the_next_request_reads_what_was_written(using):
    async def work(service):
        before = await service.recommend(Asked(user_id="new", k=12), log=False)
        first = ids(before)[0]
        added = await service.add_events([NewEvent("new", first, "buy"), NewEvent("new", "i7", "view")])
        return (
            first,
            added,
            await service.user("new"),
            ids(await service.recommend(Asked(user_id="new", k=12))),
            service,
        )

    first, added, user, after, service = using(work)
    assert user.known
    assert user.history == (first, "i7")
    assert [event.kind for event in user.events] == ["buy", "view"]
    assert added.repeats == (False, False)
    assert not {first, "i7"} & set(after)
    assert service.learner.woken == 1


def test_unknown_items_are_named_by_their_place_and_nothing_is_stored(using):
    async def work(service):
        with pytest.raises(Unprocessable) as refused:
            await service.add_events([NewEvent("new", "i1"), NewEvent("new", "nothing")])
        return refused.value.detail, service.store.last_seq(), (await service.user("new")).known

    detail, stored, known = using(work)
    assert detail.startswith("events[1].item_id")
    assert "nothing" not in detail
    assert (stored, known) == (0, False)


def test_removed_items_may_still_stand_in_histories(using):
    async def work(service):
        await service.remove_items(["i1"])
        return await service.add_events([NewEvent("new", "i1")])

    assert using(work).last_seq == 1


def test_repeats_and_idempotency(using):
    async def work(service):
        event = NewEvent("new", "i1", event_id="mine")
        first = await service.add_events([event], idempotency_key="k", caller="a")
        again = await service.add_events([event], idempotency_key="k", caller="a")
        other = await service.add_events([event], idempotency_key="k", caller="b")
        with pytest.raises(Conflict):
            await service.add_events([replace(event, item_id="i2")], idempotency_key="k", caller="a")
        return first, again, other

    first, again, other = using(work)
    assert first == again
    assert other.repeats == (True,)


def test_feedback_is_tied_to_its_list(using):
    async def work(service):
        listed = await service.recommend(Asked(user_id="u3", k=5))
        shown = ids(listed)
        await service.feedback(listed.impression_id, shown[2], "click")
        with pytest.raises(Unprocessable):
            await service.feedback(
                listed.impression_id, next(f"i{n}" for n in range(12) if f"i{n}" not in shown), "click"
            )
        with pytest.raises(Unprocessable):
            await service.feedback(listed.impression_id, shown[0], "view")
        for wrong in ("nothing", "", "a\0b"):
            with pytest.raises(NotFound):
                await service.feedback(wrong, shown[0], "click")
        with pytest.raises(Unprocessable):
            await service.add_events([NewEvent("u4", shown[0], "click", impression_id=listed.impression_id)])
        await service.add_events([NewEvent("u3", shown[1], "buy", impression_id=listed.impression_id)])
        return listed, shown, service.store.events_after(0)

    listed, shown, events = using(work)
    found = [(event.user_id, event.item_id, event.place, event.impression_id) for event in events]
    assert found == [("u3", shown[2], 3, listed.impression_id), ("u3", shown[1], 2, listed.impression_id)]


def test_feedback_of_nobody_known(using):
    async def work(service):
        listed = await service.recommend(Asked(history=("i1",), k=3))
        await service.feedback(listed.impression_id, listed.items[0].item_id, "click")
        return service.store.events_after(0)

    assert [(event.user_id, event.place) for event in using(work)] == [(None, 1)]


def test_dismissed_items_stay_away_until_they_are_restored(using):
    async def work(service):
        listed = await service.recommend(Asked(user_id="u3", k=12))
        first = ids(listed)[0]
        await service.feedback(listed.impression_id, first, "dismiss")
        without = [ids(await service.recommend(Asked(user_id="u3", k=12))) for _ in range(3)]
        traced = await service.trace(Asked(user_id="u3", k=12))
        dismissed = (await service.user("u3")).dismissed
        await service.feedback(listed.impression_id, first, "restore")
        return first, without, traced, dismissed, ids(await service.recommend(Asked(user_id="u3", k=12)))

    first, without, traced, dismissed, after = using(work)
    assert all(first not in items for items in without)
    assert first not in {one.item_id for stage in traced.stages for one in stage.candidates}
    assert dismissed == (first,)
    assert first in after
