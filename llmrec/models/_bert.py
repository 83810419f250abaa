"""BERT's forward pass on a CPU, straight from the safetensors file.

transformers is not imported, which takes longer than an answer; query, key and value are one matrix product; and where
only the first token's vector is asked for, the last layer computes no other. Devlin et al., "BERT: Pre-training of Deep
Bidirectional Transformers for Language Understanding", NAACL 2019; the numbers are those of transformers' `BertModel`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from llmrec.models._folder import read_config
from llmrec.models._pooling import Output, pool
from llmrec.models.device import Placement
from llmrec.types import Float32Array, Int64Array

if TYPE_CHECKING:
    import torch

    from llmrec.models._network import Forward

    Linear = tuple[torch.Tensor, torch.Tensor]
    Head = tuple[Linear, Linear]

__all__ = ["Bert", "BertLayer", "attend", "bert_forward", "logits", "read_bert"]

_FORMATS = ("float32", "bfloat16")

LEAST, MOST = 1e-20, 1e30
"""Sums of exponentials between which none is lost, and none is infinite, in bfloat16."""


@dataclass(frozen=True, slots=True)
class BertLayer:
    """One layer: weights and biases of its matrix products and normalisations."""

    attend: Linear
    merge: Linear
    merge_norm: Linear
    widen: Linear
    narrow: Linear
    norm: Linear


@dataclass(frozen=True, slots=True)
class Bert:
    """The weights.

    Attributes:
        embeddings: of words [vocabulary, dim], positions [longest, dim] and segments [kinds, dim].
        norm: the normalisation of their sum.
        layers: in order.
        heads: attention heads of a layer.
        epsilon: of every normalisation.
    """

    embeddings: tuple[torch.Tensor, torch.Tensor, torch.Tensor]
    norm: Linear
    layers: tuple[BertLayer, ...]
    heads: int
    epsilon: float

    def hidden(self, ids: torch.Tensor, types: torch.Tensor, *, first_only: bool) -> torch.Tensor:
        """Token vectors [b, length, dim] of ids [b, length]; with `first_only` [b, 1, dim], the first token's."""
        vectors = self.embedded(ids, types, slice(ids.shape[1]))
        for place, layer in enumerate(self.layers, start=1):
            vectors = self._layer(layer, vectors, first_only and place == len(self.layers))
        return vectors

    def embedded(self, ids: torch.Tensor, types: torch.Tensor, places: torch.Tensor | slice) -> torch.Tensor:
        """Float[..., dim]: what tokens of some segments at some places are before the first layer."""
        words, positions, segments = self.embeddings
        return self.normalised(words[ids] + segments[types] + positions[places], self.norm)

    def _layer(self, layer: BertLayer, vectors: torch.Tensor, first_only: bool) -> torch.Tensor:
        """[b, length, dim] to [b, length, dim], or to [b, 1, dim] of the first token."""
        from torch.nn.functional import linear

        b, length, dim = vectors.shape
        if first_only:
            weight, bias = layer.attend
            keys = linear(vectors, weight[dim:], bias[dim:]).view(b, length, 2, self.heads, -1)
            vectors = vectors[:, :1].contiguous()
            query = linear(vectors, weight[:dim], bias[:dim]).view(b, 1, self.heads, -1).transpose(1, 2)
            key, value = keys.permute(2, 0, 3, 1, 4)
        else:
            parts = linear(vectors, *layer.attend).view(b, length, 3, self.heads, -1)
            query, key, value = parts.permute(2, 0, 3, 1, 4)
        read = attend(query, key, value).transpose(1, 2).reshape(vectors.shape)
        return self.finished(layer, read, vectors)

    def finished(self, layer: BertLayer, read: torch.Tensor, vectors: torch.Tensor) -> torch.Tensor:
        """Float[..., dim]: what a layer makes of tokens [..., dim] and of what they read [..., dim] by attention."""
        from torch.nn.functional import gelu, linear

        vectors = self.normalised(linear(read, *layer.merge) + vectors, layer.merge_norm)
        wide = gelu(linear(vectors, *layer.widen))
        return self.normalised(linear(wide, *layer.narrow) + vectors, layer.norm)

    def normalised(self, vectors: torch.Tensor, norm: Linear) -> torch.Tensor:
        from torch.nn.functional import layer_norm

        return layer_norm(vectors, vectors.shape[-1:], *norm, self.epsilon)


