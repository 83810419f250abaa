"""Trained causal networks over item vectors, run with numpy alone.

They are small, and what serves one answer should not wait seconds for torch and transformers to be imported. Only the
last state of a history is wanted, so the last block runs for one position, and costs a fraction of the others.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from llmrec.errors import ModelError
from llmrec.models.sequence_model import SequenceShape, input_scale
from llmrec.models.sharing import in_threads
from llmrec.types import Csr, Float32Array, Int64Array

if TYPE_CHECKING:
    import torch

__all__ = ["SequenceEncoder", "gelu", "layer_norm", "layer_part"]

TOKENS = 2_048
"""Items of one batch, pads included: bounds memory, and on a CPU fits its caches."""

SLACK = 6
"""No history of a batch is shorter than its longest by more than this part: what is padded is work for nothing."""

EPSILON = np.float32(1e-5)
"""Of every layer norm: what torch and GPT-2 take."""


@dataclass(frozen=True, slots=True, eq=False)
class SequenceEncoder:
    """A trained network that turns histories of item vectors into one vector each, in float32.

    Attributes:
        shape: its sizes.
        weights: Float32 arrays by the names that the network's parameters have in torch.
    """

    shape: SequenceShape
    weights: Mapping[str, Float32Array]

    def encode(self, histories: Csr, vectors: Float32Array) -> Float32Array:
        """Read the latest items of each history.

        Args:
            histories: n rows of places in `vectors`, oldest first.
            vectors: Float32[m, dim], what the network reads for each item.

        Returns:
            Float32[n, dim], the state after the last item; zero for an empty history.
        """
        run = _transformer if self.shape.architecture == "transformer" else _gru
        states = np.zeros((len(histories), self.shape.dim), dtype=np.float32)

        def read(batch: tuple[Int64Array, Int64Array, Int64Array]) -> None:
            rows, places, last = batch
            states[rows] = run(self, vectors[places] * np.float32(input_scale(self.shape.dim)), last)

        in_threads(read, _batches(histories, self.shape.max_length))
        return states

    def arrays(self) -> dict[str, Float32Array]:
        """The weights, by name."""
        return dict(self.weights)

    def config(self) -> dict[str, Any]:
        """The sizes, as JSON values."""
        return asdict(self.shape)

    @classmethod
    def of(cls, shape: SequenceShape, body: torch.nn.Module) -> Self:
        """Take the weights of a network as they are now; see `llmrec.models.sequence_model.new_body`."""
        tensors = body.state_dict().items()
        return cls(shape, {name: np.array(tensor.detach().float().cpu().numpy()) for name, tensor in tensors})

    @classmethod
    def load(cls, config: Mapping[str, Any], arrays: Mapping[str, Float32Array]) -> Self:
        """Bring a network back from its sizes and weights.

        Raises:
            ModelError: the weights are not those of a network of these sizes.
        """
        shape = SequenceShape(**config)
        there = {name: array.shape for name, array in arrays.items()}
        if wrong := sorted(set(there.items()) ^ set(_sizes(shape).items())):
            raise ModelError(f"the weights do not make a {shape.architecture} of these sizes: {wrong[0]}")
        return cls(shape, {name: np.asarray(array, dtype=np.float32) for name, array in arrays.items()})


def _sizes(shape: SequenceShape) -> dict[str, tuple[int, ...]]:
    """The shape of every weight, by name."""
    d, layers = shape.dim, range(shape.layers)
    if shape.architecture == "gru":
        cell: dict[str, tuple[int, ...]] = {"weight_ih": (3 * d, d), "weight_hh": (3 * d, d)}
        cell |= {"bias_ih": (3 * d,), "bias_hh": (3 * d,)}
        found = {f"cells.{name}_l{layer}": size for layer in layers for name, size in cell.items()}
        return found | {"norm.weight": (d,), "norm.bias": (d,)}
    linear = {"attn.c_attn": (d, 3 * d), "attn.c_proj": (d, d), "mlp.c_fc": (d, 4 * d), "mlp.c_proj": (4 * d, d)}
    block: dict[str, tuple[int, ...]] = {f"{name}.weight": size for name, size in linear.items()}
    block |= {f"{name}.bias": size[1:] for name, size in linear.items()}
    block |= {f"{name}.{part}": (d,) for name in ("ln_1", "ln_2") for part in ("weight", "bias")}
    found = {f"h.{layer}.{name}": size for layer in layers for name, size in block.items()}
    found |= {"wte.weight": (1, d), "wpe.weight": (shape.max_length, d)}  # its inputs are vectors: wte is not read
    return found | {"ln_f.weight": (d,), "ln_f.bias": (d,)}


def _transformer(encoder: SequenceEncoder, inputs: Float32Array, last: Int64Array) -> Float32Array:
    """Run GPT-2 blocks (pre-norm, learned positions) over Float32[b, length, dim]; Float32[b, dim] at `last`."""
    weights, heads = encoder.weights, encoder.shape.heads
    hidden = inputs + weights["wpe.weight"][: inputs.shape[1]]
    owners = np.arange(len(inputs))
    for layer in range(encoder.shape.layers):
        part = layer_part(weights, layer)
        normed = layer_norm(hidden, part, "ln_1")
        if layer < encoder.shape.layers - 1:
            seen = np.tri(inputs.shape[1], dtype=np.bool_)
            read = _attention(normed, normed, seen, part, heads)
        else:  # the last block: for the last item alone
            seen = (np.arange(inputs.shape[1]) <= last[:, None])[:, None, None]
            read = _attention(normed[owners, last][:, None], normed, seen, part, heads)
            hidden = hidden[owners, last][:, None]
        hidden = hidden + _linear(read, part, "attn.c_proj")
        inner = gelu(_linear(layer_norm(hidden, part, "ln_2"), part, "mlp.c_fc"))
        hidden = hidden + _linear(inner, part, "mlp.c_proj")
    return layer_norm(hidden, weights, "ln_f")[:, 0]


def _attention(
    asking: Float32Array, normed: Float32Array, seen: NDArray[np.bool_], part: Mapping[str, Float32Array], heads: int
) -> Float32Array:
    """Scaled dot-product attention of Float32[b, q, dim] over Float32[b, length, dim], where `seen`."""
    b, length, dim = normed.shape
    weight, bias = part["attn.c_attn.weight"], part["attn.c_attn.bias"]
    queries = asking @ weight[:, :dim] + bias[:dim]
    keys_values = normed @ weight[:, dim:] + bias[dim:]
    queries = queries.reshape(b, -1, heads, dim // heads).transpose(0, 2, 1, 3)
    keys, values = keys_values.reshape(b, length, 2, heads, dim // heads).transpose(2, 0, 3, 1, 4)
    scores = queries @ keys.transpose(0, 1, 3, 2) * np.float32((dim // heads) ** -0.5)
    scores = np.where(seen, scores, np.float32(-np.inf))
    scores = np.exp(scores - scores.max(axis=-1, keepdims=True))
    scores /= scores.sum(axis=-1, keepdims=True)
    read: Float32Array = (scores @ values).transpose(0, 2, 1, 3).reshape(b, -1, dim)
    return read


def _gru(encoder: SequenceEncoder, inputs: Float32Array, last: Int64Array) -> Float32Array:
    """Run gated recurrent cells over Float32[b, length, dim]; Float32[b, dim] at `last`."""
    weights, dim = encoder.weights, encoder.shape.dim
    for layer in range(encoder.shape.layers):
        asked = inputs @ weights[f"cells.weight_ih_l{layer}"].T + weights[f"cells.bias_ih_l{layer}"]
        again, bias = weights[f"cells.weight_hh_l{layer}"].T, weights[f"cells.bias_hh_l{layer}"]
        state, states = np.zeros_like(inputs[:, 0]), np.empty_like(inputs)
        for place in range(inputs.shape[1]):
            new, old = asked[:, place], state @ again + bias
            reset, keep = _sigmoid(new[:, :dim] + old[:, :dim]), _sigmoid(new[:, dim:-dim] + old[:, dim:-dim])
            candidate = np.tanh(new[:, -dim:] + reset * old[:, -dim:])
            state = states[:, place] = (1 - keep) * candidate + keep * state
        inputs = states
    return layer_norm(inputs[np.arange(len(inputs)), last], weights, "norm")


def _linear(inputs: Float32Array, part: Mapping[str, Float32Array], name: str) -> Float32Array:
    out: Float32Array = inputs @ part[f"{name}.weight"]
    out += part[f"{name}.bias"]
    return out


def layer_part(weights: Mapping[str, Float32Array], layer: int) -> dict[str, Float32Array]:
    """The weights of one block, by the names they have in it."""
    return {name.removeprefix(f"h.{layer}."): array for name, array in weights.items()}


def layer_norm(inputs: Float32Array, part: Mapping[str, Float32Array], name: str) -> Float32Array:
    """Layer norm over the last axis, with the weights of that name."""
    centred: Float32Array = inputs - inputs.mean(axis=-1, keepdims=True)
    spread = np.einsum("...d,...d->...", centred, centred)[..., None] / np.float32(inputs.shape[-1])
    centred *= part[f"{name}.weight"] / np.sqrt(spread + EPSILON)
    centred += part[f"{name}.bias"]
    return centred


def gelu(inputs: Float32Array) -> Float32Array:
    """GELU by the tanh formula, as GPT-2 has it."""
    inner = np.tanh(np.float32(np.sqrt(2 / np.pi)) * (inputs + np.float32(0.044715) * inputs * inputs * inputs))
    found: Float32Array = np.float32(0.5) * inputs * (1 + inner)
    return found


def _sigmoid(inputs: Float32Array) -> Float32Array:
    found: Float32Array = np.float32(0.5) * (1 + np.tanh(np.float32(0.5) * inputs))
    return found


def _batches(histories: Csr, max_length: int) -> Iterator[tuple[Int64Array, Int64Array, Int64Array]]:
    """Histories of like lengths together.

    Yields:
        Int64[b] rows, Int64[b, length] places in the vectors (the first one at pads), Int64[b] where each one ends.
    """
    lengths = np.minimum(np.diff(histories.offsets), max_length)
    starts = histories.offsets[1:] - lengths
    order = np.argsort(lengths, kind="stable")
    order = order[np.searchsorted(lengths[order], 1) :]
    while len(order):
        # Batches are filled from the longest on: the first is the widest.
        width = int(lengths[order[-1]])
        alike = len(order) - int(np.searchsorted(lengths[order], width - width // SLACK))
        count = min(alike, max(1, TOKENS // width))
        rows, order = order[-count:], order[:-count]
        grid = np.arange(width, dtype=np.int64)[None]
        inside = grid < lengths[rows, None]
        places = histories.values[np.where(inside, starts[rows, None] + grid, starts[rows, None])].astype(np.int64)
        yield rows, places, lengths[rows] - 1
