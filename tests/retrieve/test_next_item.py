import numpy as np
import pytest

from llmrec.data import InteractionColumns, Interactions
from llmrec.errors import ConfigError, DataError
from llmrec.retrieve import EaseConfig, NextItemConfig, fit_ease, fit_next_item
from llmrec.retrieve.text_kernel import text_vectors
from llmrec.types import Queries


def cases(log, config):
    """S and T, one row a cut of a history."""
    sources, targets = [], []
    for user in range(log.n_users):
        items = log.items[log.offsets[user] : log.offsets[user + 1]]
        for cut in range(1, len(items)):
            source, target = np.zeros(log.catalog_size), np.zeros(log.catalog_size)
            past, following = items[:cut][::-1][: config.window], items[cut:][: config.window]
            source[past] = config.past_decay ** np.arange(len(past))
            target[following] = config.next_decay ** np.arange(len(following))
            sources.append(source)
            targets.append(target)
    return np.array(sources), np.array(targets)


def least_squares(log, catalog, config):
    """The objective of the docstring as one regression an item, on all other items."""
    source, target = cases(log, config)
    whole, texts = log.matrix().toarray().astype(np.float64), text_vectors(catalog, config).toarray().T
    parts = [(whole, whole, config.together), (source, target, 1 - config.together), (texts, texts, config.text_weight)]
    x = np.vstack([np.sqrt(share) * left for left, _, share in parts])
    y = np.vstack([np.sqrt(share) * right for _, right, share in parts])
    weights = np.zeros((log.catalog_size, log.catalog_size))
    for item in range(log.catalog_size):
        others = np.arange(log.catalog_size) != item
        gram = x[:, others].T @ x[:, others] + config.l2 * np.eye(others.sum())
        weights[others, item] = np.linalg.solve(gram, x[:, others].T @ y[:, item])
    return weights


@pytest.mark.parametrize(
    "config",
    [
        NextItemConfig(l2=2.0),
        NextItemConfig(l2=0.5, together=0.0, past_decay=1.0, window=3),
        NextItemConfig(l2=2.0, together=0.3, next_decay=1.0, text_weight=1.5, item_template="item/title"),
    ],
)
@pytest.mark.parametrize("block", [5, 2048])
def test_weights_solve_the_constrained_regression(catalog, interactions, monkeypatch, config, block):
    for module in ("ridge", "next_item", "text_kernel"):
        monkeypatch.setattr(f"llmrec.retrieve.{module}.BLOCK", block)
    found = fit_next_item(interactions, catalog, config).weights
    np.testing.assert_allclose(found, least_squares(interactions, catalog, config), rtol=1e-4, atol=1e-6)


def test_without_order_it_is_ease(catalog, interactions):
    found = fit_next_item(interactions, catalog, NextItemConfig(l2=5.0, together=1.0))
    expected = fit_ease(interactions, catalog, EaseConfig(l2=5.0))
    np.testing.assert_allclose(found.weights, expected.weights, rtol=1e-5, atol=1e-7)
    np.testing.assert_array_equal(found.known, expected.known)


def test_what_follows_is_foretold_and_not_what_went_before(catalog):
    table = {"user_id": list("aabbcc"), "item_id": ["i0", "i1"] * 3}
    log = Interactions.from_table(table, catalog, InteractionColumns(time=None))
    weights = fit_next_item(log, catalog, NextItemConfig(l2=1.0, together=0.0)).weights
    assert weights[0, 1] == pytest.approx(3 / 4)
    assert weights[1, 0] == 0


def test_scores_are_the_weighted_history(catalog, interactions):
    model = fit_next_item(interactions, catalog, NextItemConfig(l2=5.0, decay=0.5))
    scores = model.score(Queries.from_lists([[4, 7]]), np.arange(12, dtype=np.int32)[None])[0]
    np.testing.assert_allclose(scores, 0.5 * model.weights[4] + model.weights[7], rtol=1e-5)


def test_only_the_strongest_weights_may_be_stored(catalog, interactions):
    full = fit_next_item(interactions, catalog, NextItemConfig(l2=5.0))
    few = fit_next_item(interactions, catalog, NextItemConfig(l2=5.0, top=3)).weights.toarray()
    assert ((few != 0).sum(axis=0) == 3).all()
    np.testing.assert_array_equal(few[few != 0], full.weights[few != 0])


def test_a_catalog_too_large_is_refused_with_its_price(catalog, interactions, monkeypatch):
    with pytest.raises(ConfigError, match=r"next_item over 12 items.*Raise next_item\.max_items, use .*transition"):
        fit_next_item(interactions, catalog, NextItemConfig(max_items=11))
    monkeypatch.setattr("llmrec.retrieve.ridge.available_memory", lambda: 12 * 12 * 12 - 1)
    with pytest.raises(ConfigError, match=r"next_item over 12 items.*GiB are free. Free memory, use .*transition"):
        fit_next_item(interactions, catalog, NextItemConfig())


def test_a_matrix_that_cannot_be_inverted_says_what_to_raise(catalog):
    table = {"user_id": list("aabbccdd"), "item_id": ["i0", "i1"] * 4}
    log = Interactions.from_table(table, catalog, InteractionColumns(time=None))
    with pytest.raises(DataError, match=r"raise next_item\.l2"):
        fit_next_item(log, catalog, NextItemConfig(l2=1e-30, together=1.0))
