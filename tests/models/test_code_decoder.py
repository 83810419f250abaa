import numpy as np
import pytest
import torch

from llmrec.errors import ModelError
from llmrec.models.code_decoder import ROWS, CodeDecoder, CodeShape
from llmrec.models.sequence_model import new_body, run_body

SIZES = (5, 4, 3)


def shape_of(layers=2, heads=2, dim=16):
    return CodeShape(SIZES, dim, layers, heads, 0.3, max_length=6)


def made(layers=2, heads=2, dim=16):
    """A network as after training, for torch and for numpy."""
    torch.manual_seed(0)
    shape = shape_of(layers, heads, dim)
    body = new_body(shape.body).eval().requires_grad_(False)
    for weights in body.parameters():
        weights.add_(0.3 * torch.randn(weights.shape))
    codes = torch.randn(shape.vocabulary, dim)
    return body, codes, CodeDecoder.of(shape, body, codes.numpy())


def plain(body, codes, tokens):
    """The logarithm of each code's chance, by torch over the whole sequence: of those behind the first item."""
    starts = [0, 5, 9, 12]
    states = run_body(body, codes[torch.from_numpy(tokens[:-1])][None])[0]
    found = []
    for place in range(len(SIZES), len(tokens)):
        start, stop = starts[place % 3], starts[place % 3 + 1]
        chances = (states[place - 1] @ codes[start:stop].T).log_softmax(-1)
        found.append(float(chances[tokens[place] - start]))
    return found


def history(rng, items):
    starts = np.array([0, 5, 9])
    return (rng.integers(0, SIZES, (items, 3)) + starts).ravel()


@pytest.mark.parametrize("items", [1, 2, 6])
@pytest.mark.parametrize(("layers", "heads"), [(1, 1), (2, 2), (3, 4)])
def test_it_foretells_as_the_network_that_was_trained(layers, heads, items, rng):
    body, codes, decoder = made(layers, heads)
    tokens = history(rng, items + 1)
    past, here = decoder.read(tokens[: 3 * items])
    starts, found = decoder.shape.starts, []
    for level, token in enumerate(tokens[3 * items :]):
        found.append(decoder.chances(here, level)[0, token - starts[level]])
        if level < 2:
            here = decoder.follow(past, here, np.array([token]))
    np.testing.assert_allclose(found, plain(body, codes, tokens)[-3:], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dim", [8, 16, 128])
def test_a_path_is_the_same_bits_whatever_is_followed_with_it(dim, rng):
    _, _, decoder = made(dim=dim)
    past, start = decoder.read(history(rng, 5))
    first = rng.integers(0, 5, 12 * ROWS + 7)
    second = 5 + rng.integers(0, 4, len(first))
    whole = decoder.follow(past, start.take(np.zeros(len(first), np.int64)), first)
    chances = decoder.chances(decoder.follow(past, whole, second), 2)
    for chosen in ([0], [len(first) - 1], [31, 32, 33], rng.permutation(len(first))[:50]):
        rows = np.array(chosen)
        some = decoder.follow(past, start.take(np.zeros(len(rows), np.int64)), first[rows])
        np.testing.assert_array_equal(decoder.chances(some, 1), decoder.chances(whole, 1)[rows])
        some = decoder.follow(past, some, second[rows])
        np.testing.assert_array_equal(decoder.chances(some, 2), chances[rows])


def test_chances_are_chances(rng):
    _, _, decoder = made()
    _, start = decoder.read(history(rng, 3))
    for level, size in enumerate(SIZES):
        chances = decoder.chances(start, level)
        assert chances.shape == (1, size)
        assert (chances <= 0).all()
        np.testing.assert_allclose(np.exp(chances).sum(), 1, rtol=1e-5)


def test_no_paths_are_none(rng):
    _, _, decoder = made()
    past, start = decoder.read(history(rng, 3))
    none = decoder.follow(past, start.take(np.empty(0, np.int64)), np.empty(0, np.int64))
    assert decoder.chances(none, 1).shape == (0, 4)


def test_it_comes_back_and_other_weights_are_refused():
    _, _, decoder = made()
    again = CodeDecoder.load(decoder.config(), decoder.arrays())
    assert again.shape == decoder.shape
    wrong = decoder.arrays() | {"codes": decoder.codes[:-1]}
    with pytest.raises(ModelError, match="11 codes, not of 12"):
        CodeDecoder.load(decoder.config(), wrong)
    with pytest.raises(ModelError, match="do not make"):
        CodeDecoder.load(decoder.config(), {"codes": decoder.codes})
