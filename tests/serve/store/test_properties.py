"""The store against a model of it in a few lines: any order of adding, repeating, dismissing, erasing."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from llmrec.serve.problems import Conflict
from llmrec.serve.records import NewEvent
from llmrec.serve.store import open_store
from llmrec.serve.store._plain import LONGEST, plain
from llmrec.serve.store._sql import mark

USERS = st.sampled_from(["u", "v", "ü"])
ITEMS = st.sampled_from(["a", "b", "c"])
KINDS = st.sampled_from(["view", "dismiss", "restore", "dismiss", "restore"])
IDS = st.none() | st.sampled_from(["e1", "e2", "e3", "e4"])
EVENTS = st.lists(
    st.builds(NewEvent, USERS, ITEMS, KINDS, time=st.none() | st.integers(0, 9), event_id=IDS), max_size=4
)
KEYS = st.sampled_from(["k1", "k2", "k3"])


class Model(RuleBasedStateMachine):
    """A list of (seq, event id, event), and the first answer of each key."""

    store = None

    def __init__(self):
        super().__init__()
        for user in ("u", "v", "ü"):
            self.store.erase_user(user, now=0.0)
        self.base = self.store.last_seq()
        self.seq, self.events, self.answers = self.base, [], {}
        self.run = f"{self.base}-{id(self)}"  # keys of an earlier example must not be known

    def expect(self, events, added):
        known = {event_id for _, event_id, _ in self.events}
        for event, event_id, repeat in zip(events, added.event_ids, added.repeats, strict=True):
            assert event.event_id in {None, event_id}
            assert repeat == (event_id in known)
            if not repeat:
                known.add(event_id)
                self.seq += 1
                self.events.append((self.seq, event_id, event))
        assert added.last_seq == self.seq

    @rule(events=EVENTS)
    def add(self, events):
        self.expect(events, self.store.add_events(events, now=7.0))

    @rule(events=EVENTS, key=KEYS)
    def add_under_key(self, events, key):
        call = {"now": 7.0, "idempotency_key": self.run + key}
        if key not in self.answers:
            added = self.store.add_events(events, **call)
            self.expect(events, added)
            self.answers[key] = (events, added)
        elif self.answers[key][0] != events:
            with pytest.raises(Conflict):
                self.store.add_events(events, **call)

    @precondition(lambda self: self.answers)
    @rule(data=st.data())
    def repeat(self, data):
        key = data.draw(st.sampled_from(sorted(self.answers)))
        events, first = self.answers[key]
        assert self.store.add_events(events, now=8.0, idempotency_key=self.run + key) == first

    @rule(user=USERS)
    def erase(self, user):
        mine = [entry for entry in self.events if entry[2].user_id == user]
        assert self.store.erase_user(user, now=9.0).events == len(mine)
        self.events = [entry for entry in self.events if entry[2].user_id != user]
        assert self.store.erased_at_seq(user) == self.seq

    @invariant()
    def same_events(self):
        found = [(event.seq, event.event_id) for event in self.store.events_after(self.base)]
        assert found == [(seq, event_id) for seq, event_id, _ in self.events]
        assert self.store.last_seq() == self.seq

    @invariant()
    def same_users(self):
        for user in ("u", "v", "ü"):
            last = {}
            for _, _, event in self.events:
                if event.user_id == user and event.kind != "view":
                    last[event.item_id] = event.kind
            assert self.store.dismissed(user) == {item for item, kind in last.items() if kind == "dismiss"}
        users = {event.user_id for _, _, event in self.events}
        assert self.store.users_page(None, 9) == (sorted(users), None)


def test_a_store_is_what_its_model_says(url):
    with open_store(url) as store:
        if store._database.is_sqlite:
            _hurry(store)
        machine = type("Machine", (Model,), {"store": store})
        few = settings(
            max_examples=25, stateful_step_count=12, deadline=None, derandomize=True,
            suppress_health_check=[HealthCheck.too_slow],
        )  # fmt: skip
        run_state_machine_as_test(machine, settings=few)


def _hurry(store):
    """Let the store not wait for the disk, on the one connection that writes."""
    raw = store._database.writing.raw_connection()
    raw.driver_connection.execute("PRAGMA synchronous=OFF")
    raw.close()


@settings(derandomize=True, deadline=None)
@given(st.text(max_size=600))
def test_ids_are_taken_or_refused_whole(text):
    fits = len(text) <= LONGEST and "\0" not in text and text.encode("utf-8", "ignore").decode() == text
    if fits:
        assert plain("id", text) == text
    else:
        with pytest.raises(Exception, match="id "):
            plain("id", text)


PARTS = st.lists(st.text(alphabet="ab\0\ud800é", max_size=3), min_size=1, max_size=3)


@settings(derandomize=True, deadline=None)
@given(PARTS, PARTS)
def test_marks_differ_where_parts_do(one, other):
    assert (mark(b"s", *one) == mark(b"s", *other)) == (one == other)
    assert mark(b"s", *one) != mark(b"t", *one)
