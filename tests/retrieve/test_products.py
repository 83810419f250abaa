"""Ranking by products of vectors: what BLAS suggests is decided by exact sums, against ranking all exact sums."""

from dataclasses import replace

import numpy as np
import pytest

from llmrec.retrieve.best import Ties, top_k
from llmrec.retrieve.products import ItemSide, Products, _product
from llmrec.retrieve.reading import best_in_blocks, score_in_blocks
from llmrec.types import Csr, Queries


def make(rng, n=30, m=900, f=16, more=3):
    """Vectors in which many products are equal or nearly so; `more` items came later, and a few are not known."""
    users = rng.normal(size=(n, f)).astype(np.float32)
    vectors = rng.normal(size=(m, f)).astype(np.float32)
    vectors[m // 2 :] = vectors[rng.integers(0, 40, m - m // 2)]
    vectors[m // 2 + 50 :] *= np.float32(1 + 1e-7)
    known = np.ones(m + more, dtype=bool)
    known[[1, 5, m]], known[m:] = False, False
    usable = np.arange(n) % 7 != 3
    bias = (rng.integers(0, 3, m) / 7).astype(np.float32)
    queries = Queries(offsets=np.zeros(n + 1, np.int64), items=np.empty(0, np.int32))
    ties = Ties.of(rng.permutation(m + more).astype(np.uint64), n)
    return Products(users, usable, ItemSide.of(vectors, bias, known), queries, None, ties)


def every_score(read):
    """Float32[n, n_items]: each score summed one by one, NaN where there is none."""
    m = len(read.items.vectors)
    scores = np.full((read.n_queries, read.n_items), np.nan, dtype=np.float32)
    scores[:, :m] = np.einsum("nf,mf->nm", read.users, read.items.vectors) + read.items.offsets[:m]
    scores[~read.usable] = np.nan
    return scores


@pytest.mark.parametrize("k", [1, 20, 200, 903, 2000])
def test_lists_are_those_of_all_exact_scores(rng, k):
    read = make(rng)
    found, expected = best_in_blocks(read, k), top_k(every_score(read), k, read.ties.hashes)
    np.testing.assert_array_equal(found.items, expected.items)
    np.testing.assert_array_equal(found.scores, expected.scores)


@pytest.mark.parametrize("k", [20, 200])
def test_what_must_not_come_back_does_not(rng, k):
    read = make(rng)
    whole = top_k(every_score(read), read.n_items, read.ties.hashes).items
    banned = [row[row >= 0][: i * 9].tolist() for i, row in enumerate(whole)]
    allowed = np.arange(read.n_items) % 5 != 2
    asked = replace(read, queries=replace(read.queries, exclude=Csr.from_lists(banned)), allowed=allowed)
    scores = np.where(allowed, every_score(read), np.float32(np.nan))
    for row, out in enumerate(banned):
        scores[row, out] = np.nan
    np.testing.assert_array_equal(best_in_blocks(asked, k).items, top_k(scores, k, read.ties.hashes).items)


def test_scores_are_exact_at_items_and_nan_at_pads(rng):
    read = make(rng)
    items = rng.integers(-1, read.n_items, (read.n_queries, 50)).astype(np.int32)
    expected = np.take_along_axis(every_score(read), np.maximum(items, 0).astype(np.int64), axis=1)
    np.testing.assert_array_equal(score_in_blocks(read, items), np.where(items < 0, np.float32(np.nan), expected))


@pytest.mark.parametrize("cells", [1, 5_000, 10_000_000])
def test_neither_blocks_nor_threads_nor_the_batch_change_a_bit(rng, monkeypatch, cells):
    read = make(rng)
    expected = best_in_blocks(read, 100)
    monkeypatch.setattr("llmrec.retrieve.reading.THREAD_CELLS", cells)
    monkeypatch.setattr("llmrec.retrieve.products.GATHERED", cells)
    for threads in ("1", "3"):
        monkeypatch.setenv("LLMREC_THREADS", threads)
        found = best_in_blocks(read, 100)
        np.testing.assert_array_equal(found.items, expected.items)
        np.testing.assert_array_equal(found.scores, expected.scores)
    for row in range(0, read.n_queries, 5):
        alone = read.some(np.array([row])).best(100)
        np.testing.assert_array_equal(alone.items[0], expected.items[row])
        np.testing.assert_array_equal(alone.scores[0], expected.scores[row])


def test_a_model_of_no_items_has_nothing_to_say():
    nothing = ItemSide.of(np.empty((0, 4), np.float32), np.empty(0, np.float32), np.zeros(3, bool))
    queries = Queries.from_lists([[], []])
    read = Products(
        np.ones((2, 4), np.float32), np.ones(2, bool), nothing, queries, None, Ties(np.arange(3, dtype=np.uint64))
    )
    assert (best_in_blocks(read, 2).items == -1).all()
    assert np.isnan(score_in_blocks(read, np.zeros((2, 1), np.int32))).all()


def test_arrays_of_an_opened_bundle_are_read_only_and_work_the_same(rng):
    users, vectors = rng.normal(size=(300, 8)).astype(np.float32), rng.normal(size=(40, 8)).astype(np.float32)
    expected = _product(users, vectors)
    for array in (users, vectors):
        array.flags.writeable = False
    np.testing.assert_array_equal(_product(users, vectors), expected)
    np.testing.assert_allclose(expected, users @ vectors.T, rtol=1e-4, atol=1e-5)
    assert not vectors.flags.writeable
