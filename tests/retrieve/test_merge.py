"""Uniting lists, against plain Python."""

import hypothesis.strategies as st
import numpy as np
from hypothesis import given, settings

from llmrec.retrieve.merge import align, complete, merge_candidates
from llmrec.types import Candidates, Ranking


@st.composite
def lists(draw, n, n_items=9):
    """Int32[n, k], unique within a row, -1 pads on the right."""
    width = draw(st.integers(0, 6))
    rows = [draw(st.lists(st.integers(0, n_items - 1), max_size=width, unique=True)) for _ in range(n)]
    return np.array([r + [-1] * (width - len(r)) for r in rows], dtype=np.int32).reshape(n, width)


@st.composite
def rankings(draw, n):
    items = draw(lists(n))
    values = st.sampled_from([0.0, 1.0, 1.0000001, 5e6, -3.0, 1e-9, -1e30])
    scores = [sorted((draw(values) for _ in row), reverse=True) for row in items]
    scores = np.where(items >= 0, np.array(scores, dtype=np.float32).reshape(items.shape), 0)
    return Ranking(items, scores.astype(np.float32))


@given(st.data())
@settings(max_examples=100, deadline=None)
def test_candidates_are_the_union(data):
    n = data.draw(st.integers(0, 3))
    proposed = {name: data.draw(lists(n)) for name in data.draw(st.sampled_from(["", "a", "ab", "abc"]))}
    incoming = None
    if data.draw(st.booleans()):
        items = data.draw(lists(n))
        column = np.where(items >= 0, items * 10, np.nan).astype(np.float32)
        incoming = Candidates(items, {"old": column}, {"first": np.where(items >= 0, items + 1, 0).astype(np.int32)})
    merged = merge_candidates(proposed, n, incoming)
    parts = [*proposed.values(), *([] if incoming is None else [incoming.items])]
    expected = [sorted({int(i) for part in parts for i in part[row] if i >= 0}) for row in range(n)]
    assert merged.items.shape == (n, max(map(len, expected), default=0))
    assert merged.items.dtype == np.int32
    for row, items in enumerate(merged.items.tolist()):
        assert items == expected[row] + [-1] * (len(items) - len(expected[row]))
        for name, part in proposed.items():
            places = {int(i): p + 1 for p, i in enumerate(part[row]) if i >= 0}
            assert merged.source_ranks[name][row].tolist() == [places.get(i, 0) for i in items]
        if incoming is not None:
            held = set(incoming.items[row].tolist()) - {-1}
            old = np.float32([i * 10 if i in held else np.nan for i in items])
            np.testing.assert_array_equal(merged.columns["old"][row], old)
            assert merged.source_ranks["first"][row].tolist() == [i + 1 if i in held else 0 for i in items]


@given(st.data())
@settings(max_examples=100, deadline=None)
def test_align_is_a_lookup(data):
    n = data.draw(st.integers(0, 3))
    items, other = data.draw(lists(n)), data.draw(lists(n))
    values = (np.arange(other.size).reshape(other.shape) + 100).astype(np.float32)
    found = align(items, other, values, np.float32(-7))
    assert found.shape == items.shape
    for row in range(n):
        known = {int(i): float(v) for i, v in zip(other[row], values[row], strict=True) if i >= 0}
        assert found[row].tolist() == [known.get(int(i), -7.0) if i >= 0 else -7.0 for i in items[row]]


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_complete_appends_and_falls_strictly(data):
    n, k = data.draw(st.integers(0, 3)), data.draw(st.integers(1, 12))
    segments = [data.draw(rankings(n)) for _ in range(data.draw(st.integers(1, 3)))]
    done = complete(segments, k)
    assert done.items.shape[1] <= k
    assert done.scores.dtype == np.float32
    for row in range(n):
        order = list(dict.fromkeys(int(i) for s in segments for i in s.items[row] if i >= 0))[:k]
        width = done.items.shape[1]
        assert done.items[row].tolist() == order + [-1] * (width - len(order))
        scores = done.scores[row]
        assert (np.diff(scores[: len(order)]) < 0).all()
        assert (scores[len(order) :] == 0).all()


def test_complete_keeps_scores_that_fall_already():
    first = Ranking(np.int32([[3, 1]]), np.float32([[0.5, 0.25]]))
    second = Ranking(np.int32([[1, 2, -1]]), np.float32([[0.9, 0.125, 0]]))
    done = complete([first, second], 10)
    np.testing.assert_array_equal(done.items, [[3, 1, 2, -1, -1]])
    np.testing.assert_array_equal(done.scores, np.float32([[0.5, 0.25, 0.125, 0, 0]]))


def test_complete_with_many_equal_scores_of_any_size():
    for level in (0.0, 1.0, -1.0, 0.016, 3000.0, 1e7):
        equal = Ranking(np.arange(500, dtype=np.int32)[None], np.full((1, 500), level, np.float32))
        scores = complete([equal], 500).scores[0]
        assert (np.diff(scores) < 0).all(), level
        assert scores[0] == level
