"""Team-draft interleaving: no item twice, both captains served, fair to both."""

from __future__ import annotations

import itertools

import hypothesis.strategies as st
import numpy as np
from hypothesis import given

from llmrec.serve.experiments import team_draft

LISTS = st.lists(st.sampled_from("abcdefgh"), unique=True, max_size=8)


@given(LISTS, LISTS, st.integers(0, 10), st.integers(0, 2**64))
def test_no_duplicates_and_nothing_lost(a, b, k, seed):
    items, sources = team_draft(a, b, k, seed)
    assert len(set(items)) == len(items) == len(sources) == min(k, len({*a, *b}))
    assert set(sources) <= {"a", "b", ""}
    for item, source in zip(items, sources, strict=True):
        assert item in {"a": a, "b": b, "": [*a, *b]}[source]
    assert team_draft(a, b, k, seed) == (items, sources)


@given(LISTS, LISTS, st.integers(0, 10), st.integers(0, 2**64))
def test_each_round_has_one_of_each_and_each_gives_its_best(a, b, k, seed):
    items, sources = team_draft(a, b, k, seed)
    drafted = [source for source in sources if source]
    assert list(sources[: len(drafted)]) == drafted  # fillers come last
    assert all({*drafted[place : place + 2]} == {"a", "b"} for place in range(0, len(drafted) - 1, 2))
    for place, source in enumerate(drafted):
        left = [item for item in {"a": a, "b": b}[source] if item not in items[:place]]
        assert items[place] == left[0]


@given(st.permutations("abcdefgh"), st.permutations("abcdefgh"), st.integers(1, 8))
def test_full_lists_need_no_fillers(a, b, k):
    _, sources = team_draft(a, b, k, 0)
    assert "" not in sources
    assert abs(sources.count("a") - sources.count("b")) == k % 2


@given(LISTS, LISTS, st.integers(1, 8))
def test_sides_can_be_exchanged(a, b, k):
    """Whatever the first may be given, the second may: the set of lists is the same with the names exchanged."""
    one = {team_draft(a, b, k, seed) for seed in range(200)}
    other = {team_draft(b, a, k, seed, ("b", "a")) for seed in range(200)}
    rounds = sum(map(bool, next(iter(one))[1]))
    if rounds <= 4:  # few enough coins for 200 seeds to show all
        assert one == other


def test_it_is_fair_to_who_clicks_anywhere():
    """Clicks that ignore places fall on both sides alike, whatever the lists have in common; also for odd k."""
    rng = np.random.default_rng(0)
    for k, alike in itertools.product((1, 5, 10), (True, False)):
        a = [f"i{number}" for number in range(12)]
        b = a if alike else [f"i{number}" for number in rng.permutation(12)]
        won = np.zeros(2)
        for seed in range(4000):
            _, sources = team_draft(a, b, k, seed)
            for source in np.array(sources)[rng.random(k) < 0.3]:
                won["ab".index(source)] += 1
        assert abs(won[0] - won[1]) < 4 * np.sqrt(won.sum())


def test_the_better_list_wins():
    """Clicks on relevant items: the list that has them on top gets the credit."""
    good, bad = ["r0", "r1", "r2", "r3", "r4", "x0", "x1"], ["x4", "x3", "x2", "x1", "x0", "r0"]
    won = {"good": 0, "bad": 0}
    for seed in range(500):
        for item, source in zip(*team_draft(good, bad, 5, seed, ("good", "bad")), strict=True):
            won[source] += item.startswith("r")
    assert won["bad"] == 0
    assert won["good"] > 500
