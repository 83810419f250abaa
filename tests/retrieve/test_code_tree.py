import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmrec.retrieve import code_tree
from llmrec.retrieve.code_tree import CodeTree, best_leaves, leaf_scores

SIZE = 4


class Drawn:
    """Chances drawn for every prefix, and how many prefixes were read."""

    def __init__(self, seed, steps):
        self.seed, self.steps, self.read = seed, steps, 0

    def of(self, prefix):
        rng = np.random.default_rng([self.seed, *prefix, len(prefix)])
        drawn = rng.integers(-self.steps, 1, SIZE)  # few steps: many ties
        return np.float32(drawn)

    def chances(self, here, level):
        assert all(len(prefix) == level for prefix in here)
        self.read += len(here)
        return np.array([self.of(prefix) for prefix in here], dtype=np.float32).reshape(-1, SIZE)

    def follow(self, here, rows, level, codes):
        return [(*here[row], int(code)) for row, code in zip(rows, codes, strict=True)]


@st.composite
def grown(draw):
    """Items' codes, some of them shared, with the items that may come back and those that must not."""
    rng = np.random.default_rng(draw(st.integers(0, 10**6)))
    n, levels = draw(st.integers(1, 60)), draw(st.integers(1, 4))
    tokens = rng.integers(0, SIZE, (n, levels))
    allowed = rng.random(n) < draw(st.sampled_from([0.2, 0.7, 1.0]))
    excluded = np.flatnonzero(rng.random(n) < draw(st.sampled_from([0.0, 0.3, 0.9])))
    return tokens, allowed, excluded, Drawn(draw(st.integers(0, 99)), draw(st.sampled_from([1, 3, 1000])))


def plain_scores(tokens, reader):
    found = np.zeros(len(tokens), np.float32)
    for level in range(tokens.shape[1]):
        found += [reader.of(tuple(row[:level].tolist()))[row[level]] for row in tokens]
    return found


def places_of(tree, items):
    places = {int(item): place for place, item in enumerate(tree.items)}
    return np.array(sorted(places[int(item)] for item in items if int(item) in places), dtype=np.int64)


@pytest.fixture(autouse=True)
def _narrow(monkeypatch):
    monkeypatch.setattr(code_tree, "LEAST", 1)
    monkeypatch.setattr(code_tree, "WIDTH", 1)


@settings(max_examples=200, deadline=None)
@given(grown(), st.integers(1, 70))
def test_the_search_finds_what_looking_at_everything_finds(case, k):
    tokens, allowed, excluded, reader = case
    tree = CodeTree.of(tokens).only(allowed, tokens)
    found = best_leaves(tree, reader, [()], k, places_of(tree, excluded))
    scores = plain_scores(tokens, reader)
    may = allowed.copy()
    may[excluded] = False
    least = np.sort(scores[may])[::-1][:k].min(initial=np.inf)
    expected = np.flatnonzero(may & (scores >= least))
    items = tree.items[found.places]
    np.testing.assert_array_equal(np.sort(items), expected)
    np.testing.assert_array_equal(found.scores, scores[items])


@settings(max_examples=100, deadline=None)
@given(grown(), st.integers(0, 10**6))
def test_items_are_scored_as_if_each_were_alone(case, seed):
    tokens, _, _, reader = case
    tree = CodeTree.of(tokens)
    places = np.flatnonzero(np.random.default_rng(seed).random(len(tokens)) < 0.5)
    np.testing.assert_array_equal(
        leaf_scores(tree, reader, [()], places), plain_scores(tokens, reader)[tree.items[places]]
    )


def test_little_is_read_where_little_is_wanted(rng):
    tokens = np.unique(rng.integers(0, SIZE, (20_000, 7)), axis=0)
    reader = Drawn(0, 1000)
    tree = CodeTree.of(tokens)
    best_leaves(tree, reader, [()], 5, np.empty(0, np.int64))
    assert reader.read < len(tokens) / 20
    reader.read = 0
    leaf_scores(tree, reader, [()], np.array([3]))
    assert reader.read == 7


def test_nothing_left_is_nothing_found():
    tokens = np.array([[0, 1], [2, 1]])
    tree, reader = CodeTree.of(tokens), Drawn(0, 3)
    assert len(best_leaves(tree, reader, [()], 3, np.array([0, 1])).places) == 0
    assert len(best_leaves(tree, reader, [()], 0, np.empty(0, np.int64)).places) == 0
    none = tree.only(np.zeros(2, np.bool_), tokens)
    assert len(best_leaves(none, reader, [()], 3, np.empty(0, np.int64)).places) == 0


def test_only_prefixes_of_items_that_may_come_back_are_read():
    tokens = np.array([[0, 0], [0, 1], [1, 0], [2, 0], [2, 3]])
    tree = CodeTree.of(tokens).only(np.array([True, True, True, False, False]), tokens)
    reader = Drawn(0, 3)
    found = best_leaves(tree, reader, [()], 9, places_of(tree, [2]))
    assert sorted(tree.items[found.places]) == [0, 1]
    assert reader.read == 2  # the start, and behind 0: 1 has nothing left, 2 is not allowed
