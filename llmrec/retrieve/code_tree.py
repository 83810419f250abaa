"""Items as the leaves of a tree of codes, and the search for the likeliest of them.

How likely an item is is the product of the chances of its codes, each given the history and the codes before it. A
product only falls along a path, so what a beam has left aside can be shown to hold nothing better, or is looked at
again: the search is exact.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, Self, TypeVar

import numpy as np

from llmrec.types import BoolArray, Float32Array, Int32Array, Int64Array

__all__ = ["CodeTree", "Leaves", "Reader", "best_leaves", "leaf_scores"]

Here = TypeVar("Here")

WIDTH = 2
"""Paths of a beam for each item that is wanted."""

LEAST = 16
"""Paths of a beam at least."""


class Reader(Protocol[Here]):
    """Goes along paths of codes from one history."""

    def chances(self, here: Here, level: int) -> Float32Array:
        """Float32[r, codes]: logarithms of what each code's chance is to come next, never above 0."""

    def follow(self, here: Here, rows: Int64Array, level: int, codes: Int64Array) -> Here:
        """Put a code of a level, Int64[m], behind some paths, Int64[m]."""


@dataclass(frozen=True, slots=True, eq=False)
class CodeTree:
    """Prefixes of codes, level by level; behind the last level stand items.

    Attributes:
        items: Int32[m], catalog rows in the order of their codes: the leaves.
        codes: of each level Int64[nodes], the code that leads to each node; of the last, to each leaf.
        children: of each level Int64[nodes before + 1], where the nodes begin that follow each node before.
        spans: of each level Int64[nodes + 1], where the leaves of each node begin.
    """

    items: Int32Array
    codes: tuple[Int64Array, ...]
    children: tuple[Int64Array, ...]
    spans: tuple[Int64Array, ...]

    @classmethod
    def of(cls, tokens: Int64Array) -> Self:
        """Plant a tree of Int64[n, levels] codes, a row for each item; items may share all of them."""
        return cls._planted(np.lexsort(tokens.T[::-1]).astype(np.int32), tokens)

    def only(self, allowed: BoolArray | None, tokens: Int64Array) -> CodeTree:
        """Return the tree of some items, Bool[n]; None: of all."""
        return self if allowed is None else self._planted(self.items[allowed[self.items]], tokens)

    @classmethod
    def _planted(cls, order: Int32Array, tokens: Int64Array) -> Self:
        m, levels = len(order), tokens.shape[1]
        ordered, before = tokens[order], np.array([0, m], dtype=np.int64)[: 2 if m else 1]
        new = np.zeros(m, dtype=np.bool_)
        codes, children, spans = [], [], []
        for level in range(levels):
            if m:
                new[0] = True
                new[1:] |= ordered[1:, level] != ordered[:-1, level]
            starts = np.arange(m) if level == levels - 1 else np.flatnonzero(new)
            codes.append(ordered[starts, level])
            children.append(np.searchsorted(starts, before).astype(np.int64))
            before = np.append(starts, m).astype(np.int64)
            spans.append(before)
        return cls(order, tuple(codes), tuple(children), tuple(spans))

    @property
    def depth(self) -> int:
        """Codes of an item."""
        return len(self.codes)

    def below(self, level: int, nodes: Int64Array) -> tuple[Int64Array, Int64Array]:
        """Int64[c], the nodes of a level that follow Int64[r] nodes of the one before; Int64[c], which of the r."""
        starts = self.children[level][nodes]
        counts = self.children[level][nodes + 1] - starts
        owners = np.repeat(np.arange(len(nodes)), counts)
        return np.arange(counts.sum()) + np.repeat(starts - (np.cumsum(counts) - counts), counts), owners

    def leaves_of(self, level: int, nodes: Int64Array, marked: Int64Array) -> Int64Array:
        """Int64[r]: how many of some leaves, Int64[x], sorted, stand behind each node."""
        spans = self.spans[level]
        return np.asarray(np.searchsorted(marked, spans[nodes + 1]) - np.searchsorted(marked, spans[nodes]))

    def sizes(self, level: int, nodes: Int64Array) -> Int64Array:
        """Int64[r]: how many leaves stand behind each node."""
        return np.asarray(self.spans[level][nodes + 1] - self.spans[level][nodes])


@dataclass(frozen=True, slots=True, eq=False)
class Leaves:
    """Items that were found.

    Attributes:
        places: Int64[x], among the leaves of the tree.
        scores: Float32[x], logarithms of their chances.
    """

    places: Int64Array
    scores: Float32Array


