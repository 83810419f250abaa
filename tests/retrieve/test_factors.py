import sys

import numpy as np
import pytest
from implicit.cpu.als import AlternatingLeastSquares

from llmrec.data import InteractionColumns, Interactions
from llmrec.errors import MissingExtraError
from llmrec.retrieve import AlsConfig, BprConfig, fit_als, fit_bpr
from llmrec.retrieve.factors import one_blas_thread
from llmrec.testing.data import new_items, tiny_catalog, tiny_interactions
from llmrec.types import Queries

EVERY = np.arange(12, dtype=np.int32)


def test_a_folded_in_user_is_the_one_that_als_makes(catalog, interactions):
    """With every interaction weighing alike, as implicit's own `recalculate_user`."""
    config = AlsConfig(factors=5, l2=0.3, fold_in_l2=0.3, confidence=3.0, decay=1.0, iterations=3)
    found, usable = fit_als(interactions, catalog, config).user_vectors(interactions.queries())
    matrix = interactions.matrix()
    matrix.data[:] = 4.0
    with one_blas_thread():
        theirs = AlternatingLeastSquares(factors=5, regularization=0.3, iterations=3, num_threads=1, random_state=0)
        theirs.fit(matrix, show_progress=False)
        expected = np.stack([theirs.recalculate_user(user, matrix[user]) for user in range(matrix.shape[0])])
    assert usable.all()
    np.testing.assert_allclose(found, expected.reshape(found.shape), rtol=1e-3, atol=1e-4)


def test_recency_and_dislikes_count_in_folding_in(catalog, interactions):
    config = AlsConfig(factors=4, confidence=3.0, decay=0.5, fold_in_l2=0.7)
    model = fit_als(interactions, catalog, config)
    queries = Queries(np.array([0, 3]), np.int32([4, 7, 2]), weights=np.float32([1, -1, 1]))
    users, _ = model.user_vectors(queries)
    y, w = model.vectors.astype(np.float64), np.array([0.25, -0.5, 1.0])
    left = (
        y.T @ y + 0.7 * np.eye(4) + 3.0 * sum(abs(a) * np.outer(y[i], y[i]) for i, a in zip([4, 7, 2], w, strict=True))
    )
    right = 4.0 * (0.25 * y[4] + y[2])
    np.testing.assert_allclose(users[0], np.linalg.solve(left, right), rtol=1e-3, atol=1e-5)


def test_a_mean_is_weighted_by_recency_and_the_bias_is_added(catalog, interactions):
    model = fit_bpr(interactions, catalog, BprConfig(factors=4, iterations=20, decay=0.5))
    assert np.abs(model.bias).max() > 0
    scores = model.score(Queries.from_lists([[4, 7]]), EVERY[None])[0]
    user = (0.5 * model.vectors[4] + model.vectors[7]) / 1.5
    np.testing.assert_allclose(scores, model.vectors @ user + model.bias, rtol=1e-5, atol=1e-6)
    bare = fit_bpr(interactions, catalog, BprConfig(factors=4, iterations=20, bias=0.0))
    assert not bare.bias.any()
    np.testing.assert_array_equal(bare.vectors, model.vectors)


@pytest.mark.parametrize(
    "fit",
    [
        lambda log, catalog, seed: fit_als(log, catalog, AlsConfig(factors=2, l2=0.1), seed=seed),
        lambda log, catalog, seed: fit_bpr(log, catalog, BprConfig(factors=6), seed=seed),
    ],
    ids=["als", "bpr"],
)
class TestBoth:
    def test_it_learns_which_items_go_together(self, fit):
        """Two halves of the catalog that no user mixes."""
        catalog = tiny_catalog(20)
        rng = np.random.default_rng(0)
        rows = [(u, i + 10 * (u % 2)) for u in range(60) for i in rng.permutation(10)[:5]]
        table = {"user_id": [f"u{u}" for u, _ in rows], "item_id": [f"i{i}" for _, i in rows]}
        model = fit(Interactions.from_table(table, catalog, InteractionColumns(time=None)), catalog, 0)
        found = model.retrieve(Queries.from_lists([[1, 4, 2], [15, 11, 18]]), 8).items
        assert (found[0] < 10).all()
        assert (found[1] >= 10).all()

    def test_the_seed_decides(self, fit, catalog, interactions):
        first, again, other = (fit(interactions, catalog, seed).vectors for seed in (1, 1, 2))
        np.testing.assert_array_equal(first, again)
        assert not np.allclose(first, other, rtol=0.01)

    def test_items_nobody_took_say_nothing_and_get_nothing(self, fit):
        catalog = tiny_catalog(14)
        log = tiny_interactions(0, tiny_catalog(12))
        wide = Interactions.from_table(
            {"user_id": [log.users.ids[u] for u in _owners(log)], "item_id": [f"i{i}" for i in log.items]},
            catalog,
            InteractionColumns(time=None),
        )
        model = fit(wide, catalog, 0)
        queries = Queries.from_lists([[3, 13], [13], [3, 12]])
        scores = model.score(queries, np.tile(np.arange(14, dtype=np.int32), (3, 1)))
        assert np.isnan(scores[:, 12:]).all()
        assert np.isnan(scores[1]).all()
        np.testing.assert_allclose(scores[0, :12], scores[2, :12], rtol=1e-4)

    def test_new_items_have_no_evidence(self, fit, catalog, interactions):
        grown = fit(interactions, catalog, 0).with_items(catalog.with_items(new_items(2)), np.int32([3]))
        scores = grown.score(Queries.from_lists([[4, 12]]), np.arange(14, dtype=np.int32)[None])
        assert np.isnan(scores[0, 12:]).all()
        assert not np.isnan(scores[0, :12]).any()


def _owners(log):
    return np.repeat(np.arange(log.n_users), np.diff(log.offsets))


def test_dislikes_are_never_taken_for_likes(catalog):
    rows = [(u, i) for u in range(30) for i in range(4)]
    table = {"user_id": [f"u{u}" for u, _ in rows], "item_id": [f"i{i}" for _, i in rows]}
    table["w"] = [-1.0 if i == 3 else 1.0 for _, i in rows]
    log = Interactions.from_table(table, catalog, InteractionColumns(time=None, weight="w"))
    queries, items = Queries.from_lists([[0, 1]]), np.int32([[0, 1, 2, 3]])
    assert fit_als(log, catalog, AlsConfig(factors=2, l2=0.1)).score(queries, items)[0].argmin() == 3
    scores = fit_bpr(log, catalog, BprConfig(factors=2)).score(queries, items)
    np.testing.assert_array_equal(np.isnan(scores), [[False, False, False, True]])


@pytest.mark.parametrize("component", ["als", "bpr"])
def test_a_missing_library_is_one_clear_error(component, catalog, interactions, monkeypatch):
    monkeypatch.setitem(sys.modules, f"implicit.cpu.{component}", None)
    fit = {
        "als": lambda: fit_als(interactions, catalog, AlsConfig()),
        "bpr": lambda: fit_bpr(interactions, catalog, BprConfig()),
    }
    with pytest.raises(MissingExtraError, match=r"implicit is not installed.*llmrec\[scale\]"):
        fit[component]()
