import numpy as np
import pytest
import torch

from llmrec.errors import ConfigError, ModelError
from llmrec.models.sequence_model import (
    TOKENS,
    SequenceEncoder,
    SequenceShape,
    _batches,
    last_states,
    new_body,
    run_body,
)
from llmrec.types import Csr

HISTORIES = Csr.from_lists([[3], [], [1, 2, 3], [5, 4], [9, 8, 7, 6, 5, 4, 3], [0, 1, 2, 3, 4]])


def encoder(architecture="transformer", max_length=6, seed=0):
    torch.manual_seed(seed)
    shape = SequenceShape(architecture, 8, 2, 2, 0.3, max_length)
    body = new_body(shape).eval().requires_grad_(False)
    for weights in body.parameters():
        weights.add_(0.3 * torch.randn(weights.shape))  # as after training: fresh ones hardly look back
    return SequenceEncoder(shape, body)


@pytest.fixture(params=["transformer", "gru"])
def network(request):
    return encoder(request.param)


@pytest.fixture
def vectors(rng):
    return rng.normal(size=(10, 8)).astype(np.float32)


def test_later_items_change_nothing(network, rng):
    inputs = torch.from_numpy(rng.normal(size=(3, 6, 8)).astype(np.float32))
    before = run_body(network.body, inputs)
    changed = inputs.clone()
    changed[:, 4:] = 1e3
    after = run_body(network.body, changed)
    torch.testing.assert_close(after[:, :4], before[:, :4], rtol=1e-5, atol=1e-6)
    assert (abs(after[:, 4:] - before[:, 4:]) > 1e-3).any(dim=-1).all()


def test_every_earlier_item_counts(network, rng):
    inputs = torch.from_numpy(rng.normal(size=(1, 6, 8)).astype(np.float32)).requires_grad_()
    run_body(network.body, inputs)[0, 4, 0].backward()
    assert (inputs.grad[0, :5].abs().sum(-1) > 1e-6).all()
    assert (inputs.grad[0, 5] == 0).all()


def test_a_history_reads_the_same_alone_and_beside_longer_ones(network, vectors):
    together = network.encode(HISTORIES, vectors)
    for row in range(len(HISTORIES)):
        alone = network.encode(HISTORIES.take(np.array([row])), vectors)
        np.testing.assert_allclose(alone[0], together[row], rtol=1e-5, atol=1e-6)
    plain = run_body(network.body, torch.from_numpy(vectors[[5, 4]])[None])[0, -1]
    np.testing.assert_allclose(together[3], plain.numpy(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("layers", [1, 2, 3])
@pytest.mark.parametrize("architecture", ["transformer", "gru"])
def test_the_last_states_are_those_of_reading_all(architecture, layers, rng):
    torch.manual_seed(layers)
    body = new_body(SequenceShape(architecture, 8, layers, 2, 0.3, 6)).eval().requires_grad_(False)
    for weights in body.parameters():
        weights.add_(0.3 * torch.randn(weights.shape))
    inputs = torch.from_numpy(rng.normal(size=(6, 6, 8)).astype(np.float32))
    ends = torch.arange(6)
    expected = run_body(body, inputs)[torch.arange(6), ends]
    torch.testing.assert_close(last_states(body, inputs, ends), expected, rtol=1e-5, atol=1e-5)


def test_little_is_padded_and_nothing_left_out(rng):
    lengths = rng.integers(0, 60, 500)
    histories = Csr.from_lists([list(range(length)) for length in lengths])
    seen = []
    for rows, places, last in _batches(histories, 50):
        assert places.size <= TOKENS
        assert (last + 1 == np.minimum(lengths[rows], 50)).all()
        assert last.min() + 1 >= places.shape[1] - places.shape[1] // 6
        seen += rows.tolist()
    assert sorted(seen) == np.flatnonzero(lengths).tolist()


def test_batches_are_bounded_and_complete(network, vectors, monkeypatch):
    whole = network.encode(HISTORIES, vectors)
    monkeypatch.setattr("llmrec.models.sequence_model.TOKENS", 7)
    np.testing.assert_allclose(network.encode(HISTORIES, vectors), whole, rtol=1e-5, atol=1e-6)


def test_order_matters_and_only_the_latest_are_read(network, vectors):
    lists = [[1, 2, 3], [2, 1, 3], [9, 8, 7, 6, 5, 4, 3], [0, 8, 7, 6, 5, 4, 3]]
    one, other, long, same = network.encode(Csr.from_lists(lists), vectors)
    assert abs(one - other).max() > 1e-3
    np.testing.assert_allclose(long, same, rtol=1e-6)


def test_nothing_read_is_zero(network, vectors):
    assert (network.encode(HISTORIES, vectors)[1] == 0).all()
    assert network.encode(Csr.from_lists([]), vectors).shape == (0, 8)
    assert (network.encode(Csr.from_lists([[], []]), vectors) == 0).all()


def test_it_comes_back_from_arrays_and_draws_nothing(network, vectors):
    torch.manual_seed(7)
    expected = torch.rand(1)
    torch.manual_seed(7)
    again = SequenceEncoder.load(network.config(), network.arrays(), "cpu")
    assert torch.rand(1) == expected
    np.testing.assert_array_equal(again.encode(HISTORIES, vectors), network.encode(HISTORIES, vectors))
    assert not again.body.training


def test_weights_of_other_sizes_are_refused(network):
    with pytest.raises(ModelError, match="do not make a"):
        SequenceEncoder.load({**network.config(), "layers": 3}, network.arrays(), "cpu")


def test_heads_must_divide_the_dim():
    with pytest.raises(ConfigError, match="heads must divide dim"):
        SequenceShape("transformer", 8, 1, 3, 0.1, 5)
