from dataclasses import dataclass, replace

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from llmrec.component import FitContext, find_component
from llmrec.data import Catalog
from llmrec.errors import ConfigError
from llmrec.policy import check_order, finish
from llmrec.policy.lists import first, without
from llmrec.testing.contracts import check_ranking
from llmrec.types import Csr, Queries, Ranking

N = 40


@dataclass
class Drops:
    """Leaves out the items of a set; wants `factor` candidates a place."""

    items: frozenset = frozenset()
    factor: int = 1

    def prepare(self, queries):
        return queries

    def depth(self, k):
        return self.factor * k

    def apply(self, queries, ranking, k):
        assert ranking.items.shape[1] >= min(self.factor * k, N)
        return without(ranking, np.isin(ranking.items, list(self.items)), k)


def run(policies, k, n=1, valid=N):
    """Finish lists 0, 1, 2, ...; also say how deep they were asked for, and for which rows."""
    asked = []

    def lists(rows, width):
        asked.append((rows.tolist(), width))
        items = np.tile(np.arange(width, dtype=np.int32), (len(rows), 1))
        items[:, valid:] = -1
        return Ranking(items, np.where(items >= 0, -items, 0).astype(np.float32))

    return finish(policies, Queries.from_lists([[]] * n), k, N, lists), asked


def test_without_policies_nothing_more_is_asked_for():
    done, asked = run([], 3, n=2)
    assert asked == [([0, 1], 3)]
    assert done.items.tolist() == [[0, 1, 2]] * 2


def test_every_policy_gets_what_it_wants_to_see_for_what_the_next_one_wants():
    done, asked = run([Drops(factor=2), Drops(factor=3)], 4)
    assert asked == [([0], 24)]
    assert done.items.tolist() == [[0, 1, 2, 3]]
    assert run([Drops(factor=2), Drops(factor=9)], 7)[1] == [([0], N)]


def test_a_list_left_short_is_filled_from_further_down():
    done, asked = run([Drops(frozenset(range(13))), Drops()], 3)
    assert [width for _, width in asked] == [3, 12, 40]
    assert done.items.tolist() == [[13, 14, 15]]


def test_an_exhausted_catalog_leaves_lists_short():
    done, asked = run([Drops(frozenset(range(38)))], 5)
    assert done.items.tolist() == [[38, 39, -1, -1, -1]]
    assert asked[-1] == ([0], N)
    done, asked = run([Drops(frozenset({1}))], 5, valid=4)
    assert done.items.tolist() == [[0, 2, 3, -1, -1]]
    assert len(asked) == 1  # the first try saw that there is no more


def test_what_an_earlier_policy_cut_off_is_looked_at_again():
    done, asked = run([Drops(factor=9), Drops(frozenset(range(8)), factor=2)], 3, valid=20)
    assert [width for _, width in asked] == [N, N]  # all there is, both times: the first policy is asked for more
    assert done.items.tolist() == [[8, 9, 10]]


def test_only_the_short_lists_are_made_again():
    class SomeRows(Drops):
        def apply(self, queries, ranking, k):
            short = np.diff(queries.offsets)[:, None] > 0
            return without(ranking, short & (ranking.items < 5), k)

    asked = []

    def lists(rows, width):
        asked.append((rows.tolist(), width))
        items = np.tile(np.arange(width, dtype=np.int32), (len(rows), 1))
        shown = np.full(items.shape, 0.5, np.float32)
        return Ranking(items, -items.astype(np.float32), shown)

    done = finish([SomeRows()], Queries.from_lists([[], [1], [], [2]]), 4, N, lists)
    assert asked == [([0, 1, 2, 3], 4), ([1, 3], 16)]
    assert done.items.tolist() == [[0, 1, 2, 3], [5, 6, 7, 8]] * 2
    assert (done.propensities == 0.5).all()


def test_results_are_as_wide_as_was_asked():
    class Narrow(Drops):
        def apply(self, queries, ranking, k):
            return first(ranking, 1)

    done, _ = run([Narrow()], 3)
    assert done.items.shape == (1, 3)
    assert run([], 99)[0].items.shape == (1, N)
    nobody, _ = run([Drops()], 3, n=0)
    assert nobody.items.shape == (0, 3)


SHELF = Catalog.from_table(
    {
        "item_id": [f"i{row}" for row in range(N)],
        "kind": ["a" if row % 3 else "b|c" for row in range(N)],
        "n": [None if row % 7 == 0 else row for row in range(N)],
    }
)
SETTINGS = {
    "seen": {},
    "availability": {"deny": {"kind": ["c"]}, "separator": "|"},
    "boost": {"ids": {"i7": 5}, "fields": {"kind": {"b": 2}}, "separator": "|"},
    "freshness": {"field": "n", "kind": "number", "half_life": 8, "max_age": 36},
    "diversity": {"fields": ["kind"], "separator": "|"},
    "caps": {"field": "kind", "values": {"b": 1}, "separator": "|"},
    "exploration": {"epsilon": 0.5, "pool": 4},
    "pin": {"items": {"i5": 2, "i39": 1}},
}


