"""A trained causal network over codes, run with numpy: one history is read, then many ways to go on from it.

The network is GPT-2 of `llmrec.models.sequence_model`, over vectors of codes: an item is so many codes, one of each
level, and a history is its items' codes behind each other. As in `sequence_encoder`, nothing here waits for torch to be
imported.

What comes of a path must not depend on which other paths are followed with it: BLAS rounds a row as the shape of its
matrix has it. So products are always taken of `ROWS` rows, of which some may be empty.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from llmrec.errors import ModelError
from llmrec.models.sequence_encoder import SequenceEncoder, gelu, layer_norm, layer_part
from llmrec.models.sequence_model import SequenceShape, input_scale
from llmrec.types import Float32Array, Int64Array

if TYPE_CHECKING:
    import torch

__all__ = ["CodeDecoder", "CodeShape", "Past", "Paths"]

ROWS = 8
"""Rows of a product: so many are one step of BLAS on every processor we know, so that all are computed alike. Of more,
the first dozen is computed otherwise than the rest where there is no AVX-512."""


@dataclass(frozen=True, slots=True)
class CodeShape:
    """The sizes of a network over codes.

    Attributes:
        sizes: how many codes each level has.
        dim: length of a code's vector, and of a state.
        layers: of blocks.
        heads: attention heads.
        dropout: share of values dropped in training.
        max_length: the latest so many items of a history are read.
    """

    sizes: tuple[int, ...]
    dim: int
    layers: int
    heads: int
    dropout: float
    max_length: int

    @property
    def vocabulary(self) -> int:
        """Codes of all levels."""
        return sum(self.sizes)

    @property
    def starts(self) -> Int64Array:
        """Int64[levels]: the first code of each level, among those of all."""
        return np.concatenate([[0], np.cumsum(self.sizes)[:-1]]).astype(np.int64)

    @property
    def body(self) -> SequenceShape:
        """Of the network, which reads a code at each place: those of the history, and of one item more."""
        places = len(self.sizes) * (self.max_length + 1)
        return SequenceShape("transformer", self.dim, self.layers, self.heads, self.dropout, places)


@dataclass(frozen=True, slots=True, eq=False)
class Past:
    """A history that was read.

    Attributes:
        keys: of each layer Float32[heads, dim / heads, t].
        values: of each layer Float32[heads, t, dim / heads].
        length: t, so many codes.
    """

    keys: tuple[Float32Array, ...]
    values: tuple[Float32Array, ...]
    length: int


@dataclass(frozen=True, slots=True, eq=False)
class Paths:
    """Ways to go on from a history: r sequences of as many codes.

    Attributes:
        states: Float32[r, dim], what comes next is foretold from.
        keys: of each layer Float32[r, c, dim], of the codes behind the history.
        values: likewise.
    """

    states: Float32Array
    keys: tuple[Float32Array, ...]
    values: tuple[Float32Array, ...]

    def take(self, rows: Int64Array) -> Paths:
        """Return some of them, in the given order."""
        return Paths(self.states[rows], *(tuple(part[rows] for part in kept) for kept in (self.keys, self.values)))


@dataclass(frozen=True, slots=True, eq=False)
class CodeDecoder:
    """A trained network, in float32.

    Attributes:
        shape: its sizes.
        body: the network's weights.
        codes: Float32[vocabulary, dim], a vector for each code, by which it is read and foretold.
    """

    shape: CodeShape
    body: SequenceEncoder
    codes: Float32Array

    def read(self, tokens: Int64Array) -> tuple[Past, Paths]:
        """Read the codes of a history, Int64[t], t > 0, oldest first: and the one path on which nothing is yet."""
        hidden = self._inputs(tokens, 0)
        keys, values, heads = [], [], self.shape.heads
        for layer in range(self.shape.layers):
            part = layer_part(self.body.weights, layer)
            normed = layer_norm(hidden, part, "ln_1")
            asked, key, value = np.split(_linear(normed, part, "attn.c_attn"), 3, axis=-1)
            keys.append(np.ascontiguousarray(key.reshape(len(key), heads, -1).transpose(1, 2, 0)))
            values.append(np.ascontiguousarray(value.reshape(len(value), heads, -1).transpose(1, 0, 2)))
            if layer == self.shape.layers - 1:  # of the last layer, only the last place is asked for
                hidden, asked = hidden[-1:], asked[-1:]
            scores = self._asked(asked).transpose(1, 0, 2) @ keys[-1]
            if len(asked) > 1:
                scores[:, ~np.tri(len(asked), dtype=np.bool_)] = -np.inf
            read = (_softmax(scores) @ values[-1]).transpose(1, 0, 2).reshape(len(asked), -1)
            hidden = _block(hidden, read, part)
        empty = tuple(np.empty((1, 0, self.shape.dim), dtype=np.float32) for _ in keys)
        state = layer_norm(hidden, self.body.weights, "ln_f")
        return Past(tuple(keys), tuple(values), len(tokens)), Paths(state, empty, empty)

    def follow(self, past: Past, paths: Paths, tokens: Int64Array) -> Paths:
        """Put a code behind each path, Int64[r]."""
        count, done = len(tokens), paths.keys[0].shape[1]
        hidden = _padded(self._inputs(tokens, past.length + done))
        keys: list[Float32Array] = []
        values: list[Float32Array] = []
        for layer in range(self.shape.layers):
            part = layer_part(self.body.weights, layer)
            asked, key, value = np.split(_linear(layer_norm(hidden, part, "ln_1"), part, "attn.c_attn"), 3, axis=-1)
            own = (_behind(paths.keys[layer], key), _behind(paths.values[layer], value))
            read = self._attention(self._asked(asked), past, layer, own)
            hidden = _block(hidden, read, part)
            for kept, part_of in zip((keys, values), own, strict=True):
                kept.append(part_of.reshape(-1, done + 1, self.shape.dim)[:count])
        states = layer_norm(hidden, self.body.weights, "ln_f").reshape(-1, self.shape.dim)[:count]
        return Paths(states, tuple(keys), tuple(values))

    def chances(self, paths: Paths, level: int) -> Float32Array:
        """Float32[r, sizes[level]]: the logarithm of each code's chance to come next; never above 0."""
        start, size = int(self.shape.starts[level]), self.shape.sizes[level]
        logits = _padded(paths.states) @ np.ascontiguousarray(self.codes[start : start + size].T)
        logits -= logits.max(axis=-1, keepdims=True)
        logits -= np.log(np.exp(logits).sum(axis=-1, keepdims=True))
        found: Float32Array = np.minimum(logits, np.float32(0)).reshape(-1, size)[: len(paths.states)]
        return found

    def _inputs(self, tokens: Int64Array, place: int) -> Float32Array:
        """Float32[n, dim] of Int64[n] codes: at places one after the other, or all at one behind the history."""
        places = self.body.weights["wpe.weight"]
        there = places[: len(tokens)] if place == 0 else places[place]
        inputs: Float32Array = self.codes[tokens] * np.float32(input_scale(self.shape.dim)) + there
        return inputs

    def _asked(self, asked: Float32Array) -> Float32Array:
        """Float32[..., heads, dim / heads], scaled."""
        size = self.shape.dim // self.shape.heads
        return (asked * np.float32(size**-0.5)).reshape(*asked.shape[:-1], self.shape.heads, size)

    def _attention(
        self, asked: Float32Array, past: Past, layer: int, own: tuple[Float32Array, Float32Array]
    ) -> Float32Array:
        """Attention of Float32[b, ROWS, heads, size] over the history and over a path's own codes."""
        keys, values = (part.reshape(*part.shape[:-1], *asked.shape[-2:]) for part in own)
        before = asked.transpose(0, 2, 1, 3) @ past.keys[layer]  # [b, heads, ROWS, t]
        after = (asked[:, :, None] * keys).sum(axis=-1).transpose(0, 3, 1, 2)  # [b, heads, ROWS, c]
        weights = _softmax(np.concatenate([before, after], axis=-1))
        far = np.ascontiguousarray(weights[..., : past.length]) @ past.values[layer]
        read = far.transpose(0, 2, 1, 3)
        for place in range(values.shape[2]):
            near = weights[..., past.length + place].transpose(0, 2, 1)
            read = read + near[..., None] * values[:, :, place]
        return np.ascontiguousarray(read).reshape(*read.shape[:2], self.shape.dim)

    def arrays(self) -> dict[str, Float32Array]:
        """The weights, by name."""
        return {**self.body.arrays(), "codes": self.codes}

    def config(self) -> dict[str, Any]:
        """The sizes, as JSON values."""
        return {**asdict(self.shape), "sizes": list(self.shape.sizes)}

    @classmethod
    def of(cls, shape: CodeShape, body: torch.nn.Module, codes: Float32Array) -> Self:
        """Take the weights of a network as they are now; see `llmrec.models.sequence_model.new_body`."""
        return cls(shape, SequenceEncoder.of(shape.body, body), codes)

    @classmethod
    def load(cls, config: Mapping[str, Any], arrays: Mapping[str, Float32Array]) -> Self:
        """Bring a network back from its sizes and weights.

        Raises:
            ModelError: the weights are not those of a network of these sizes.
        """
        shape = CodeShape(**{**config, "sizes": tuple(config["sizes"])})
        codes = np.asarray(arrays["codes"], dtype=np.float32)
        if codes.shape != (shape.vocabulary, shape.dim):
            raise ModelError(f"there are vectors of {codes.shape[0]} codes, not of {shape.vocabulary}")
        others = {name: array for name, array in arrays.items() if name != "codes"}
        return cls(shape, SequenceEncoder.load(asdict(shape.body), others), codes)


