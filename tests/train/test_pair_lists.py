from dataclasses import dataclass

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from llmrec.data import Holdout
from llmrec.models import TextReader
from llmrec.text import load_template
from llmrec.train.pair_lists import PairLists, PairTexts, draw_lists, known_offsets, mine_lists, rank_prior
from llmrec.types import Queries, Ranking


@dataclass
class Fixed:
    """Recommends the same list to everybody."""

    items: list[int]

    def recommend(self, queries, k):
        items = np.tile(np.array(self.items, np.int32), (len(queries), 1))[:, :k]
        return Ranking(items, np.zeros(items.shape, np.float32))


@pytest.fixture
def texts(catalog, bert):
    reader = TextReader.load(str(bert), max_tokens=100)
    return PairTexts(load_template("pair/history"), catalog, reader, 60)


def cases(*targets):
    histories = [[(target + 1) % 12, (target + 2) % 12] for target in targets]
    return Holdout(np.arange(len(targets)), Queries.from_lists(histories), np.array(targets, np.int32))


def mined(texts, targets, listed, *, depth=4, count=10, seed=0):
    return mine_lists(cases(*targets), Fixed(listed), texts, depth=depth, count=count, seed=seed)


def test_lists_that_hold_what_was_taken_are_kept(texts, catalog):
    lists = mined(texts, [3, 9, 7, 5], [5, 7, 3, -1, 9])
    assert lists.targets.tolist() == [2, 1, 0]
    titles = catalog.table["title"].to_pylist()
    for row, target in enumerate([3, 7, 5]):
        users, items = lists.texts(np.full(3, row), np.arange(3))
        assert [item.startswith(titles[i]) for item, i in zip(items, [5, 7, 3], strict=True)] == [True] * 3
        assert set(users) == {f"{titles[(target + 2) % 12]}; {titles[(target + 1) % 12]}"}, "the newest title first"
    assert lists.rows[:, 3].tolist() == [-1] * 3
    assert len(lists.items) == 3, "each text once"


def test_a_pad_is_no_target(texts):
    assert len(mined(texts, [4], [-1, -1])) == 0


def test_at_most_so_many_lists_are_drawn(texts):
    drawn = {tuple(mined(texts, list(range(12)), list(range(12)), depth=12, count=3, seed=s).targets) for s in range(9)}
    assert {len(found) for found in drawn} == {3}
    assert len(drawn) > 1


def test_a_fingerprint_is_of_all_that_is_learned(texts):
    lists = mined(texts, [3, 7, 5], [5, 7, 3])
    assert lists.fingerprint == mined(texts, [3, 7, 5], [5, 7, 3]).fingerprint
    others = [
        lists.take(np.array([0, 1])),
        lists.take(np.array([1, 0, 2])),
        PairLists(lists.users, [*lists.items[:-1], "x"], lists.rows, lists.targets),
        PairLists(lists.users, lists.items, lists.rows, lists.targets[::-1]),
    ]
    assert len({found.fingerprint for found in [lists, *others]}) == 5


@given(st.lists(st.integers(0, 9), min_size=1, max_size=60))
@settings(max_examples=50, deadline=None)
def test_a_prior_never_rises(targets):
    prior = rank_prior(np.array(targets), 10)
    assert (np.diff(prior) <= 0).all()
    assert np.isfinite(prior).all()


def test_a_prior_is_what_the_ranks_were_drawn_from(rng):
    for power in (0.0, 0.7, 1.5):
        chance = (np.arange(20) + 2.0) ** -power
        drawn = rng.choice(20, 20_000, p=chance / chance.sum())
        np.testing.assert_allclose(rank_prior(drawn, 20), np.log(chance), atol=0.05 * np.log(21))


@given(st.integers(0, 7), st.integers(1, 9), st.integers(1, 5))
@settings(max_examples=60, deadline=None)
def test_what_was_taken_comes_first_and_others_beside_it_once(target, filled, count):
    filled = max(filled, target + 1)
    rows = np.where(np.arange(10) < filled, np.arange(10), -1)[None]
    lists = PairLists(["u"], [str(n) for n in range(10)], rows, np.array([target]))
    places, there = draw_lists(lists, np.array([0]), count, (1, 2))
    assert places[0, 0] == target
    chosen = places[0][there[0]].tolist()
    assert len(chosen) == len(set(chosen)) == 1 + min(count, filled - 1)
    assert max(chosen) < filled


def test_others_are_drawn_all_alike():
    lists = PairLists(["u"], list("abcdef"), np.arange(6)[None], np.array([2]))
    counts = np.zeros(6)
    for seed in range(600):
        places, _ = draw_lists(lists, np.array([0]), 2, (seed,))
        counts[places[0, 1:]] += 1
    assert counts[2] == 0
    np.testing.assert_allclose(np.delete(counts, 2) / 600, 2 / 5, atol=0.07)


def test_the_drawn_stand_for_all_others():
    rows = np.array([[0, 1, 2, 3, 4, 5, -1, -1]])
    lists = PairLists(["u"], list("abcdef"), rows, np.array([1]))
    prior = rank_prior(np.array([0, 0, 1, 3, 5]), 8)
    chances, found = np.exp(prior), []
    for seed in range(3000):
        places, there = draw_lists(lists, np.array([0]), 2, (seed,))
        offsets = known_offsets(lists, np.array([0]), prior, places, there)
        assert offsets[0, 0] == pytest.approx(prior[1])
        found.append(np.exp(offsets[0, 1:]).sum())
    assert np.mean(found) == pytest.approx(chances[[0, 2, 3, 4, 5]].sum(), rel=0.02)


def test_nothing_is_known_of_what_is_not_there():
    lists = PairLists(["u"], list("ab"), np.array([[0, 1, -1]]), np.array([0]))
    places, there = draw_lists(lists, np.array([0]), 2, (0,))
    offsets = known_offsets(lists, np.array([0]), np.zeros(3), places, there)
    assert offsets[0].tolist() == [0.0, 0.0, -np.inf]
