"""The statistics: against definitions, against other implementations, and by simulation."""

from __future__ import annotations

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings
from scipy.stats import betabinom, binom

from llmrec.serve.experiments.moments import Moments
from llmrec.serve.experiments.sample_ratio import CONCENTRATION, sample_ratio_p
from llmrec.serve.experiments.sequential import HORIZON, Estimate, difference, rate, share

PEOPLE = st.lists(st.tuples(st.integers(1, 30), st.integers(0, 30)), min_size=2, max_size=50)


def moments(people):
    return Moments.of([tries for tries, _ in people], [hits for _, hits in people])


@given(PEOPLE)
def test_the_variance_is_that_of_the_delta_method(people):
    """Written out with means, variances and the covariance, as in the paper."""
    x, y = np.array(people, dtype=float).T
    n, (mx, my), c = len(x), (x.mean(), y.mean()), np.cov(x, y)
    expected = (c[1, 1] / mx**2 - 2 * my * c[0, 1] / mx**3 + my**2 * c[0, 0] / mx**4) / n
    found = moments(people)
    assert found.ratio() == pytest.approx(y.sum() / x.sum())
    assert float(found.variance()) == pytest.approx(expected, abs=1e-9)


@given(PEOPLE, PEOPLE)
def test_groups_add_up(one, other):
    both, added = moments(one + other), moments(one) + moments(other)
    for name in Moments.__dataclass_fields__:
        assert float(getattr(both, name)) == pytest.approx(float(getattr(added, name)))


def test_the_variance_is_what_varies():
    """Ratios of samples of people with unequal numbers of lists spread as the delta method says."""
    rng, ratios, said = np.random.default_rng(0), [], []
    for _ in range(3000):
        tries = rng.geometric(0.2, 300)
        sample = Moments.of(tries, rng.binomial(tries, rng.beta(1, 4, 300)))
        ratios.append(float(sample.ratio()))
        said.append(float(sample.variance()))
    assert np.mean(said) == pytest.approx(np.var(ratios), rel=0.08)


@given(st.floats(-1, 1), st.floats(1e-4, 1), st.floats(1, 1e6), st.floats(-1, 1), st.floats(1e-4, 0.5))
def test_intervals_and_p_values_say_the_same(value, error, time, truth, level):
    estimate = Estimate(*(np.asarray(part) for part in (value, error, time, True)))
    outside = abs(value - truth) - float(estimate.reach(level))
    if abs(outside) > 1e-9:
        assert (float(estimate.p_value(truth)) < level) == (outside > 0)


def test_the_interval_is_the_mixture_integrated():
    """One over the p-value is a likelihood ratio averaged over a normal prior, here by numbers."""
    error, time, value = 0.02, 5000.0, 0.05
    estimate = Estimate(*(np.asarray(part) for part in (value, error, time, True)))
    z, spread = value / error, np.sqrt((2 * np.log(20) + np.log1p(2 * np.log(20))) / HORIZON)
    drifts = np.linspace(-12, 12, 200_001) * spread  # of the sum, for each unit of time
    prior = np.exp(-0.5 * (drifts / spread) ** 2) / (spread * np.sqrt(2 * np.pi))
    ratio = np.exp(drifts * z * np.sqrt(time) - 0.5 * drifts**2 * time)
    assert float(estimate.p_value()) == pytest.approx(1 / np.trapezoid(prior * ratio, drifts), rel=1e-6)


def test_the_interval_is_narrowest_at_the_horizon():
    """Against the same mixture tuned elsewhere: no other is narrower there by more than the approximation."""
    at = HORIZON

    def width(mixing):
        return np.sqrt((1 + 1 / (at * mixing)) * (np.log1p(at * mixing) - 2 * np.log(0.05)))

    estimate = Estimate(*(np.asarray(part) for part in (0.0, 1.0, at, True)))
    assert float(estimate.reach(0.05)) <= min(map(width, np.geomspace(1, 100, 500) / HORIZON)) * 1.002


def test_too_little_says_nothing():
    few = Moments.of([1] * 49, [1] * 20 + [0] * 29)
    many = Moments.of([1] * 1000, [1] * 900 + [0] * 100)
    rare = Moments.of([1] * 1000, [1] * 19 + [0] * 981)
    for small in (few, rare, Moments.of([], [])):
        assert float(difference(small, many).p_value()) == 1.0
        assert np.isinf(difference(many, small).reach(0.05))
        assert np.isinf(rate(small).reach(0.05))


def test_people_who_agree_completely_tell_something():
    agreed = share(Moments.of([1] * 200, [1] * 200))
    assert float(agreed.p_value(0.5)) < 0.001
    assert float(agreed.reach(0.05)) > 0


def test_exchanging_the_groups_changes_the_sign_only():
    one, other = Moments.of([1, 2, 3] * 50, [1, 0, 2] * 50), Moments.of([2, 2, 5] * 60, [0, 1, 3] * 60)
    ab, ba = difference(one, other), difference(other, one)
    assert float(ab.value) == -float(ba.value)
    assert float(ab.p_value()) == float(ba.p_value())
    assert float(ab.reach(0.05)) == float(ba.reach(0.05))


def test_a_brownian_path_stays_inside():
    """Ville's inequality: sums of independent normal steps, looked at after each, leave in at most 5% of paths."""
    rng, runs, steps = np.random.default_rng(0), 600, 6000
    sums = np.cumsum(rng.standard_normal((runs, steps)), axis=1)
    time = np.arange(1.0, steps + 1)
    found = Estimate(sums / time, 1 / np.sqrt(time) + 0 * sums, time + 0 * sums, np.ones_like(sums, dtype=bool))
    left = (found.p_value() <= 0.05).any(axis=1).mean()
    assert 0.005 < left < 0.05 + 2.5 * np.sqrt(0.05 * 0.95 / runs)


@settings(max_examples=50)
@given(st.integers(0, 400), st.integers(0, 400), st.floats(0.05, 0.95))
def test_sample_ratio_is_the_bayes_factor(a, b, weight):
    """Of two variants: a beta-binomial against a binomial."""
    prior = CONCENTRATION * np.array([weight, 1 - weight])
    log_factor = betabinom.logpmf(a, a + b, *prior) - binom.logpmf(a, a + b, weight)
    expected = min(1.0, float(np.exp(-log_factor)))
    assert float(sample_ratio_p([a, b], [weight, 1 - weight])) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("shares", [[0.5, 0.5], [0.9, 0.1], [0.2, 0.3, 0.5]])
def test_sample_ratio_raises_few_alarms_at_any_time(shares):
    rng, runs, people = np.random.default_rng(1), 400, 3000
    alarms = 0
    for _ in range(runs):
        chosen = rng.choice(len(shares), people, p=shares)
        counts = np.cumsum(chosen[:, None] == np.arange(len(shares)), axis=0)
        alarms += (sample_ratio_p(counts, shares) <= 0.05).any()
    assert alarms / runs < 0.05 + 2.5 * np.sqrt(0.05 * 0.95 / runs)


def test_sample_ratio_finds_what_is_lost():
    assert float(sample_ratio_p([5000, 4500], [0.5, 0.5])) < 0.001
    assert float(sample_ratio_p([5000, 4950], [0.5, 0.5])) == 1.0
    assert float(sample_ratio_p([0, 0], [0.5, 0.5])) == 1.0
