"""What a cross-encoder adds to the stage before it, at which depth and price; validation targets only.

    python scripts/bench/cross_encoder.py                                    # ML-100K, cross-validated over users
    python scripts/bench/cross_encoder.py --dataset FOLDER --first FIRST.toml --users 5000 --cases 20000
    python scripts/bench/cross_encoder.py --set epochs=1 --set base=models/tuned

Protocol LOO, validation: the first stage is fitted on all but the last two interactions of each user, its fusion tuned
on validation cases; the cross-encoder learns from some users' validation cases, and reorders the lists of others. It is
judged by NDCG@10 of the whole list, in which what stands below the depth stays where it is, and by a paired difference
to the first stage's order. Its scores count in two ways: added to what the place in the list says, as in its training;
and by its rank, in a reciprocal rank fusion whose weight is chosen on other users (five folds). Without --users, five
folds of all users. Prints Markdown.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import llmrec
from llmrec.component import FitContext, find_component
from llmrec.data import Holdout
from llmrec.data.split_last import leave_last_out
from llmrec.evaluate.metrics import ndcg
from llmrec.pipeline import Recommender
from llmrec.train.pair_lists import rank_prior

FIRST = {"popularity": {}, "next_item": {}, "transition": {}, "dense": {"item_template": "item/title"}}
DEPTHS = (5, 10, 20, 50)
WEIGHTS = (0.0, 0.1, 0.2, 0.4, 0.7, 1.0)
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
        seconds: for scoring one user's list, by depth.
    """

    places: NDArray[np.int64]
    scores: Floats
    prior: Floats
    seconds: dict[int, float]


def main() -> None:
    """Fit the first stage once, the cross-encoder as often as there are folds, print."""
    args = _arguments()
    data = llmrec.load_dataset(args.dataset)
    split = leave_last_out(data.interactions)
    config = llmrec.Config.from_toml(args.first) if args.first else _first()
    first = llmrec.fit(config, data.catalog, data.interactions, holdout="last", progress=_say)
    settings = {key: json.loads(value) for key, _, value in (text.partition("=") for text in args.set)}
    component, parts = find_component("cross_encoder"), []
    for taught, asked in _folds(split.validation, args):
        with tempfile.TemporaryDirectory() as work:
            context = FitContext(
                "cross_encoder", data.catalog, split.train, taught, first_stage=first, work=Path(work), progress=_say
            )
            scorer = component.fit(context, component.config.model_validate(settings))
            parts.append(_measure(first, scorer, taught, asked))
        _say(f"{sum(len(part.places) for part in parts)} users measured")
    _print(parts)


def _first() -> llmrec.Config:
    return llmrec.Config.from_dict({"stages": [{"name": "hybrid", "keep": max(DEPTHS), "retrievers": FIRST}]})


def _folds(cases: Holdout, args: argparse.Namespace) -> Iterator[tuple[Holdout, Holdout]]:
    """Whom to learn from, and whom to measure with."""
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


def _measure(first: Recommender, scorer: llmrec.retrieve.Scorer, taught: Holdout, asked: Holdout) -> Measured:
    depth = max(DEPTHS)
    there = _places(first.recommend(taught.queries, depth).items, taught)
    items = first.recommend(asked.queries, depth).items
    places = _places(items, asked)
    held = np.flatnonzero(places < depth)
    scores = np.zeros(items.shape)
    scores[held] = np.nan_to_num(scorer.score(asked.queries.take(held), items[held]))
    seconds = {}
    for k in DEPTHS:
        some, start = held[: min(20, len(held))], time.perf_counter()
        for row in some:
            scorer.score(asked.queries.take(np.array([row])), items[row : row + 1, :k])
        seconds[k] = (time.perf_counter() - start) / len(some)
    prior = np.full(items.shape, -np.inf)
    prior[items >= 0] = np.broadcast_to(rank_prior(there[there < depth], depth), items.shape)[items >= 0]
    return Measured(places, scores, prior, seconds)


def _places(items: NDArray[np.int32], cases: Holdout) -> NDArray[np.int64]:
    hits = (items == cases.targets[:, None]) & (items >= 0)
    return np.where(hits.any(axis=1), hits.argmax(axis=1), items.shape[1]).astype(np.int64)


def _gains(places: NDArray[np.int64], scores: Floats, depth: int) -> Floats:
    """NDCG@10 of each user when the first `depth` of the list are put in the order of scores."""
    order = np.argsort(-scores[:, :depth], axis=1, kind="stable")
    order = np.concatenate([order, np.tile(np.arange(depth, scores.shape[1]), (len(order), 1))], axis=1)
    return ndcg(order == places[:, None], np.ones(len(places), dtype=np.int64), CUT)


def _by_rank(places: NDArray[np.int64], scores: Floats, depth: int) -> Floats:
    """NDCG@10 of each user by reciprocal ranks of both, the second's weight chosen on other users."""
    rank = np.argsort(np.argsort(-scores[:, :depth], axis=1, kind="stable"), axis=1) + 1
    own = 1 / (60 + np.arange(depth) + 1)
    found = np.stack([_gains(places, _padded(own + w / (60 + rank), scores.shape), depth) for w in WEIGHTS])
    fold = np.random.default_rng(1).permutation(len(places)) % FOLDS
    best = np.array([found[:, fold != part].mean(axis=1).argmax() for part in range(FOLDS)])
    return found[best[fold], np.arange(len(places))]


def _padded(scores: Floats, shape: tuple[int, ...]) -> Floats:
    return np.pad(scores, ((0, 0), (0, shape[1] - scores.shape[1])))


def _print(parts: list[Measured]) -> None:
    places = np.concatenate([part.places for part in parts])
    scores = np.concatenate([part.scores for part in parts])
    prior = np.concatenate([part.prior for part in parts])
    before = _gains(places, prior, prior.shape[1])
    print(f"\nLOO, validation, {len(places):,} users; NDCG@{CUT} of the first stage {before.mean():.4f}\n")
    print("| depth | added to the place's prior | s.e. | by rank | s.e. | ms a user |\n|---|---|---|---|---|---|")
    for depth in DEPTHS:
        cells = []
        for after in (_gains(places, prior + scores, depth), _by_rank(places, scores, depth)):
            gain = after - before
            cells.append(f"{gain.mean():+.4f} | {gain.std(ddof=1) / np.sqrt(len(gain)):.4f}")
        ms = 1000 * np.mean([part.seconds[depth] for part in parts])
        print(f"| {depth} | {' | '.join(cells)} | {ms:.0f} |")


def _say(message: str) -> None:
    print(message, file=sys.stderr, flush=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--dataset", default="ml-100k", help="a data set llmrec knows, or a folder")
    parser.add_argument("--first", type=Path, help="TOML of the stages before; without it, four retrievers by rank")
    parser.add_argument("--users", type=int, default=0, help="measure on a random sample of so many; 0: all, in folds")
    parser.add_argument("--cases", type=int, default=20_000, help="other users to learn from, at most")
    parser.add_argument("--set", action="append", default=[], help="a setting of the cross-encoder: KEY=JSON")
    return parser.parse_args()


if __name__ == "__main__":
    main()
