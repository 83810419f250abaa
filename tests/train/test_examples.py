from dataclasses import dataclass, replace

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from llmrec.testing.strategies import interactions as logs
from llmrec.train import hard_negatives, next_item_cases
from llmrec.types import Ranking


@given(logs(), st.integers(0, 30), st.integers(1, 6), st.integers(0, 3))
@settings(max_examples=80, deadline=None)
def test_a_case_knows_what_came_before_and_nothing_else(log, n, latest, seed):
    cases = next_item_cases(log, n, seed=seed, latest=latest)
    drawn = set()
    for row, (user, target) in enumerate(zip(cases.user_rows.tolist(), cases.targets.tolist(), strict=True)):
        whole = log.histories[user].tolist()
        history = cases.queries.histories[row].tolist()
        assert len(history) >= 1
        assert whole[: len(history) + 1] == [*history, target]
        assert len(history) >= len(whole) - latest
        assert target not in history
        start = log.offsets[user]
        times = log.times[start : start + len(history) + 1].tolist()
        low, high = cases.queries.offsets[row : row + 2]
        assert cases.queries.times[low:high].tolist() == times[:-1]
        assert cases.queries.at[row] == times[-1] >= max(times)
        drawn.add((user, len(history)))
    assert len(drawn) == len(cases)
    possible = sum(min(latest, max(0, length - 1)) for length in np.diff(log.offsets).tolist())
    assert len(cases) == min(n, possible)


def test_cases_are_drawn_by_seed(interactions):
    one, same, other = (next_item_cases(interactions, 10, seed=s) for s in (1, 1, 2))
    np.testing.assert_array_equal(one.targets, same.targets)
    np.testing.assert_array_equal(one.queries.items, same.queries.items)
    assert one.user_rows.tolist() != other.user_rows.tolist()


def test_weights_and_missing_times_are_carried_along(interactions):
    weighted = replace(interactions, weights=np.arange(len(interactions), dtype=np.float32), times=None)
    cases = next_item_cases(weighted, 10, seed=0)
    assert cases.queries.times is None
    assert cases.queries.at is None
    for row, user in enumerate(cases.user_rows.tolist()):
        low, high = cases.queries.offsets[row : row + 2]
        start = weighted.offsets[user]
        assert cases.queries.weights[low:high].tolist() == list(range(start, start + high - low))


def test_what_was_disliked_is_no_target_but_stays_in_histories(interactions):
    weights = np.resize(np.array([1.0, -1.0, 0.0], np.float32), len(interactions))
    weighted, many = replace(interactions, weights=weights), 10**6
    cases = next_item_cases(weighted, many, seed=0, latest=4)
    every = next_item_cases(interactions, many, seed=0, latest=4)
    starts = interactions.offsets[every.user_rows] + np.diff(every.queries.offsets)
    assert 0 < len(cases) == (weights[starts] > 0).sum() < len(every)
    assert (cases.queries.weights < 0).any()


def test_kinds_and_ratings_are_carried_along(interactions):
    n = len(interactions)
    told = replace(
        interactions,
        kinds=(np.arange(n) % 2).astype(np.int8),
        kind_names=("view", "buy"),
        ratings=np.arange(n, dtype=np.float32),
    )
    cases = next_item_cases(told, 10, seed=0).queries
    assert cases.kind_names == ("view", "buy")
    places = cases.ratings.astype(np.int64)
    np.testing.assert_array_equal(cases.items, told.items[places])
    np.testing.assert_array_equal(cases.kinds, told.kinds[places])


@dataclass
class Everything:
    """Recommends all items, whatever was asked, in an order of its own for each query."""

    n_items: int

    def recommend(self, queries, k):
        rng = np.random.default_rng(5)
        items = np.stack([rng.permutation(self.n_items)[:k] for _ in range(len(queries))]).astype(np.int32)
        items[:, 9:] = -1
        return Ranking(items, np.zeros(items.shape, np.float32))


@pytest.mark.parametrize("count", [1, 3, 20])
@pytest.mark.parametrize("depth", [4, 12])
def test_negatives_are_ranked_high_and_never_taken(interactions, count, depth):
    cases = next_item_cases(interactions, 50, seed=0)
    stage = Everything(12)
    found = hard_negatives(cases, interactions, stage, depth=depth, count=count, seed=0)
    assert found.shape == (50, count)
    assert found.dtype == np.int32
    ranked = stage.recommend(cases.queries, depth).items
    for user, items, allowed in zip(cases.user_rows.tolist(), found.tolist(), ranked.tolist(), strict=True):
        taken = set(interactions.histories[user].tolist())
        possible = set(allowed) - taken - {-1}
        chosen = [i for i in items if i >= 0]
        assert len(chosen) == min(count, len(possible)) == len(set(chosen))
        assert set(chosen) <= possible
        assert items == chosen + [-1] * (count - len(chosen))


def test_negatives_are_drawn_by_seed(interactions):
    cases = next_item_cases(interactions, 50, seed=0)
    one, same, other = (
        hard_negatives(cases, interactions, Everything(12), depth=9, count=2, seed=s) for s in (0, 0, 1)
    )
    np.testing.assert_array_equal(one, same)
    assert (one != other).any()


def test_no_cases_no_negatives(interactions, hybrid):
    cases = next_item_cases(interactions, 0, seed=0)
    assert hard_negatives(cases, interactions, hybrid, depth=5, count=2, seed=0).shape == (0, 2)
