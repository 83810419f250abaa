from dataclasses import replace

import numpy as np
import pytest

from llmrec.data import Interactions
from llmrec.data.columns import InteractionColumns
from llmrec.serve.config import LearnConfig
from llmrec.serve.live import Snapshot, units_per_second, user_query
from llmrec.testing.data import tiny_users


def snapshot_of(recommender, event_seq=0):
    return Snapshot("default", "b", "", 1, recommender, 0, event_seq, 0.0)


def with_log(recommender, repeats="fold", **columns):
    table = {
        "user_id": ["a", "a", "b"],
        "item_id": ["i1", "i2", "i3"],
        "timestamp": [10, 20, 30],
        "kind": ["view", "buy", "view"],
        "rating": [4.0, 2.0, 1.0],
        "weight": [0.5, 2.0, 1.0],
    }
    log = Interactions.from_table(table, recommender.catalog, InteractionColumns(**columns), repeats)
    return replace(recommender, histories=log)


@pytest.fixture
def past(store):
    def read(recommender, user_id="a", config=None, event_seq=0):
        return user_query(snapshot_of(recommender, event_seq), store, config or LearnConfig(), user_id)

    return read


def test_events_follow_the_bundles_history_with_what_its_log_has(hybrid, store, past):
    store.event("a", "i5", "click", 100, rating=3.0)
    store.event("b", "i6")
    everything = past(with_log(hybrid, kind="kind", rating="rating", weight="weight"))
    assert everything.item_ids == ["i1", "i2", "i5"]
    assert everything.times == [10, 20, 100]
    assert everything.kinds == ["view", "buy", "click"]
    assert everything.ratings == [4.0, 2.0, 3.0]
    assert everything.weights == [0.5, 2.0, 1.0]
    assert everything.known
    nothing = past(with_log(hybrid, time=None))
    assert nothing.item_ids == ["i1", "i2", "i5"]
    assert (nothing.times, nothing.kinds, nothing.ratings, nothing.weights) == (None, None, None, None)


def test_kinds_weigh_as_configured_and_kinds_of_no_weight_are_no_history(hybrid, store, past):
    for item, kind in (("i5", "buy"), ("i6", "dismiss"), ("i7", "impression"), ("i8", "view"), ("i9", "hover")):
        store.event("a", item, kind)
    weighed = past(with_log(hybrid), config=LearnConfig(kinds={"view": 1.0, "buy": 3.0, "hover": 0.0}))
    assert weighed.item_ids == ["i1", "i2", "i5", "i8"]
    assert weighed.weights == [1.0, 1.0, 3.0, 1.0]
    assert weighed.dismissed == {"i6"}
    store.event("a", "i6", "restore")
    assert past(with_log(hybrid)).dismissed == frozenset()


def test_late_events_stand_where_their_time_says(hybrid, store, past):
    store.event("a", "i5", time=15)
    assert past(with_log(hybrid)).item_ids == ["i1", "i5", "i2"]
    assert past(with_log(hybrid, time=None)).item_ids == ["i1", "i2", "i5"]


def test_repeats_fold_as_the_log_folds_them(hybrid, store, past):
    store.event("a", "i1")
    assert past(with_log(hybrid)).item_ids == ["i1", "i2"]
    assert past(with_log(hybrid, "keep")).item_ids == ["i1", "i2", "i1"]


def test_events_that_the_bundle_was_fitted_with_do_not_count_twice(hybrid, store, past):
    store.event("a", "i5")
    store.event("a", "i6")
    assert past(with_log(hybrid), event_seq=1).item_ids == ["i1", "i2", "i6"]


def test_items_that_the_catalog_does_not_have_are_no_history(hybrid, store, past):
    store.event("a", "from another catalog")
    assert past(with_log(hybrid)).item_ids == ["i1", "i2"]


