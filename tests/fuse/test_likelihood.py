import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from llmrec.fuse import likelihood
from llmrec.fuse.likelihood import fit_weights


def planted(truth, n=4000, width=20, seed=0):
    """Targets drawn by the very model that is fitted; the last candidates of each row are pads."""
    rng = np.random.default_rng(seed)
    values = {name: rng.random((n, width)).astype(np.float32) for name in truth}
    there = np.arange(width) < rng.integers(5, width, n)[:, None]
    utility = sum(weight * values[name] for name, weight in truth.items()) + rng.gumbel(size=(n, width))
    best = np.where(there, utility, -np.inf).argmax(axis=1)
    return values, np.arange(width) == best[:, None], there


def test_weights_are_found_again():
    values, wanted, there = planted({"a": 4.0, "b": 2.0, "c": 0.0, "d": -3.0})
    found = fit_weights(values, wanted, there)
    assert list(found) == ["a", "b", "c", "d"]
    assert found["a"] == 1.0
    assert found["b"] == pytest.approx(0.5, abs=0.05)
    assert found["c"] < 0.05
    assert found["d"] == 0.0


def test_the_gradient_is_that_of_the_loss():
    values, wanted, there = planted({"a": 3.0, "b": 1.0}, n=50)
    choices = likelihood._choices(list(values.values()), wanted, there, np.arange(50))
    at = np.array([2.0, 0.5])
    _, slope = likelihood._loss(at, choices)
    for place in range(2):
        step = np.eye(2)[place] * 1e-2
        rise = likelihood._loss(at + step, choices)[0] - likelihood._loss(at - step, choices)[0]
        assert slope[place] == pytest.approx(rise / 2e-2, rel=1e-2)


def test_few_cases_leave_the_weights_nearly_alike():
    values, wanted, there = planted({"a": 4.0, "b": 0.0}, n=4)
    found = fit_weights(values, wanted, there)
    assert min(found.values()) > 0.5


def test_pads_and_cases_without_a_target_teach_nothing():
    values, wanted, there = planted({"a": 4.0, "b": 1.0}, n=300)
    expected = fit_weights(values, wanted, there)
    loud = {name: np.where(there, column, np.float32(9)) for name, column in values.items()}
    assert fit_weights(loud, wanted, there) == expected
    more = {name: np.concatenate([column, column[:50]]) for name, column in values.items()}
    nothing = np.zeros((50, wanted.shape[1]), dtype=bool)
    assert fit_weights(more, np.concatenate([wanted, nothing]), np.concatenate([there, there[:50]])) == expected


@given(st.integers(0, 10_000))
@settings(max_examples=30, deadline=None)
def test_weights_are_finite_and_do_not_depend_on_the_order_of_columns(seed):
    rng = np.random.default_rng(seed)
    n, width = int(rng.integers(0, 6)), int(rng.integers(0, 6))
    values = {name: rng.integers(0, 2, (n, width)).astype(np.float32) for name in "cab"}
    there = rng.random((n, width)) < 0.7
    wanted = (np.arange(width) == rng.integers(0, max(1, width), (n, 1))) & there
    found = fit_weights(values, wanted, there)
    assert list(found) == ["c", "a", "b"]
    assert max(found.values()) == 1.0
    assert all(0 <= weight <= 1 for weight in found.values())
    turned = fit_weights(dict(reversed(values.items())), wanted, there)
    assert turned == found
