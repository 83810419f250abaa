import subprocess
import sys

import numpy as np
import pytest
import torch

from llmrec.errors import ConfigError, ModelError
from llmrec.models.sequence_encoder import TOKENS, SequenceEncoder, _batches
from llmrec.models.sequence_model import SequenceShape, new_body, run_body
from llmrec.types import Csr

HISTORIES = Csr.from_lists([[3], [], [1, 2, 3], [5, 4], [9, 8, 7, 6, 5, 4, 3], [0, 1, 2, 3, 4]])


def trained(architecture, layers=2, heads=2):
    torch.manual_seed(0)
    shape = SequenceShape(architecture, 8, layers, heads, 0.3, max_length=6)
    body = new_body(shape).eval().requires_grad_(False)
    for weights in body.parameters():
        weights.add_(0.3 * torch.randn(weights.shape))  # as after training: fresh ones hardly look back
    return shape, body


@pytest.fixture(params=["transformer", "gru"])
def body(request):
    return trained(request.param)[1]


@pytest.fixture(params=["transformer", "gru"])
def network(request):
    return SequenceEncoder.of(*trained(request.param))


@pytest.fixture
def vectors(rng):
    return rng.normal(size=(10, 8)).astype(np.float32)


def test_later_items_change_nothing(body, rng):
    inputs = torch.from_numpy(rng.normal(size=(3, 6, 8)).astype(np.float32))
    before = run_body(body, inputs)
    changed = inputs.clone()
    changed[:, 4:] = 1e3
    after = run_body(body, changed)
    torch.testing.assert_close(after[:, :4], before[:, :4], rtol=1e-5, atol=1e-6)
    assert (abs(after[:, 4:] - before[:, 4:]) > 1e-3).any(dim=-1).all()


def test_every_earlier_item_counts(body, rng):
    inputs = torch.from_numpy(rng.normal(size=(1, 6, 8)).astype(np.float32)).requires_grad_()
    run_body(body, inputs)[0, 4, 0].backward()
    assert (inputs.grad[0, :5].abs().sum(-1) > 1e-6).all()
    assert (inputs.grad[0, 5] == 0).all()


def test_a_history_reads_the_same_alone_and_beside_longer_ones(network, vectors):
    together = network.encode(HISTORIES, vectors)
    for row in range(len(HISTORIES)):
        alone = network.encode(HISTORIES.take(np.array([row])), vectors)
        np.testing.assert_allclose(alone[0], together[row], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("layers", "heads"), [(1, 1), (2, 2), (3, 4)])
@pytest.mark.parametrize("architecture", ["transformer", "gru"])
def test_it_reads_as_the_network_that_was_trained(architecture, layers, heads, vectors):
    shape, body = trained(architecture, layers, heads)
    found = SequenceEncoder.of(shape, body).encode(HISTORIES, vectors)
    for row in range(len(HISTORIES)):
        read = HISTORIES[row][-6:]
        plain = run_body(body, torch.from_numpy(vectors[read])[None])[0, -1] if len(read) else torch.zeros(8)
        np.testing.assert_allclose(found[row], plain.numpy(), rtol=1e-5, atol=2e-6)


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
    monkeypatch.setattr("llmrec.models.sequence_encoder.TOKENS", 7)
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


def test_it_comes_back_from_arrays(network, vectors):
    again = SequenceEncoder.load(network.config(), network.arrays())
    np.testing.assert_array_equal(again.encode(HISTORIES, vectors), network.encode(HISTORIES, vectors))


def test_it_has_the_weights_of_when_it_was_made(vectors):
    shape, body = trained("transformer")
    network = SequenceEncoder.of(shape, body)
    before = network.encode(HISTORIES, vectors)
    for weights in body.parameters():
        weights.add_(1.0)
    np.testing.assert_array_equal(network.encode(HISTORIES, vectors), before)


def test_weights_of_other_sizes_are_refused(network):
    arrays = network.arrays()
    one = next(iter(arrays))
    for config, weights in [
        ({**network.config(), "layers": 3}, arrays),
        ({**network.config(), "layers": 1}, arrays),
        (network.config(), {name: array for name, array in arrays.items() if name != one}),
        (network.config(), {**arrays, one: arrays[one][:-1]}),
    ]:
        with pytest.raises(ModelError, match="do not make a"):
            SequenceEncoder.load(config, weights)


def test_reading_histories_takes_neither_torch_nor_transformers():
    code = "import sys, llmrec.models.sequence_encoder; print({'torch', 'transformers'} & {*sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "set()\n"


def test_heads_must_divide_the_dim():
    with pytest.raises(ConfigError, match="heads must divide dim"):
        SequenceShape("transformer", 8, 1, 3, 0.1, 5)