@dataclass(frozen=True, slots=True, eq=False)
class _Front:
    """Paths that end at nodes of a level, not yet read up to there.

    Attributes:
        level: of the nodes.
        here: what was read up to the nodes before.
        nodes: Int64[r].
        owners: Int64[r], the rows of `here` they follow.
        scores: Float32[r].
    """

    level: int
    here: Any
    nodes: Int64Array
    owners: Int64Array
    scores: Float32Array

    def where(self, keep: BoolArray) -> _Front:
        return _Front(self.level, self.here, self.nodes[keep], self.owners[keep], self.scores[keep])


Alive = Callable[[int, Int64Array], BoolArray]
"""Of Int64[r] nodes of a level: behind which is there anything to be found?"""


def leaf_scores(tree: CodeTree, reader: Reader[Here], start: Here, places: Int64Array) -> Float32Array:
    """Score some items.

    Args:
        tree: of all items.
        reader: goes along paths.
        start: the path on which nothing is yet.
        places: Int64[x] leaves, sorted, distinct.

    Returns:
        Float32[x].
    """
    front = _first(tree, reader, start, lambda level, nodes: tree.leaves_of(level, nodes, places) > 0)
    while front.level < tree.depth - 1:
        front = _next(tree, reader, front, lambda level, nodes: tree.leaves_of(level, nodes, places) > 0)
    return front.scores


def best_leaves(tree: CodeTree, reader: Reader[Here], start: Here, k: int, excluded: Int64Array) -> Leaves:
    """Find the k likeliest items, and all that are as likely as the last of them.

    Args:
        tree: of the items that may come back.
        reader: goes along paths.
        start: the path on which nothing is yet.
        k: how many.
        excluded: Int64[x] leaves that must not come back, sorted, distinct.

    Returns:
        They, in no order; fewer where there are fewer.
    """

    def alive(level: int, nodes: Int64Array) -> BoolArray:
        return tree.leaves_of(level, nodes, excluded) < tree.sizes(level, nodes)

    left = len(tree.items) - len(excluded)
    if min(k, left) < 1:
        return Leaves(np.empty(0, np.int64), np.empty(0, np.float32))
    front, aside = _first(tree, reader, start, alive), []
    width = max(LEAST, WIDTH * k) if k < left else left
    while front.level < tree.depth - 1:
        if width < len(front.scores):
            keep = front.scores >= np.partition(front.scores, -width)[-width]
            aside.append(front.where(~keep))
            front = front.where(keep)
        front = _next(tree, reader, front, alive)
    found = [front]
    for part in aside:
        found.append(_rest(tree, reader, part, alive, _floor(found, k)))
    every = Leaves(*(np.concatenate([getattr(one, name) for one in found]) for name in ("nodes", "scores")))
    keep = every.scores >= _floor(found, k)
    return Leaves(every.places[keep], every.scores[keep])


def _rest(tree: CodeTree, reader: Reader[Any], front: _Front, alive: Alive, floor: np.float32) -> _Front:
    """Follow what a beam has left aside as far as it may hold something better: nothing is likelier than its path."""
    front = front.where(front.scores >= floor)
    while front.level < tree.depth - 1:
        front = _next(tree, reader, front, alive)
        front = front.where(front.scores >= floor)
    return front


def _floor(found: list[_Front], k: int) -> np.float32:
    """The k-th best score so far; -inf where there are fewer."""
    scores = np.concatenate([one.scores for one in found])
    return np.float32(-np.inf) if len(scores) < k else np.float32(np.partition(scores, -k)[-k])


def _first(tree: CodeTree, reader: Reader[Any], start: Any, alive: Alive) -> _Front:
    return _opened(tree, reader, 0, start, (np.zeros(1, np.int64), np.zeros(1, np.float32)), alive)


def _next(tree: CodeTree, reader: Reader[Any], front: _Front, alive: Alive) -> _Front:
    """Read up to the nodes of a front, and open what follows them."""
    here = reader.follow(front.here, front.owners, front.level, tree.codes[front.level][front.nodes])
    return _opened(tree, reader, front.level + 1, here, (front.nodes, front.scores), alive)


def _opened(
    tree: CodeTree, reader: Reader[Any], level: int, here: Any, at: tuple[Int64Array, Float32Array], alive: Alive
) -> _Front:
    nodes, owners = tree.below(level, at[0])
    keep = alive(level, nodes)
    nodes, owners = nodes[keep], owners[keep]
    scores = at[1][owners] + reader.chances(here, level)[owners, tree.codes[level][nodes]]
    return _Front(level, here, nodes, owners, scores.astype(np.float32))
