import numpy as np
import pytest

from llmrec.retrieve.stored import PART, StoredVectors, _floats

DIM = 24


def units(rng, n):
    vectors = rng.standard_normal((n, DIM)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def test_32_bit_floats_are_held_as_they_are(rng):
    vectors = units(rng, 5)
    stored = StoredVectors.pack(vectors, "float32")
    assert stored.codes is vectors
    assert stored.floats() is vectors
    assert (stored.storage, stored.nbytes, list(stored.arrays())) == ("float32", 5 * DIM * 4, ["vectors"])


@pytest.mark.parametrize(("storage", "bytes_each", "least"), [("float16", 2, 0.999999), ("int8", 1, 0.9999)])
def test_fewer_bytes_point_the_same_way_and_have_length_one(rng, storage, bytes_each, least):
    vectors = units(rng, PART + 3)
    stored = StoredVectors.pack(vectors, storage)
    assert stored.nbytes == len(vectors) * (DIM * bytes_each + 4)
    assert stored.storage == storage
    floats = stored.floats()
    assert floats.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(floats, axis=1), 1, atol=1e-6)
    assert np.einsum("nd,nd->n", floats.astype(np.float64), vectors).min() > least
    assert (floats != vectors).any()


def test_what_is_stored_follows_from_the_codes():
    """8 bits: the largest number is 127 steps; what is multiplied in brings the steps to length one."""
    stored = StoredVectors.pack(np.float32([[0.6, -0.8, 0, 0], [0, 0, 0, 0]]), "int8")
    np.testing.assert_array_equal(stored.codes, [[95, -127, 0, 0], [0, 0, 0, 0]])
    np.testing.assert_allclose(stored.scales, [1 / np.hypot(95, 127), 0])
    np.testing.assert_allclose(stored.floats()[0], np.float64([95, -127, 0, 0]) / np.hypot(95, 127), rtol=1e-6)
    assert (stored.floats()[1] == 0).all()


@pytest.mark.parametrize("storage", ["float32", "float16", "int8"])
def test_a_vector_is_stored_alone_as_among_others(rng, storage):
    vectors = units(rng, 50)
    stored = StoredVectors.pack(vectors, storage)
    again = StoredVectors.from_arrays(stored.arrays())
    for row in (0, 17, 49):
        alone = StoredVectors.pack(vectors[row : row + 1], storage)
        np.testing.assert_array_equal(alone.codes[0], stored.codes[row])
        np.testing.assert_array_equal(alone.floats()[0], stored.floats()[row])
        np.testing.assert_array_equal(again.pick(np.array([[row]])).floats()[0, 0], stored.floats()[row])
    joined = np.concatenate([part for _, part in stored.parts()])
    np.testing.assert_array_equal(joined, stored.floats())


def test_16_bit_floats_are_unpacked_as_numpy_does():
    """All of them: signs, zeros and what is below the smallest normal one."""
    halves = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
    halves = halves[np.isfinite(halves)]
    np.testing.assert_array_equal(_floats(halves).view(np.int32), halves.astype(np.float32).view(np.int32))
