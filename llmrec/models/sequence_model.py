"""Causal networks over sequences of item vectors: a transformer from a Hugging Face configuration, or a GRU.

A position's output depends on the items up to it, never on later ones, so sequences are padded on the right and need
no mask: what stands behind the last item cannot reach it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np

from llmrec.errors import ConfigError, ModelError
from llmrec.models.quiet import quiet_transformers
from llmrec.models.threads import in_threads
from llmrec.types import Csr, Float32Array, Int64Array

if TYPE_CHECKING:
    import torch

__all__ = ["Architecture", "SequenceEncoder", "SequenceShape", "last_states", "new_body", "run_body"]

Architecture = Literal["transformer", "gru"]

TOKENS = 4_096
"""Items of one batch at inference, pads included: bounds memory, and what a core's caches must hold."""

SLACK = 6
"""No history of a batch is shorter than its longest by more than this part: what is padded is work for nothing."""


@dataclass(frozen=True, slots=True)
class SequenceShape:
    """The sizes of a network.

    Attributes:
        architecture: "transformer": GPT-2 blocks with learned positions, counted from the oldest item; "gru".
        dim: length of an item's vector, and of a state.
        layers: of blocks, or of recurrent cells.
        heads: attention heads; of no meaning to a GRU.
        dropout: share of values dropped in training, behind the input and in each block.
        max_length: the latest so many items are read.
    """

    architecture: Architecture
    dim: int
    layers: int
    heads: int
    dropout: float
    max_length: int

    def __post_init__(self) -> None:
        if self.architecture == "transformer" and self.dim % self.heads:
            raise ConfigError(f"heads must divide dim: {self.dim} / {self.heads} is no whole number")


def new_body(shape: SequenceShape) -> torch.nn.Module:
    """Make a network with random weights, drawn from torch's global generator; run it with `run_body`."""
    import torch

    if shape.architecture == "gru":
        body = torch.nn.ModuleDict({"dropout": torch.nn.Dropout(shape.dropout)})
        between = shape.dropout if shape.layers > 1 else 0.0
        body["cells"] = torch.nn.GRU(shape.dim, shape.dim, shape.layers, batch_first=True, dropout=between)
        body["norm"] = torch.nn.LayerNorm(shape.dim)
        return body
    from transformers import GPT2Config, GPT2Model

    config = GPT2Config(
        vocab_size=1,  # its inputs are vectors
        n_positions=shape.max_length,
        n_embd=shape.dim,
        n_layer=shape.layers,
        n_head=shape.heads,
        resid_pdrop=shape.dropout,
        embd_pdrop=shape.dropout,
        attn_pdrop=shape.dropout,
        activation_function="gelu_pytorch_tanh",  # GPT-2's own function as one operation, at half the time of a block
        use_cache=False,
        bos_token_id=None,
        eos_token_id=None,
    )
    with quiet_transformers():
        transformer: torch.nn.Module = GPT2Model(config)
    return transformer


def run_body(body: torch.nn.Module, inputs: torch.Tensor) -> torch.Tensor:
    """Read sequences.

    Args:
        body: from `new_body`.
        inputs: Float[b, length, dim], item vectors, padded on the right with anything finite; length within
            `max_length`.

    Returns:
        Float[b, length, dim]: the state after each item. It depends on no later item.
    """
    import torch

    inputs = inputs * float(inputs.shape[-1]) ** 0.25  # vectors are small, for the sake of the scores; states are not
    if isinstance(body, torch.nn.ModuleDict):
        with torch.autocast(inputs.device.type, enabled=False):  # no cells in bfloat16 on CPUs
            states: torch.Tensor = body["norm"](body["dropout"](body["cells"](body["dropout"](inputs.float()))[0]))
        return states
    read: torch.Tensor = body(inputs_embeds=inputs).last_hidden_state
    return read


