import numpy as np
import pytest

from llmrec.data import InteractionColumns, Interactions
from llmrec.errors import ConfigError
from llmrec.retrieve import PopularityConfig, fit_popularity
from llmrec.testing.data import tiny_interactions
from llmrec.types import Queries


def test_counts_by_hand_and_unseen_items_last_in_hash_order(catalog):
    table = {"user_id": ["a", "a", "b", "c"], "item_id": ["i3", "i5", "i5", "i5"]}
    model = fit_popularity(Interactions.from_table(table, catalog, InteractionColumns(time=None)), catalog)
    queries = Queries.from_lists([[], [5]])
    found = model.retrieve(queries, 12)
    rest = sorted((i for i in range(12) if i not in (3, 5)), key=lambda i: catalog.tie_order[i])
    for row in range(2):
        assert found.items[row].tolist() == [5, 3, *rest]
        assert found.scores[row].tolist() == [3.0, 1.0, *[0.0] * 10]
    scores = model.score(queries, np.int32([[5, 3, 0, -1]] * 2))
    np.testing.assert_array_equal(scores, np.float32([[3, 1, np.nan, np.nan]] * 2))


def timed(catalog, rows):
    users, items, days = zip(*rows, strict=True)
    table = {"user_id": users, "item_id": items, "timestamp": [day * 86_400 for day in days]}
    return Interactions.from_table(table, catalog)


def test_old_interactions_fade(catalog):
    log = timed(catalog, [("a", "i3", 0), ("b", "i3", 0), ("c", "i3", 0), ("a", "i5", 20), ("b", "i7", 10)])
    model = fit_popularity(log, catalog, PopularityConfig(half_life=10))
    np.testing.assert_allclose(model.counts[[3, 5, 7]], [0.75, 1.0, 0.5])
    assert model.retrieve(Queries.from_lists([[]]), 3).items.tolist() == [[5, 3, 7]]
    assert fit_popularity(log, catalog).retrieve(Queries.from_lists([[]]), 1).items.tolist() == [[3]]


def test_fading_counts_back_from_the_newest_interaction(catalog):
    rows = [("a", "i3", 0), ("b", "i5", 7), ("b", "i3", 9)]
    later = [(user, item, day + 5000) for user, item, day in rows]
    config = PopularityConfig(half_life=3)
    now, then = (fit_popularity(timed(catalog, log), catalog, config).counts for log in (rows, later))
    np.testing.assert_array_equal(now, then)


def test_what_faded_away_is_still_known(catalog):
    log = timed(catalog, [("a", "i3", 0), ("b", "i5", 100_000)])
    model = fit_popularity(log, catalog, PopularityConfig(half_life=1))
    scores = model.score(Queries.from_lists([[]]), np.int32([[5, 3, 0]]))[0]
    assert scores[0] == 1
    assert 0 < scores[1] < 1e-30
    assert np.isnan(scores[2])


def test_fading_needs_times(catalog):
    with pytest.raises(ConfigError, match="have no times"):
        fit_popularity(tiny_interactions(0, catalog, timed=False), catalog, PopularityConfig(half_life=1))
