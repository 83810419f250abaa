"""The learned table of item vectors: a text part through an adaptor, an id part that is dropped now and then."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from llmrec.models.sequence_model import SequenceShape, new_body
from llmrec.types import Float32Array

if TYPE_CHECKING:
    import torch

__all__ = ["ItemTable", "new_table"]

ID_STD, ADAPTOR_STD = 0.02, 0.05


@dataclass(frozen=True, slots=True, eq=False)
class ItemTable:
    """Everything that is trained, and the texts' embeddings, which are not.

    Attributes:
        body: the network.
        weights: "ids" [n, dim], unless only texts are read; "adaptor" [dim, e] and "offset" [dim], unless none are;
            "biases" [n]; "new_bias" [1], of an item that is known by its text alone.
        texts: Float[n, e], or None.
    """

    body: torch.nn.Module
    weights: Mapping[str, torch.nn.Parameter]
    texts: torch.Tensor | None

    def rows(self, places: torch.Tensor, keep: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Vectors and biases of some items.

        Args:
            places: Int64[c], in the table.
            keep: Float32[c, 1], 0 where an item is to be known by its text alone; of no meaning without texts.

        Returns:
            Float32[c, dim] and Float32[c], with gradients.
        """
        from torch.nn.functional import embedding, linear

        weights = self.weights
        bias = weights["biases"][places]
        if self.texts is None:
            return embedding(places, weights["ids"]), bias
        vectors = linear(self.texts[places], weights["adaptor"], weights["offset"]).float()
        if "ids" in weights:
            vectors = vectors + keep * embedding(places, weights["ids"])
        dropped = 1 - keep[:, 0]
        return vectors, keep[:, 0] * bias + dropped * weights["new_bias"]

    def parameters(self) -> list[torch.nn.Parameter]:
        """All that is trained."""
        return [*self.weights.values(), *self.body.parameters()]

    def tensors(self) -> dict[str, torch.Tensor]:
        """All that is trained, by name; not copied."""
        own = {name: parameter.detach() for name, parameter in self.weights.items()}
        return own | {f"body.{name}": tensor for name, tensor in self.body.state_dict().items()}

    def restore(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """Take over the values of what `tensors` returned."""
        for name, parameter in self.weights.items():
            parameter.data.copy_(tensors[name])
        inner = {n.removeprefix("body."): tensor for n, tensor in tensors.items() if n.startswith("body.")}
        self.body.load_state_dict(inner)

    def array(self, name: str) -> Float32Array:
        """Copy some weights out."""
        return np.array(self.weights[name].detach().float().cpu().numpy())


def new_table(
    shape: SequenceShape, n_items: int, texts: Float32Array | None, *, with_ids: bool, dtype: torch.dtype, device: str
) -> ItemTable:
    """Make a table and a network with random weights, drawn from torch's global generator.

    Args:
        shape: of the network.
        n_items: rows.
        texts: Float32[n_items, e], embeddings of the texts, length one, or None.
        with_ids: whether each item has a vector of its own.
        dtype: format the embeddings are kept in.
        device: where to train.
    """
    import torch

    body = new_body(shape).to(device)
    weights = {"biases": torch.zeros(n_items), "new_bias": torch.zeros(1)}
    if with_ids:
        weights["ids"] = ID_STD * torch.randn(n_items, shape.dim)
    if texts is not None:
        weights["adaptor"] = ADAPTOR_STD * torch.randn(shape.dim, texts.shape[1])
        weights["offset"] = torch.zeros(shape.dim)
    parameters = {name: torch.nn.Parameter(tensor.to(device)) for name, tensor in weights.items()}
    kept = None if texts is None else torch.from_numpy(texts).to(device=device, dtype=dtype)
    return ItemTable(body, parameters, kept)
