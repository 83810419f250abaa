"""Cross-encoders learn from some users' validation cases and reorder the lists of others; what is measured of them."""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

import llmrec
from llmrec.data import Holdout
from llmrec.evaluate.metrics import ndcg
from llmrec.pipeline import Recommender
from llmrec.train.pair_lists import rank_prior

__all__ = ["CUT", "FOLDS", "Floats", "Measured", "first_config", "folds", "gains", "measure", "milliseconds"]

FIRST = {"popularity": {}, "next_item": {}, "transition": {}, "dense": {"item_template": "item/title"}}
FOLDS = 5
CUT = 10

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Measured:
    """Lists of users, as the first stage ranks them.

    Attributes:
        places: Int64[n], where what was taken stands, from 0; the greatest depth: beyond it.
        scores: Float64[n, depth], of the cross-encoder; 0 where what was taken is not in the list: nothing can change.
        prior: Float64[n, depth], what places said of other users.
    """

    places: NDArray[np.int64]
    scores: Floats
    prior: Floats

    @classmethod
    def joined(cls, parts: Sequence[Measured]) -> Measured:
        """All users of some folds."""
        return cls(*(np.concatenate([getattr(part, name) for part in parts]) for name in cls.__slots__))


def first_config(path: str | None, depth: int) -> llmrec.Config:
    """The stages before: of a TOML file, or four retrievers by rank that keep `depth`."""
    if path is not None:
        return llmrec.Config.from_toml(path)
    return llmrec.Config.from_dict({"stages": [{"name": "hybrid", "keep": depth, "retrievers": FIRST}]})


def folds(cases: Holdout, args: argparse.Namespace) -> Iterator[tuple[Holdout, Holdout]]:
    """Whom to learn from (`args.cases` at most), and whom to measure with: `args.users`, or `FOLDS` times others."""
    order = np.random.default_rng(0).permutation(len(cases)).astype(np.int64)
    if args.users:
        yield _some(cases, order[args.users :][: args.cases]), _some(cases, order[: args.users])
        return
    for fold in range(FOLDS):
        others = np.flatnonzero(np.arange(len(order)) % FOLDS != fold)
        yield _some(cases, order[others][: args.cases]), _some(cases, order[fold::FOLDS])


def _some(cases: Holdout, rows: NDArray[np.int64]) -> Holdout:
    rows = np.sort(rows)
    return Holdout(cases.user_rows[rows], cases.queries.take(rows), cases.targets[rows])


def measure(
    first: Recommender, scorers: Sequence[llmrec.retrieve.Scorer], taught: Holdout, asked: Holdout, depth: int
) -> list[Measured]:
    """Score the first stage's lists of the users asked, `depth` long, with each scorer."""
    there = _places(first.recommend(taught.queries, depth).items, taught)
    items = first.recommend(asked.queries, depth).items
    places = _places(items, asked)
    prior = np.full(items.shape, -np.inf)
    prior[items >= 0] = np.broadcast_to(rank_prior(there[there < depth], depth), items.shape)[items >= 0]
    held = np.flatnonzero(places < depth)
    found = []
    for scorer in scorers:
        scores = np.zeros(items.shape)
        scores[held] = np.nan_to_num(scorer.score(asked.queries.take(held), items[held]))
        found.append(Measured(places, scores, prior))
    return found


def _places(items: NDArray[np.int32], cases: Holdout) -> NDArray[np.int64]:
    hits = (items == cases.targets[:, None]) & (items >= 0)
    return np.where(hits.any(axis=1), hits.argmax(axis=1), items.shape[1]).astype(np.int64)


def milliseconds(
    first: Recommender, scorers: Sequence[llmrec.retrieve.Scorer], asked: Holdout, depths: Sequence[int], count: int
) -> Floats:
    """Time one user's list, by scorer and depth, for some users; the scorers take turns.

    Returns:
        Float64[scorers, depths, users], milliseconds.
    """
    some = _some(asked, np.arange(min(count, len(asked))))
    items = first.recommend(some.queries, max(depths)).items
    taken = np.empty((len(scorers), len(depths), len(some)))
    for scorer in scorers:
        scorer.score(some.queries, items)  # weights are read, and every length was seen once
    for row in range(len(some)):
        query = some.queries.take(np.array([row]))
        for column, depth in enumerate(depths):
            for place, scorer in enumerate(scorers):
                start = time.perf_counter()
                scorer.score(query, items[row : row + 1, :depth])
                taken[place, column, row] = 1000 * (time.perf_counter() - start)
    return taken


def gains(places: NDArray[np.int64], scores: Floats, depth: int) -> Floats:
    """NDCG@10 of each user when the first `depth` of the list are put in the order of scores."""
    order = np.argsort(-scores[:, :depth], axis=1, kind="stable")
    order = np.concatenate([order, np.tile(np.arange(depth, scores.shape[1]), (len(order), 1))], axis=1)
    return ndcg(order == places[:, None], np.ones(len(places), dtype=np.int64), CUT)
