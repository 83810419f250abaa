import numpy as np
import pytest

from llmrec.data import InteractionColumns, Interactions
from llmrec.retrieve import TransitionConfig, fit_transition
from llmrec.types import Queries

EVERY = np.arange(12, dtype=np.int32)


def _log(catalog, histories, **more):
    rows = [(f"u{user}", f"i{item}") for user, items in enumerate(histories) for item in items]
    table = {"user_id": [user for user, _ in rows], "item_id": [item for _, item in rows], **more}
    columns = InteractionColumns(time=None, weight="w" if more else None)
    return Interactions.from_table(table, catalog, columns, repeats="keep")


def slow(log, config):
    n = log.catalog_size
    counts, taken = np.zeros((n, n)), np.bincount(log.items, minlength=n)
    for user in range(log.n_users):
        items = log.items[log.offsets[user] : log.offsets[user + 1]]
        for here, item in enumerate(items):
            for gap, other in enumerate(items[here + 1 : here + 1 + config.window], start=1):
                counts[item, other] += config.gap_decay ** (gap - 1)
                counts[other, item] += config.backward * config.gap_decay ** (gap - 1)
    np.fill_diagonal(counts, 0)
    left = counts.sum(axis=1, keepdims=True) + config.shrinkage
    return counts / np.where(left > 0, left, 1) / np.maximum(taken, 1) ** config.popularity


def test_transitions_by_hand(catalog):
    log = _log(catalog, [[0, 1, 2], [0, 2]])
    config = TransitionConfig(gap_decay=0.5, backward=0.0, popularity=0.0, shrinkage=1.0)
    expected = np.zeros((12, 12), np.float32)
    expected[0, 1], expected[0, 2] = 1 / 3.5, 1.5 / 3.5  # 1 follows at once; 2 at once, and once after one other
    expected[1, 2] = 1 / 2
    np.testing.assert_allclose(fit_transition(log, catalog, config).weights.toarray(), expected, rtol=1e-6)


@pytest.mark.parametrize(
    "config",
    [
        TransitionConfig(neighbours=12),
        TransitionConfig(neighbours=12, window=2, gap_decay=0.5, popularity=1.0, shrinkage=0.0),
        TransitionConfig(neighbours=12, window=3, backward=0.3, popularity=0.0),
    ],
)
def test_transitions_are_counted_decayed_and_held_back(catalog, interactions, config):
    repeating = _log(catalog, [[3, 4, 3, 5, 3], [4, 4, 3]])
    for log in (interactions, repeating):
        found = fit_transition(log, catalog, config).weights.toarray()
        np.testing.assert_allclose(found, slow(log, config), rtol=1e-5)
        assert (found.diagonal() == 0).all()


def test_each_item_keeps_its_likeliest(catalog, interactions):
    full = fit_transition(interactions, catalog, TransitionConfig(neighbours=12)).weights.toarray()
    few = fit_transition(interactions, catalog, TransitionConfig(neighbours=2)).weights.toarray()
    for item in range(12):
        stored = np.flatnonzero(full[item])
        best = sorted(stored, key=lambda i: (-full[item, i], catalog.tie_order[i]))[:2]
        assert np.flatnonzero(few[item]).tolist() == sorted(best)


def test_what_is_followed_by_dislikes_leads_nowhere(catalog):
    log = _log(catalog, [[0, 1, 2]], w=[1.0, -1.0, 2.0])
    found = fit_transition(log, catalog, TransitionConfig(window=1, backward=0.5, popularity=0, shrinkage=0)).weights
    assert found.nnz == 0


def test_scores_are_the_weighted_history_and_nothing_without_a_transition(catalog, interactions):
    model = fit_transition(interactions, catalog, TransitionConfig(decay=0.5, neighbours=3))
    weights = model.weights.toarray()
    scores = model.score(Queries.from_lists([[4, 7], []]), np.tile(EVERY, (2, 1)))
    expected = 0.5 * weights[4] + weights[7]
    np.testing.assert_allclose(np.nan_to_num(scores[0]), expected, rtol=1e-5)
    np.testing.assert_array_equal(np.isnan(scores), [expected == 0, [True] * 12])
