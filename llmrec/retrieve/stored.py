"""Unit vectors in four, two or one bytes a number. What is stored is the truth: scores are its exact cosines."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from llmrec.types import Float32Array

__all__ = ["Storage", "StoredVectors"]

Storage = Literal["float32", "float16", "int8"]

LEVELS = 127
"""The largest number of a vector becomes this integer, or minus this."""

PART = 4096
"""Vectors unpacked at once: 6 MB of 384 numbers each, which stay in the processor's cache."""

_HALF_KEPT = np.uint32(0x8FFFE000).view(np.int32)
_HALF_SCALE = np.float32(2.0**112)


@dataclass(frozen=True, slots=True, eq=False)
class StoredVectors:
    """Vectors of length one. Rounded ones are brought back to that length, so that products with them are cosines.

    Attributes:
        codes: Float32, Float16 or Int8 [n, dim]; may be a read-only memory map, and is never copied as a whole.
        scales: Float32[n], what the numbers of a vector are multiplied by; None for Float32, where it is one.
    """

    codes: NDArray[Any]
    scales: Float32Array | None

    @classmethod
    def pack(cls, vectors: Float32Array, storage: Storage) -> Self:
        """Store Float32[n, dim], unit norm. Float32 is held as it is; each row is packed by itself.

        "float16" rounds every number to 11 bits; "int8" to 127 steps up to the largest of its vector.
        """
        vectors = np.ascontiguousarray(vectors, dtype=np.float32)
        if storage == "float32":
            return cls(vectors, None)
        codes = np.empty(vectors.shape, dtype=storage)
        scales = np.empty(len(vectors), dtype=np.float32)
        for rows in _runs(len(vectors)):
            part = vectors[rows]
            if storage == "int8":
                largest = np.abs(part).max(axis=1, keepdims=True, initial=0)
                part = np.rint(part * _ratio(LEVELS, largest))
            codes[rows] = part
            lengths = np.linalg.norm(_floats(codes[rows]).astype(np.float64), axis=1)
            scales[rows] = _ratio(1, lengths)
        return cls(codes, scales)

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> Self:
        """Hold what `arrays` returned."""
        return cls(np.asarray(arrays["vectors"]), arrays.get("vector_scales"))

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the arrays that make them up, by the names they have in a bundle."""
        return {"vectors": self.codes} if self.scales is None else {"vectors": self.codes, "vector_scales": self.scales}

    def __len__(self) -> int:
        """The number of vectors."""
        return len(self.codes)

    @property
    def dim(self) -> int:
        """Length of a vector."""
        return int(self.codes.shape[1])

    @property
    def storage(self) -> Storage:
        """How numbers are stored."""
        return self.codes.dtype.name  # type: ignore[return-value]

    @property
    def nbytes(self) -> int:
        """Bytes of all vectors."""
        return int(self.codes.nbytes + (0 if self.scales is None else self.scales.nbytes))

    def pick(self, rows: NDArray[np.integer[Any]] | slice) -> Self:
        """Return some of the vectors, stored alike: a view for a slice, else a copy; rows of any shape."""
        return type(self)(self.codes[rows], None if self.scales is None else self.scales[rows])

    def joined(self, rows: NDArray[np.integer[Any]], others: Self, n: int) -> Self:
        """Return n vectors: these, with others, stored alike, at some rows, Int[m], instead or beyond their end."""
        codes = np.empty((n, self.dim), dtype=self.codes.dtype)
        codes[: len(self)] = self.codes
        codes[rows] = others.codes
        if self.scales is None or others.scales is None:
            return type(self)(codes, None)
        scales = np.empty(n, dtype=np.float32)
        scales[: len(self)] = self.scales
        scales[rows] = others.scales
        return type(self)(codes, scales)

    def floats(self) -> Float32Array:
        """Return all as Float32[..., dim], of length one; the stored array itself where it is that."""
        if self.scales is None:
            return self.codes
        floats = _floats(self.codes)
        floats *= self.scales[..., None]
        return floats

    def parts(self) -> Iterator[tuple[int, Float32Array]]:
        """Yield the first row of each part, and the part as Float32[m, dim]: all at once if nothing is unpacked."""
        if self.scales is None:
            yield 0, self.codes
            return
        for rows in _runs(len(self)):
            yield rows.start, self.pick(rows).floats()


def _runs(n: int) -> Iterator[slice]:
    for start in range(0, n, PART):
        yield slice(start, min(n, start + PART))


def _ratio(number: int, lengths: NDArray[Any]) -> NDArray[Any]:
    """A number by each length; zero where that is zero, as it is for a vector of zeros."""
    ratios: NDArray[Any] = np.divide(number, lengths, out=np.zeros_like(lengths), where=lengths > 0)
    return ratios


def _floats(codes: NDArray[Any]) -> Float32Array:
    """Float32 of the same values, always a copy; of 16-bit floats by their bits, seven times as fast as numpy's cast.

    Sign, exponent and fraction are put where Float32 has them; what the exponents' offsets differ by is multiplied in,
    which is exact for every finite value, below the smallest normal one too.
    """
    if codes.dtype != np.float16:
        return codes.astype(np.float32)
    bits = codes.view(np.int16).astype(np.int32)  # the sign is spread over the upper half
    bits <<= np.int32(13)
    bits &= _HALF_KEPT
    floats = bits.view(np.float32)
    floats *= _HALF_SCALE
    return floats
