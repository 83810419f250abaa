"""Token sequences that begin alike as a tree, of which a causal model reads every token once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from llmrec.types import BoolArray, Float32Array, Int64Array

if TYPE_CHECKING:
    import torch

__all__ = ["Asked", "Tree", "log_likelihoods", "plain_log_likelihoods", "trees"]


@dataclass(frozen=True, slots=True)
class Asked:
    """How likely is a continuation after a prompt?

    Attributes:
        prompt: its tokens, at least one.
        continuation: its tokens.
    """

    prompt: Sequence[int]
    continuation: Sequence[int]

    @property
    def read(self) -> list[int]:
        """What a model reads: all but the last token, which is foretold only."""
        return [*self.prompt, *self.continuation[:-1]]


@dataclass(slots=True)
class Tree:
    """Sequences with what they have in common held once.

    Attributes:
        ids: tokens, each behind the one it follows.
        parents: the place of the one before it; -1 at the start.
        places: from which token each token of the continuations is foretold.
        wanted: those tokens.
        owners: of which question they are, by its number.
        questions: so many were added.
    """

    ids: list[int] = field(default_factory=list)
    parents: list[int] = field(default_factory=list)
    places: list[int] = field(default_factory=list)
    wanted: list[int] = field(default_factory=list)
    owners: list[int] = field(default_factory=list)
    questions: int = 0
    _next: dict[tuple[int, int], int] = field(default_factory=dict)

    def known(self, tokens: Sequence[int]) -> list[int]:
        """Places of as many tokens of a sequence, from its start, as are there."""
        path: list[int] = []
        for token in tokens:
            place = self._next.get((path[-1] if path else -1, token))
            if place is None:
                break
            path.append(place)
        return path

    def add(self, asked: Asked, path: list[int]) -> None:
        """Add a question, of whose tokens those at `path` are there."""
        tokens = asked.read
        path = list(path)
        for token in tokens[len(path) :]:
            before = path[-1] if path else -1
            self._next[before, token] = len(self.ids)
            path.append(len(self.ids))
            self.ids.append(token)
            self.parents.append(before)
        if asked.continuation:
            self.places += path[len(asked.prompt) - 1 :]
            self.wanted += asked.continuation
            self.owners += [self.questions] * len(asked.continuation)
        self.questions += 1

    def positions(self) -> Int64Array:
        """Int64[m]: how many tokens each one follows."""
        found = np.zeros(len(self.ids), dtype=np.int64)
        for place, before in enumerate(self.parents):
            found[place] = found[before] + 1 if before >= 0 else 0
        return found

    def allowed(self) -> BoolArray:
        """Bool[m, m]: a token looks at itself and at those it follows."""
        mask = np.zeros((len(self.ids), len(self.ids)), dtype=np.bool_)
        for place, before in enumerate(self.parents):
            if before >= 0:
                mask[place] = mask[before]
            mask[place, place] = True
        return mask


def trees(asked: Iterable[Asked], budget: int) -> Iterator[Tree]:
    """Put questions into trees, in their order: neighbours of which half or more is the same share one.

    Args:
        asked: the questions.
        budget: tokens of a tree at most, but for one question that is longer.
    """
    tree = Tree()
    for one in asked:
        tokens = one.read
        path = tree.known(tokens)
        if tree.questions and (2 * len(path) < len(tokens) or len(tree.ids) + len(tokens) - len(path) > budget):
            yield tree
            tree, path = Tree(), []
        tree.add(one, path)
    if tree.questions:
        yield tree


def log_likelihoods(module: Any, tree: Tree) -> Float32Array:
    """Float32[questions]: the sum of the logarithms of the chances that a model gives a continuation's tokens."""
    import torch

    device = module.device
    if not tree.wanted:
        return np.zeros(tree.questions, dtype=np.float32)
    places, spread = np.unique(tree.places, return_inverse=True)
    with torch.inference_mode():
        logits = module(
            input_ids=torch.tensor([tree.ids], device=device),
            position_ids=torch.from_numpy(tree.positions()).to(device)[None],
            attention_mask=torch.from_numpy(tree.allowed()).to(device)[None, None],
            logits_to_keep=torch.from_numpy(places).to(device),
            use_cache=False,
        ).logits[0]
        found = _given(logits, torch.from_numpy(spread).to(device), torch.tensor(tree.wanted, device=device))
    return np.bincount(tree.owners, weights=found, minlength=tree.questions).astype(np.float32)


def plain_log_likelihoods(module: Any, asked: Sequence[Asked]) -> Float32Array:
    """The same, Float32[n], every sequence read whole: for models that do not let a mask be given."""
    import torch

    found = np.zeros(len(asked), dtype=np.float32)
    for row, one in enumerate(asked):
        count = len(one.continuation)
        if count:
            with torch.inference_mode():
                ids = torch.tensor([one.read], device=module.device)
                logits = module(input_ids=ids, logits_to_keep=count, use_cache=False).logits[0]
                every = torch.arange(count, device=module.device)
                found[row] = _given(logits, every, torch.tensor(list(one.continuation), device=module.device)).sum()
    return found


def _given(logits: torch.Tensor, rows: torch.Tensor, wanted: torch.Tensor) -> Float32Array:
    """Float32[t]: logarithms of the chances that some rows of [r, vocabulary] logits give to Int64[t] tokens."""
    chances = logits.float().log_softmax(dim=-1)[rows, wanted]
    return np.asarray(chances.cpu().numpy())
