import numpy as np
import pytest
from sklearn.metrics.pairwise import cosine_similarity

from llmrec.data import InteractionColumns, Interactions
from llmrec.retrieve import ItemKnnConfig, fit_item_knn
from llmrec.retrieve.neighbours import COMPONENT
from llmrec.testing.data import new_items, tiny_catalog, tiny_interactions
from llmrec.types import Queries, State

EVERY = np.arange(12, dtype=np.int32)


@pytest.mark.parametrize("products", [1, 40, 16_000_000])
def test_all_neighbours_are_the_cosines(catalog, interactions, monkeypatch, products):
    monkeypatch.setattr("llmrec.retrieve.neighbours.BLOCK_PRODUCTS", products)
    model = fit_item_knn(interactions, catalog, ItemKnnConfig(neighbours=12, shrinkage=0))
    expected = cosine_similarity(interactions.matrix().T.toarray())
    np.fill_diagonal(expected, 0)
    np.testing.assert_allclose(model.weights.toarray(), expected, rtol=1e-5, atol=1e-7)


def test_shrinkage_by_hand(catalog):
    table = {"user_id": list("aaabb"), "item_id": ["i0", "i1", "i2", "i0", "i1"], "w": [1.0, 2.0, -1.0, 2.0, 1.0]}
    log = Interactions.from_table(table, catalog, InteractionColumns(time=None, weight="w"))
    found = fit_item_knn(log, catalog, ItemKnnConfig(shrinkage=3)).weights.toarray()
    assert found[0, 1] == pytest.approx(4 / (5 + 3))  # both norms are the root of 5
    assert found[1, 0] == found[0, 1]
    assert np.count_nonzero(found) == 2  # nobody is near to what was disliked, nor to itself


def test_each_item_keeps_its_nearest_ties_by_hash(catalog):
    """Item 0 shares one user with each of three items; two of them may stay."""
    table = {"user_id": list("aabbcc"), "item_id": ["i0", "i1", "i0", "i2", "i0", "i3"]}
    log = Interactions.from_table(table, catalog, InteractionColumns(time=None))
    found = fit_item_knn(log, catalog, ItemKnnConfig(neighbours=2, shrinkage=0)).weights.toarray()
    nearest = sorted([1, 2, 3], key=lambda i: catalog.tie_order[i])[:2]
    assert np.flatnonzero(found[:, 0]).tolist() == sorted(nearest)
    assert all(np.flatnonzero(found[:, i]).tolist() == [0] for i in (1, 2, 3))


@pytest.mark.parametrize("products", [30, 16_000_000])
def test_neighbours_are_the_highest(monkeypatch, products):
    monkeypatch.setattr("llmrec.retrieve.neighbours.BLOCK_PRODUCTS", products)
    catalog = tiny_catalog(40)
    log = tiny_interactions(3, catalog, 60)
    full = fit_item_knn(log, catalog, ItemKnnConfig(neighbours=40)).weights.toarray()
    few = fit_item_knn(log, catalog, ItemKnnConfig(neighbours=3)).weights.toarray()
    for item in range(40):
        best = sorted(np.flatnonzero(full[:, item]), key=lambda i: (-full[i, item], catalog.tie_order[i]))[:3]
        assert np.flatnonzero(few[:, item]).tolist() == sorted(best)
        np.testing.assert_array_equal(few[best, item], full[best, item])


def test_scores_are_the_weighted_history(catalog, interactions):
    model = fit_item_knn(interactions, catalog, ItemKnnConfig(decay=0.5, neighbours=5))
    near = model.weights.toarray()
    scores = model.score(Queries.from_lists([[4, 7], []]), np.tile(EVERY, (2, 1)))
    expected = 0.5 * near[4] + near[7]
    np.testing.assert_allclose(np.nan_to_num(scores[0]), expected, rtol=1e-5)
    np.testing.assert_array_equal(np.isnan(scores), [expected == 0, [True] * 12])


def test_new_items_have_no_evidence(catalog, interactions):
    model = fit_item_knn(interactions, catalog, ItemKnnConfig())
    grown = model.with_items(catalog.with_items(new_items(2)), np.int32([3]))
    queries = Queries.from_lists([[4, 12], [13]])
    scores = grown.score(queries, np.tile(np.arange(14, dtype=np.int32), (2, 1)))
    assert np.isnan(scores[:, 12:]).all()
    assert np.isnan(scores[1]).all()
    expected = model.score(Queries.from_lists([[4]]), EVERY[None])[0] * model.config.decay
    np.testing.assert_allclose(scores[0, :12], expected, rtol=1e-6)


def test_a_bundle_of_before_there_was_one_class_opens(catalog, interactions):
    model = fit_item_knn(interactions, catalog, ItemKnnConfig())
    state = model.state()
    old = State(state.config, {name: array for name, array in state.arrays.items() if name != "known"})
    again = COMPONENT.load("item_knn", old, catalog)
    queries = Queries.from_lists([[4, 7]])
    np.testing.assert_array_equal(again.score(queries, EVERY[None]), model.score(queries, EVERY[None]))
