from dataclasses import replace

import faiss
import numpy as np
import pytest

from llmrec.retrieve.faiss_index import MIN_TRAIN_IVFPQ, ApproximateIndex, ExactIndex
from llmrec.retrieve.stored import StoredVectors


def units(rng, n, dim=8):
    vectors = rng.standard_normal((n, dim)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@pytest.fixture(scope="module")
def vectors():
    return units(np.random.default_rng(77), MIN_TRAIN_IVFPQ)


@pytest.fixture(scope="module", params=["hnsw", "ivfpq"])
def index(request, vectors):
    some = vectors if request.param == "ivfpq" else vectors[:2000]
    return ApproximateIndex.build(request.param, StoredVectors.pack(some, "float32"))


def test_the_exact_index_pads_and_filters():
    vectors = np.eye(4, dtype=np.float32)
    index = ExactIndex(StoredVectors.pack(vectors, "float32"))
    scores, rows = index.search(np.float32([[0.9, 0.1, 0.5, 0]]), 3, np.array([False, True, True, False]))
    np.testing.assert_array_equal(rows, [[2, 1, -1]])
    np.testing.assert_allclose(scores[0, :2], [0.5, 0.1])
    assert index.search(np.empty((0, 4), np.float32), 3)[1].shape == (0, 3)
    assert index.search(vectors, 9)[1].shape == (4, 4)


@pytest.mark.parametrize("storage", ["float32", "float16", "int8"])
@pytest.mark.parametrize("share", [1.0, 0.4, 0.0005])
def test_the_exact_index_finds_what_brute_force_finds_in_a_read_only_map(vectors, rng, tmp_path, storage, share):
    """Where vectors are unpacked part by part too, and with fewer than k in a part or at all."""
    stored = StoredVectors.pack(vectors, storage)
    np.save(tmp_path / "codes.npy", stored.codes)
    index = ExactIndex(replace(stored, codes=np.load(tmp_path / "codes.npy", mmap_mode="r")))
    allowed = rng.random(len(vectors)) < share
    queries = units(rng, 30)
    truth = np.where(allowed, queries @ stored.floats().T, -np.inf)
    for count in (1, 30):
        scores, places = index.search(queries[:count], 12, None if share == 1 else allowed)
        expected = np.argsort(-truth[:count], axis=1)[:, :12]
        best = np.take_along_axis(truth[:count], expected, axis=1)
        np.testing.assert_array_equal(places, np.where(np.isfinite(best), expected, -1))
        np.testing.assert_allclose(scores[places >= 0], best[places >= 0], atol=1e-6)


def test_the_exact_index_computes_as_faiss_does(vectors, rng):
    """The same bits as the index that would hold a copy; for a few queries, what BLAS makes of them."""
    plain = faiss.IndexFlatIP(8)
    plain.add(vectors)
    for count in (1, 40):
        queries = units(rng, count)
        mine, theirs = ExactIndex(StoredVectors.pack(vectors, "float32")).search(queries, 10), plain.search(queries, 10)
        np.testing.assert_array_equal(mine[1], theirs[1])
        np.testing.assert_allclose(mine[0], theirs[0], rtol=0, atol=1e-6 if count == 1 else 0)


def test_most_of_the_nearest_are_found_with_more_effort_more(index, vectors, rng):
    queries = units(rng, 50)
    near = np.argsort(-(queries @ vectors[: len(index)].T), axis=1)[:, :20]

    def recall(effort):
        found = index.search(queries, 40, effort)[1]
        return np.mean([len(set(a) & set(b)) for a, b in zip(found.tolist(), near.tolist(), strict=True)]) / 20

    assert recall(index.efforts[-1]) > (0.99 if index.kind == "hnsw" else 0.5)  # one byte for a vector, and its cell
    assert recall(index.efforts[0]) <= recall(index.efforts[-1])
    assert list(index.efforts) == sorted(set(index.efforts))


def test_alone_as_in_a_batch_and_again_from_bytes(index, rng):
    queries = units(rng, 30)
    again = ApproximateIndex.from_bytes(index.kind, index.to_bytes())
    scores, places = index.search(queries, 10, index.efforts[0])
    for row in range(30):
        alone = index.search(queries[row : row + 1], 10, index.efforts[0])
        np.testing.assert_array_equal(alone[1][0], places[row])
        np.testing.assert_array_equal(alone[0][0], scores[row])
    np.testing.assert_array_equal(again.search(queries, 10, index.efforts[0])[1], places)


def test_damaged_bytes_are_no_index(index):
    assert ApproximateIndex.from_bytes(index.kind, index.to_bytes()[:50]) is None
    assert ApproximateIndex.from_bytes(index.kind, np.zeros(100, np.uint8)) is None


def test_filters_are_pushed_down(index, rng):
    allowed = rng.random(len(index)) < 0.3
    places = index.search(units(rng, 20), 10, index.efforts[-1], allowed)[1]
    assert (places >= 0).all()
    assert allowed[places].all()


def test_extending_leaves_the_old_index_as_it_is(index, rng):
    more = units(rng, 3)
    longer = index.extended(more)
    assert len(longer) == len(index) + 3
    found = longer.search(more, 50, 64)[1]
    assert all(len(index) + row in found[row] for row in range(3))
    assert (index.search(more, 50, 64)[1] < len(index)).all()
