from dataclasses import replace

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings
from pydantic import ValidationError

from llmrec.component import FitContext
from llmrec.data import Catalog
from llmrec.errors import ConfigError
from llmrec.policy import CapsConfig
from llmrec.policy.caps import COLUMNS, COMPONENT
from llmrec.types import Csr, Item, Queries, Ranking


def test_items_over_the_limit_make_room(fitted, plain, listed):
    lists = listed([0, 1, 2, 3, 4, 5, 6, 7], [6, 4, 5, 0, 1, 3, 2, 8])
    policy = fitted("caps", field="kind", at_most=1, separator="|")
    assert policy.apply(plain(2), lists, 4).items.tolist() == [[0, 4, 5, 7], [6, 5, 0, -1]]
    whole = fitted("caps", field="kind", at_most=1)
    assert whole.apply(plain(2), lists, 4).items.tolist() == [[0, 2, 4, 5], [6, 5, 0, 2]]


def test_limits_for_some_values(fitted, plain, listed):
    policy = fitted("caps", field="kind", at_most=2, values={"a": 1, "b": 0}, separator="|")
    assert policy.apply(plain(), listed([0, 1, 4, 7, 9, 10, 5, 11]), 5).items.tolist() == [[0, 7, 9, 5, 11]]
    only = fitted("caps", field="kind", values={"a": 1})
    assert only.apply(plain(), listed([0, 1, 3, 4, 6]), 5).items.tolist() == [[0, 4, 6, -1, -1]]


def test_wrong_settings(fitted):
    with pytest.raises(ConfigError, match="set at_most, values, or both"):
        fitted("caps", field="kind")
    with pytest.raises(ConfigError, match="no field 'genre'"):
        fitted("caps", field="genre", at_most=1)
    with pytest.raises(ValidationError):
        CapsConfig(field="kind", at_most=-1)
    said = []
    fitted("caps", said=said, field="kind", values={"x": 1})
    assert said == ["caps: no item has kind = x"]


@given(st.data())
@settings(max_examples=70, deadline=None)
def test_by_property(data):
    kinds = st.sets(st.sampled_from("abc"), max_size=3).map(lambda s: "|".join(sorted(s)))
    kind = data.draw(st.lists(kinds, min_size=8, max_size=8))
    catalog = Catalog.from_table({"item_id": [str(r) for r in range(8)], "kind": kind})
    config = CapsConfig(field="kind", at_most=data.draw(st.integers(0, 3)), values={"a": 1}, separator="|")
    policy = COMPONENT.fit(FitContext("caps", catalog, None), config)
    items = np.int32([data.draw(st.permutations(range(8)))[: data.draw(st.integers(1, 8))]])
    k = data.draw(st.integers(1, 8))
    queries = Queries(np.int64([0, 0]), np.empty(0, np.int32))
    found = policy.apply(queries, Ranking(items, np.zeros(items.shape, np.float32)), k).items[0]

    counts, expected = dict.fromkeys("abc", 0), []
    for item in items[0].tolist():
        own = [v for v in kind[item].split("|") if v]
        if all(counts[v] < (1 if v == "a" else config.at_most) for v in own):
            expected.append(item)
            for v in own:
                counts[v] += 1
    assert found[found >= 0].tolist() == expected[:k]


def test_the_recommender_fills_lists_from_further_down(hybrid, catalog, interactions):
    """Only two of the twelve items are not limited: they are found however far down they are."""
    field = ["rare" if row in (3, 8) else "usual" for row in range(12)]
    labelled = Catalog.from_table(catalog.table.append_column("shelf", [field]))
    caps = COMPONENT.fit(FitContext("caps", labelled, None), CapsConfig(field="shelf", values={"usual": 1}))
    queries = interactions.queries(np.arange(interactions.n_users))
    lists = replace(hybrid, policies=(caps,)).recommend(queries, 3).items
    assert (lists >= 0).all()
    assert all({3, 8} < set(row.tolist()) for row in lists)


def test_far_down_the_list_the_limits_still_hold():
    """Longer than what is looked at at once."""
    n = 3 * COLUMNS + 7
    rng = np.random.default_rng(0)
    kind = rng.integers(0, 40, n)
    kind[rng.permutation(n)[: n // 2]] = 0
    catalog = Catalog.from_table({"item_id": [str(r) for r in range(n)], "kind": [f"k{v}" for v in kind]})
    policy = COMPONENT.fit(FitContext("caps", catalog, None), CapsConfig(field="kind", at_most=11, values={"k0": 2}))
    items = np.stack([rng.permutation(n) for _ in range(3)]).astype(np.int32)
    found = policy.apply(
        Queries.from_lists([[]] * 3), Ranking(items, -np.tile(np.float32(range(n)), (3, 1))), 300
    ).items
    for row in range(3):
        counts, expected = dict.fromkeys(range(40), 0), []
        for item in items[row].tolist():
            if counts[kind[item]] < (2 if kind[item] == 0 else 11) and len(expected) < 300:
                expected.append(item)
                counts[kind[item]] += 1
        assert found[row].tolist() == expected


def test_a_list_may_grow_by_what_the_query_may_be_shown(fitted, plain, listed, shelves):
    policy = fitted("caps", field="kind", at_most=1, separator="|")
    lists = listed([0, 4, 7, 11, 5], [0, 4, 7, -1, -1], [0, 4, 7, 11, -1], [0, 4, 7, 11, -1])
    queries = replace(plain(4), exclude=Csr.from_lists([[], [], [], [5]]))
    assert policy.may_grow(queries, lists).tolist() == [False, True, True, False]
    assert not policy.may_grow(replace(queries, allow=np.arange(12) < 5), lists).any()
    gone = policy.with_items(shelves.without_items(["i5", "i11"]), np.empty(0, np.int32))
    assert not gone.may_grow(plain(4), lists).any()
    changed = policy.with_items(shelves.with_changes([Item("i1", {"kind": "new"})]), np.int32([1]))
    assert changed.may_grow(queries, lists).all()
