"""Diversity and calibration of lists: by hand, against scipy and plain Python, and by property."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import pdist
from scipy.stats import entropy

from llmrec.data import Catalog
from llmrec.errors import ConfigError, DataError
from llmrec.evaluate import FieldDiversity, Miscalibration, VectorDiversity, categories_of
from llmrec.evaluate import lists as lists_module
from llmrec.types import Csr, Queries

N_ITEMS = 12
NOBODY = Queries.from_lists([[]])


def lists_of(*rows: list[int]) -> np.ndarray:
    return np.array(rows, dtype=np.int32)


@st.composite
def worlds(draw):
    """Categories of every item, histories, lists with pads, and a cut-off."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n, width = draw(st.integers(1, 7)), draw(st.integers(1, 8))
    categories = [rng.choice(5, size=rng.integers(0, 4), replace=False).tolist() for _ in range(N_ITEMS)]
    histories = [rng.integers(0, N_ITEMS, rng.integers(0, 6)).tolist() for _ in range(n)]
    lists = np.stack([rng.permutation(N_ITEMS)[:width] for _ in range(n)]).astype(np.int32)
    lists[np.arange(width) >= rng.integers(0, width + 1, n)[:, None]] = -1
    return categories, histories, lists, draw(st.integers(1, 9))


# By hand.


def test_diversity_over_fields_by_hand():
    found = FieldDiversity(Csr.from_lists([[0], [0, 1], [2], [], []]))
    # Jaccard distances: items 0 and 1: 1/2; 0 and 2: 1; 1 and 2: 1; 3 (nothing) to any: 1; 3 to 4: 0.
    lists = lists_of([0, 1, 2], [3, 4, -1], [0, 3, -1], [0, -1, -1], [-1, -1, -1], [0, 0, 1])
    expected = [2.5 / 3, 0.0, 1.0, 0.0, 0.0, 0.5]
    np.testing.assert_allclose(found(lists, NOBODY, 3), expected, atol=1e-15)
    np.testing.assert_allclose(found(lists, NOBODY, 2), [0.5, 0.0, 1.0, 0.0, 0.0, 0.0], atol=1e-15)


def test_diversity_over_vectors_by_hand():
    vectors = np.array([[1, 0], [3, 0], [0, 2], [-1, 0]], dtype=np.float32)
    found = VectorDiversity(vectors)(lists_of([0, 1, 2], [0, 3, -1], [2, -1, -1]), NOBODY, 3)
    np.testing.assert_allclose(found, [2 / 3, 2.0, 0.0], atol=1e-15)


def test_miscalibration_by_hand():
    # The history is half category 0, half category 1; smoothing 0.01.
    queries = Queries.from_lists([[0, 1]] * 4)
    metric = Miscalibration(Csr.from_lists([[0], [1], [0, 1], []]))
    found = metric(lists_of([0, 1], [2, -1], [0, 3], [3, -1]), queries, 2)
    one_sided = 0.5 * math.log2(0.5 / (0.99 + 0.005)) + 0.5 * math.log2(0.5 / 0.005)
    np.testing.assert_allclose(found, [0.0, 0.0, one_sided, math.log2(100)], atol=1e-12)


def test_a_history_without_categories_asks_for_nothing():
    metric = Miscalibration(Csr.from_lists([[0], []]))
    assert metric(lists_of([0], [0]), Queries.from_lists([[], [1]]), 1).tolist() == [0.0, 0.0]
    assert Miscalibration(Csr.from_lists([[], []]))(lists_of([0]), Queries.from_lists([[1]]), 1).tolist() == [0.0]
    assert FieldDiversity(Csr.from_lists([[], []]))(lists_of([0, 1]), NOBODY, 2).tolist() == [0.0]


# Against other implementations.


def jaccard(a: list[int], b: list[int]) -> float:
    return 1 - len(set(a) & set(b)) / len(set(a) | set(b)) if a or b else 0.0


@settings(max_examples=60, deadline=None)
@given(worlds())
def test_diversity_over_fields_like_the_obvious_loop(world):
    categories, _, lists, k = world
    found = FieldDiversity(Csr.from_lists(categories))(lists, NOBODY, k)
    for row, values in zip(found, lists[:, :k].tolist(), strict=True):
        pairs = list(itertools.combinations([i for i in values if i >= 0], 2))
        expected = np.mean([jaccard(categories[a], categories[b]) for a, b in pairs]) if pairs else 0.0
        assert row == pytest.approx(expected, abs=1e-12)
        assert 0.0 <= row <= 1.0


@settings(max_examples=40, deadline=None)
@given(worlds())
def test_diversity_over_vectors_like_scipy(world):
    _, _, lists, k = world
    vectors = np.random.default_rng(5).normal(size=(N_ITEMS, 3)).astype(np.float32)
    found = VectorDiversity(vectors)(lists, NOBODY, k)
    for row, values in zip(found, lists[:, :k], strict=True):
        real = values[values >= 0]
        expected = pdist(vectors[real].astype(np.float64), "cosine").mean() if len(real) > 1 else 0.0
        assert row == pytest.approx(expected, abs=1e-9)


