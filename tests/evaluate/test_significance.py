"""Intervals and paired tests: against scipy, by simulation, and on 50,000 users."""

from __future__ import annotations

import itertools
import time
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from llmrec.errors import ConfigError, DataError
from llmrec.evaluate import bootstrap_interval, holm, paired_test

RNG = np.random.default_rng
FEW = RNG(1).choice([0.0, 0.0, 0.0, 0.5, 1.0], 400)  # few distinct values, like NDCG of one target
MANY = RNG(2).random(700)  # every value distinct


@pytest.mark.parametrize("values", [FEW, MANY], ids=["few", "many"])
def test_interval_agrees_with_scipy(values):
    found = bootstrap_interval(values, resamples=20_000)
    expected = stats.bootstrap(
        (values,), np.mean, n_resamples=20_000, batch=100, method="percentile", rng=RNG(0)
    ).confidence_interval
    near = 0.12 * values.std() / np.sqrt(len(values))
    assert found.mean == pytest.approx(values.mean(), abs=1e-15)
    assert found.low == pytest.approx(expected.low, abs=near)
    assert found.high == pytest.approx(expected.high, abs=near)


@pytest.mark.parametrize("draw", [lambda r: r.random(120) < 0.2, lambda r: r.random(600)], ids=["few", "many"])
def test_interval_holds_the_truth_about_as_often_as_it_says(draw):
    truth = 0.2 if draw(RNG(0)).dtype == np.bool_ else 0.5
    intervals = [bootstrap_interval(draw(RNG(seed)).astype(float), resamples=300) for seed in range(100)]
    assert 0.88 <= np.mean([i.low <= truth <= i.high for i in intervals]) <= 0.995


def test_level_widens_the_interval():
    wide, narrow = bootstrap_interval(FEW, level=0.99), bootstrap_interval(FEW, level=0.5)
    assert wide.low < narrow.low < narrow.mean < narrow.high < wide.high


@pytest.mark.parametrize("value", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("n", [1, 2, 977])
def test_equal_values_have_no_width(value, n):
    found = bootstrap_interval(np.full(n, value))
    assert found.low == found.high == pytest.approx(value, abs=1e-15)


@pytest.mark.parametrize("values", [FEW, MANY], ids=["few", "many"])
def test_only_values_and_seed_matter(values):
    shuffled = RNG(9).permutation(values)
    assert bootstrap_interval(shuffled) == bootstrap_interval(values)
    assert bootstrap_interval(values, seed=1) != bootstrap_interval(values)
    other = np.sqrt(values)
    order = RNG(9).permutation(len(values))
    assert paired_test(values[order], other[order]) == paired_test(values, other)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=50))
def test_interval_stays_within_the_values(values):
    found = bootstrap_interval(np.array(values), resamples=50)
    for end in (found.mean, found.low, found.high):
        assert min(values) - 1e-12 <= end <= max(values) + 1e-12
    assert found.low <= found.high


def test_exact_p_value_of_a_small_sample():
    differences = np.array([0.3, -0.1, 0.4, 0.25, 0.5, -0.05])
    signs = np.array(list(itertools.product([1, -1], repeat=6)))
    exact = np.mean(np.abs(signs @ differences) >= abs(differences.sum()) - 1e-12)
    found = paired_test(differences, np.zeros(6))
    assert found.p_value == pytest.approx(exact, abs=0.01)
    assert found.difference == pytest.approx(differences.mean())
    assert found.n == 6


@pytest.mark.parametrize("n", [300, 900], ids=["few", "many"])
def test_p_value_agrees_with_scipy(n):
    a, b = RNG(3).random(n), RNG(4).random(n) + 0.02
    expected = stats.permutation_test(
        (a - b,),
        lambda x, axis: x.mean(axis=axis),
        permutation_type="samples",
        n_resamples=4000,
        vectorized=True,
        batch=100,
        rng=RNG(0),
    ).pvalue
    assert paired_test(a, b).p_value == pytest.approx(expected, abs=0.03)


@pytest.mark.parametrize("n", [60, 600], ids=["few", "many"])
def test_p_value_is_uniform_without_a_difference(n):
    p_values = np.array([paired_test(RNG(s).random(n), RNG(1000 + s).random(n)).p_value for s in range(25)])
    assert stats.kstest(p_values, "uniform").pvalue > 0.001


def test_a_real_difference_is_found_and_no_difference_is_not():
    better = paired_test(FEW + 0.05, FEW)
    assert better.p_value == pytest.approx(1e-4)
    assert better.low > 0
    same = paired_test(FEW, FEW)
    assert (same.difference, same.low, same.high, same.p_value) == (0.0, 0.0, 0.0, 1.0)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=30))
def test_swapping_sides_negates_the_difference(pairs):
    a, b = np.array(pairs).T
    forth, back = paired_test(a, b), paired_test(b, a)
    assert forth.difference == -back.difference
    assert forth.p_value == back.p_value
    assert 0.0 < forth.p_value <= 1.0


def test_nonsense_is_refused():
    with pytest.raises(DataError, match="at least one user"):
        bootstrap_interval(np.zeros(0))
    with pytest.raises(DataError, match="value of row 1 is nan"):
        bootstrap_interval(np.array([0.0, np.nan]))
    with pytest.raises(DataError, match="same users on both sides"):
        paired_test(np.zeros(3), np.zeros(4))
    for wrong in (0.0, 1.0):
        with pytest.raises(ConfigError, match="level"):
            bootstrap_interval(FEW, level=wrong)
    with pytest.raises(ConfigError, match="resamples"):
        bootstrap_interval(FEW, resamples=0)


def test_holm_by_hand():
    # The example of Holm's procedure: .01 * 4, .015 * 3, .03 * 2, and .04 * 1 is raised to .06.
    np.testing.assert_allclose(holm([0.03, 0.01, 0.04, 0.015]), [0.06, 0.04, 0.06, 0.045])
    np.testing.assert_allclose(holm([0.6, 0.9]), [1.0, 1.0])
    assert holm([0.2]).tolist() == [0.2]
    assert holm([]).tolist() == []
    for wrong in ([0.1, 1.1], [-0.1], [np.nan]):
        with pytest.raises(DataError, match="between 0 and 1"):
            holm(wrong)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=6))
def test_holm_is_the_closed_testing_of_bonferroni(p_values):
    # Corrected p of i: the largest Bonferroni p of all sets of hypotheses that hold i.
    found = holm(p_values)
    places = range(len(p_values))
    for place in places:
        others = [p for p in places if p != place]
        sets = [(place, *rest) for size in places for rest in itertools.combinations(others, size)]
        expected = max(min(1.0, len(s) * min(p_values[p] for p in s)) for s in sets)
        assert found[place] == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("distinct", [11, 50_000], ids=["few", "many"])
def test_50_000_users_are_quick_and_small(distinct):
    values = RNG(5).integers(0, distinct, 50_000) / distinct
    noise = RNG(6).integers(0, distinct, 50_000) / distinct
    started = time.process_time()
    paired_test(values, noise)  # holds an interval too
    assert time.process_time() - started < 5.0
    tracemalloc.start()
    bootstrap_interval(values, resamples=100)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 200 * 2**20
