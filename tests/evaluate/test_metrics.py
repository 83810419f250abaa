"""Metrics: by hand, against scikit-learn, and by property."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn.metrics import (
    label_ranking_average_precision_score,
    ndcg_score,
    precision_recall_fscore_support,
    top_k_accuracy_score,
)

from llmrec.errors import ConfigError, DataError
from llmrec.evaluate import (
    ACCURACY,
    accuracy,
    average_precision,
    coverage,
    exposure,
    f1,
    find_hits,
    gini,
    hit_rate,
    ndcg,
    novelty,
    precision,
    recall,
    reciprocal_rank,
)
from llmrec.types import Csr

ALL = [ndcg, recall, precision, f1, hit_rate, reciprocal_rank, average_precision, accuracy]


def bits(*rows: str) -> np.ndarray:
    return np.array([[c == "1" for c in row] for row in rows], dtype=np.bool_).reshape(len(rows), -1)


def counts(*numbers: int) -> np.ndarray:
    return np.array(numbers, dtype=np.int64)


@st.composite
def judged(draw, max_rows: int = 6, max_places: int = 12):
    """Hits, numbers of targets that allow them, and a cut-off."""
    shape = draw(st.tuples(st.integers(1, max_rows), st.integers(1, max_places)))
    hits = draw(hnp.arrays(np.bool_, shape))
    more = draw(hnp.arrays(np.int64, shape[0], elements=st.integers(0, 5)))
    return hits, np.maximum(hits.sum(axis=1) + more, 1), draw(st.integers(1, max_places + 3))


# By hand.


def test_single_target_by_place():
    hits = bits("1000", "0100", "0001", "0000")
    one = counts(1, 1, 1, 1)
    discounts = [1.0, 1 / math.log2(3), 1 / math.log2(5), 0.0]
    np.testing.assert_allclose(ndcg(hits, one, 4), discounts, rtol=0, atol=1e-15)
    np.testing.assert_array_equal(ndcg(hits, one, 3), [discounts[0], discounts[1], 0.0, 0.0])
    np.testing.assert_array_equal(reciprocal_rank(hits, one, 4), [1, 0.5, 0.25, 0])
    np.testing.assert_array_equal(recall(hits, one, 3), [1, 1, 0, 0])
    np.testing.assert_array_equal(hit_rate(hits, one, 4), [1, 1, 1, 0])
    np.testing.assert_array_equal(precision(hits, one, 2), [0.5, 0.5, 0, 0])


def test_several_targets():
    hits, three = bits("01010"), counts(3)
    ideal = 1 + 1 / math.log2(3) + 1 / math.log2(4)
    assert ndcg(hits, three, 5)[0] == pytest.approx((1 / math.log2(3) + 1 / math.log2(5)) / ideal, abs=1e-15)
    assert recall(hits, three, 5)[0] == pytest.approx(2 / 3)
    assert precision(hits, three, 5)[0] == pytest.approx(2 / 5)
    assert f1(hits, three, 5)[0] == pytest.approx(2 * (2 / 5) * (2 / 3) / (2 / 5 + 2 / 3))
    assert reciprocal_rank(hits, three, 5)[0] == 0.5
    assert average_precision(hits, three, 5)[0] == pytest.approx((1 / 2 + 2 / 4) / 3)


def test_more_targets_than_places():
    hits, five = bits("11"), counts(5)
    assert ndcg(hits, five, 2)[0] == 1.0
    assert average_precision(hits, five, 2)[0] == 1.0
    assert recall(hits, five, 2)[0] == pytest.approx(2 / 5)


@pytest.mark.parametrize("metric", ALL)
def test_short_and_empty_lists_are_misses_not_errors(metric):
    assert metric(bits("0"), counts(1), 10)[0] == 0.0
    assert metric(np.zeros((1, 0), dtype=np.bool_), counts(1), 10)[0] == 0.0
    assert metric(np.zeros((0, 3), dtype=np.bool_), np.zeros(0, np.int64), 10).shape == (0,)


def test_precision_of_a_short_list_keeps_the_divisor():
    assert precision(bits("1"), counts(1), 10)[0] == pytest.approx(0.1)


@pytest.mark.parametrize("metric", ALL)
def test_nonsense_is_refused(metric):
    with pytest.raises(ConfigError, match="at least 1"):
        metric(bits("1"), counts(1), 0)
    with pytest.raises(DataError, match="no target"):
        metric(bits("1", "0"), counts(1, 0), 1)
    with pytest.raises(DataError, match="row 1 has more hits"):
        metric(bits("10", "11"), counts(1, 1), 2)
    with pytest.raises(DataError, match="hits must be"):
        metric(bits("1", "0"), counts(1), 1)


# Against scikit-learn.


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(2, 30), st.integers(1, 12))
def test_like_scikit_learn(seed, n_items, k):
    rng = np.random.default_rng(seed)
    truth = rng.random((5, n_items)) < 0.3
    truth[np.arange(5), rng.integers(0, n_items, 5)] = True
    scores = rng.permuted(np.tile(np.arange(n_items, dtype=np.float64), (5, 1)), axis=1)
    items = np.argsort(-scores, axis=1).astype(np.int32)
    targets = Csr.from_lists([np.flatnonzero(row).tolist() for row in truth])
    hits, n_targets = find_hits(items, targets), np.diff(targets.offsets)
    for row in range(5):
        expected = ndcg_score(truth[row : row + 1].astype(float), scores[row : row + 1], k=k)
        assert ndcg(hits, n_targets, k)[row] == pytest.approx(expected, abs=1e-12)
    expected = label_ranking_average_precision_score(truth, scores)
    assert average_precision(hits, n_targets, n_items).mean() == pytest.approx(expected, abs=1e-12)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(3, 30), st.integers(1, 12))
def test_single_target_like_scikit_learn(seed, n_items, k):
    rng = np.random.default_rng(seed)
    scores = rng.permuted(np.tile(np.arange(n_items, dtype=np.float64), (8, 1)), axis=1)
    targets = rng.integers(0, n_items, 8)
    hits = find_hits(np.argsort(-scores, axis=1).astype(np.int32), Csr.from_lists(targets[:, None].tolist()))
    one, truth = np.ones(8, np.int64), np.eye(n_items)[targets]
    assert reciprocal_rank(hits, one, n_items).mean() == pytest.approx(
        label_ranking_average_precision_score(truth, scores), abs=1e-12
    )
    if k < n_items:
        expected = top_k_accuracy_score(targets, scores, k=k, labels=np.arange(n_items))
        assert hit_rate(hits, one, k).mean() == pytest.approx(expected, abs=1e-12)
        assert accuracy(hits, one, k).mean() == pytest.approx(expected, abs=1e-12)


@settings(max_examples=60, deadline=None)
@given(judged())
def test_precision_recall_and_f1_like_scikit_learn(case):
    hits, n_targets, k = case
    for row in range(len(hits)):
        top = hits[row, :k]
        # Everything shown (pads too: places that could have held a target), then the targets that were not.
        missed = int(n_targets[row] - top.sum())
        truth = [*top, *[False] * (k - len(top)), *[True] * missed]
        shown = [True] * k + [False] * missed
        expected = precision_recall_fscore_support(truth, shown, average="binary", zero_division=0)
        one = hits[row : row + 1], n_targets[row : row + 1], k
        assert precision(*one)[0] == pytest.approx(expected[0], abs=1e-12)
        assert recall(*one)[0] == pytest.approx(expected[1], abs=1e-12)
        assert f1(*one)[0] == pytest.approx(expected[2], abs=1e-12)


def test_a_report_holds_all_of_them():
    assert list(ACCURACY.values()) == [
        ndcg, recall, hit_rate, reciprocal_rank, precision, f1, average_precision, accuracy,
    ]  # fmt: skip


# Properties.


@given(judged())
def test_values_lie_between_0_and_1(case):
    for metric in ALL:
        values = metric(*case)
        assert values.dtype == np.float64
        assert values.shape == (len(case[0]),)
        assert ((values >= 0.0) & (values <= 1.0)).all(), metric.__name__


@given(judged(), st.randoms(use_true_random=False))
def test_permuting_users_permutes_values_and_batches_do_not_matter(case, random):
    hits, n_targets, k = case
    order = list(range(len(hits)))
    random.shuffle(order)
    for metric in ALL:
        whole = metric(hits, n_targets, k)
        np.testing.assert_array_equal(metric(hits[order], n_targets[order], k), whole[order])
        np.testing.assert_array_equal(metric(np.asfortranarray(hits), n_targets, k), whole)
        for row in range(len(hits)):
            assert metric(hits[row : row + 1], n_targets[row : row + 1], k)[0] == whole[row]


@given(judged(max_rows=1), st.data())
def test_moving_a_hit_up_never_lowers_a_metric(case, data):
    hits, n_targets, k = case
    places, gaps = np.flatnonzero(hits[0]), np.flatnonzero(~hits[0])
    moves = [(int(p), int(g)) for p in places for g in gaps if g < p]
    if not moves:
        return
    old, new = data.draw(st.sampled_from(moves))
    better = hits.copy()
    better[0, [old, new]] = False, True
    for metric in ALL:
        assert metric(better, n_targets, k)[0] >= metric(hits, n_targets, k)[0], metric.__name__
    if new < k:
        assert ndcg(better, n_targets, k)[0] > ndcg(hits, n_targets, k)[0]


@given(st.integers(1, 200), st.integers(1, 200))
def test_a_perfect_list_has_exactly_1(n_targets, k):
    hits = (np.arange(200) < n_targets)[None, :]
    assert ndcg(hits, counts(n_targets), k)[0] == 1.0
    assert average_precision(hits, counts(n_targets), k)[0] == 1.0
    assert hit_rate(hits, counts(n_targets), k)[0] == 1.0
    assert reciprocal_rank(hits, counts(n_targets), k)[0] == 1.0


# Hits.


def test_hits_count_each_target_once_and_no_pad():
    items = np.array([[4, 4, 2, -1, -1], [-1, 1, 1, 4, 1], [0, 1, 2, 3, 4]], dtype=np.int32)
    targets = Csr.from_lists([[4], [1, 4, 4], []])
    np.testing.assert_array_equal(find_hits(items, targets), bits("10000", "01010", "00000"))


def test_hits_of_a_row_never_leak_into_the_next():
    items = np.array([[-1, 9], [0, -1]], dtype=np.int32)
    np.testing.assert_array_equal(find_hits(items, Csr.from_lists([[0], [9]])), bits("00", "00"))


def test_hits_need_a_row_of_targets_per_list():
    with pytest.raises(DataError, match="one row of items each"):
        find_hits(np.zeros((2, 3), np.int32), Csr.from_lists([[1]]))


lists = hnp.arrays(np.int32, st.tuples(st.integers(1, 6), st.integers(0, 9)), elements=st.integers(-1, 7))


@given(lists, st.data())
def test_hits_equal_the_obvious_loop(items, data):
    sets = data.draw(st.lists(st.lists(st.integers(0, 9), max_size=4), min_size=len(items), max_size=len(items)))
    expected = np.zeros(items.shape, dtype=np.bool_)
    for row, found in enumerate(items.tolist()):
        for place, item in enumerate(found):
            expected[row, place] = item >= 0 and item in sets[row] and item not in found[:place]
    np.testing.assert_array_equal(find_hits(items, Csr.from_lists(sets)), expected)


# Catalog metrics.

LISTS = np.array([[0, 1, 2], [0, 3, -1], [0, 0, 1]], dtype=np.int32)


def test_exposure_by_hand():
    np.testing.assert_array_equal(exposure(LISTS, 5, 3), [3, 2, 1, 1, 0])
    np.testing.assert_array_equal(exposure(LISTS, 5, 2), [3, 1, 0, 1, 0])
    assert exposure(LISTS, 5, 3).dtype == np.int64


def test_coverage_by_hand():
    assert coverage(LISTS, 5, 3) == pytest.approx(4 / 5)
    assert coverage(LISTS, 5, 1) == pytest.approx(1 / 5)


def test_gini_by_hand():
    # Exposure 0 1 1 2 3: sum over i of (2i - n - 1) x_i = -4*0 - 2*1 + 0*1 + 2*2 + 4*3 = 14; n * total = 35.
    assert gini(LISTS, 5, 3) == pytest.approx(14 / 35)
    assert gini(LISTS, 5, 1) == pytest.approx(4 / 5)  # one item of five has it all: 1 - 1/5
    assert gini(np.array([[0, 1], [2, 3]], np.int32), 4, 2) == 0.0
    assert gini(np.full((2, 2), -1, np.int32), 4, 2) == 0.0


def test_novelty_by_hand():
    popularity = np.array([3, 1, 0, 0, 7], dtype=np.int64)  # 11 interactions, 5 items: p = (count + 1) / 16
    assert novelty(np.array([[0], [1]], np.int32), popularity, 1) == pytest.approx((2 + 3) / 2)
    assert novelty(np.array([[2]], np.int32), popularity, 1) == pytest.approx(4)
    assert novelty(np.array([[-1]], np.int32), popularity, 1) == 0.0


def test_catalog_metrics_refuse_what_is_not_in_the_catalog():
    for bad in (5, -2):
        with pytest.raises(DataError, match=f"item {bad} is not a row"):
            exposure(np.array([[0, bad]], np.int32), 5, 2)
    with pytest.raises(ConfigError):
        coverage(LISTS, 5, 0)
    with pytest.raises(DataError, match="negative"):
        novelty(LISTS, np.array([1, 2, 3, -1, 0]), 3)


@given(lists, st.integers(1, 10), st.randoms(use_true_random=False))
def test_catalog_metrics_are_bounded_and_ignore_the_order_of_users(items, k, random):
    order = list(range(len(items)))
    random.shuffle(order)
    popularity = np.arange(8)
    assert 0.0 <= coverage(items, 8, k) <= 1.0
    assert 0.0 <= gini(items, 8, k) <= 1.0
    assert 0.0 <= novelty(items, popularity, k) <= math.log2(36)
    assert coverage(items[order], 8, k) == coverage(items, 8, k)
    assert gini(items[order], 8, k) == gini(items, 8, k)
    assert novelty(items[order], popularity, k) == novelty(items, popularity, k)
    split = sum(exposure(items[row : row + 1], 8, k) for row in range(len(items)))
    np.testing.assert_array_equal(split, exposure(items, 8, k))


@pytest.mark.parametrize("metric", ACCURACY.values())
def test_a_cut_off_beyond_any_list_costs_nothing(metric):
    hits, n_targets = np.array([[False, True, False], [True, False, True]]), np.array([1, 4])
    longer, longest = metric(hits, n_targets, 10**6), metric(hits, n_targets, 10**12)
    if metric not in (ACCURACY["Precision"], ACCURACY["F1"]):
        np.testing.assert_array_equal(longer, longest)
        np.testing.assert_array_equal(longer, metric(hits, n_targets, 4))
