from dataclasses import replace

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings
from pydantic import ValidationError

from llmrec.policy import Pin, PinConfig
from llmrec.types import Csr, Queries, Ranking


def test_items_stand_at_their_places(fitted, plain, listed):
    policy = fitted("pin", items={"i11": 1, "i3": 4})
    assert policy.apply(plain(), listed([0, 1, 2, 4, 5, 6]), 5).items.tolist() == [[11, 0, 1, 3, 2]]
    assert policy.apply(plain(), listed([0, 3, 11, 4, 5, 6]), 5).items.tolist() == [[11, 0, 4, 3, 5]]
    assert policy.apply(plain(), listed([0, 1, 2, 4, 5, 6]), 3).items.tolist() == [[11, 0, 1]]


def test_in_a_short_list_pinned_items_stand_last_in_the_order_of_their_places(fitted, plain, listed):
    policy = fitted("pin", items={"i11": 9, "i3": 4})
    assert policy.apply(plain(), listed([0, 1, -1, -1]), 4).items.tolist() == [[0, 1, 3, 11]]
    assert policy.apply(plain(), listed([-1, -1]), 2).items.tolist() == [[3, 11]]


def test_a_pin_below_the_list_keeps_its_item_out_of_the_list(fitted, plain, listed):
    policy = fitted("pin", items={"i0": 5})
    assert policy.apply(plain(), listed([0, 1, 2, 3]), 3).items.tolist() == [[1, 2, 3]]
    assert policy.depth(3) == 4


def test_what_a_query_may_not_be_shown_is_not_pinned(fitted, plain, listed, shelves):
    policy = fitted("pin", items={"i11": 1, "i3": 2})
    queries = replace(plain(3), exclude=Csr.from_lists([[11], [], [3, 11]]))
    lists = listed(*[[0, 1, 2, 4]] * 3)
    assert policy.apply(queries, lists, 4).items.tolist() == [[0, 3, 1, 2], [11, 3, 0, 1], [0, 1, 2, 4]]
    allowed = replace(plain(), allow=np.arange(12) != 3)
    assert policy.apply(allowed, listed([0, 1, 2]), 3).items.tolist() == [[11, 0, 1]]
    gone = policy.with_items(shelves.without_items(["i11"]), np.empty(0, np.int32))
    assert gone.apply(plain(), listed([0, 1, 2]), 3).items.tolist() == [[0, 3, 1]]


def test_scores_and_propensities(fitted, plain, listed):
    policy = fitted("pin", items={"i11": 1, "i2": 4})
    lists = replace(listed([0, 1, 2, 3]), propensities=np.float32([[0.9, 0.8, 0.7, 0.6]]))
    done = policy.apply(plain(), lists, 4)
    assert done.items.tolist() == [[11, 0, 1, 2]]
    np.testing.assert_array_equal(done.propensities, np.float32([[1, 0.9, 0.8, 1]]))
    np.testing.assert_allclose(done.scores, [[1, 1, 0.9375, 0.875]], atol=1e-6)


def test_wrong_settings():
    with pytest.raises(ValidationError, match="two items are pinned to one place"):
        PinConfig(items={"a": 2, "b": 2})
    with pytest.raises(ValidationError):
        PinConfig(items={"a": 0})


@given(st.data())
@settings(max_examples=100, deadline=None)
def test_by_property(data):
    n_items = data.draw(st.integers(1, 10))
    places = data.draw(st.dictionaries(st.integers(0, n_items - 1), st.integers(1, 8), min_size=1, max_size=4))
    places = {item: place for place, item in {p: i for i, p in places.items()}.items()}
    banned = data.draw(st.sets(st.integers(0, n_items - 1)))
    items = [i for i in data.draw(st.permutations(range(n_items))) if i not in banned]
    width, k = data.draw(st.integers(1, 10)), data.draw(st.integers(1, 10))
    row = (items + [-1] * 10)[:width]
    config = PinConfig(items={f"i{i}": p for i, p in places.items()})
    active = np.ones(n_items, bool)
    policy = Pin("pin", config, np.int32(list(places)), np.int32(list(places.values())) - 1, active)
    ranking = Ranking(np.int32([row]), np.where(np.int32([row]) >= 0, -np.arange(width), 0).astype(np.float32))
    queries = Queries(np.int64([0, 0]), np.empty(0, np.int32), exclude=Csr.from_lists([sorted(banned)]))
    found = policy.apply(queries, ranking, k).items[0]

    expected = [i for i in row if i >= 0 and i not in places]
    for item, place in sorted(places.items(), key=lambda entry: entry[1]):
        if item not in banned:
            expected.insert(place - 1, item)
    shown = found[found >= 0].tolist()
    assert shown == expected[:k]


def test_the_order_of_the_settings_does_not_matter(fitted, plain):
    for items in ({"i11": 4, "i3": 1, "i7": 2}, {"i7": 2, "i11": 4, "i3": 1}):
        assert fitted("pin", items=items).inserted(plain()).tolist() == [[3, 7, 11]]
