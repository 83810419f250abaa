import hypothesis.strategies as st
import numpy as np
import scipy.sparse as sp
from hypothesis import given

from llmrec.retrieve import EaseConfig, ItemItem
from llmrec.retrieve.item_item import keep_highest, keep_strongest
from llmrec.types import Queries

MATRICES = st.integers(0, 2**32 - 1).map(
    lambda seed: np.random.default_rng(seed).integers(-3, 4, (7, 7)).astype(np.float32)
)
TIES = np.random.default_rng(5).integers(0, 2**63, 7).astype(np.uint64)


@given(MATRICES, st.integers(1, 9))
def test_the_strongest_of_each_column_stay_ties_by_hash(weights, count):
    kept = keep_strongest(weights, count, TIES).toarray()
    for item in range(7):
        order = sorted(range(7), key=lambda i: (-abs(weights[i, item]), TIES[i]))
        expected = np.zeros(7, np.float32)
        expected[order[:count]] = weights[order[:count], item]
        np.testing.assert_array_equal(kept[:, item], expected)


@given(MATRICES, st.integers(1, 9))
def test_the_highest_of_each_row_stay_ties_by_hash(weights, count):
    kept = keep_highest(sp.csr_matrix(weights), count, TIES).toarray()
    for item in range(7):
        stored = [i for i in range(7) if weights[item, i] != 0]
        best = sorted(stored, key=lambda i: (-weights[item, i], TIES[i]))[:count]
        assert np.flatnonzero(kept[item]).tolist() == sorted(best)
        np.testing.assert_array_equal(kept[item, best], weights[item, best])


def test_blocks_do_not_matter(monkeypatch, rng):
    weights = rng.standard_normal((7, 7)).astype(np.float32)
    whole = keep_strongest(weights, 3, TIES).toarray()
    monkeypatch.setattr("llmrec.retrieve.item_item.BLOCK", 2)
    np.testing.assert_array_equal(keep_strongest(weights, 3, TIES).toarray(), whole)


def _model(weights, config, catalog):
    known = np.arange(12) < 10
    return ItemItem("ease", "ease", config, weights, known, catalog.active, catalog.tie_order)


def test_sparse_weights_score_as_dense_ones_do_where_they_say_anything(catalog, queries, rng):
    weights = rng.standard_normal((12, 12)).astype(np.float32)
    weights[rng.random((12, 12)) < 0.6] = 0
    config = EaseConfig(decay=0.5)
    items = np.tile(np.arange(12, dtype=np.int32), (len(queries), 1))
    dense = _model(weights, config, catalog).score(queries, items)
    sparse = _model(sp.csr_matrix(weights), config, catalog).score(queries, items)
    np.testing.assert_allclose(sparse[~np.isnan(sparse)], dense[~np.isnan(sparse)], rtol=1e-5)
    assert np.isnan(sparse[np.isnan(dense) | (dense == 0)]).all()
    assert (~np.isnan(sparse)).any()


def test_an_item_without_a_stored_weight_has_no_evidence(catalog):
    weights = np.zeros((12, 12), np.float32)
    weights[4, 7] = 2
    model = _model(sp.csr_matrix(weights), EaseConfig(decay=0.5), catalog)
    scores = model.score(Queries.from_lists([[4, 3], [3]]), np.tile(np.int32([7, 3, 11]), (2, 1)))
    np.testing.assert_array_equal(scores, np.float32([[1, np.nan, np.nan], [np.nan] * 3]))
    assert model.retrieve(Queries.from_lists([[4, 3]]), 3).items.tolist() == [[7, -1, -1]]
