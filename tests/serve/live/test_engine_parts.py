"""The line, the pace, the stages' health and the masks, by a clock that the tests turn."""

import asyncio
import contextlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmrec.data import Catalog
from llmrec.serve.asked import Asked
from llmrec.serve.config import EngineConfig
from llmrec.serve.engine.breaker import COOL_S, FAILURES, Stages
from llmrec.serve.engine.filters import allowed
from llmrec.serve.engine.line import Line, Wanted
from llmrec.serve.engine.pace import EASE, LEAST, Pace
from llmrec.serve.engine.reading import QueryRow, together
from llmrec.serve.problems import TooMany

NOTHING = np.empty(0, dtype=np.int32)


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def loop():
    loop = asyncio.new_event_loop()
    yield loop
    loop.close()


class Lined:
    """A line with what goes into it."""

    def __init__(self, clock, loop, **config):
        self.clock, self.loop = clock, loop
        self.pace = Pace(config.get("batch", 32), clock)
        self.line = Line(EngineConfig(**config), self.pace, clock)

    def enter(self, key="a", text=None, lane="lane", left=5.0):
        ticket = self.line.enter(lane, self.clock.now + left, self.loop.create_future())
        ticket.wanted = Wanted(None, Asked(), QueryRow(NOTHING, NOTHING, text=text), None, key)
        self.line.put(ticket)
        return ticket

    def work(self, seconds, lane="lane"):
        batch = self.line.take(0)
        self.clock.now += seconds
        self.line.done(lane, len(batch), well=True)
        return batch

    def alone(self, seconds=0.1, times=LEAST):
        """What is measured of requests that find nobody before them."""
        for _ in range(times):
            ticket = self.enter()
            assert ticket.alone
            self.work(seconds)
            self.pace.alone("lane", seconds)


@pytest.fixture
def lined(clock, loop):
    return lambda **config: Lined(clock, loop, **config)


def test_a_batch_is_of_one_key_and_the_oldest_is_in_it(lined):
    it = lined()
    tickets = [it.enter(key) for key in "abab"]
    assert it.work(0) == [tickets[0], tickets[2]]
    assert it.work(0) == [tickets[1], tickets[3]]
    assert it.line.take(0) is None


def test_a_batch_has_no_more_padded_tokens_than_it_may(lined):
    it = lined(batch_tokens=32)
    short, long, other = it.enter(text="x" * 8), it.enter(text="x" * 100), it.enter(text="x" * 12)
    assert it.work(0) == [short, other]  # the long one would have padded both
    assert it.work(0) == [long]  # alone it goes, whatever its length


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 400)), max_size=40), st.integers(1, 8))
def test_everybody_is_taken_once_and_budgets_hold(requests, batch):
    loop = asyncio.new_event_loop()
    it = Lined(Clock(), loop, batch=batch, batch_tokens=128)
    tickets = [it.enter(key, "x" * length) for key, length in requests]
    left, taken = list(tickets), []
    while left:
        some = it.work(0.0)
        assert some[0] is left[0]
        assert len({ticket.wanted.key for ticket in some}) == 1
        assert len(some) == 1 or (len(some) <= batch and max(t.tokens for t in some) * len(some) <= 128)
        taken += some
        left = [ticket for ticket in left if ticket not in some]
    assert len(taken) == len(tickets)
    assert it.line.sizes() == (0, 0, 0, 0)
    loop.close()


def test_who_cannot_be_in_time_is_refused(lined):
    it = lined(batch=1)
    it.alone(0.1)
    for _ in range(3):
        it.enter(left=9.0)
    it.line.take(0)
    it.enter(left=0.45)
    with pytest.raises(TooMany) as caught:
        it.enter(left=0.35)  # three tenths of work wait, and one is at work
    assert caught.value.retry_after > 0


def overload(it, seconds=30.0):
    """Ten times as many come as can be done; returns how long those took that were answered."""
    admitted, began = [], None
    for _ in range(int(seconds / 0.01)):
        with contextlib.suppress(TooMany):
            admitted.append(it.enter(left=60.0))
        it.clock.now += 0.01
        if began is not None and it.clock.now - began >= 0.1:
            it.line.done("lane", 1, well=True)
            began = None
        if began is None and it.line.take(0) is not None:
            began = it.clock.now
    return sorted(ticket.taken - ticket.entered + 0.1 for ticket in admitted if ticket.taken)


def test_in_an_overload_nobody_waits_much_longer_than_those_who_find_nobody(lined):
    it = lined(batch=1, queue=100)
    it.alone(0.1)
    waits = overload(it)
    assert len(waits) > 250  # of 300 that can be done
    assert waits[int(0.99 * len(waits))] <= 3 * 0.1


def test_a_burst_may_wait_a_while(lined):
    it = lined(batch=1, queue=500)
    it.alone(0.01)
    tickets = [it.enter() for _ in range(90)]  # nine tenths of a second of work, at once
    answered = [it.work(0.01) for _ in range(90)]
    assert [batch[0] for batch in answered] == tickets


def test_an_overload_lets_go_of_who_waited_too_long(lined):
    it = lined(batch=1, queue=500)
    it.alone(0.01)
    old = [it.enter() for _ in range(40)]
    for _ in range(20):
        it.clock.now += 0.01
        for _ in range(10):
            with contextlib.suppress(TooMany):
                it.enter()
    assert it.pace.overloaded
    it.line.take(0)
    it.loop.run_until_complete(asyncio.sleep(0))
    assert {type(ticket.future.exception()) for ticket in old} == {TooMany}
    it.clock.now += 10.0
    assert not it.pace.overloaded