def attend(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    """Dot-product attention over [b, heads, length, d], without a mask; the query is scaled already.

    In bfloat16 exponentials are taken as they are, without the row's maximum first: that is a pass over rows too short
    for the machine's vectors, and takes longer than the products. Where a sum leaves the range in which that is as
    exact, torch's own attention does the sequence again.

    Returns:
        [b, heads, queries, d].
    """
    import torch
    from torch.nn.functional import scaled_dot_product_attention

    if query.dtype != torch.bfloat16:
        return scaled_dot_product_attention(query, key, value, scale=1.0)
    query, key, value = query.contiguous(), key.contiguous(), value.contiguous()
    weights = (query @ key.transpose(-1, -2)).exp_()
    total = weights @ weights.new_ones(weights.shape[-1], 1)
    read = (weights @ value) / total
    usable = ((total > LEAST) & (total < MOST)).flatten(1).all(dim=1)
    if not usable.all():
        again = ~usable
        read[again] = scaled_dot_product_attention(query[again], key[again], value[again], scale=1.0)
    return read


def bert_forward(folder: Path, output: Output, placement: Placement) -> Forward | None:
    """The forward pass of a plain BERT on a CPU; None if the folder holds anything else, or lacks a weight.

    Args:
        folder: holds config.json and safetensors weights.
        output: what is made of a sequence.
        placement: the CPU, in float32 or bfloat16.
    """
    found = read_bert(folder, placement, headed=output == "logits") if _runs_here(placement) else None
    return None if found is None else _forward(*found, output)


def read_bert(folder: Path, placement: Placement, *, headed: bool) -> tuple[Bert, Head | None] | None:
    """The weights of a plain BERT, and of its head for one number; None if the folder holds anything else.

    Args:
        folder: holds config.json and safetensors weights.
        placement: where the weights are put.
        headed: whether the head is read.
    """
    config = read_config(folder)
    if not _is_plain(config):
        return None
    try:
        weights = _Weights.read(folder, placement)
        bert, head = _bert(weights, config), _head(weights) if headed else None
    except KeyError:  # transformers says in words what is missing
        return None
    return (bert, head) if _fits(bert, head, config) else None


def _runs_here(placement: Placement) -> bool:
    return placement.is_cpu and placement.dtype in _FORMATS


def _forward(bert: Bert, head: Head | None, output: Output) -> Forward:
    import torch

    def forward(ids: Int64Array, types: Int64Array) -> Float32Array:
        with torch.inference_mode():
            first_only = output in ("cls", "logits")
            hidden = bert.hidden(torch.from_numpy(ids), torch.from_numpy(types), first_only=first_only)
            if head is None:
                return np.asarray(pool(output, hidden).numpy())
            return np.asarray(logits(head, hidden[:, 0]).float().numpy())

    return forward


def logits(head: Head, firsts: torch.Tensor) -> torch.Tensor:
    """[n, 1]: a head's number for first tokens [n, dim]."""
    from torch.nn.functional import linear

    return linear(linear(firsts, *head[0]).tanh(), *head[1])


def _is_plain(config: Mapping[str, Any]) -> bool:
    """Whether the configuration asks for nothing that this file does not do."""
    return (
        config["model_type"] == "bert"
        and config.get("hidden_act", "gelu") == "gelu"
        and config.get("position_embedding_type", "absolute") == "absolute"
        and not config.get("is_decoder", False)
        and not config.get("add_cross_attention", False)
        and config.get("quantization_config") is None
    )


@dataclass(frozen=True, slots=True)
class _Weights:
    """Tensors by their names in transformers' `BertModel`, in one number format."""

    tensors: Mapping[str, torch.Tensor]

    @classmethod
    def read(cls, folder: Path, placement: Placement) -> _Weights:
        """Read all safetensors files of a folder, under the names that old and fine-tuned ones have too."""
        from safetensors.torch import load_file

        found = {}
        for file in sorted(folder.glob("model*.safetensors")):
            for stored, tensor in load_file(file).items():
                name = stored.removeprefix("bert.").replace("LayerNorm.gamma", "LayerNorm.weight")
                name = name.replace("LayerNorm.beta", "LayerNorm.bias")
                dtype = placement.torch_dtype if tensor.is_floating_point() else tensor.dtype
                found[name] = tensor.to(placement.device, dtype)
        return cls(found)

    def linear(self, *names: str) -> Linear:
        """Weights and biases of some parts, joined; KeyError if one is missing."""
        return _joined(*((self.tensors[f"{n}.weight"], self.tensors[f"{n}.bias"]) for n in names))


def _joined(*parts: Linear) -> Linear:
    """Several matrix products of one input as one."""
    import torch

    weights, biases = zip(*parts, strict=True)
    return torch.cat(weights).contiguous(), torch.cat(biases).contiguous()


def _bert(weights: _Weights, config: Mapping[str, Any]) -> Bert:
    heads = int(config["num_attention_heads"])
    scale = (int(config["hidden_size"]) / heads) ** -0.5
    tables = ("word_embeddings", "position_embeddings", "token_type_embeddings")
    words, positions, segments = (weights.tensors[f"embeddings.{table}.weight"] for table in tables)
    return Bert(
        embeddings=(words, positions, segments),
        norm=weights.linear("embeddings.LayerNorm"),
        layers=tuple(_layer(weights, f"encoder.layer.{n}", scale) for n in range(int(config["num_hidden_layers"]))),
        heads=heads,
        epsilon=float(config.get("layer_norm_eps", 1e-12)),
    )


def _layer(weights: _Weights, name: str, scale: float) -> BertLayer:
    query = weights.linear(f"{name}.attention.self.query")
    rest = weights.linear(*(f"{name}.attention.self.{part}" for part in ("key", "value")))
    return BertLayer(
        attend=_joined((query[0] * scale, query[1] * scale), rest),
        merge=weights.linear(f"{name}.attention.output.dense"),
        merge_norm=weights.linear(f"{name}.attention.output.LayerNorm"),
        widen=weights.linear(f"{name}.intermediate.dense"),
        narrow=weights.linear(f"{name}.output.dense"),
        norm=weights.linear(f"{name}.output.LayerNorm"),
    )


def _head(weights: _Weights) -> Head:
    return weights.linear("pooler.dense"), weights.linear("classifier")


def _fits(bert: Bert, head: Head | None, config: Mapping[str, Any]) -> bool:
    """Whether the weights have the shapes of the configuration."""
    dim, wide = int(config["hidden_size"]), int(config["intermediate_size"])
    words, positions, segments = bert.embeddings
    found = [words.shape, positions.shape, segments.shape]
    wanted = [
        (int(config["vocab_size"]), dim),
        (int(config["max_position_embeddings"]), dim),
        (int(config.get("type_vocab_size", 2)), dim),
    ]
    for layer in bert.layers:
        found += [layer.attend[0].shape, layer.merge[0].shape, layer.widen[0].shape, layer.narrow[0].shape]
        wanted += [(3 * dim, dim), (dim, dim), (wide, dim), (dim, wide)]
    if head is not None:
        found += [head[0][0].shape, head[1][0].shape]
        wanted += [(dim, dim), (1, dim)]
    return [tuple(shape) for shape in found] == wanted
