"""What a store does, whatever the database."""

import json
import math

import pytest

from llmrec.serve.problems import Conflict, NotFound, Unavailable, Unprocessable
from llmrec.serve.records import Erased, NewEvent, StoredEvent, StoredItem
from llmrec.serve.store import Outcome, open_store


def add(store, *events, now=10.0, **named):
    return store.add_events(
        [NewEvent(*event) if isinstance(event, tuple) else event for event in events], now=now, **named
    )


def test_events_come_back_as_they_came(both):
    given = NewEvent("u", "i", "rating", time=5, rating=0.1, event_id="e1", impression_id="l", place=3)
    added = add(both, given, ("u2", "j"), now=12.9)
    assert added.event_ids[0] == "e1"
    assert added.repeats == (False, False)
    assert added.last_seq == both.last_seq() == 2
    first, second = both.events_after(0)
    assert first == StoredEvent(1, "e1", "u", "i", "rating", 5, 0.1, "l", 3)
    assert second == StoredEvent(2, added.event_ids[1], "u2", "j", "view", 12)
    assert both.events_after(1) == [second]
    assert both.events_after(0, limit=1) == [first]


def test_an_event_id_is_stored_once(both):
    once = NewEvent("u", "i", event_id="e")
    assert add(both, once, once).repeats == (False, True)
    assert add(both, once, ("u", "j")).repeats == (True, False)
    assert [event.item_id for event in both.events_after(0)] == ["i", "j"]


def test_nothing_is_added_to_nothing(both):
    assert both.last_seq() == 0
    assert add(both).last_seq == 0
    assert both.events_after(0) == []


def test_the_same_key_gets_the_first_answer(both):
    first = add(both, ("u", "i"), ("u", "j"), idempotency_key="k", caller="c")
    add(both, ("u", "z"))
    assert add(both, ("u", "i"), ("u", "j"), idempotency_key="k", caller="c", now=99.0) == first
    assert both.last_seq() == 3


def test_other_events_under_a_key_are_refused(both):
    add(both, ("u", "i"), idempotency_key="k", caller="c")
    with pytest.raises(Conflict, match="new key"):
        add(both, ("u", "j"), idempotency_key="k", caller="c")
    with pytest.raises(Conflict):
        add(both, idempotency_key="k", caller="c")
    assert both.last_seq() == 1


def test_a_key_belongs_to_its_caller(both):
    add(both, ("u", "i"), idempotency_key="bc", caller="a")
    add(both, ("u", "j"), idempotency_key="c", caller="ab")
    assert both.last_seq() == 2


def test_keys_are_kept_a_day_and_not_for_ever(both):
    hour = 3600.0
    first = add(both, ("u", "i"), idempotency_key="k", now=0.0)
    assert add(both, ("u", "i"), idempotency_key="k", now=23.9 * hour) == first
    later = add(both, ("u", "i"), idempotency_key="k", now=26 * hour)
    assert later.event_ids != first.event_ids
    assert both.last_seq() == 2


def test_a_user_s_newest_events_oldest_first(both):
    add(both, ("u", "a"), ("v", "x"), ("u", "b"), ("u", "c"))
    assert [event.item_id for event in both.user_events("u", limit=2)] == ["b", "c"]
    assert [event.item_id for event in both.user_events("u", after=1)] == ["b", "c"]
    assert both.user_events("nobody") == []


def test_users_are_paged_in_one_order_in_both_databases(both, shown):
    names = ["b", "B", "a", "é", "_", "\U0001f600", "￿"]
    add(both, *[(name, "i") for name in names[:5]], (None, "i"))
    both.put_user(names[5], {})
    both.put_user("a", {})
    both.add_impressions([shown("l", names[6]), shown("l2", None)])
    found, cursor = [], None
    while True:
        page, cursor = both.users_page(cursor, 2)
        found += page
        if cursor is None:
            break
    assert found == sorted(names)


