from dataclasses import replace

import numpy as np
import pytest

from llmrec.errors import ConfigError
from llmrec.types import Item, Queries


def shown(policy, **asked):
    return np.flatnonzero(policy.prepare(replace(Queries.from_lists([[]]), **asked)).allow).tolist()


def test_by_id(fitted):
    assert shown(fitted("availability", allow_ids=["i3", "i7", "i1"])) == [1, 3, 7]
    assert shown(fitted("availability", deny_ids=["i0", "i11"])) == list(range(1, 11))
    assert shown(fitted("availability", allow_ids=["i3", "i7"], deny_ids=["i7"])) == [3]
    assert shown(fitted("availability")) == list(range(12))


def test_by_field(fitted):
    assert shown(fitted("availability", allow={"in_stock": [True]})) == [0, 1, 2, 4, 6, 8, 9, 10]
    assert shown(fitted("availability", deny={"in_stock": [False]})) == [0, 1, 2, 4, 5, 6, 8, 9, 10]
    assert shown(fitted("availability", allow={"kind": ["c", "d"]}, separator="|")) == [7, 9, 10, 11]
    assert shown(fitted("availability", allow={"kind": ["c", "d"]})) == [7, 9, 11]
    assert shown(fitted("availability", deny={"kind": ["a", "b"]}, separator="|")) == [5, 7, 9, 11]


def test_every_rule_must_hold_and_denying_wins(fitted):
    rules = {"allow": {"in_stock": [True], "kind": ["a", "b"]}, "deny": {"price": [1.0]}, "separator": "|"}
    assert shown(fitted("availability", **rules)) == [0, 2, 4, 6, 8, 10]
    assert shown(fitted("availability", **rules, allow_ids=["i2", "i3", "i1"], deny_ids=["i8"])) == [2]


def test_what_the_query_does_not_allow_stays_out(fitted):
    policy = fitted("availability", allow_ids=["i3", "i7"])
    assert shown(policy, allow=np.arange(12) > 5) == [7]


def test_unknown_ids_are_refused_by_name(fitted):
    with pytest.raises(ConfigError, match=r"shelf: 1 of the given ids .*'i99'"):
        fitted("availability", name="shelf", deny_ids=["i1", "i99"])
    with pytest.raises(ConfigError, match="'x', 'y'"):
        fitted("availability", allow_ids=["x", "y"])


def test_rules_that_leave_nothing_are_refused(fitted):
    with pytest.raises(ConfigError, match="no item of the catalog may be shown"):
        fitted("availability", allow={"kind": ["A"]})


def test_values_that_no_item_has_are_reported(fitted):
    said = []
    fitted("availability", said=said, deny={"kind": ["a", "adult"]})
    assert said == ["availability: no item has kind = adult"]


def test_new_and_changed_items_are_judged_by_the_same_rules(fitted, shelves):
    policy = fitted("availability", allow={"in_stock": [True]}, deny_ids=["i0"])
    later = shelves.with_changes([Item("i1", {"in_stock": False}), Item("i3", {"in_stock": True})])
    later = later.with_items([Item("n1", {"in_stock": True}), Item("n2", {"in_stock": False}), Item("n3", {})])
    assert shown(policy.with_items(later, np.int32([1, 3]))) == [2, 3, 4, 6, 8, 9, 10, 12]
    listed = fitted("availability", allow_ids=["i0"]).with_items(later, np.empty(0, np.int32))
    assert shown(listed) == [0]


def test_an_item_that_was_named_may_be_deleted_later(fitted, shelves):
    policy = fitted("availability", deny_ids=["i2"])
    gone = shelves.without_items(["i2", "i3"])
    assert shown(policy.with_items(gone, np.empty(0, np.int32))) == [0, 1, *range(3, 12)]
    assert shown(fitted("availability", catalog=gone, deny_ids=["i2"])) == [0, 1, *range(3, 12)]


def test_the_recommender_never_shows_what_is_not_available_and_lists_stay_full(hybrid, interactions, catalog):
    from llmrec.component import FitContext, find_component

    component = find_component("availability")
    config = component.config.model_validate({"deny": {"genres": ["Drama", "Comedy"]}, "deny_ids": ["i2"]})
    policy = component.fit(FitContext("availability", catalog, interactions), config)
    queries = interactions.queries(np.arange(interactions.n_users))
    lists = replace(hybrid, policies=(policy,)).recommend(queries, 6).items
    assert all(set(row.tolist()) == {3, 4, 7, 8, 9, -1} for row in lists)