def made(name):
    component = find_component(name)
    return component.fit(FitContext(name, SHELF, None), component.config.model_validate(SETTINGS[name]))


POLICIES = {name: made(name) for name in SETTINGS}


@given(st.lists(st.sampled_from(sorted(SETTINGS)), unique=True), st.integers(1, 12), st.integers(0, 999))
@settings(max_examples=70, deadline=None)
def test_any_chain_gives_full_lists_of_what_may_be_shown(names, k, seed):
    rng = np.random.default_rng(seed)
    queries = Queries.from_lists([rng.permutation(N)[: rng.integers(0, 9)].tolist() for _ in range(4)])
    scores = rng.normal(size=(4, N)).astype(np.float32)
    policies = [POLICIES[name] for name in names]

    def recommend(rows):
        prepared = queries.take(rows)
        for policy in policies:
            prepared = policy.prepare(prepared)
        allowed = np.ones((len(rows), N), bool) if prepared.allow is None else np.tile(prepared.allow, (len(rows), 1))
        for row in range(len(rows)):
            allowed[row, [] if prepared.exclude is None else prepared.exclude[row]] = False

        def lists(asked, width):
            own = np.where(allowed[asked], scores[rows[asked]], -np.inf)
            order = np.argsort(-own, axis=1, kind="stable")[:, :width]
            best = np.take_along_axis(own, order, axis=1)
            items = np.where(np.isfinite(best), order, -1).astype(np.int32)
            return Ranking(items, np.where(items >= 0, best, 0).astype(np.float32))

        return finish(policies, prepared, k, N, lists), allowed

    done, allowed = recommend(np.arange(4))
    check_ranking(done, 4, N)
    if "freshness" in names:
        allowed &= (np.arange(N) >= 3) & (np.arange(N) % 7 > 0)
    for row in range(4):
        shown = done.items[row][done.items[row] >= 0]
        assert allowed[row, shown].all()
        limited = allowed[row] & (np.arange(N) % 3 == 0) if "caps" in names else np.zeros(N, bool)
        enough = allowed[row].sum() - max(limited.sum() - 1, 0)
        assert len(shown) >= min(k, enough)
        alone, _ = recommend(np.array([row]))
        np.testing.assert_array_equal(alone.items[0], done.items[row])
        np.testing.assert_array_equal(alone.scores[0], done.scores[row])
    assert (done.propensities is not None) == ("exploration" in names)


def test_policies_see_what_all_of_them_prepared():
    """A pin behind a deny list does not bring the item back, and neither does one before it."""
    deny = find_component("availability")
    denies = deny.fit(FitContext("availability", SHELF, None), deny.config.model_validate({"deny_ids": ["i39"]}))
    queries = Queries.from_lists([[5], []])
    for policies in ([POLICIES["pin"], denies, POLICIES["seen"]], [denies, POLICIES["seen"], POLICIES["pin"]]):
        prepared = queries
        for policy in policies:
            prepared = policy.prepare(prepared)

        def lists(rows, width):
            items = np.tile(np.arange(10, 10 + width, dtype=np.int32), (len(rows), 1))
            return Ranking(items, -items.astype(np.float32))

        done = finish(policies, prepared, 3, N, lists)
        assert done.items.tolist() == [[10, 11, 12], [10, 5, 11]]


@dataclass
class Exhausted(Drops):
    """Also says for which queries nothing else could stand in the list: those with a history."""

    def may_grow(self, queries, ranking):
        assert (ranking.items < 0).any(axis=1).all()  # only short lists are asked about
        return np.diff(queries.offsets) == 0


def test_a_policy_that_can_fill_no_more_places_spares_the_rest_of_the_catalog():
    asked = []

    def lists(rows, width):
        asked.append((rows.tolist(), width))
        items = np.tile(np.arange(width, dtype=np.int32), (len(rows), 1))
        return Ranking(items, -items.astype(np.float32))

    policies = [Exhausted(frozenset(range(1, 39))), Drops()]
    done = finish(policies, Queries.from_lists([[1], [], [2]]), 2, N, lists)
    assert done.items.tolist() == [[0, -1], [0, 39], [0, -1]]
    assert asked == [([0, 1, 2], 2), ([1], 8), ([1], 32), ([1], N)]