def test_the_last_of_dismiss_and_restore_counts(both):
    add(both, NewEvent("u", "i", "dismiss", time=900), NewEvent("u", "j", "dismiss"), NewEvent("v", "k", "dismiss"))
    assert both.dismissed("u") == {"i", "j"}
    add(both, NewEvent("u", "i", "restore", time=1), NewEvent("u", "j", "click"))
    assert both.dismissed("u") == {"j"}
    add(both, NewEvent("u", "i", "dismiss"))
    assert both.dismissed("u") == {"i", "j"}


def test_impressions_come_back_as_they_were(both, shown):
    plain = shown("l1")
    full = shown("l2", None, propensities=(0.1, 1 / 3), degraded=True, experiment="e", variant="x", sources=("x", "y"))
    both.add_impressions([plain, full])
    both.add_impressions([shown("l1", "other")])
    assert both.impression("l1") == plain
    assert both.impression("l2") == full
    assert both.impression("l3") is None
    both.add_impressions([])


def test_impressions_are_paged_by_time(both, shown):
    for number, time in enumerate([5.0, 1.0, 3.0, 3.0, 9.0]):
        both.add_impressions([shown(f"l{number}", time=time, experiment="e" if number % 2 else None)])
    names = [found.id for found in both.impressions_between(1.0, 9.0)]
    assert names == ["l1", "l2", "l3", "l0"]
    assert [found.id for found in both.impressions_between(1.0, 9.0, limit=2, after="l2")] == ["l3", "l0"]
    assert [found.id for found in both.impressions_between(0.0, 99.0, experiment="e")] == ["l1", "l3"]
    with pytest.raises(NotFound):
        both.impressions_between(0.0, 9.0, after="gone")


def test_items_are_merged_and_numbered(both):
    assert both.put_items([("a", {"title": "A", "year": 1999}, "active"), ("b", {}, "active")]) == 2
    assert both.put_items([("a", {"year": None, "genres": ["x"]}, "removed")]) == 3
    assert both.last_item_seq() == both.put_items([]) == 3
    a = StoredItem(3, "a", {"title": "A", "year": None, "genres": ["x"]}, "removed")
    assert both.item("a") == a
    assert both.items_after(0) == [StoredItem(2, "b", {}, "active"), a]
    assert both.items_after(2) == [a]
    assert both.items_after(0, limit=1) == [StoredItem(2, "b", {}, "active")]
    assert both.item("c") is None


def test_an_item_that_is_put_twice_at_once_keeps_both_changes(both):
    assert both.put_items([("a", {"x": 1}, "active"), ("b", {}, "active"), ("a", {"y": 2}, "removed")]) == 2
    assert both.items_after(0) == [StoredItem(1, "b", {}, "active"), StoredItem(2, "a", {"x": 1, "y": 2}, "removed")]


def test_profiles(both):
    assert both.profile("u") is None
    both.put_user("u", {"age": 3, "text": "\0 é \ud800"})
    both.put_user("u", {"age": 4, "text": "\0 é \ud800"})
    assert both.profile("u") == {"age": 4, "text": "\0 é \ud800"}


def test_profiles_come_by_id_a_page_at_a_time(both):
    for user in ("c", "a", "b"):
        both.put_user(user, {"name": user})
    assert both.profiles_after("", 2) == [("a", {"name": "a"}), ("b", {"name": "b"})]
    assert both.profiles_after("b", 2) == [("c", {"name": "c"})]
    assert both.profiles_after("c") == []


def test_erasure_leaves_a_mark_only(both, shown):
    both.note_models("b1", ["u", "v"])
    both.note_models("b2", ["v"])
    both.note_models("b1", ["u"])
    both.put_user("u", {"age": 3})
    both.add_impressions([shown("l1", "u"), shown("l2", "v")])
    kept = NewEvent("v", "a", impression_id="l1", place=1)
    add(both, ("u", "a"), ("v", "a"), NewEvent(None, "b", "click", impression_id="l1"), kept)
    assert not both.is_erased("u")
    assert both.erase_user("u", now=50.0) == Erased(2, 1, True, ("b1",))
    assert both.is_erased("u")
    assert both.erased_at_seq("u") == both.last_seq() == 4
    assert both.profile("u") is both.impression("l1") is both.erased_at_seq("v") is None
    assert both.users_page(None, 9) == (["v"], None)
    assert [(event.seq, event.impression_id, event.place) for event in both.events_after(0)] == [
        (2, None, None),
        (4, None, None),
    ]
    assert add(both, ("u", "c")).last_seq == 5  # a number is not given twice
    assert [event.seq for event in both.user_events("u")] == [5]
    assert both.erased_at_seq("u") == 4
    assert both.erase_user("u", now=60.0) == Erased(1, 0, False, ("b1",))
    assert both.erased_at_seq("u") == 5


