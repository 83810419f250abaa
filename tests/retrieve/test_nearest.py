from dataclasses import replace

import numpy as np
import pytest

from llmrec.retrieve.faiss_index import MIN_TRAIN_IVFPQ, ApproximateIndex
from llmrec.retrieve.index_choice import build_nearest, load_nearest
from llmrec.retrieve.nearest import Nearest
from llmrec.retrieve.stored import StoredVectors
from llmrec.testing.data import tiny_catalog
from llmrec.types import Csr, Item, Queries, State

N, DIM, K = 600, 12, 10


def units(rng, n):
    vectors = rng.standard_normal((n, DIM)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def asking(n):
    return Queries.from_lists([[]] * n)


def build(vectors, kind, min_recall=0.95, said=None, storage="float32"):
    stored = StoredVectors.pack(vectors, storage)
    return build_nearest(stored, kind, min_recall, vectors[:50], (lambda _: None) if said is None else said.append)


def brute_force(vectors, queries, k, allowed):
    scores = np.where(allowed, queries @ vectors.T, -np.inf)
    return np.argsort(-scores, axis=1)[:, :k]


@pytest.fixture(scope="module")
def vectors():
    return units(np.random.default_rng(77), N)


@pytest.fixture(scope="module")
def big():
    """Enough vectors for IVF-PQ, in crowds, as texts are."""
    rng = np.random.default_rng(1)
    crowds = rng.standard_normal((100, DIM))[rng.integers(0, 100, MIN_TRAIN_IVFPQ)]
    vectors = (crowds + 0.3 * rng.standard_normal(crowds.shape)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@pytest.fixture(scope="module")
def ivfpq(big):
    return build(big, "ivfpq")


@pytest.fixture(scope="module", params=["exact", "hnsw"])
def nearest(request, vectors):
    return build(vectors, request.param, 0.99)


@pytest.fixture(scope="module")
def many():
    return tiny_catalog(N)


@pytest.mark.parametrize(("n", "kind"), [(199_999, "exact"), (200_000, "hnsw"), (499_999, "hnsw"), (500_000, "ivfpq")])
def test_auto_goes_by_the_size_of_the_catalog(n, kind):
    from llmrec.retrieve.index_choice import choose_kind

    assert choose_kind("auto", n) == kind
    assert choose_kind("auto", n, "int8") == ("exact" if kind == "exact" else "ivfpq")  # a graph holds 16-bit vectors
    assert choose_kind("hnsw", n) == "hnsw"


def test_scores_are_exact_and_lists_nearly(nearest, vectors, many, rng):
    queries = units(rng, 40)
    found = nearest.search(queries, asking(40), K, many)
    expected = brute_force(vectors, queries, K, many.active)
    assert np.mean(np.sort(found.items) == np.sort(expected)) > (0.9 if nearest.report["kind"] == "hnsw" else 0.9999)
    cosines = np.einsum("nd,nkd->nk", queries, vectors[found.items])
    np.testing.assert_array_equal(found.scores, cosines)


@pytest.mark.parametrize("kind", ["exact", "hnsw", "ivfpq"])
@pytest.mark.parametrize("storage", ["float16", "int8"])
def test_what_is_stored_is_the_truth(big, rng, kind, storage, tmp_path):
    """Scores are its exact cosines; alone, in a batch, grown, saved, and loaded as read-only maps."""
    nearest = build(big, kind, 0.9, storage=storage)
    assert nearest.report["kind"] == kind
    stored = StoredVectors.pack(big, storage).floats()
    queries, catalog = units(rng, 40), tiny_catalog(len(big))
    found = nearest.search(queries, asking(40), K, catalog)
    np.testing.assert_allclose(found.scores, np.einsum("nd,nkd->nk", queries, stored[found.items]), atol=1e-6)
    expected = brute_force(stored, queries, K, catalog.active)
    hits = [len(set(a) & set(b)) for a, b in zip(found.items.tolist(), expected.tolist(), strict=True)]
    assert np.mean(hits) / K > (0.9 if kind == "ivfpq" else 0.97)
    grown, longer = nearest.grown(queries[:2], np.int32([3, len(big)])), catalog.with_items([Item("new", {})])
    state = grown.state()
    for name, array in state.arrays.items():
        np.save(tmp_path / f"{name}.npy", array)
    arrays = {name: np.load(tmp_path / f"{name}.npy", mmap_mode="r") for name in state.arrays}
    loaded = load_nearest(State(state.config, arrays), 0.9)
    same = grown if kind == "exact" else grown.folded()  # the tail is looked at whole, an index is not
    now, then = (one.search(queries, asking(40), K, longer) for one in (same, loaded))
    np.testing.assert_array_equal(then.items, now.items)
    np.testing.assert_array_equal(then.scores, now.scores)
    assert now.items[:2, 0].tolist() == [3, len(big)]
    for row in (0, 5):
        alone = loaded.search(queries[row : row + 1], asking(1), K, longer)
        np.testing.assert_array_equal(alone.items[0], now.items[row])
        np.testing.assert_array_equal(alone.scores[0], now.scores[row])


def test_compressed_vectors_are_scored_exactly_too(ivfpq, big, rng):
    catalog = tiny_catalog(len(big))
    assert ivfpq.report["kind"] == "ivfpq"
    queries = big[rng.integers(0, len(big), 30)]
    found = ivfpq.search(queries, asking(30), K, catalog)
    np.testing.assert_array_equal(found.scores, np.einsum("nd,nkd->nk", queries, big[found.items]))
    expected = brute_force(big, queries, K, catalog.active)
    hits = [len(set(a) & set(b)) for a, b in zip(found.items.tolist(), expected.tolist(), strict=True)]
    assert np.mean(hits) / K > 0.9
    for row in (0, 7):
        alone = ivfpq.search(queries[row : row + 1], asking(1), K, catalog)
        np.testing.assert_array_equal(alone.items[0], found.items[row])


@pytest.mark.parametrize("count", [20, 40])
@pytest.mark.parametrize("share", [0.5, 0.05, 0.005])
def test_a_filter_leaves_full_lists(nearest, vectors, many, rng, share, count):
    """However few are allowed: k come back where there are k, and a strict filter is answered exactly."""
    allowed = rng.random(N) < share
    queries = units(rng, count)
    found = nearest.search(queries, replace(asking(count), allow=allowed), K, many).items
    assert ((found >= 0).sum(axis=1) == min(K, allowed.sum())).all()
    assert allowed[found[found >= 0]].all()
    if share < 0.1 or nearest.report["kind"] == "exact":
        expected = brute_force(vectors, queries, min(K, int(allowed.sum())), allowed)
        np.testing.assert_array_equal(found[:, : expected.shape[1]], expected)


def test_a_strict_filter_does_not_ask_the_graph(vectors, many, monkeypatch):
    nearest = build(vectors, "hnsw")
    monkeypatch.setattr(ApproximateIndex, "search", lambda *_: pytest.fail("the graph was asked"))
    allowed = np.arange(N) % 20 == 0
    found = nearest.search(vectors[:5], replace(asking(5), allow=allowed), K, many).items
    np.testing.assert_array_equal(found, brute_force(vectors, vectors[:5], K, allowed))


def test_lists_that_the_index_leaves_short_are_filled_exactly(vectors, many, monkeypatch):
    nearest = build(vectors, "hnsw")
    lost = ApproximateIndex.search

    def forgetful(self, queries, k, effort, allowed=None):
        scores, places = lost(self, queries, k, effort, allowed)
        places[::2, 3:] = -1
        return scores, places

    monkeypatch.setattr(ApproximateIndex, "search", forgetful)
    found = nearest.search(vectors[:6], asking(6), K, many).items
    np.testing.assert_array_equal(found[::2], brute_force(vectors, vectors[:6], K, many.active)[::2])
    assert (found >= 0).all()


def test_what_is_excluded_costs_no_place(nearest, vectors, many, monkeypatch):
    monkeypatch.setattr(Nearest, "_allowed_only", lambda *_: pytest.fail("the index was asked for too few"))
    queries = vectors[:3]
    full = nearest.search(queries, asking(3), 60, many).items
    banned = replace(asking(3), exclude=Csr.from_lists([full[0, :50].tolist(), [], full[2, :7].tolist()]))
    found = nearest.search(queries, banned, K, many).items
    np.testing.assert_array_equal(found[0], full[0, 50:60])
    np.testing.assert_array_equal(found[1], full[1, :K])
    np.testing.assert_array_equal(found[2], full[2, 7:17])


def test_nothing_is_found_for_a_zero_vector(nearest, many):
    queries = np.zeros((2, DIM), np.float32)
    queries[1, 0] = 1
    found = nearest.search(queries, asking(2), K, many)
    assert (found.items[0] == -1).all()
    assert (found.scores[0] == 0).all()
    assert (found.items[1] >= 0).all()


@pytest.mark.parametrize("limit", [0, 3, 1024])
def test_grown_vectors_are_found_and_old_ones_are_not(nearest, vectors, many, rng, monkeypatch, limit):
    """Changing, adding and changing again, whenever the tail goes into the index."""
    monkeypatch.setattr("llmrec.retrieve.nearest.TAIL", limit)
    monkeypatch.setattr("llmrec.retrieve.nearest.TAIL_SHARE", 0.0)
    new, truth, grown, catalog = units(rng, 6), vectors.copy(), nearest, many
    for step, row in enumerate([5, N, 9, 5, N + 1, N]):
        if row >= len(truth):
            truth = np.concatenate([truth, np.zeros((1, DIM), np.float32)])
            catalog = catalog.with_items([Item(f"new{row}", {"title": "new"})])
        truth[row] = new[step]
        grown = grown.grown(new[step : step + 1], np.int32([row]))
    np.testing.assert_array_equal(grown.vectors.array(), truth)
    found = grown.search(new, asking(6), 3, catalog)
    assert [found.items[step, 0] for step in (2, 3, 4, 5)] == [9, 5, N + 1, N]
    assert (found.scores[:2, 0] < 0.9999).all()
    expected = brute_force(truth, new, 3, catalog.active)
    assert np.mean(found.items == expected) > 0.8
    before = nearest.search(new, asking(6), 3, many)
    assert (before.items < N).all()
    assert (before.scores[:, 0] < 0.9999).all()
    loaded = load_nearest(grown.state(), 0.9)
    np.testing.assert_array_equal(loaded.search(new, asking(6), 3, catalog).items, found.items)


@pytest.mark.parametrize("limit", [0, 1024])
def test_an_item_that_changed_a_little_comes_once(nearest, vectors, many, monkeypatch, limit):
    """Its old vector is still in a graph, and as near."""
    monkeypatch.setattr("llmrec.retrieve.nearest.TAIL", limit)
    monkeypatch.setattr("llmrec.retrieve.nearest.TAIL_SHARE", 0.0)
    moved = vectors[7:8] + np.float32(0.01)
    moved /= np.linalg.norm(moved)
    grown = nearest.grown(moved, np.int32([7])).grown(vectors[7:8], np.int32([7]))
    found = grown.search(vectors[7:8], asking(1), K, many)
    assert found.items[0, 0] == 7
    assert len(set(found.items[0].tolist())) == K
    assert found.scores[0, 0] == pytest.approx(1, abs=1e-6)


def test_removed_items_stay_out_of_index_and_tail(nearest, vectors, many, rng):
    grown = nearest.grown(vectors[:2], np.int32([N, N + 1]))
    catalog = many.with_items([Item("a", {"title": "a"}), Item("b", {"title": "b"})]).without_items(["i0", "b"])
    found = grown.search(vectors[:2], asking(2), 5, catalog).items
    assert found[0, 0] == N
    assert found[1, 0] == 1
    assert not np.isin(found, [0, N + 1]).any()


def test_effort_is_raised_until_the_recall_is_reached(big, monkeypatch):
    monkeypatch.setattr(ApproximateIndex, "efforts", property(lambda _: (1, 2, 64, 256)))
    said = []
    low, high = build(big, "ivfpq", 0.05, said), build(big, "ivfpq", 0.9, said)
    assert low.report["effort"] == 1
    assert low.report["recall"] < 0.9
    assert high.report["effort"] > 1
    assert high.report["recall"] >= 0.9
    assert high.report["recall_at"] == 100
    assert "building the ivfpq index" in said[0]


def test_an_index_that_cannot_reach_the_recall_gives_way_to_exact_search(vectors, many, monkeypatch):
    monkeypatch.setattr(ApproximateIndex, "efforts", property(lambda _: (1,)))
    monkeypatch.setattr("llmrec.retrieve.faiss_index.LINKS", 2)
    said = []
    nearest = build(vectors, "hnsw", 1.0, said)
    assert nearest.report["kind"] == "exact"
    assert nearest.report["recall"] == 1.0
    assert nearest.report["measured_recall"] < 1.0
    assert said[-1].endswith("searching exactly")
    assert nearest.search(vectors[:1], asking(1), 1, many).items[0, 0] == 0


def test_too_few_vectors_for_compression_are_searched_exactly(vectors):
    said = []
    assert build(vectors, "ivfpq", said=said).report["kind"] == "exact"
    assert "9,984 items" in said[0]


def test_recall_is_measured_not_assumed(vectors, monkeypatch):
    """An index that finds every second one has half the recall."""
    honest = ApproximateIndex.search

    def half(self, queries, k, effort, allowed=None):
        scores, places = honest(self, queries, k, effort, allowed)
        places[:, ::2] = -1
        return scores, places

    monkeypatch.setattr(ApproximateIndex, "search", half)
    assert build(vectors, "hnsw", 0.9).report["measured_recall"] == pytest.approx(0.5, abs=0.02)


def test_equal_vectors_all_count_as_found(rng):
    """Where a hundred are equally near, any of them is right."""
    vectors = np.tile(units(rng, 2), (150, 1))
    assert build(vectors, "hnsw", 0.99).report["kind"] == "hnsw"


def test_an_index_of_other_vectors_is_built_again(vectors, many, rng):
    state = build(vectors, "hnsw").state()
    other = units(rng, N)
    for arrays in (
        {**state.arrays, "vectors": other},
        {**state.arrays, "index": state.arrays["index"][:99]},
        {name: array for name, array in state.arrays.items() if name != "index"},
    ):
        loaded = load_nearest(State(state.config, arrays), 0.9)
        found = loaded.search(arrays["vectors"][:20], asking(20), 1, many).items[:, 0]
        np.testing.assert_array_equal(found, np.arange(20))
