"""What a cross-encoder adds to the stage before it, at which depth and price; validation targets only.

    python scripts/bench/cross_encoder.py                                    # ML-100K, cross-validated over users
    python scripts/bench/cross_encoder.py --dataset FOLDER --first FIRST.toml --users 5000 --cases 20000
    python scripts/bench/cross_encoder.py --set epochs=1 --set base=models/tuned

Protocol LOO, validation: the first stage is fitted on all but the last two interactions of each user, its fusion tuned
on validation cases; the cross-encoder learns from some users' validation cases, and reorders the lists of others. It is
judged by NDCG@10 of the whole list, in which what stands below the depth stays where it is, and by a paired difference
to the first stage's order. Its scores count in two ways: added to what the place in the list says, as in its training;
and by its rank, in a reciprocal rank fusion whose weight is chosen on other users (five folds). Without --users, five
folds of all users. Milliseconds are the median for one user's list. Prints Markdown.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

import numpy as np
from _rerank_folds import CUT, FOLDS, Floats, Measured, first_config, folds, gains, measure, milliseconds
from numpy.typing import NDArray

import llmrec
from llmrec.component import FitContext, find_component
from llmrec.data.split_last import leave_last_out

DEPTHS = (5, 10, 20, 50)
WEIGHTS = (0.0, 0.1, 0.2, 0.4, 0.7, 1.0)
TIMED = 20
"""Users of each fold."""


def main() -> None:
    """Fit the first stage once, the cross-encoder as often as there are folds, print."""
    args = _arguments()
    data = llmrec.load_dataset(args.dataset)
    split = leave_last_out(data.interactions)
    config = first_config(args.first, max(DEPTHS))
    first = llmrec.fit(config, data.catalog, data.interactions, holdout="last", progress=_say)
    settings = {key: json.loads(value) for key, _, value in (text.partition("=") for text in args.set)}
    component, parts, taken = find_component("cross_encoder"), [], []
    for taught, asked in folds(split.validation, args):
        with tempfile.TemporaryDirectory() as work:
            context = FitContext(
                "cross_encoder", data.catalog, split.train, taught, first_stage=first, work=Path(work), progress=_say
            )
            scorer = component.fit(context, component.config.model_validate(settings))
            parts += measure(first, [scorer], taught, asked, max(DEPTHS))
            taken.append(milliseconds(first, [scorer], asked, DEPTHS, TIMED)[0])
        _say(f"{sum(len(part.places) for part in parts)} users measured")
    _print(Measured.joined(parts), np.median(np.concatenate(taken, axis=1), axis=1))


def _by_rank(places: NDArray[np.int64], scores: Floats, depth: int) -> Floats:
    """NDCG@10 of each user by reciprocal ranks of both, the second's weight chosen on other users."""
    rank = np.argsort(np.argsort(-scores[:, :depth], axis=1, kind="stable"), axis=1) + 1
    own = 1 / (60 + np.arange(depth) + 1)
    found = np.stack([gains(places, _padded(own + w / (60 + rank), scores.shape), depth) for w in WEIGHTS])
    fold = np.random.default_rng(1).permutation(len(places)) % FOLDS
    best = np.array([found[:, fold != part].mean(axis=1).argmax() for part in range(FOLDS)])
    return found[best[fold], np.arange(len(places))]


def _padded(scores: Floats, shape: tuple[int, ...]) -> Floats:
    return np.pad(scores, ((0, 0), (0, shape[1] - scores.shape[1])))


def _print(found: Measured, taken: Floats) -> None:
    places, scores, prior = found.places, found.scores, found.prior
    before = gains(places, prior, prior.shape[1])
    print(f"\nLOO, validation, {len(places):,} users; NDCG@{CUT} of the first stage {before.mean():.4f}\n")
    print("| depth | added to the place's prior | s.e. | by rank | s.e. | ms a user |\n|---|---|---|---|---|---|")
    for depth, ms in zip(DEPTHS, taken, strict=True):
        cells = []
        for after in (gains(places, prior + scores, depth), _by_rank(places, scores, depth)):
            gain = after - before
            cells.append(f"{gain.mean():+.4f} | {gain.std(ddof=1) / np.sqrt(len(gain)):.4f}")
        print(f"| {depth} | {' | '.join(cells)} | {ms:.0f} |")


def _say(message: str) -> None:
    print(message, file=sys.stderr, flush=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--dataset", default="ml-100k", help="a data set llmrec knows, or a folder")
    parser.add_argument("--first", help="TOML of the stages before; without it, four retrievers by rank")
    parser.add_argument("--users", type=int, default=0, help="measure on a random sample of so many; 0: all, in folds")
    parser.add_argument("--cases", type=int, default=20_000, help="other users to learn from, at most")
    parser.add_argument("--set", action="append", default=[], help="a setting of the cross-encoder: KEY=JSON")
    return parser.parse_args()


if __name__ == "__main__":
    main()
