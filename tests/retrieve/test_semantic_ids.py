import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmrec.retrieve.semantic_ids import Codebooks, SemanticIds, learn_codebooks


@st.composite
def embedded(draw):
    """Embeddings, most of them several times over, with how often each item was taken."""
    rng = np.random.default_rng(draw(st.integers(0, 10**6)))
    n, kinds = draw(st.integers(1, 40)), draw(st.integers(1, 40))
    vectors = rng.standard_normal((kinds, 6)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors[rng.integers(0, kinds, n)], rng.integers(0, 4, n), rng.permutation(n).astype(np.uint64)


def learned(embeddings, levels=2, codes=3, seed=0):
    return learn_codebooks(embeddings, embeddings.mean(axis=0), levels, codes, seed)


def is_distinct(codes):
    return len(np.unique(codes, axis=0)) == len(codes)


@settings(max_examples=60, deadline=None)
@given(embedded(), st.integers(1, 4), st.integers(2, 9), st.integers(0, 5))
def test_no_two_items_have_one_id(items, levels, codes, seed):
    embeddings, counts, ties = items
    books = learned(embeddings, levels, codes, seed)
    ids = SemanticIds.number(books.encode(embeddings), counts, ties)
    assert ids.codes.shape == (len(embeddings), levels + 1)
    assert is_distinct(ids.codes)
    assert (ids.codes[:, :-1] < min(codes, len(embeddings))).all()
    tokens = ids.tokens(ids.digits)
    assert is_distinct(tokens[ids.learned])
    assert (tokens[~ids.learned, -1] == ids.digits).all()
    assert (tokens[ids.learned, -1] < ids.digits).all()


@settings(max_examples=60, deadline=None)
@given(embedded(), embedded(), st.integers(0, 10**6))
def test_newcomers_find_a_place_and_nobody_else_moves(items, others, seed):
    embeddings, counts, ties = items
    books = learned(embeddings)
    ids = SemanticIds.number(books.encode(embeddings), counts, ties)
    old, new = len(embeddings), others[0]
    changed = np.flatnonzero(np.random.default_rng(seed).random(old) < 0.3)[: len(new)]
    rows = np.concatenate([changed, np.arange(old, old + len(new) - len(changed))]).astype(np.int32)
    codes = books.encode(new)
    later = ids.placed(codes, rows)
    assert is_distinct(later.codes)
    np.testing.assert_array_equal(later.codes[rows, :-1], codes)
    others_ = np.setdiff1d(np.arange(old), rows)
    np.testing.assert_array_equal(later.codes[others_], ids.codes[others_])
    np.testing.assert_array_equal(later.learned[others_], ids.learned[others_])
    assert not later.learned[old:].any()
    # one after the other is as good as together
    one = ids
    for place in range(len(rows)):
        one = one.placed(codes[place : place + 1], rows[place : place + 1])
    assert is_distinct(one.codes)
    np.testing.assert_array_equal(one.codes[:, :-1], later.codes[:, :-1])
    np.testing.assert_array_equal(one.learned, later.learned)


def test_the_same_text_keeps_its_id():
    ids = SemanticIds(np.array([[0, 0], [0, 1], [1, 0]], np.int32), np.array([True, True, False]))
    same = ids.placed(np.array([[0]], np.int32), np.array([1], np.int32))
    np.testing.assert_array_equal(same.codes, ids.codes)
    np.testing.assert_array_equal(same.learned, ids.learned)
    moved = ids.placed(np.array([[1]], np.int32), np.array([1], np.int32))
    np.testing.assert_array_equal(moved.codes, [[0, 0], [1, 1], [1, 0]])
    np.testing.assert_array_equal(moved.learned, [True, False, False])


def test_numbers_follow_what_is_taken_most():
    codes = np.array([[1], [1], [0], [1]], np.int32)
    ids = SemanticIds.number(codes, np.array([2, 5, 0, 2]), np.array([9, 1, 1, 3], np.uint64))
    np.testing.assert_array_equal(ids.codes[:, 1], [2, 0, 0, 1])
    np.testing.assert_array_equal(ids.learned, [True, True, False, True])


def test_codes_are_the_same_again_alone_and_beside_others(rng):
    embeddings = rng.standard_normal((200, 16)).astype(np.float32)
    books = learned(embeddings, 3, 16)
    np.testing.assert_array_equal(learned(embeddings, 3, 16).centres, books.centres)
    assert (learned(embeddings, 3, 16, seed=1).centres != books.centres).any()
    whole = books.encode(embeddings)
    for row in range(0, 200, 7):
        np.testing.assert_array_equal(books.encode(embeddings[row : row + 1])[0], whole[row])


def test_every_level_comes_nearer(rng):
    embeddings = rng.standard_normal((300, 16)).astype(np.float32)
    books = learned(embeddings, 3, 16)
    codes = books.encode(embeddings)
    rest = embeddings - embeddings.mean(axis=0)
    rest /= np.linalg.norm(rest, axis=1, keepdims=True)
    lengths = [np.linalg.norm(rest, axis=1).mean()]
    for level in range(3):
        rest = rest - books.centres[level][codes[:, level]]
        lengths.append(np.linalg.norm(rest, axis=1).mean())
    assert np.all(np.diff(lengths) < 0)
    assert lengths[-1] < 0.7


@pytest.mark.parametrize("levels", [1, 3])
def test_the_nearest_centre_of_each_level_is_taken(rng, levels):
    centres = rng.standard_normal((levels, 4, 5)).astype(np.float32)
    books = Codebooks(np.zeros(5, np.float32), centres)
    vectors = rng.standard_normal((20, 5)).astype(np.float32)
    rest = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    for level, code in enumerate(books.encode(vectors).T):
        distances = np.linalg.norm(rest[:, None] - centres[level], axis=2)
        np.testing.assert_array_equal(code, distances.argmin(axis=1))
        rest = rest - centres[level][code]
