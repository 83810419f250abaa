"""Places in time come from the order of histories alone."""

import itertools

import hypothesis.strategies as st
import numpy as np
from hypothesis import given, settings

from llmrec.data import Interactions
from llmrec.retrieve import EraConfig, fit_era
from llmrec.testing.data import tiny_catalog
from llmrec.types import Queries

CATALOG = tiny_catalog(8)


def log_of(histories):
    rows = [(f"u{user}", f"i{item}") for user, items in enumerate(histories) for item in items]
    return Interactions.from_table({"user_id": [u for u, _ in rows], "item_id": [i for _, i in rows]}, CATALOG)


def era_of(histories, **settings):
    return fit_era(log_of(histories), CATALOG, EraConfig(**settings))


@given(
    st.lists(st.lists(st.integers(0, 7), min_size=1, max_size=6, unique=True), min_size=1, max_size=8),
    st.sampled_from([0.1, 1.0, 10.0]),
)
@settings(max_examples=80, deadline=None)
def test_places_are_the_least_squares_solution(histories, shrinkage):
    rows = [np.sqrt(shrinkage) * np.eye(8)[item] for item in range(8)]
    wanted = [0.0] * 8
    for items in histories:
        for before, after in itertools.pairwise(items):
            rows.append(np.eye(8)[after] - np.eye(8)[before])
            wanted.append(1.0)
    expected = np.linalg.lstsq(np.array(rows), np.array(wanted), rcond=None)[0]
    taken = {item for items in histories for item in items}
    found = era_of(histories, shrinkage=shrinkage).times
    for item in range(8):
        if item in taken:
            np.testing.assert_allclose(found[item], expected[item], atol=1e-4)
        else:
            assert np.isnan(found[item])


def test_what_is_of_the_newest_time_of_the_history_comes_first():
    era = era_of([[0, 1, 2, 3, 4, 5]] * 20, shrinkage=0.5)
    assert np.diff(era.times[:6]).min() > 0
    asked = Queries.from_lists([[3, 0], [0], [7], []])
    found = era.retrieve(asked, 3)
    assert set(found.items[0, 1:].tolist()) == {2, 4}
    assert (found.items[0, 0], found.items[1].tolist()) == (3, [0, 1, 2])
    assert (found.items[2:] == -1).all()  # nobody took item 7, so nothing is known of that user's time
    scores = era.score(asked, np.tile(np.arange(8, dtype=np.int32), (4, 1)))
    assert np.isnan(scores[:, 6:]).all()
    assert np.isnan(scores[2:]).all()
    assert scores[0, 3] == 0


def test_one_users_order_says_less_than_many_users():
    one, many = era_of([[0, 1]]).times, era_of([[0, 1]] * 50).times
    assert 0 < one[1] - one[0] < many[1] - many[0] < 1


def test_no_pairs_no_times():
    era = era_of([[0], [1]])
    assert era.times[:2].tolist() == [0, 0]
    assert np.isnan(era.times[2:]).all()
