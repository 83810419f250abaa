import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from llmrec.policy.lists import first, may_be_shown, moved_up, reordered, without
from llmrec.types import Csr, Queries, Ranking


def ranking_of(items, shown=True):
    items = np.int32(items)
    scores = np.where(items >= 0, -np.arange(items.shape[1], dtype=np.float32), np.float32(0))
    return Ranking(items, scores, items.astype(np.float32) / 100 if shown else None)


@st.composite
def lists(draw):
    n, width = draw(st.integers(0, 3)), draw(st.integers(1, 8))
    rng = np.random.default_rng(draw(st.integers(0, 999)))
    items = np.stack([rng.permutation(12)[:width] for _ in range(n)]) if n else np.empty((0, width))
    for row in range(n):
        items[row, draw(st.integers(0, width)) :] = -1
    scores = np.where(items >= 0, -np.sort(-rng.choice([-1, 0.0, 1e-9, 0.5, 1e6], items.shape), axis=1), 0)
    return Ranking(items.astype(np.int32), scores.astype(np.float32), (items >= 0) * np.float32(0.25))


@given(lists(), st.data(), st.integers(1, 9))
@settings(max_examples=150, deadline=None)
def test_any_order_gives_a_well_formed_list(ranking, data, k):
    rng = np.random.default_rng(data.draw(st.integers(0, 999)))
    order = np.argsort(rng.random(ranking.items.shape), axis=1)
    kept = rng.random(ranking.items.shape) < 0.8
    done = reordered(ranking, order, kept, k)
    assert done.items.shape == (len(ranking), min(k, ranking.items.shape[1]))
    for row in range(len(ranking)):
        wanted = [ranking.items[row, p] for p, keep in zip(order[row], kept[row], strict=True) if keep]
        wanted = [item for item in wanted if item >= 0][:k]
        found = done.items[row].tolist()
        assert found == wanted + [-1] * (len(found) - len(wanted))
        scores = done.scores[row, : len(wanted)]
        assert np.isfinite(done.scores).all()
        assert (np.diff(scores) < 0).all()
        assert (done.propensities[row] == np.where(done.items[row] >= 0, np.float32(0.25), 0)).all()
        assert (done.scores[row, len(wanted) :] == 0).all()


def test_a_score_is_raised_to_that_of_the_best_item_it_passes():
    done = reordered(ranking_of([[4, 5, 6, 7]]), np.array([[2, 0, 1, 3]]), np.ones((1, 4), bool), 4)
    assert done.items.tolist() == [[6, 4, 5, 7]]
    np.testing.assert_allclose(done.scores, [[0, 0, -1, -3]], atol=1e-6)
    np.testing.assert_allclose(done.propensities, [[0.06, 0.04, 0.05, 0.07]])


def test_taking_out_closes_up():
    done = without(ranking_of([[4, 5, 6, 7], [8, 9, -1, -1]]), np.bool_([[1, 0, 1, 0], [0, 1, 0, 0]]), 3)
    assert done.items.tolist() == [[5, 7, -1], [8, -1, -1]]
    assert done.scores.tolist() == [[-1, -3, 0], [0, 0, 0]]


@pytest.mark.parametrize(
    ("places", "expected"),
    [
        ([0, 0, 0, 0, 0], [0, 1, 2, 3, 4]),
        ([0, 0, 0, 0, 1], [0, 1, 2, 4, 3]),
        ([0, 0, 0, 3, 0], [3, 0, 1, 2, 4]),
        ([0, 0, 0, 99, 0], [3, 0, 1, 2, 4]),
        ([-1, 0, 0, 0, 0], [1, 0, 2, 3, 4]),
        ([-2, 0, 0, 0, 0], [1, 2, 0, 3, 4]),
        ([0, 0, 2, 2, 0], [2, 0, 3, 1, 4]),
        ([0, 0.4, 0, 0, 0], [0, 1, 2, 3, 4]),
        ([0, 0.6, 0, 0, 0], [1, 0, 2, 3, 4]),
        ([5, 5, 5, 5, 5], [0, 1, 2, 3, 4]),
    ],
)
def test_moving_by_places(places, expected):
    assert moved_up(ranking_of([range(5)]), np.float64([places]), 5).items.tolist() == [expected]
    assert moved_up(ranking_of([range(5)]), np.float64([places]), 2).items.tolist() == [expected[:2]]


@given(st.integers(1, 9), st.data())
@settings(max_examples=100, deadline=None)
def test_one_item_that_moves_passes_exactly_so_many(width, data):
    item = data.draw(st.integers(0, width - 1))
    moved = data.draw(st.integers(-10, 10))
    places = np.where(np.arange(width) == item, float(moved), 0.0)[None]
    found = moved_up(ranking_of([range(width)]), places, width).items[0].tolist()
    assert found.index(item) == min(max(item - moved, 0), width - 1)
    others = [i for i in found if i != item]
    assert others == sorted(others)


def test_the_first_keep_their_propensities():
    done = first(ranking_of([[3, 1, 2]]), 2)
    assert done.items.tolist() == [[3, 1]]
    np.testing.assert_allclose(done.propensities, [[0.03, 0.01]])
    assert first(ranking_of([[3]], shown=False), 2).propensities is None


def test_what_may_be_shown():
    queries = Queries(np.int64([0, 0, 0]), np.empty(0, np.int32), exclude=Csr.from_lists([[1], []]))
    items, active = np.int32([[0, 1, 2, -1]] * 2), np.bool_([1, 1, 0])
    assert may_be_shown(items, queries, active).tolist() == [[True, False, False, False], [True, True, False, False]]
    narrow = Queries(np.int64([0, 0, 0]), np.empty(0, np.int32), allow=np.bool_([0, 1, 1]))
    assert may_be_shown(items, narrow, active).tolist() == [[False, True, False, False]] * 2