def test_an_unknown_user_has_an_empty_history(hybrid, past):
    cold = past(with_log(hybrid), "nobody")
    assert (cold.known, cold.item_ids, cold.times, cold.profile, cold.dismissed) == (False, [], [], None, frozenset())
    assert past(replace(hybrid, histories=None), "nobody").item_ids == []


def test_only_the_newest_events_are_looked_at(hybrid, store, past):
    for item in range(5, 9):
        store.event("nobody", f"i{item}")
    assert past(with_log(hybrid), "nobody", LearnConfig(recent=2)).item_ids == ["i7", "i8"]


def test_nothing_of_an_erased_user_is_used(hybrid, store, past):
    recommender = replace(with_log(hybrid), users=replace_ids(tiny_users(), "a"))
    store.event("a", "i5")
    store.profiles["a"] = {"age": 50}
    assert past(recommender).profile["age"] == 50
    store.erase("a")
    gone = past(recommender)
    assert (gone.known, gone.item_ids, gone.profile) == (False, [], None)
    store.event("a", "i6")
    assert past(recommender).item_ids == ["i6"]
    refitted = past(recommender, event_seq=2)  # this bundle was fitted after the erasure
    assert refitted.item_ids == ["i1", "i2"]
    assert refitted.profile is None


def replace_ids(users, first):
    from llmrec.data import Users

    table = users.table.to_pydict()
    table["user_id"][0] = first
    return Users.from_table(table)


def test_profiles_that_were_put_win_over_the_bundles(hybrid, store, past):
    recommender = replace(hybrid, users=tiny_users())
    assert past(recommender, "u1").profile == {"age": 21, "occupation": "student"}
    store.profiles["u1"] = {"age": 70}
    assert past(recommender, "u1").profile == {"age": 70, "occupation": "student"}
    store.profiles["new"] = {"age": 3}
    assert past(recommender, "new").profile == {"age": 3}


@pytest.mark.parametrize(("latest", "unit"), [(16, 1), (1_700_000_000, 1), (1_700_000_000_000, 1000)])
def test_the_unit_of_a_logs_times(hybrid, latest, unit):
    log = replace(with_log(hybrid).histories, times=np.array([latest - 2, latest - 1, latest]))
    assert units_per_second(log) == unit


def test_times_of_events_are_in_the_logs_unit(hybrid, store, past):
    recommender = with_log(hybrid)
    log = replace(recommender.histories, times=np.array([1, 2, 1_700_000_000_000]))
    store.event("a", "i5", time=1_700_000_001)
    assert past(replace(recommender, histories=log)).times == [1, 2, 1_700_000_001_000]


# --- kept at hand ---------------------------------------------------------------------------------------------------


def test_a_past_is_read_once_until_it_is_forgotten(models, store):
    snapshot = models.snapshot()
    assert models.past_at_hand(snapshot, "u1") is None
    before = models.past(snapshot, "u1")
    reads = store.reads
    assert models.past(snapshot, "u1") is before
    assert models.past_at_hand(snapshot, "u1") is before
    assert store.reads == reads
    store.event("u1", "i11")
    models.forget("u1")
    assert models.past(snapshot, "u1").item_ids == list(dict.fromkeys([*before.item_ids, "i11"]))
    models.forget()
    assert models.past_at_hand(snapshot, "u1") is None


def test_a_past_of_other_items_is_read_again(models, store):
    store.event("u1", "kettle")
    assert "kettle" not in models.past(models.snapshot(), "u1").item_ids
    models.put_items([("kettle", {"title": "kettle"}, "active")])
    assert models.past(models.snapshot(), "u1").item_ids[-1] == "kettle"


def test_what_is_forgotten_while_it_is_read_is_not_kept(models, store):
    snapshot = models.snapshot()
    real = store.dismissed

    def slow(user_id):
        models.forget(user_id)
        return real(user_id)

    store.dismissed = slow
    models.past(snapshot, "u1")
    assert models.past_at_hand(snapshot, "u1") is None