def shares(items: list[int], categories: list[list[int]]) -> np.ndarray:
    held = [categories[i] for i in items if categories[i]]
    total = np.zeros(5)
    for found in held:
        for one in found:
            total[one] += 1 / len(found) / len(held)
    return total


@settings(max_examples=60, deadline=None)
@given(worlds())
def test_miscalibration_like_scipy(world):
    categories, histories, lists, k = world
    found = Miscalibration(Csr.from_lists(categories))(lists, Queries.from_lists(histories), k)
    for row, history, values in zip(found, histories, lists[:, :k].tolist(), strict=True):
        p, q = shares(history, categories), shares([i for i in values if i >= 0], categories)
        if not p.any():
            assert row == 0.0
        elif not q.any():
            assert row == pytest.approx(math.log2(100))
        else:
            assert row == pytest.approx(entropy(p, 0.99 * q + 0.01 * p, base=2), abs=1e-12)


# Properties.


@settings(max_examples=30, deadline=None)
@given(worlds(), st.randoms(use_true_random=False))
def test_a_value_is_the_same_in_every_batch_and_order(world, random):
    categories, histories, lists, k = world
    queries = Queries.from_lists(histories)
    vectors = np.random.default_rng(6).normal(size=(N_ITEMS, 3)).astype(np.float32)
    held = Csr.from_lists(categories)
    order = list(range(len(lists)))
    random.shuffle(order)
    rows = np.array(order, dtype=np.int64)
    for metric in (FieldDiversity(held), VectorDiversity(vectors), Miscalibration(held)):
        whole = metric(lists, queries, k)
        assert whole.dtype == np.float64
        np.testing.assert_array_equal(metric(lists[rows], queries.take(rows), k), whole[rows])
        for row in range(len(lists)):
            one = np.array([row])
            assert metric(lists[one], queries.take(one), k)[0] == whole[row]


def test_blocks_do_not_show(monkeypatch):
    rng = np.random.default_rng(0)
    lists = np.stack([rng.permutation(N_ITEMS)[:6] for _ in range(40)]).astype(np.int32)
    queries = Queries.from_lists([rng.integers(0, N_ITEMS, 4).tolist() for _ in range(40)])
    held = Csr.from_lists([[i % 3, 3 + i % 2] for i in range(N_ITEMS)])
    metrics = [FieldDiversity(held), Miscalibration(held), VectorDiversity(rng.normal(size=(N_ITEMS, 4)))]
    whole = [metric(lists, queries, 5) for metric in metrics]
    monkeypatch.setattr(lists_module, "_CELLS", 70)
    for metric, expected in zip(metrics, whole, strict=True):
        np.testing.assert_array_equal(metric(lists, queries, 5), expected)


@given(worlds())
def test_the_history_itself_is_calibrated(world):
    categories, histories, _, _ = world
    distinct = [list(dict.fromkeys(h)) for h in histories]
    width = max(1, *map(len, distinct))
    lists = np.array([h + [-1] * (width - len(h)) for h in distinct], dtype=np.int32)
    found = Miscalibration(Csr.from_lists(categories))(lists, Queries.from_lists(distinct), width)
    np.testing.assert_allclose(found, 0.0, atol=1e-12)


# Categories of a catalog, and nonsense.


def test_categories_are_read_from_a_field():
    catalog = Catalog.from_table(
        {
            "item_id": ["a", "b", "c", "d"],
            "genres": ["Action|Sci-Fi", "Action| ", None, "Drama|Action|Drama"],
            "words": ["one two", "two", "", "three"],
            "tags": [["x", "y"], [], None, ["y", None]],
            "year": [1990, 1991, 1990, None],
        }
    )

    def read(field: str, separator: str | None = None) -> list[list[int]]:
        found = categories_of(catalog, field, separator)
        return [found[row].tolist() for row in range(len(found))]

    assert read("genres") == [[0, 1], [0], [], [2, 0]]
    assert read("words") == [[0], [1], [], [2]]
    assert read("words", " ") == [[0, 1], [1], [], [2]]
    assert read("tags") == [[0, 1], [], [], [1]]
    assert read("year") == [[0], [1], [0], []]
    with pytest.raises(ConfigError, match="no field 'genre'; it has: genres, words"):
        categories_of(catalog, "genre")
    with pytest.raises(ConfigError, match="must not be empty"):
        categories_of(catalog, "genres", "")


def test_nonsense_is_refused():
    held = Csr.from_lists([[0], [1]])
    for metric in (FieldDiversity(held), Miscalibration(held), VectorDiversity(np.eye(2, dtype=np.float32))):
        with pytest.raises(ConfigError, match="at least 1"):
            metric(lists_of([0]), NOBODY, 0)
        with pytest.raises(DataError, match="item 2 is not a row of a catalog of 2"):
            metric(lists_of([2]), NOBODY, 1)
    for smoothing in (0.0, 1.0):
        with pytest.raises(ConfigError, match="smoothing"):
            Miscalibration(held, smoothing)
    with pytest.raises(DataError, match="item 1 has a vector of zeros"):
        VectorDiversity(np.array([[1.0, 0.0], [0.0, 0.0]], dtype=np.float32))
    with pytest.raises(DataError, match="finite"):
        VectorDiversity(np.array([[np.nan, 0.0]], dtype=np.float32))