def test_impossible_rules_do_not_rank_the_whole_catalog():
    queries = Queries.from_lists([[], []])
    caps = find_component("caps")
    limits = caps.fit(FitContext("caps", SHELF, None), caps.config.model_validate({"field": "kind", "at_most": 1}))
    ages = find_component("freshness")
    config = ages.config.model_validate({"field": "out", "max_age": 3})
    dated = Catalog.from_table({"item_id": [f"i{row}" for row in range(N)], "out": ["2020-01-01"] * N})
    old = ages.fit(FitContext("freshness", dated, None), config)
    for policy, expected in ((limits, [0, 1, -1]), (old, [-1, -1, -1])):
        asked = []

        def lists(rows, width, asked=asked):
            asked.append(width)
            items = np.tile(np.arange(width, dtype=np.int32), (len(rows), 1))
            return Ranking(items, -items.astype(np.float32))

        done = finish([policy], replace(queries, at=np.int64([1.7e9] * 2)), 3, N, lists)
        assert done.items.tolist() == [expected] * 2
        assert len(asked) == 1


def test_pinned_items_come_from_nowhere_else():
    """What was proposed of them takes nobody's place, and the list is as full as it can be."""
    for k, expected in ((3, [39, 5, 0]), (6, [39, 5, 0, 1, 2, 3]), (99, [39, 5, *range(5), *range(6, 39)])):
        done, asked = run([POLICIES["pin"]], k)
        assert done.items.tolist() == [expected]
        assert len(asked) == 1


def test_a_policy_gets_what_it_wants_to_see_beside_what_is_pinned():
    class Watches(Drops):
        def apply(self, queries, ranking, k):
            assert (ranking.items >= 0).sum() >= self.factor * k
            assert not np.isin(ranking.items, [5, 39]).any()
            return first(ranking, k)

    caps = find_component("caps")
    limits = caps.fit(FitContext("caps", SHELF, None), caps.config.model_validate({"field": "kind", "at_most": 30}))
    for before in ([], [limits]):
        assert run([*before, Watches(factor=3), POLICIES["pin"]], 3)[0].items.tolist() == [[39, 5, 0]]


def test_limits_count_what_is_pinned_later():
    """Whether or not it was proposed, and only where it may be shown."""
    pin, caps = find_component("pin"), find_component("caps")
    limits = caps.fit(FitContext("caps", SHELF, None), caps.config.model_validate({"field": "kind", "at_most": 2}))
    for row, valid in ((0, N), (39, 10)):  # both are "b|c", as is every third item
        config = pin.config.model_validate({"items": {f"i{row}": 3}})
        pinned = pin.fit(FitContext("pin", SHELF, None), config)
        other = 3 if row == 0 else 0
        expected = [*sorted({1, 2, other})[:2], row, max(2, other)]
        assert run([limits, pinned], 5, valid=valid)[0].items.tolist() == [[*expected, -1]]
        assert run([POLICIES["seen"], limits, POLICIES["seen"], pinned], 3)[0].items.tolist() == [expected[:3]]
    excluding = replace(Queries.from_lists([[], []]), exclude=Csr.from_lists([[39], []]))

    def lists(rows, width):
        items = np.tile(np.arange(min(width, 12), dtype=np.int32), (len(rows), 1))
        return Ranking(items, -items.astype(np.float32))

    done = finish([limits, pinned], excluding, 4, N, lists)
    assert done.items.tolist() == [[0, 1, 2, 3], [0, 1, 39, 2]]


def test_propensities_are_exact_after_pins():
    """However often the pinned items were proposed: each item stands at each place as often as is said."""
    n, k = 4000, 4
    queries = replace(Queries.from_lists([[]] * n), at=np.arange(n))
    explore = find_component("exploration")
    config = explore.config.model_validate({"epsilon": 0.5, "pool": 3})
    explores = explore.fit(FitContext("exploration", SHELF, None), config)
    pins = find_component("pin")
    pinned = pins.fit(FitContext("pin", SHELF, None), pins.config.model_validate({"items": {"i1": 1, "i5": 3}}))

    def lists(rows, width):
        items = np.tile(np.arange(width, dtype=np.int32), (len(rows), 1))
        return Ranking(items, -items.astype(np.float32))

    done = finish([explores, pinned], queries, k, N, lists)
    assert (done.items[:, [0, 2]] == [1, 5]).all()
    for place in range(k):
        for item in np.unique(done.items[:, place]):
            there = done.items[:, place] == item
            said = np.unique(done.propensities[there, place])
            assert len(said) == 1
            assert abs(there.mean() - said[0]) < 4 * np.sqrt(said[0] * (1 - said[0]) / n) + 1e-6


@pytest.mark.parametrize(
    ("order", "message"),
    [
        ({"a": "exploration", "b": "boost"}, "'b' comes after 'a' and would move items"),
        ({"exploration": "exploration", "seen": "seen", "caps": "caps"}, "'caps' comes after 'exploration'"),
        ({"a": "exploration", "b": "exploration"}, "'a' and 'b' both explore"),
    ],
)
def test_an_order_that_makes_propensities_wrong_is_refused(order, message):
    with pytest.raises(ConfigError, match=message):
        check_order(order)


def test_other_orders_are_not():
    check_order({})
    check_order(
        {"b": "boost", "c": "caps", "e": "exploration", "p": "pin", "s": "seen", "a": "availability", "m": "mine"}
    )