def _padded(rows: Float32Array) -> Float32Array:
    """Float32[r, ...] as Float32[b, ROWS, ...], with rows of zeros at the end."""
    count = -(-len(rows) // ROWS)
    padded = np.concatenate([rows, np.zeros((count * ROWS - len(rows), *rows.shape[1:]), dtype=rows.dtype)])
    return padded.reshape(count, ROWS, *rows.shape[1:])


def _behind(kept: Float32Array, new: Float32Array) -> Float32Array:
    """Put Float32[b, ROWS, dim] behind Float32[r, c, dim]: Float32[b, ROWS, c + 1, dim]."""
    return np.concatenate([_padded(kept), new[:, :, None]], axis=2)


def _softmax(scores: Float32Array) -> Float32Array:
    scores = np.ascontiguousarray(scores)
    scores -= scores.max(axis=-1, keepdims=True)
    np.exp(scores, out=scores)
    scores /= scores.sum(axis=-1, keepdims=True)
    return scores


def _linear(inputs: Float32Array, part: Mapping[str, Float32Array], name: str) -> Float32Array:
    out: Float32Array = inputs @ part[f"{name}.weight"]
    out += part[f"{name}.bias"]
    return out


def _block(hidden: Float32Array, read: Float32Array, part: Mapping[str, Float32Array]) -> Float32Array:
    """What is behind the attention of a GPT-2 block."""
    hidden = hidden + _linear(read, part, "attn.c_proj")
    inner = gelu(_linear(layer_norm(hidden, part, "ln_2"), part, "mlp.c_fc"))
    return hidden + _linear(inner, part, "mlp.c_proj")
