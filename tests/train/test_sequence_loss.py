import numpy as np
import pytest
import torch
from torch.nn import functional

from llmrec.train.sequence_loss import CALIBRATION, all_columns, draw_columns, gbce_power, score_loss

N, DIM = 12, 5


@pytest.fixture
def step(rng, monkeypatch):
    """States, vectors, biases, labels: 9 states in blocks of 4."""
    monkeypatch.setattr("llmrec.train.sequence_loss.ROWS", 4)
    arrays = (rng.normal(size=(9, DIM)), rng.normal(size=(N, DIM)), rng.normal(size=N))
    tensors = [torch.tensor(a, dtype=torch.float32, requires_grad=True) for a in arrays]
    return *tensors, torch.from_numpy(rng.integers(0, N, 9))


def same_as(result, loss, tensors):
    loss.backward()
    assert result.loss == pytest.approx(loss.item(), rel=1e-5)
    for mine, tensor in zip((result.states, result.vectors, result.biases), tensors, strict=True):
        torch.testing.assert_close(mine, tensor.grad, rtol=1e-4, atol=1e-6)


def test_softmax_and_its_slopes_are_those_of_torch(step):
    states, vectors, biases, labels = step
    with torch.no_grad():
        result = score_loss(states, vectors, biases, labels, torch.ones(N), None)
    same_as(result, functional.cross_entropy(states @ vectors.T + biases, labels), step[:3])


def test_gbce_and_its_slopes_are_those_of_the_formula(step):
    states, vectors, biases, labels = step
    drawn = torch.tensor([1.0, 0.0] * (N // 2))
    with torch.no_grad():
        result = score_loss(states, vectors, biases, labels, drawn, 0.4)
    scores = states @ vectors.T + biases
    own = functional.one_hot(labels, N).bool()
    right = -0.4 * functional.logsigmoid(scores[own]).sum()
    wrong = (-functional.logsigmoid(-scores) * drawn * ~own).sum()
    same_as(result, (right + wrong) / len(labels), step[:3])


def test_power_of_gbce():
    assert gbce_power(100, 101) == pytest.approx(1.0)  # nothing is left out: plain BCE
    rate = 0.25
    assert gbce_power(25, 101) == pytest.approx(rate * (CALIBRATION * (1 - 1 / rate) + 1 / rate))


def test_sampling_everything_is_the_full_softmax(step, rng):
    states, vectors, biases, labels = (t.detach() for t in step)
    shares = rng.dirichlet(np.ones(N))
    columns = draw_columns(labels.numpy(), shares, 100_000, "sampled", rng)
    np.testing.assert_array_equal(columns.items, all_columns(N).items)
    full = score_loss(states, vectors, biases, labels, torch.ones(N), None)
    drawn = score_loss(states, vectors, biases + torch.from_numpy(columns.offsets), labels, torch.ones(N), None)
    assert drawn.loss == pytest.approx(full.loss, rel=1e-5)
    torch.testing.assert_close(drawn.vectors, full.vectors, rtol=1e-4, atol=1e-6)


def test_the_correction_is_the_chance_to_be_among_the_columns(rng):
    shares = np.array([0.5, 0.3, 0.1, 0.05, 0.03, 0.02])
    seen, told, rounds = np.zeros(6), np.full(6, np.nan), 4_000
    for _ in range(rounds):
        targets = rng.choice(6, size=3, p=shares)
        columns = draw_columns(targets, shares, 2, "sampled", rng)
        assert set(targets) <= set(columns.items.tolist())
        assert (np.diff(columns.items) > 0).all()
        seen[columns.items] += 1
        told[columns.items] = np.exp(-columns.offsets)
    np.testing.assert_allclose(seen / rounds, told, atol=0.03)


def test_the_corrected_sample_estimates_the_full_normalizer(rng):
    """What the correction is for: summed over the columns, exp(score - log chance) is right in the mean."""
    scores, shares = rng.normal(size=N), rng.dirichlet(np.ones(N))
    estimates = []
    for _ in range(4_000):
        columns = draw_columns(rng.choice(N, size=4, p=shares), shares, 3, "sampled", rng)
        estimates.append(np.exp(scores[columns.items] + columns.offsets).sum())
    assert np.mean(estimates) == pytest.approx(np.exp(scores).sum(), rel=0.03)


def test_gbce_draws_evenly_and_knows_who_is_only_a_target(rng):
    columns = draw_columns(np.array([7, 7, 2]), np.full(N, 1 / N), 3, "gbce", rng)
    assert (columns.offsets == 0).all()
    assert {2, 7} <= set(columns.items.tolist())
    assert set(columns.items[~columns.drawn].tolist()) <= {2, 7}
    assert 1 <= columns.drawn.sum() <= 3
