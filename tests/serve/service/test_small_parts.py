"""The parts that need no recommender: bounded threads, the gate of erasures, drift, what events must hold, hosts."""

from __future__ import annotations

import asyncio
import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmrec.serve.config import LimitsConfig
from llmrec.serve.problems import Conflict, NotFound, TooLarge, TooMany, Unavailable, Unprocessable
from llmrec.serve.records import Impression, NewEvent
from llmrec.serve.service._blocking import Blocking
from llmrec.serve.service._drift import BUCKETS, Drift, stability_index
from llmrec.serve.service._events import check_events, tied
from llmrec.serve.service._gate import Gate
from llmrec.serve.service.hosts import is_loopback

COUNTS = st.lists(st.integers(0, 10_000), min_size=2, max_size=8)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.0.1", "::1", "[::1]", "localhost", "LOCALHOST."])
def test_this_machine_alone(host):
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "shop.example", "localhost.example", ""])
def test_other_machines_too(host):
    assert not is_loopback(host)


def test_blocking_refuses_what_is_too_much_and_goes_on():
    async def work():
        blocking, held = Blocking("test", 1, 2), threading.Event()
        waiting = [asyncio.ensure_future(blocking(held.wait, 10)) for _ in range(2)]
        await asyncio.sleep(0)
        with pytest.raises(TooMany) as refused:
            await blocking(int)
        assert refused.value.retry_after
        held.set()
        assert await asyncio.gather(*waiting) == [True, True]
        assert await blocking(int) == 0
        await asyncio.to_thread(blocking.close)
        with pytest.raises(Unavailable):
            await blocking(int)

    asyncio.run(work())


def test_blocking_frees_the_place_of_what_was_given_up():
    async def work():
        blocking, held = Blocking("test", 1, 1), threading.Event()
        task = asyncio.ensure_future(blocking(held.wait, 10))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        with pytest.raises(TooMany):
            await blocking(int)  # it is still being done
        held.set()
        await asyncio.to_thread(blocking.close)

    asyncio.run(work())


def test_an_erasure_waits_for_requests_and_holds_up_new_ones():
    async def work():
        gate, said = Gate(), []

        async def request():
            async with gate.inside(["ann", None]):
                await asyncio.sleep(0.02)
                said.append("answered")

        async def erasure():
            async with gate.alone("ann", 5.0):
                said.append("erased")
                with pytest.raises(Conflict):
                    async with gate.alone("ann", 5.0):
                        pass

        first = asyncio.ensure_future(request())
        await asyncio.sleep(0)
        second = asyncio.ensure_future(erasure())
        await asyncio.sleep(0)
        with pytest.raises(Unavailable) as refused:
            await request()
        assert "ann" not in refused.value.detail
        async with gate.inside(["bob"]):
            pass
        await asyncio.gather(first, second)
        await request()
        assert said == ["answered", "erased", "answered"]

    asyncio.run(work())


def test_an_erasure_does_not_wait_for_ever():
    async def work():
        gate = Gate()
        async with gate.inside(["ann"]):
            with pytest.raises(Unavailable):
                async with gate.alone("ann", 0.01):
                    pass
        async with gate.alone("ann", 0.01):
            pass

    asyncio.run(work())


@given(COUNTS, COUNTS)
def test_the_index_is_a_symmetric_distance(before, now):
    width = min(len(before), len(now))
    p, q = np.array(before[:width], dtype=np.int64), np.array(now[:width], dtype=np.int64)
    assert stability_index(p, q) >= 0
    assert stability_index(p, q) == pytest.approx(stability_index(q, p))
    assert stability_index(p, 3 * p) == pytest.approx(0.0)


def test_the_index_by_hand():
    p, q = np.array([60, 40], dtype=np.int64), np.array([40, 60], dtype=np.int64)
    assert stability_index(p, q) == pytest.approx(0.2 * np.log(0.6 / 0.4) * 2)


def test_drift_compares_the_first_day_with_the_last_hour():
    now = [1_000_000.0]
    drift = Drift(lambda: now[0])
    for _ in range(200):
        drift.saw_history(0)
        drift.saw_wish(None)
    now[0] += 86_400 * 2
    for _ in range(200):
        drift.saw_history(60)
        drift.saw_wish(None)
    views = {view.name: view for view in drift.views()}
    assert views["history length"].before["0"] == 1.0
    assert views["history length"].now["51+"] == 1.0
    assert views["history length"].index > 0.25
    assert views["wishes"].index == 0.0
    now[0] += 3_601
    later = {view.name: view for view in drift.views()}["history length"]
    assert (set(later.now.values()), later.index) == ({0.0}, 0.0)


def test_drift_of_few_requests_says_nothing():
    drift = Drift(lambda: 0.0)
    drift.saw_user(None)
    drift.saw_items(known=False)
    assert all(view.index == 0.0 for view in drift.views())
    assert {view.name for view in drift.views()} == set(BUCKETS)


@given(st.integers(0, 10_000), st.text(max_size=300))
def test_every_request_has_a_bucket(length, wish):
    drift = Drift(lambda: 0.0)
    drift.saw_history(length)
    drift.saw_wish(wish)
    shares = {view.name: sum(view.now.values()) for view in drift.views()}
    assert shares["history length"] == shares["wishes"] == pytest.approx(1.0)


def known(ids):
    return [item.startswith("i") for item in ids]


@pytest.mark.parametrize(
    ("event", "place"),
    [
        (NewEvent("", "i1"), "user_id"),
        (NewEvent(None, "i1"), "user_id"),
        (NewEvent("u" * 600, "i1"), "user_id"),
        (NewEvent("a\0b", "i1"), "user_id"),
        (NewEvent("\ud800", "i1"), "user_id"),
        (NewEvent("u", "i1", kind=""), "kind"),
        (NewEvent("u", "i1", time=-1), "time"),
        (NewEvent("u", "i1", time=1_700_000_000_000), "time"),
        (NewEvent("u", "i1", rating=float("nan")), "rating"),
        (NewEvent("u", "secret"), "item_id"),
    ],
)
def test_a_wrong_event_is_named_by_its_place_and_never_by_its_values(event, place):
    with pytest.raises(Unprocessable) as refused:
        check_events([NewEvent("u", "i1"), event], known, LimitsConfig(), 1_700_000_000.0)
    assert refused.value.detail.startswith(f"events[1].{place}")
    assert "secret" not in refused.value.detail


def test_too_many_events_are_refused():
    with pytest.raises(TooLarge):
        check_events([NewEvent("u", "i1")] * 3, known, LimitsConfig(batch=2), 0.0)


SHOWN = Impression("x", "ann", "default", "b", ("i1", "i2"), (2.0, 1.0), None, 0.0)


def test_feedback_takes_user_and_place_from_the_list():
    event = tied(NewEvent(None, "i2", "click", impression_id="x"), SHOWN)
    assert (event.user_id, event.place) == ("ann", 2)
    assert tied(NewEvent("ann", "i2", "click", impression_id="x", place=2), SHOWN) == event


@pytest.mark.parametrize(
    "event",
    [
        NewEvent(None, "i3", "click"),
        NewEvent("bob", "i2", "click"),
        NewEvent("ann", "i2", "click", place=1),
        NewEvent("ann", "i2", "view"),
    ],
)
def test_feedback_that_does_not_fit_its_list(event):
    with pytest.raises(Unprocessable):
        tied(event, SHOWN)
    with pytest.raises(NotFound):
        tied(NewEvent(None, "i1", "click"), None)
