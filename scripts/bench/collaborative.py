"""What each collaborative retriever is worth on validation, alone and in pairs.

    python scripts/bench/collaborative.py                                   # ML-100K, all of them
    python scripts/bench/collaborative.py --dataset FOLDER --users 8000 --methods ease,transition
    python scripts/bench/collaborative.py --set 'next_item={"text_weight": 5}' --set 'als={"factors": 128}'

Protocol LOO, validation: models are fitted on all but the last two interactions of each user, the second last is the
target, the history is left out, all other items are ranked, ties count half. A pair is the sum of both scores, each
standardised over the catalog for each user; where one has no evidence it adds its lowest score. No test is looked at.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

import llmrec
from llmrec.component import FitContext, find_component
from llmrec.data import Holdout
from llmrec.data.split_last import leave_last_out
from llmrec.retrieve import Retriever

METHODS = "ease,next_item,item_knn,transition,als,bpr,popularity"
BATCH = 256

Floats = NDArray[np.float32]


def main() -> None:
    """Fit each method once, rank the targets alone and in pairs, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--dataset", default="ml-100k")
    parser.add_argument("--methods", default=METHODS)
    parser.add_argument("--set", action="append", default=[], help='settings of one method: NAME={"key": value}')
    parser.add_argument("--users", type=int, default=0, help="a random sample of so many users; 0: all")
    args = parser.parse_args()
    data = llmrec.load_dataset(args.dataset)
    split = leave_last_out(data.interactions)
    settings = {name: json.loads(values) for name, _, values in (text.partition("=") for text in args.set)}
    models: dict[str, Retriever] = {}
    for name in args.methods.split(","):
        component, start = find_component(name), time.perf_counter()
        config = component.config.model_validate(settings.get(name, {}))
        models[name] = component.fit(FitContext(name, data.catalog, split.train), config)
        print(f"{name}: {config.model_dump()}, fitted in {time.perf_counter() - start:.0f} s", flush=True)
    holdout = _sample(split.validation, args.users)
    ranks = _ranks(models, holdout, len(data.catalog))
    print(f"\nLOO, validation, {len(holdout):,} users, {len(data.catalog):,} items\n")
    print("| | NDCG@10 | Recall@10 | Recall@200 |\n|---|---|---|---|")
    for name, values in ranks.items():
        gain = np.where(values <= 10, 1 / np.log2(values + 1), 0).mean()
        print(f"| {name} | {gain:.4f} | {(values <= 10).mean():.4f} | {(values <= 200).mean():.4f} |")


def _sample(holdout: Holdout, users: int) -> Holdout:
    if not 0 < users < len(holdout):
        return holdout
    rows = np.sort(np.random.default_rng(0).permutation(len(holdout))[:users])
    return Holdout(holdout.user_rows[rows], holdout.queries.take(rows), holdout.targets[rows])


def _ranks(models: dict[str, Retriever], holdout: Holdout, n_items: int) -> dict[str, NDArray[np.float64]]:
    """Float64[n] a method or pair: the place of each target, ties half; beyond the catalog without evidence."""
    found: dict[str, list[NDArray[np.float64]]] = {}
    for start in range(0, len(holdout), BATCH):
        rows = np.arange(start, min(start + BATCH, len(holdout)))
        queries, targets = holdout.queries.take(rows), holdout.targets[rows]
        everything = np.tile(np.arange(n_items, dtype=np.int32), (len(rows), 1))
        seen = np.zeros((len(rows), n_items), np.bool_)
        seen[np.repeat(np.arange(len(rows)), np.diff(queries.offsets)), queries.items] = True
        alone = {name: np.where(seen, np.nan, model.score(queries, everything)) for name, model in models.items()}
        for name, scores in _with_pairs(alone, seen):
            found.setdefault(name, []).append(_places(scores, targets))
    return {name: np.concatenate(parts) for name, parts in found.items()}


def _with_pairs(alone: dict[str, Floats], seen: NDArray[np.bool_]) -> Iterator[tuple[str, Floats]]:
    yield from alone.items()
    standard = {name: _standardised(scores) for name, scores in alone.items()}
    for one, other in combinations(alone, 2):
        yield f"{one} + {other}", np.where(seen, np.nan, standard[one] + standard[other])


def _standardised(scores: Floats) -> Floats:
    known = ~np.isnan(scores)
    count = np.maximum(known.sum(axis=1, keepdims=True), 1)
    mean = np.where(known, scores, 0).sum(axis=1, keepdims=True) / count
    spread = np.sqrt((np.where(known, scores - mean, 0) ** 2).sum(axis=1, keepdims=True) / count)
    standard = np.where(known, (scores - mean) / np.maximum(spread, 1e-12), np.inf)
    lowest = np.minimum(standard.min(axis=1, keepdims=True), 0)
    return np.where(known, standard, np.where(np.isfinite(lowest), lowest, 0)).astype(np.float32)


def _places(scores: Floats, targets: NDArray[np.int32]) -> NDArray[np.float64]:
    scores = np.where(np.isnan(scores), -np.inf, scores)
    own = np.take_along_axis(scores, targets[:, None].astype(np.int64), axis=1)
    places = (scores > own).sum(axis=1) + ((scores == own).sum(axis=1) - 1) / 2 + 1.0
    return np.where(np.isfinite(own[:, 0]), places, scores.shape[1] + 1.0)


if __name__ == "__main__":
    main()
