from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import chisquare

from llmrec.policy import Exploration, ExplorationConfig
from llmrec.types import Queries, Ranking

DRAWS = 20_000


def policy_of(seed=0, **settings):
    return Exploration("exploration", ExplorationConfig(**settings), seed)


def draw(policy, width, k, n=DRAWS, valid=None):
    """Draw the same list for n queries that differ in their time only."""
    queries = replace(Queries.from_lists([[1, 2]] * n), at=np.arange(n, dtype=np.int64))
    items = np.tile(np.arange(width, dtype=np.int32), (n, 1))
    items[:, width if valid is None else valid :] = -1
    scores = np.where(items >= 0, -items, 0).astype(np.float32)
    return policy.apply(queries, Ranking(items, scores), k)


@pytest.mark.parametrize(("width", "k", "valid"), [(9, 3, 9), (20, 4, 9), (5, 4, 5), (7, 5, 6), (12, 3, 12)])
@pytest.mark.parametrize("epsilon", [0.1, 0.5, 1.0])
def test_items_stand_at_places_as_often_as_their_propensities_say(width, k, valid, epsilon):
    pool = 6
    done = draw(policy_of(epsilon=epsilon, pool=pool), width, k, valid=valid)
    further = min(valid - k, pool)
    for place in range(k):
        counts = np.bincount(done.items[:, place], minlength=width)
        said = np.zeros(width)
        said[done.items[:, place]] = done.propensities[:, place]
        possible = [place, *range(k, k + further)] if epsilon < 1 or further < k else list(range(k, k + further))
        assert set(np.flatnonzero(counts)) == set(possible)
        np.testing.assert_allclose(said.sum(), 1, rtol=1e-5)  # they are chances of all that can stand there
        expected = said[possible] / said[possible].sum() * DRAWS
        assert chisquare(counts[possible], expected).pvalue > 1e-4
        np.testing.assert_array_equal(said[done.items[:, place]], done.propensities[:, place])


def test_propensities_by_hand():
    done = draw(policy_of(epsilon=0.2, pool=4), 10, 3)
    own = done.items == np.arange(3)
    np.testing.assert_allclose(done.propensities, np.where(own, 0.8, 0.05), rtol=1e-6)
    few = draw(policy_of(epsilon=0.2, pool=4), 4, 3)
    own = few.items == np.arange(3)
    np.testing.assert_allclose(few.propensities, np.where(own, 1 - 0.2 / 3, 0.2 / 3), rtol=1e-6)


def test_weighting_by_propensities_gives_the_value_of_any_other_order():
    """What propensities are for: the mean of reward / propensity where the other policy agrees is its value."""
    done = draw(policy_of(epsilon=0.5, pool=3), 6, 2)
    reward = np.float64([0.9, 0.1, 0.5, 0.4, 0.8, 0.2])
    for item in (1, 4):
        estimate = np.where(done.items[:, 1] == item, reward[item] / done.propensities[:, 1], 0).mean()
        assert abs(estimate - reward[item]) < 0.05


def test_places_explore_independently():
    done = draw(policy_of(epsilon=0.5, pool=6), 9, 3)
    explored = done.items >= 3
    counts = np.bincount(explored @ np.array([1, 2, 4]), minlength=8)
    assert chisquare(counts).pvalue > 1e-4


def test_nothing_to_explore():
    queries = Queries.from_lists([[], [1]])
    ranking = Ranking(np.int32([[3, 1, 2], [4, -1, -1]]), np.float32([[3, 2, 1], [1, 0, 0]]))
    done = policy_of(epsilon=1.0).apply(queries, ranking, 3)
    np.testing.assert_array_equal(done.items, ranking.items)
    np.testing.assert_array_equal(done.propensities, [[1, 1, 1], [1, 0, 0]])
    never = policy_of(epsilon=0.0).apply(queries, ranking, 2)
    np.testing.assert_array_equal(never.items, ranking.items[:, :2])
    assert policy_of(pool=7).depth(3) == 10


def test_draws_depend_on_seed_history_wish_and_time_and_on_nothing_else():
    items = np.tile(np.arange(40, dtype=np.int32), (1, 1))
    ranking = Ranking(items, -items.astype(np.float32))

    def drawn(queries, seed=0):
        return policy_of(seed, epsilon=0.5, pool=30).apply(queries, ranking, 10).items[0].tolist()

    base = Queries.from_lists([[1, 2]], [None])
    different = [
        base,
        Queries.from_lists([[2, 1]], [None]),
        Queries.from_lists([[1]], [None]),
        Queries.from_lists([[1, 2]], ["red"]),
        replace(base, at=np.int64([5])),
        replace(base, at=np.int64([-5])),
    ]
    lists = [drawn(q) for q in different] + [drawn(base, seed=1)]
    assert len({tuple(found) for found in lists}) == len(lists)
    assert drawn(base) == drawn(replace(base, profiles={"age": [3]}, times=np.int64([1, 2]))) == lists[0]
    assert drawn(Queries.from_lists([[1, 2]], [""])) == lists[0]


def test_the_seed_is_the_pipelines_unless_set(fitted):
    assert fitted("exploration", seed=7).seed == 7
    from llmrec.component import FitContext
    from llmrec.policy.exploration import COMPONENT

    assert COMPONENT.fit(FitContext("x", None, None, seed=3), ExplorationConfig(seed=11)).seed == 11


def test_a_later_policy_keeps_propensities_with_their_items(fitted):
    done = draw(policy_of(epsilon=0.5, pool=4), 11, 6, n=50)
    rows = zip(done.items.tolist(), done.propensities.tolist(), strict=True)
    chance = [dict(zip(items, shown, strict=True)) for items, shown in rows]
    queries = Queries.from_lists([[]] * 50)
    later = [
        ("boost", {"ids": {"i2": 1, "i4": 3}}),
        ("caps", {"field": "kind", "at_most": 2}),
        ("freshness", {"field": "price", "kind": "number", "half_life": 3}),
        ("diversity", {"fields": ["kind"]}),
        ("pin", {"items": {"i11": 2}}),
        ("seen", {}),
        ("availability", {}),
    ]
    for name, settings in later:
        after = fitted(name, **settings).apply(queries, done, 5)
        for row in range(50):
            for item, shown in zip(after.items[row].tolist(), after.propensities[row].tolist(), strict=True):
                assert shown == (0 if item < 0 else 1 if item == 11 else chance[row][item])


def test_the_recommender_hands_propensities_out(hybrid, interactions, fitted, catalog):
    policies = (*hybrid.policies, fitted("exploration", catalog=catalog, epsilon=0.5, pool=3))
    queries = interactions.queries(np.arange(interactions.n_users))
    done = replace(hybrid, policies=policies).recommend(queries, 2)
    assert done.propensities.shape == done.items.shape
    assert set(np.round(np.unique(done.propensities) * 12).tolist()) == {2, 3, 6}  # of 3 or 2 items further down
    plain = hybrid.recommend(queries, 2)
    assert plain.propensities is None
    np.testing.assert_array_equal((done.items == plain.items), np.isclose(done.propensities, 0.5))