def test_a_stranger_is_erased_too(both):
    assert both.erase_user("u", now=1.0) == Erased(0, 0, False)
    assert both.erased_at_seq("u") == 0


def test_a_repeated_call_does_not_bring_an_erased_user_back(both):
    first = add(both, ("u", "i"), ("v", "i"), idempotency_key="k")
    both.erase_user("u", now=11.0)
    assert add(both, ("u", "i"), ("v", "i"), idempotency_key="k") == first
    assert both.user_events("u") == []


def test_keys_open_until_they_are_revoked(both):
    key, secret = both.add_key("shop", ["feedback"], per_minute=7, now=3.0)
    other, _ = both.add_key("admin", ["read", "admin"], now=4.0)
    assert secret.startswith(f"llmrec_{key.id}_")
    assert len(secret.split("_", 2)[2]) == 43
    assert both.find_key(secret) == key
    assert both.keys() == [key, other]
    wrong = secret[:-1] + ("A" if secret[-1] != "A" else "B")
    swapped = secret.replace(key.id, other.id)
    for bad in (wrong, swapped, "", "x", secret + "\n", secret + "A", "llmrec_\0", secret.replace(key.id, "0" * 12)):
        assert both.find_key(bad) is None
    both.revoke_key(key.id)
    assert both.find_key(secret) is None
    found = both.keys()
    assert [key.revoked for key in found] == [True, False]
    with pytest.raises(NotFound):
        both.revoke_key("none")


def test_keys_need_scopes_that_exist(both):
    with pytest.raises(Unprocessable):
        both.add_key("a", [], now=0.0)
    with pytest.raises(Unprocessable):
        both.add_key("a", ["root"], now=0.0)
    with pytest.raises(Unprocessable):
        both.add_key("a", ["read"], per_minute=0, now=0.0)
    assert both.keys() == []


def test_deployments_newest_first(both):
    first = both.add_deployment("default", "/x", "b1", now=1.0, why="start")
    second = both.add_deployment("other", "/y", "b2", now=1.0, why="start")
    third = both.add_deployment("default", "/z", "b3", now=0.5, why="reload")
    assert both.deployments() == [third, second, first]
    assert both.deployments("default") == [third, first]
    assert [found.seq for found in both.deployments()] == [3, 2, 1]


def test_jobs(both):
    job = both.add_job("refit", {"alias": "default"}, now=1.0)
    assert both.job(job.id) == job
    assert job.state == "waiting"
    done = both.update_job(job.id, now=2.0, state="done", progress=1.0, message="a\0b\ud800", result={"n": 3})
    assert (done.state, done.progress, done.result, done.created, done.updated) == ("done", 1.0, {"n": 3}, 1.0, 2.0)
    assert both.job(job.id).message == "ab?"
    again = both.update_job(job.id, now=3.0)
    assert (again.state, again.result, again.updated) == ("done", {"n": 3}, 3.0)
    other = both.add_job("prompt_compare", {}, now=9.0)
    assert [found.id for found in both.jobs()] == [other.id, job.id]
    assert [found.id for found in both.jobs("refit")] == [job.id]
    assert [found.id for found in both.jobs(limit=1)] == [other.id]
    assert both.job("none") is None
    with pytest.raises(NotFound):
        both.update_job("none", now=4.0)


