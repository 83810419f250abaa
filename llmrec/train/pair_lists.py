"""What a cross-encoder learns from: the first stage's lists for cases it has never seen, and what was taken of them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from llmrec.component import Proposes
from llmrec.data import Catalog, Holdout
from llmrec.rerank import render_pairs
from llmrec.text import Template, TokenCounter
from llmrec.types import BoolArray, Float32Array, Int64Array

__all__ = ["PairLists", "PairTexts", "draw_lists", "known_offsets", "mine_lists", "rank_prior", "taken_scores"]

Float64Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class PairLists:
    """Lists of candidates, best first as the first stage ranks them, each with one that was taken; n lists.

    Attributes:
        users: n user texts.
        items: item texts, each once.
        rows: Int64[n, depth], which item text stands at each place; -1: none.
        targets: Int64[n], the place of what was taken, from 0.
    """

    users: Sequence[str]
    items: Sequence[str]
    rows: Int64Array
    targets: Int64Array

    def __len__(self) -> int:
        return len(self.targets)

    @property
    def fingerprint(self) -> str:
        """Sha256 (hex) of everything that is learned from."""
        digest = hashlib.sha256()
        for texts in (self.users, self.items):
            digest.update("\0".join(texts).encode() + b"\0\0")
        for array in (self.rows, self.targets):
            digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()

    def take(self, rows: Int64Array) -> Self:
        """Return some of the lists."""
        users = [self.users[row] for row in rows.tolist()]
        return type(self)(users, self.items, self.rows[rows], self.targets[rows])

    def texts(self, lists: Int64Array, places: Int64Array) -> tuple[list[str], list[str]]:
        """Return user texts and item texts of the candidates at some places of some lists, both Int64[m]."""
        users = [self.users[row] for row in lists.tolist()]
        return users, [self.items[row] for row in self.rows[lists, places].tolist()]


@dataclass(frozen=True, slots=True)
class PairTexts:
    """How cases and candidates are written.

    Attributes:
        template: a pair template.
        catalog: all items.
        counter: counts tokens as the model does.
        budget: tokens of a user's text.
    """

    template: Template
    catalog: Catalog
    counter: TokenCounter
    budget: int


def mine_lists(
    cases: Holdout, first_stage: Proposes, texts: PairTexts, *, depth: int, count: int, seed: int
) -> PairLists:
    """Ask the first stage, keep the lists that hold what was taken, and write them as text.

    The others teach nothing about the order of a list, and cost as much.

    Args:
        cases: whose targets the first stage has not seen: the ranks it gives to what it has seen are not those of
            serving.
        first_stage: ranks the catalog.
        texts: how they are written.
        depth: length of the lists.
        count: lists to draw at most.
        seed: for the draw.
    """
    proposed = first_stage.recommend(cases.queries, depth).items
    hits = (proposed == cases.targets[:, None]) & (proposed >= 0)
    held = np.random.default_rng(seed).permutation(np.flatnonzero(hits.any(axis=1)))
    chosen = np.sort(held[:count]).astype(np.int64)
    owners, places = np.nonzero(proposed[chosen] >= 0)
    shown, queries = proposed[chosen][owners, places], cases.queries.take(chosen)
    pairs = render_pairs(texts.template, texts.catalog, queries, owners, shown, texts.counter, texts.budget)
    rows = np.full((len(chosen), proposed.shape[1]), -1, dtype=np.int64)
    rows[owners, places] = pairs.item_rows
    return PairLists(list(pairs.users), list(pairs.items), rows, hits[chosen].argmax(axis=1).astype(np.int64))


def rank_prior(targets: Int64Array, depth: int) -> Float64Array:
    """Fit how the chance of being taken falls with the place in the list: as a power of it.

    Args:
        targets: Int64[n], the places of what was taken, from 0; n > 0.
        depth: length of the lists.

    Returns:
        Float64[depth], logarithms of the chances, up to a constant; never rising.
    """
    shape = -np.log(np.arange(depth) + 2.0)
    powers = np.linspace(0.0, 4.0, 401)
    likelihood = powers * shape[targets].mean() - np.log(np.exp(np.outer(powers, shape)).sum(axis=1))
    prior: Float64Array = powers[int(np.argmax(likelihood))] * shape
    return prior


def draw_lists(lists: PairLists, chosen: Int64Array, count: int, seed: tuple[int, ...]) -> tuple[Int64Array, BoolArray]:
    """Draw short lists from long ones: what was taken, and others of the same list, all alike.

    Args:
        lists: the long lists.
        chosen: Int64[b], which of them.
        count: others per list.
        seed: for the draw.

    Returns:
        Int64[b, 1 + m], m <= count, places in the lists, that of what was taken first; and Bool, False where the list
        had no more.
    """
    rows, targets = lists.rows[chosen], lists.targets[chosen]
    others = rows >= 0
    others[np.arange(len(chosen)), targets] = False
    draw = np.where(others, np.random.default_rng(seed).random(rows.shape), 2.0)
    order = np.argsort(draw, axis=1, kind="stable")[:, :count]
    places = np.concatenate([targets[:, None], order], axis=1).astype(np.int64)
    there = np.take_along_axis(others, places, axis=1)
    there[:, 0] = True
    return places, there


def known_offsets(
    lists: PairLists, chosen: Int64Array, prior: Float64Array, places: Int64Array, there: BoolArray
) -> Float32Array:
    """Say what is known of each drawn candidate before its text is read.

    The others that were drawn stand for all others of their list: each weighs as many as there are for one drawn.

    Args:
        lists: the long lists.
        chosen: Int64[b], which of them.
        prior: Float64[depth], of the places.
        places: Int64[b, 1 + m], and
        there: Bool[b, 1 + m], as `draw_lists` returned them.

    Returns:
        Float32[b, 1 + m], to be added to logits; -inf where there is nothing.
    """
    available, drawn = (lists.rows[chosen] >= 0).sum(axis=1) - 1, there.sum(axis=1) - 1
    weight = np.log(np.maximum(available, 1) / np.maximum(drawn, 1))[:, None]
    known = prior[places] + np.where(np.arange(places.shape[1]) > 0, weight, 0.0)
    return np.where(there, known, -np.inf).astype(np.float32)


def taken_scores(lists: PairLists) -> Float32Array:
    """Scores whose softmax is what was taken: Float32[n, depth], 0 there and -inf everywhere else."""
    scores = np.full(lists.rows.shape, -np.inf, dtype=np.float32)
    scores[np.arange(len(lists)), lists.targets] = 0.0
    return scores
