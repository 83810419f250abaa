"""Int8 is measured before it is used, and refused where it costs more than it may."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmrec.models import Placement, QuantisationWarning, TextEncoder
from llmrec.retrieve import DenseConfig, fit_dense, quantised
from llmrec.retrieve.quantised import Quantisation, embed_items, text_ndcg
from llmrec.testing.contracts import reload
from llmrec.text import load_template, render_items
from llmrec.types import Queries


@pytest.fixture
def int8(bert):
    pytest.importorskip("openvino")
    return TextEncoder.load(str(bert), placement=Placement("cpu", "int8"))


@pytest.fixture(scope="module")
def texts(catalog):
    return render_items(load_template("item/title"), catalog)


def test_what_int8_changes_is_measured_and_kept_in_the_bundle(int8, catalog, interactions, bert, monkeypatch, tmp_path):
    monkeypatch.setattr(quantised, "MAX_LOSS", 1.0)  # random weights: any loss is luck
    monkeypatch.setattr(quantised, "MIN_COSINE", 0.5)
    config = DenseConfig(encoder=str(bert), item_template="item/title")
    dense = fit_dense(catalog, config, int8, train=interactions)
    assert dense.encoder.placement.dtype == "int8"
    assert 0.9 < dense.quantised["cosine_min"] <= dense.quantised["cosine_mean"] < 1.001
    assert dense.quantised["texts"] == len(catalog)
    assert dense.quantised["cases"] == (np.diff(interactions.offsets) >= 2).sum()
    assert 0 < dense.quantised["ndcg"] <= 1
    monkeypatch.delenv("LLMREC_DTYPE")
    again = reload(dense, catalog, tmp_path)
    assert again.quantised == dense.quantised
    assert again.encoder.placement.dtype == "int8"
    ask = Queries.from_lists([[], [3]], ["red night", None])
    np.testing.assert_array_equal(again.retrieve(ask, 5).items, dense.retrieve(ask, 5).items)


def test_int8_that_costs_too_much_is_refused_with_a_warning(int8, texts, interactions, monkeypatch):
    asked = iter([np.full(10, 0.5), np.full(10, 0.49)])
    monkeypatch.setattr(quantised, "text_ndcg", lambda *_: next(asked))
    with pytest.warns(QuantisationWarning, match=r"in int8 loses 2\.0% of NDCG@10 .*; it runs in (float32|bfloat16)"):
        found = embed_items(int8, texts, interactions)
    assert found.encoder.placement == int8.placement.floating
    assert found.quantised is None
    np.testing.assert_array_equal(found.vectors, found.encoder.encode_items(texts))


def test_without_a_log_only_vectors_are_compared(int8, texts, monkeypatch):
    monkeypatch.setattr(quantised, "MIN_COSINE", 0.9)  # random weights in 8 bits have .976 where there is no VNNI
    found = embed_items(int8, texts, None)
    assert found.encoder.placement.dtype == "int8"
    assert (found.quantised["cases"], found.quantised["ndcg"]) == (0, None)


def test_floating_point_is_not_measured(bert, texts, interactions):
    encoder = TextEncoder.load(str(bert))
    found = embed_items(encoder, texts, interactions)
    assert found.encoder is encoder
    assert found.quantised is None
    np.testing.assert_array_equal(found.vectors, encoder.encode_items(texts))


def test_a_large_catalog_is_sampled_with_all_that_is_asked_for(int8, texts, interactions, monkeypatch):
    seen = []
    monkeypatch.setattr(quantised, "MIN_COSINE", 0.9)
    monkeypatch.setattr(quantised, "ITEMS", 3)
    monkeypatch.setattr(quantised, "text_ndcg", lambda v, q, t, items: (seen.append(items), np.ones(len(t)))[1])
    embed_items(int8, texts, interactions)
    assert set(interactions.items.tolist()) <= set(seen[0].tolist())


@pytest.mark.parametrize(
    ("ndcg", "ndcg_int8", "cases", "loss"), [(0.5, 0.49, 9, 0.02), (0.5, 0.6, 9, -0.2), (0, 0, 0, 0)]
)
def test_loss(ndcg, ndcg_int8, cases, loss):
    assert Quantisation(1, 1, 1, ndcg, ndcg_int8, 0, cases).loss == pytest.approx(loss)


@pytest.mark.parametrize(
    ("cosine", "ndcg_int8", "error", "cases", "expected"),
    [
        (0.99, 0.496, 0.0, 9, True),  # less than a hundredth
        (0.99, 0.49, 0.001, 9, False),
        (0.97, 0.5, 0.02, 9, False),  # too far, whatever a few cases say
        (0.99, float("nan"), float("nan"), 0, True),
    ],
)
def test_what_is_acceptable(cosine, ndcg_int8, error, cases, expected):
    assert Quantisation(cosine, 0.9, 9, 0.5, ndcg_int8, error, cases).is_acceptable is expected


@given(st.integers(0, 10_000))
@settings(max_examples=30, deadline=None)
def test_ndcg_is_that_of_ranking_one_by_one(seed):
    rng = np.random.default_rng(seed)
    vectors = rng.integers(-2, 3, (30, 3)).astype(np.float32)  # small whole numbers: ties
    histories = [rng.permutation(30)[: rng.integers(1, 6)].tolist() for _ in range(8)]
    items = np.unique(np.concatenate([*histories, rng.integers(0, 30, 12)])).astype(np.int32)
    queries = Queries.from_lists([history[:-1] for history in histories])
    targets = np.array([history[-1] for history in histories], np.int32)
    expected = []
    for history, target in zip(histories, targets, strict=True):
        past = history[:-1]
        weights = 0.5 ** np.arange(len(past))[::-1]
        user = (vectors[past] * weights[:, None]).sum(axis=0) if past else np.zeros(3)
        scores = {item: float(np.float32(vectors[item] @ user)) for item in items if item not in past}
        rank = sum(s > scores[target] for s in scores.values())
        rank += (sum(s == scores[target] for s in scores.values()) - 1) / 2
        expected.append(1 / np.log2(rank + 2) if rank < 10 else 0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(quantised, "DECAY", 0.5)  # a power of two: sums are exact, and so are ties
        np.testing.assert_allclose(text_ndcg(vectors, queries, targets, items), expected)