def test_values(both):
    both.put_value("experiments", "e", {"a": [1, 2.5, None]})
    both.put_value("experiments", "d", {})
    both.put_value("prompts", "e", {"b": 1})
    assert both.value("experiments", "e") == {"a": [1, 2.5, None]}
    assert list(both.values("experiments")) == ["d", "e"]
    with pytest.raises(Conflict):
        both.put_value("experiments", "e", {}, expect_absent=True)
    both.put_value("experiments", "f", {"x": 1}, expect_absent=True)
    both.put_value("experiments", "e", {"a": 2})
    both.delete_value("experiments", "f")
    both.delete_value("experiments", "f")
    assert both.values("experiments") == {"d": {}, "e": {"a": 2}}
    assert both.value("experiments", "f") is None


def test_counts_by_day(both, shown):
    day = 86_400.0
    both.add_impressions([shown("l1", time=day), shown("l2", "v", time=day + 1), shown("l3", time=2 * day, alias="x")])
    both.add_impressions([shown("l0", time=day - 0.001)])
    for kind in ("click", "click", "like", "buy", "dismiss", "impression"):
        add(both, NewEvent("u", "a", kind, impression_id="l1"))
    add(both, NewEvent("u", "b", "click", impression_id="l1"), NewEvent("v", "a", "click", impression_id="l2"))
    add(both, NewEvent("u", "a", "click", impression_id="l0"), NewEvent("u", "a", "click"))
    none = {"clicks": 0, "likes": 0, "buys": 0, "dismissals": 0}
    some = {"clicks": 3, "likes": 1, "buys": 1, "dismissals": 1}
    assert both.counts_between(day, 3 * day) == [
        {"alias": "x", "bundle": "b1", "day": "1970-01-03", "impressions": 1, **none},
        {"alias": "default", "bundle": "b1", "day": "1970-01-02", "impressions": 2, **some},
    ]
    assert both.counts_between(9 * day, 10 * day) == []


def test_outcomes_by_unit(both, shown):
    named = {"experiment": "e"}
    both.add_impressions(
        [shown("l1", "u", time=3.0, variant="x", **named), shown("l2", "u", time=1.0, variant="x", **named)]
    )
    both.add_impressions(
        [shown("l3", None, time=2.0, variant="y", **named), shown("l4", None, time=4.0, variant="y", **named)]
    )
    both.add_impressions([shown("l5", "w", time=5.0, experiment="f", variant="x")])
    add(both, NewEvent("u", "a", "click", impression_id="l1"), NewEvent("u", "a", "click", impression_id="l1"))
    add(both, NewEvent("u", "a", "click", impression_id="l2"), NewEvent(None, "b", "buy", impression_id="l4"))
    assert both.outcomes("e") == [
        Outcome("u", "x", 2, 2, 0, {}, 1.0),
        Outcome(None, "y", 1, 0, 0, {}, 2.0),
        Outcome(None, "y", 1, 0, 1, {}, 4.0),
    ]
    assert both.outcomes("none") == []


def test_outcomes_of_interleaved_lists(both, shown):
    named = {"experiment": "e", "sources": ("x", "y", "x"), "items": ("a", "b", "c")}
    both.add_impressions([shown("l1", "u", **named)])
    first = add(both, *[NewEvent("u", item, "click", impression_id="l1") for item in ("a", "c", "b", "c", "z")])
    assert both.outcomes("e") == [Outcome("u", "", 1, 4, 0, {"x": 2, "y": 1}, 100.5)]
    both.add_impressions([shown("l2", "u", time=200.0, **named)])
    assert both.outcomes("e", after_seq=first.last_seq) == [Outcome("u", "", 1, 0, 0, {}, 200.0)]


BAD_IDS = ["a\0b", "\ud800", "x" * 513]