def test_a_worker_that_was_slow_for_once_is_not_kept_from_showing_that_it_is_not(lined):
    it = lined(batch=1, queue=500)
    it.alone(0.1)
    overload(it)
    for _ in range(20):  # what the machine does beside it slows it down a hundred times
        with contextlib.suppress(TooMany):
            it.enter()
        if it.line.take(0) is not None:
            it.clock.now += 10.0
            it.line.done("lane", 1, well=True)
    it.pace.dropped()
    for ticket in iter(lambda: it.line.take(0), None):
        assert ticket
    assert len(overload(it, 60.0)) > 250


def test_what_takes_long_alone_may_keep_others_waiting(lined):
    it = lined(batch=1)
    it.alone(0.001)
    for _ in range(LEAST):
        it.pace.alone("slow", 2.0)
    slow = it.enter("slow", lane="slow")
    it.line.take(0)
    it.clock.now += 0.1
    assert it.enter() is not slow


def test_nothing_is_refused_for_time_before_anything_is_known(lined):
    it = lined(queue=3)
    for _ in range(3):
        it.enter()
    with pytest.raises(TooMany, match="all places"):
        it.enter()


def test_who_left_is_not_taken_and_frees_the_place(lined):
    it = lined(queue=1)
    ticket = it.enter()
    it.line.leave(ticket)
    it.line.leave(ticket)
    assert it.line.sizes()[0] == 0
    other = it.enter()
    assert it.work(0) == [other]


def test_the_pace_knows_batches_by_size(clock):
    pace = Pace(8, clock)
    for size, seconds in ((1, 1.0), (4, 2.0)):
        pace.began("a", size, size)
        clock.now += seconds
        pace.ended("a", size)
    assert pace.takes("a", 1) == pytest.approx(1)
    assert pace.takes("a", 3) == pytest.approx(2)
    assert pace.takes("a", 8) == pytest.approx(4)  # not seen: twice as many, twice as long
    assert pace.expected({"a": 1}) == pytest.approx(1)
    assert pace.expected({"a": 16, "b": 5}) == pytest.approx(8)
    pace.began("a", 4, 4)
    clock.now += 0.5
    assert pace.expected({"a": 1}) == pytest.approx(1.5 + 1)
    assert pace.patience(["a"]) == float("inf")
    for _ in range(LEAST):
        pace.alone("a", 1.0)
    assert pace.patience(["a"]) == pytest.approx(EASE)


def test_a_stage_is_left_alone_after_failures_and_tried_once_after_a_while(clock):
    stages = Stages(clock)
    for _ in range(FAILURES):
        assert stages.may_run("a", "s", 1, 1.0)
        stages.failed("a", "s")
    assert stages.open() == ["a/s"]
    assert not stages.may_run("a", "s", 1, 1.0)
    clock.now += COOL_S
    assert stages.may_run("a", "s", 1, 1.0)  # the probe
    assert not stages.may_run("a", "s", 1, 1.0)  # the others go on without
    stages.failed("a", "s")
    clock.now += COOL_S / 2
    assert not stages.may_run("a", "s", 1, 1.0)
    clock.now += COOL_S
    assert stages.may_run("a", "s", 1, 1.0)
    stages.took("a", "s", 1, 0.1)
    assert stages.may_run("a", "s", 1, 1.0)
    assert stages.open() == []


def test_a_stage_too_slow_for_what_is_left_is_skipped_but_tried_again(clock):
    stages = Stages(clock)
    stages.took("a", "s", 1, 0.5)
    assert stages.may_run("a", "s", 1, 1.0)
    assert not stages.may_run("a", "s", 1, 0.1)
    clock.now += COOL_S + 1
    assert stages.may_run("a", "s", 1, 0.1)
    assert stages.milliseconds() == {"a/s": 500.0}


def test_filters_compare_values_as_text():
    table = {
        "item_id": ["a", "b", "c", "d"],
        "year": [1980, None, 1981, 1980],
        "price": [1.0, 2.5, float("nan"), None],
        "new": [True, False, None, True],
        "tags": [["x", "y"], [], None, ["y"]],
    }
    catalog = Catalog.from_table(table)

    def ids(**filters):
        return catalog.items.decode(np.flatnonzero(allowed(catalog, None, filters)))

    assert ids(year=("1980",)) == ["a", "d"]
    assert ids(price=("1", "2.5")) == ["a", "b"]
    assert ids(new=("true",), year=("1980", "1981")) == ["a", "d"]
    assert ids(tags=("y",)) == ["a", "d"]
    assert ids(tags=()) == []
    assert ids() == ["a", "b", "c", "d"]
    assert catalog.items.decode(np.flatnonzero(allowed(catalog, ("c", "a"), {"year": ("1981",)}))) == ["c"]


def test_rows_put_together_are_the_batch_they_would_be():
    rows = [
        QueryRow(np.int32([1, 2]), np.int32([5]), times=np.int64([3, 4]), at=7, profile={"age": 3}, text="a"),
        QueryRow(NOTHING, NOTHING, times=np.int64([]), at=8, profile={"age": None}, text="b"),
    ]
    batch = together(rows)
    assert len(batch) == 2
    assert batch.offsets.tolist() == [0, 2, 2]
    assert batch.exclude.offsets.tolist() == [0, 1, 1]
    assert batch.profiles == {"age": [3, None]}
    assert (batch.at.tolist(), batch.texts, batch.weights) == ([7, 8], ["a", "b"], None)
