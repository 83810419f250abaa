"""From token vectors to one vector of a text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import torch

__all__ = ["Output", "pool"]

Output = Literal["mean", "cls", "max", "logits"]
"""What is made of a sequence: a pooling of its token vectors, of length one, or the scores of a classification head."""


def pool(output: Output, hidden: torch.Tensor) -> torch.Tensor:
    """Turn token vectors [b, length, dim], none of them a pad's, into float32 [b, dim] of length one."""
    import torch

    hidden = hidden.float()
    ways = {"cls": lambda: hidden[:, 0], "max": lambda: hidden.amax(dim=1), "mean": lambda: hidden.mean(dim=1)}
    return torch.nn.functional.normalize(ways[output](), dim=1)