@pytest.mark.parametrize("bad", BAD_IDS)
def test_ids_that_one_database_could_not_hold_are_refused_by_both(both, shown, bad):
    calls = [
        lambda: add(both, (bad, "i")),
        lambda: add(both, ("u", bad)),
        lambda: add(both, ("u", "i", bad)),
        lambda: add(both, NewEvent("u", "i", event_id=bad)),
        lambda: add(both, NewEvent("u", "i", impression_id=bad)),
        lambda: both.user_events(bad),
        lambda: both.dismissed(bad),
        lambda: both.users_page(bad, 1),
        lambda: both.add_impressions([shown(bad)]),
        lambda: both.impression(bad),
        lambda: both.impressions_between(0.0, 1.0, after=bad),
        lambda: both.impressions_between(0.0, 1.0, experiment=bad),
        lambda: both.put_items([(bad, {}, "active")]),
        lambda: both.item(bad),
        lambda: both.put_user(bad, {}),
        lambda: both.profile(bad),
        lambda: both.erase_user(bad, now=0.0),
        lambda: both.revoke_key(bad),
        lambda: both.add_deployment(bad, "/", "b", now=0.0, why="start"),
        lambda: both.add_deployment("a", bad, "b", now=0.0, why="start"),
        lambda: both.deployments(bad),
        lambda: both.job(bad),
        lambda: both.jobs(bad),
        lambda: both.put_value("s", bad, {}),
        lambda: both.value("s", bad),
        lambda: both.value(bad, "s"),
        lambda: both.values(bad),
        lambda: both.delete_value(bad, "s"),
        lambda: both.outcomes(bad),
    ]
    for place, call in enumerate(calls):
        if len(bad) > 512 and place == 19:  # a path may be long
            continue
        with pytest.raises(Unprocessable):
            call()
    assert both.last_seq() == 0
    add(both, ("u", "i"), idempotency_key=bad, caller=bad)  # these are only hashed
    assert both.is_erased(bad) is False


@pytest.mark.parametrize(
    "bad",
    [
        {"time": 2**63},
        {"time": 1.5},
        {"time": math.nan},
        {"rating": math.nan},
        {"rating": math.inf},
        {"place": -(2**64)},
    ],
)
def test_numbers_that_do_not_fit_are_refused(both, bad):
    with pytest.raises(Unprocessable, match=r"events\[1\]"):
        add(both, ("u", "i"), NewEvent("u", "j", **bad))
    assert both.last_seq() == 0


def test_what_has_no_json_is_refused(both):
    for call in (both.put_user, lambda name, value: both.put_items([(name, value, "active")])):
        with pytest.raises(Unprocessable):
            call("u", {"x": object()})


def test_the_longest_ids_are_stored(both):
    longest = "\U0001f600" * 512
    event = NewEvent(longest, longest, longest, event_id=longest, impression_id=longest)
    add(both, event)
    assert both.user_events(longest)[0].event_id == longest


def test_everything_is_there_after_opening_again(url, shown):
    with open_store(url) as store:
        add(store, ("u", "i"), idempotency_key="k")
        first = add(store, ("u", "j"), idempotency_key="k2")
        store.add_impressions([shown("l")])
        store.erase_user("v", now=1.0)
        _, secret = store.add_key("a", ["read"], now=0.0)
    with open_store(url) as store:
        assert store.last_seq() == 2
        assert add(store, ("u", "j"), idempotency_key="k2") == first
        assert store.impression("l") == shown("l")
        assert store.is_erased("v")
        assert store.find_key(secret) is not None


def test_a_closed_store_says_so(url):
    store = open_store(url)
    store.ping()
    store.close()
    store.close()
    with pytest.raises(Unavailable, match="closed"):
        add(store, ("u", "i"))
    with pytest.raises(Unavailable, match="closed"):
        store.ping()


def test_records_of_keys_hold_no_ids(both):
    """What an idempotency key leaves is not in the way of erasure."""
    from sqlalchemy import select

    from llmrec.serve.store._tables import IDEMPOTENCY

    add(both, NewEvent("someone", "thing", event_id="someone-1"), idempotency_key="someone-key", caller="shop")
    rows = both._database.read(
        lambda connection: [dict(row._mapping) for row in connection.execute(select(IDEMPOTENCY))]
    )
    assert len(rows) == 1
    told = json.dumps(rows, default=lambda raw: bytes(raw).decode("latin-1"))
    assert not any(word in told for word in ("someone", "thing", "shop"))