def last_states(body: torch.nn.Module, inputs: torch.Tensor, ends: torch.Tensor) -> torch.Tensor:
    """Read sequences, for what stands at their ends alone: a transformer's last block is spared everywhere else.

    Args:
        body: from `new_body`, not in training.
        inputs: Float[b, length, dim], as for `run_body`.
        ends: Int[b], the place of each sequence's last item.

    Returns:
        Float[b, dim]: what `run_body` gives at these places, but for rounding.
    """
    import torch

    rows = torch.arange(len(inputs), device=inputs.device)
    if isinstance(body, torch.nn.ModuleDict):
        return run_body(body, inputs)[rows, ends]
    length, dim = inputs.shape[1:]
    transformer: Any = body
    hidden = inputs * float(dim) ** 0.25 + transformer.wpe.weight[:length]
    *first, last = transformer.h
    attend = torch.nn.functional.scaled_dot_product_attention
    for block in first:
        queries, keys, values = _heads(block, block.attn.c_attn(block.ln_1(hidden)))
        found = attend(queries, keys, values, is_causal=True)
        hidden = _behind(block, hidden, found.transpose(1, 2).reshape(hidden.shape))
    normed = last.ln_1(hidden)
    own, weight, bias = normed[rows, ends], last.attn.c_attn.weight, last.attn.c_attn.bias
    queries = _heads(last, torch.addmm(bias[:dim], own, weight[:, :dim])[:, None])[0]
    both = torch.addmm(bias[dim:], normed.view(-1, dim), weight[:, dim:]).view(len(inputs), length, 2 * dim)
    keys, values = _heads(last, both)
    read = torch.arange(length, device=inputs.device) <= ends[:, None]
    found = attend(queries, keys, values, attn_mask=read[:, None, None, :])
    states: torch.Tensor = transformer.ln_f(_behind(last, hidden[rows, ends], found.reshape(len(inputs), dim)))
    return states


def _heads(block: Any, values: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Float[b, length, parts x dim] as Float[b, heads, length, dim / heads] for each part."""
    heads, dim = block.attn.num_heads, block.attn.embed_dim
    split = values.reshape(*values.shape[:2], -1, heads, dim // heads)
    return split.permute(2, 0, 3, 1, 4).unbind()


def _behind(block: Any, hidden: torch.Tensor, attended: torch.Tensor) -> torch.Tensor:
    """What a block of GPT-2 makes of its input and of what its heads have found, both Float[..., dim]."""
    hidden = block.attn.c_proj(attended) + hidden
    behind: torch.Tensor = block.mlp(block.ln_2(hidden)) + hidden
    return behind


@dataclass(frozen=True, slots=True, eq=False)
class SequenceEncoder:
    """A trained network that turns histories of item vectors into one vector each, in float32.

    Attributes:
        shape: its sizes.
        body: the network, for reading only.
    """

    shape: SequenceShape
    body: torch.nn.Module

    def encode(self, histories: Csr, vectors: Float32Array) -> Float32Array:
        """Read the latest items of each history.

        Args:
            histories: n rows of places in `vectors`, oldest first.
            vectors: Float32[m, dim], what the network reads for each item.

        Returns:
            Float32[n, dim], the state after the last item; zero for an empty history.
        """
        import torch

        states = np.zeros((len(histories), self.shape.dim), dtype=np.float32)
        device = next(self.body.parameters()).device

        def read(batch: tuple[Int64Array, Int64Array, Int64Array]) -> None:
            rows, places, last = batch
            with torch.inference_mode():
                inputs, ends = torch.from_numpy(vectors[places]).to(device), torch.from_numpy(last).to(device)
                states[rows] = last_states(self.body, inputs, ends).float().cpu().numpy()

        batches = _batches(histories, self.shape.max_length)
        if device.type == "cpu":
            in_threads(read, batches)  # each on one thread: threads that share small products mostly wait
        else:
            for batch in batches:
                read(batch)
        return states

    def arrays(self) -> dict[str, Float32Array]:
        """The weights, by name."""
        return {name: tensor.detach().float().cpu().numpy() for name, tensor in self.body.state_dict().items()}

    def config(self) -> dict[str, Any]:
        """The sizes, as JSON values."""
        return asdict(self.shape)

    @classmethod
    def load(cls, config: Mapping[str, Any], arrays: Mapping[str, Float32Array], device: str) -> Self:
        """Bring a network back from its sizes and weights.

        Raises:
            ModelError: the weights are not those of a network of these sizes.
        """
        import torch

        shape = SequenceShape(**config)
        with torch.random.fork_rng(devices=[]):  # what is drawn is overwritten; nobody's seed is used up
            body = new_body(shape)
        try:
            body.load_state_dict({name: torch.from_numpy(np.array(array)) for name, array in arrays.items()})
        except RuntimeError as error:
            raise ModelError(f"the weights do not make a {shape.architecture} of these sizes: {error}") from error
        return cls(shape, body.eval().requires_grad_(False).to(device))


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
