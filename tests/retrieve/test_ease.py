import numpy as np
import pytest

from llmrec.data import InteractionColumns, Interactions
from llmrec.errors import ConfigError
from llmrec.retrieve import EaseConfig, fit_ease
from llmrec.retrieve.ease import COMPONENT
from llmrec.retrieve.text_kernel import text_vectors
from llmrec.types import Queries, State


def ridge_without_self(matrix, l2):
    """Steck, eq. 8, as what it stands for: each item's column regressed on all other items."""
    n = matrix.shape[1]
    weights = np.zeros((n, n))
    for item in range(n):
        others = [i for i in range(n) if i != item]
        x, y = matrix[:, others], matrix[:, item]
        weights[others, item] = np.linalg.solve(x.T @ x + l2 * np.eye(n - 1), x.T @ y)
    return weights


@pytest.mark.parametrize(("l2", "block"), [(0.5, 2048), (5.0, 5), (200.0, 1)])
def test_weights_solve_the_constrained_ridge_regression(catalog, interactions, monkeypatch, l2, block):
    monkeypatch.setattr("llmrec.retrieve.ridge.BLOCK", block)  # the inverse is mirrored block by block
    model = fit_ease(interactions, catalog, EaseConfig(l2=l2))
    matrix = interactions.matrix().toarray().astype(np.float64)
    np.testing.assert_allclose(model.weights, ridge_without_self(matrix, l2), rtol=1e-5, atol=1e-7)
    assert (model.weights.diagonal() == 0).all()


def test_weights_count_in_fitting(catalog):
    table = {"user_id": ["a", "a", "b", "b"], "item_id": ["i0", "i1", "i0", "i2"], "w": [1.0, 3.0, 2.0, 0.5]}
    log = Interactions.from_table(table, catalog, InteractionColumns(time=None, weight="w"))
    matrix = log.matrix().toarray().astype(np.float64)
    assert matrix[0, 1] == 3.0
    np.testing.assert_allclose(
        fit_ease(log, catalog, EaseConfig(l2=1.0)).weights, ridge_without_self(matrix, 1.0), rtol=1e-5, atol=1e-7
    )


def test_scores_are_the_weighted_history(catalog, interactions):
    model = fit_ease(interactions, catalog, EaseConfig(l2=5.0, decay=0.5))
    assert model.known.all()
    items = np.arange(12, dtype=np.int32)[None]
    scores = model.score(Queries.from_lists([[4, 7]]), items)[0]
    np.testing.assert_allclose(scores, 0.5 * model.weights[4] + model.weights[7], rtol=1e-5)


def test_no_evidence_without_history_or_interactions(catalog):
    table = {"user_id": ["a", "a", "b", "b"], "item_id": ["i0", "i1", "i0", "i2"]}
    model = fit_ease(
        Interactions.from_table(table, catalog, InteractionColumns(time=None)), catalog, EaseConfig(l2=1.0)
    )
    queries = Queries.from_lists([[], [5], [0], [5, 0]])
    scores = model.score(queries, np.tile(np.arange(12, dtype=np.int32), (4, 1)))
    np.testing.assert_array_equal(np.isnan(scores), [[True] * 12] * 2 + [[False] * 3 + [True] * 9] * 2)
    assert (model.retrieve(queries, 5).items[:2] == -1).all()
    assert (model.retrieve(queries, 5).items[2:] >= 0).sum(axis=1).tolist() == [3, 3]


def test_dislikes_are_evidence(catalog, interactions):
    model = fit_ease(interactions, catalog, EaseConfig(l2=5.0))
    disliked = Queries(np.array([0, 1]), np.array([4], np.int32), weights=np.float32([-1]))
    items = np.arange(12, dtype=np.int32)[None]
    np.testing.assert_allclose(model.score(disliked, items)[0], -model.weights[4], rtol=1e-6)


def test_a_catalog_too_large_is_refused_with_its_price(catalog, interactions):
    with pytest.raises(ConfigError, match=r"12 items needs about .* GiB.*max_items is 11"):
        fit_ease(interactions, catalog, EaseConfig(max_items=11))


def test_a_catalog_that_does_not_fit_is_refused_with_its_price(catalog, interactions, monkeypatch):
    monkeypatch.setattr("llmrec.retrieve.ridge.available_memory", lambda: 12 * 12 * 12 - 1)
    with pytest.raises(ConfigError, match=r"12 items needs about .* GiB and .* GiB are free.*item_knn"):
        fit_ease(interactions, catalog, EaseConfig())
    for free in (12 * 12 * 12, None):
        monkeypatch.setattr("llmrec.retrieve.ridge.available_memory", lambda free=free: free)
        assert len(fit_ease(interactions, catalog, EaseConfig()).weights) == 12


def test_text_is_as_further_users(catalog, interactions):
    """The kernel in the Gram matrix: each term is a user who took the items that have it, by their weight."""
    config = EaseConfig(l2=5.0, text_weight=3.0, item_template="item/title")
    words = text_vectors(catalog, config).toarray().astype(np.float64)
    stacked = np.vstack([interactions.matrix().toarray(), np.sqrt(3.0) * words.T])
    found = fit_ease(interactions, catalog, config).weights
    np.testing.assert_allclose(found, ridge_without_self(stacked, 5.0), rtol=1e-4, atol=1e-6)
    assert not np.allclose(found, fit_ease(interactions, catalog, EaseConfig(l2=5.0)).weights, rtol=0.01)


def test_text_says_nothing_of_items_nobody_took(catalog):
    table = {"user_id": ["a", "a", "b", "b"], "item_id": ["i0", "i1", "i0", "i2"]}
    log = Interactions.from_table(table, catalog, InteractionColumns(time=None))
    model = fit_ease(log, catalog, EaseConfig(l2=1.0, text_weight=3.0))
    assert not model.weights[3:].any()
    assert not model.weights[:, 3:].any()
    assert np.isnan(model.score(Queries.from_lists([[0]]), np.arange(3, 12, dtype=np.int32)[None])).all()


def test_only_the_strongest_weights_may_be_stored(catalog, interactions):
    full = fit_ease(interactions, catalog, EaseConfig(l2=5.0))
    few = fit_ease(interactions, catalog, EaseConfig(l2=5.0, top=3))
    kept = few.weights.toarray()
    for item in range(12):
        best = np.argsort(-np.abs(full.weights[:, item]))[:3]
        assert sorted(np.flatnonzero(kept[:, item])) == sorted(best)
        np.testing.assert_array_equal(kept[best, item], full.weights[best, item])


def test_a_bundle_of_before_there_were_choices_opens(catalog, interactions):
    model = fit_ease(interactions, catalog, EaseConfig(l2=5.0))
    old = State({"l2": 5.0, "decay": 0.8, "max_items": 20_000}, {"weights": model.weights, "known": model.known})
    again = COMPONENT.load("ease", old, catalog)
    items = np.arange(12, dtype=np.int32)[None]
    queries = Queries.from_lists([[4, 7]])
    np.testing.assert_array_equal(again.score(queries, items), model.score(queries, items))
    assert again.config == model.config
