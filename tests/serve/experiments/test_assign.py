"""Assignment: shares as asked, the same forever, independent between experiments."""

from __future__ import annotations

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given
from scipy.stats import chi2, kstest

from llmrec.serve.experiments import place, variant_of

UNITS = [f"user-{number}" for number in range(20_000)]


@given(st.text(), st.text(), st.lists(st.floats(0.01, 1.0), min_size=2, max_size=5))
def test_a_unit_keeps_its_variant_and_it_is_one_of_them(salt, unit, raw):
    weights = {f"v{number}": weight / sum(raw) for number, weight in enumerate(raw)}
    chosen = variant_of(weights, salt, unit)
    assert chosen in weights
    assert chosen == variant_of(dict(weights), salt, unit)
    assert 0.0 <= place(salt, unit) < 1.0


@given(st.floats(0.0, 1.0), st.floats(0.0, 1.0), st.text())
def test_a_larger_share_takes_nobody_away(one, other, unit):
    low, high = sorted((one, other))
    if variant_of({"a": low, "b": 1 - low}, "s", unit) == "a" and low < high:
        assert variant_of({"a": high, "b": 1 - high}, "s", unit) == "a"


@pytest.mark.parametrize("shares", [[0.5, 0.5], [0.9, 0.1], [0.2, 0.3, 0.5], [0.999, 0.001]])
def test_shares_are_as_asked(shares):
    weights = {str(number): share for number, share in enumerate(shares)}
    got = np.bincount([int(variant_of(weights, "salt", unit)) for unit in UNITS], minlength=len(shares))
    wanted = np.array(shares) * len(UNITS)
    assert ((got - wanted) ** 2 / wanted).sum() < chi2.ppf(0.999, len(shares) - 1)


def test_places_are_uniform_and_independent_between_salts():
    one, other = (np.array([place(salt, unit) for unit in UNITS]) for salt in ("x", "y"))
    assert kstest(one, "uniform").pvalue > 0.001
    assert abs(np.corrcoef(one, other)[0, 1]) < 4 / np.sqrt(len(UNITS))


def test_places_never_change():
    """Whoever changes the hash moves everybody to another variant in the middle of an experiment."""
    assert place("salt", "ann") == 0.26494504029227084
    assert place("a", "bc") != place("ab", "c")
    assert place("1", "1:x") != place("11", ":x")
