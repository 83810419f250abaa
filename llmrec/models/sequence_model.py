"""Causal networks over sequences of item vectors: a transformer from a Hugging Face configuration, or a GRU.

A position's output depends on the items up to it, never on later ones, so sequences are padded on the right and need
no mask: what stands behind the last item cannot reach it. This is how they are trained; what was trained is run by
`llmrec.models.sequence_encoder`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from llmrec.errors import ConfigError
from llmrec.models.quiet import quiet_transformers

if TYPE_CHECKING:
    import torch

__all__ = ["Architecture", "SequenceShape", "input_scale", "new_body", "run_body"]

Architecture = Literal["transformer", "gru"]


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


def input_scale(dim: int) -> float:
    """What item vectors are multiplied by: they are small, for the sake of the scores; what is read is not."""
    return float(dim**0.25)


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

    inputs = inputs * input_scale(inputs.shape[-1])
    if isinstance(body, torch.nn.ModuleDict):
        with torch.autocast(inputs.device.type, enabled=False):  # no cells in bfloat16 on CPUs
            states: torch.Tensor = body["norm"](body["dropout"](body["cells"](body["dropout"](inputs.float()))[0]))
        return states
    read: torch.Tensor = body(inputs_embeds=inputs).last_hidden_state
    return read
