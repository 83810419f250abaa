"""Continuations of one prompt in one sequence: the prompt is read once, whatever the number of continuations."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from llmrec.types import BoolArray, Float32Array, Int64Array

if TYPE_CHECKING:
    import torch

__all__ = ["Continued", "continued_parts", "log_likelihoods", "plain_log_likelihoods"]


@dataclass(frozen=True, slots=True, eq=False)
class Continued:
    """A prompt and some continuations, as the model reads them: m tokens, the prompt's first.

    The last token of a continuation is foretold, and not read.

    Attributes:
        rows: which continuations these are.
        ids: Int64[m], tokens.
        positions: Int64[m], as in the prompt followed by one continuation.
        parts: Int64[m]: 0 the prompt, 1 and up its continuations.
        places: Int64[t], from which token each token of the continuations is foretold.
        wanted: Int64[t], those tokens.
        owners: Int64[t], which of `rows` they belong to, by place.
    """

    rows: Int64Array
    ids: Int64Array
    positions: Int64Array
    parts: Int64Array
    places: Int64Array
    wanted: Int64Array
    owners: Int64Array

    def allowed(self) -> BoolArray:
        """Bool[m, m]: a token looks at the prompt up to itself, and at its own continuation up to itself."""
        earlier = self.positions[:, None] >= self.positions[None, :]
        own = (self.parts == 0)[None, :] | (self.parts[:, None] == self.parts[None, :])
        return np.logical_and(earlier, own)


def continued_parts(prompt: Sequence[int], continuations: Sequence[Sequence[int]], budget: int) -> Iterator[Continued]:
    """Put continuations behind their prompt, as many as are of some `budget` tokens together, at least one."""
    start = 0
    while start < len(continuations):
        stop, size = start + 1, len(continuations[start])
        while stop < len(continuations) and size + len(continuations[stop]) <= budget:
            size += len(continuations[stop])
            stop += 1
        yield _continued(prompt, continuations[start:stop], start)
        start = stop


def _continued(prompt: Sequence[int], continuations: Sequence[Sequence[int]], start: int) -> Continued:
    ids, positions, parts = list(prompt), list(range(len(prompt))), [0] * len(prompt)
    places: list[int] = []
    for part, tokens in enumerate(continuations, start=1):
        if tokens:
            places += [len(prompt) - 1, *range(len(ids), len(ids) + len(tokens) - 1)]
        ids += tokens[:-1]
        positions += range(len(prompt), len(prompt) + len(tokens[:-1]))
        parts += [part] * len(tokens[:-1])
    lengths = [len(tokens) for tokens in continuations]
    return Continued(
        rows=np.arange(start, start + len(continuations)),
        ids=np.array(ids, dtype=np.int64),
        positions=np.array(positions, dtype=np.int64),
        parts=np.array(parts, dtype=np.int64),
        places=np.array(places, dtype=np.int64),
        wanted=np.array([token for tokens in continuations for token in tokens], dtype=np.int64),
        owners=np.repeat(np.arange(len(continuations)), lengths),
    )


def log_likelihoods(module: Any, part: Continued) -> Float32Array:
    """Float32[n]: for each continuation, the sum of the logarithms of what the model gives its tokens."""
    import torch

    device = module.device
    ids, positions, places = (torch.from_numpy(a).to(device) for a in (part.ids, part.positions, part.places))
    mask = torch.from_numpy(part.allowed()).to(device)
    with torch.inference_mode():
        logits = module(
            input_ids=ids[None],
            position_ids=positions[None],
            attention_mask=mask[None, None],
            logits_to_keep=places,
            use_cache=False,
        ).logits[0]
        found = _given(logits, torch.from_numpy(part.wanted).to(device))
    return np.bincount(part.owners, weights=found, minlength=len(part.rows)).astype(np.float32)


def plain_log_likelihoods(module: Any, prompt: Sequence[int], continuations: Sequence[Sequence[int]]) -> Float32Array:
    """The same, Float32[n], the prompt read again for each: for models that do not let a mask be given."""
    import torch

    found = np.zeros(len(continuations), dtype=np.float32)
    for row, tokens in enumerate(continuations):
        if tokens:
            ids = torch.tensor([[*prompt, *tokens[:-1]]], device=module.device)
            with torch.inference_mode():
                logits = module(input_ids=ids, logits_to_keep=len(tokens), use_cache=False).logits[0]
                found[row] = _given(logits, torch.tensor(list(tokens), device=module.device)).sum()
    return found


def _given(logits: torch.Tensor, wanted: torch.Tensor) -> Float32Array:
    """Float32[t]: logarithms of the chances that [t, vocabulary] logits give to Int64[t] tokens."""
    chances = logits.float().log_softmax(dim=-1).gather(1, wanted[:, None])[:, 0]
    return np.asarray(chances.cpu().numpy())
