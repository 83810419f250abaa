"""Choose the settings of the peers of `quality.py` on validation, with an equal small budget each.

    python scripts/bench/tune_peers.py ml-100k
    python scripts/bench/tune_peers.py games --data FOLDER --users 8000 --peers ease,als

Of each peer, every grid in `configs/NAME-methods.toml` (`[[grids.PEER]]`: a coarse one, then a finer one around its
winner) has at most --trials combinations tried: all of them, or a random sample that is always the same. Protocol LOO,
validation: models are fitted on all but the last two interactions of each user, the second last is the target, the
history is left out, all other items are ranked, ties count half. No test target is looked at. Prints Markdown, the
best first.
"""

from __future__ import annotations

import argparse
import itertools
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from _quality_methods import CONFIGS, read_others

import llmrec
from llmrec.component import FitContext, find_component
from llmrec.data import Catalog, Dataset, Holdout, leave_last_out
from llmrec.evaluate import Float64Array, rank_targets, rank_values, sample_cases
from llmrec.retrieve import Retriever

TRIALS = 12
BATCH = 256
AT_SERVING = "decay"
"""A setting that all of these read when they score, not when they are fitted: trials that differ in it share a fit."""


def main() -> None:
    """Try, and print."""
    args = _arguments()
    data = llmrec.load_dataset(args.data or args.name)
    grids = read_others(args.name, args.configs).get("grids", {})
    wanted = list(grids) if args.peers is None else args.peers.split(",")
    if unknown := [peer for peer in wanted if peer not in grids]:
        raise SystemExit(f"{args.name}-methods.toml has no grid for {unknown[0]!r}; there are: {', '.join(grids)}")
    split = leave_last_out(data.interactions)
    cases = split.validation if args.users is None else sample_cases(split.validation, args.users)
    print(f"LOO, validation, {len(cases):,} users, {len(data.catalog):,} items; at most {args.trials} trials a grid")
    for peer in wanted:
        trials = [trial for grid in grids[peer] for trial in combinations(grid, args.trials)]
        found = sorted(tried(peer, trials, data, split.train, cases), key=lambda one: -one[1].mean())
        print(f"\n{peer}\n\n| settings | NDCG@10 | fit, s |\n|---|---|---|")
        for settings, values, seconds in found:
            error = values.std() / np.sqrt(len(values))
            print(f"| {json.dumps(settings)} | {values.mean():.4f} +- {error:.4f} | {seconds:.1f} |", flush=True)


def combinations(grid: Mapping[str, Sequence[Any]], trials: int) -> list[dict[str, Any]]:
    """All combinations of a grid, or a random sample of them, in order; what needs one fit stands together."""
    names = sorted(grid, key=lambda name: name == AT_SERVING)
    everything = [dict(zip(names, values, strict=True)) for values in itertools.product(*(grid[n] for n in names))]
    chosen = np.sort(np.random.default_rng(0).permutation(len(everything))[:trials])
    return [everything[place] for place in chosen]


def tried(
    peer: str, trials: Sequence[Mapping[str, Any]], data: Dataset, train: llmrec.Interactions, cases: Holdout
) -> Iterator[tuple[Mapping[str, Any], Float64Array, float]]:
    """Yield each trial's settings, NDCG@10 of each case, and the seconds of its fit (0 if it shared one)."""
    component = find_component(peer)
    fitted: Any = None
    before: dict[str, Any] | None = None
    for settings in trials:
        config = component.config.model_validate(settings)
        needs, start = config.model_dump(exclude={AT_SERVING}), time.perf_counter()
        if needs == before:
            fitted = replace(fitted, config=config)
        else:
            fitted, before = component.fit(FitContext(peer, data.catalog, train), config), needs
        seconds = time.perf_counter() - start
        yield settings, ndcg(fitted, cases, data.catalog), seconds


def ndcg(model: Retriever, cases: Holdout, catalog: Catalog) -> Float64Array:
    """NDCG@10 of each case, Float64[n]; the history is left out."""
    everything, found = np.arange(len(catalog), dtype=np.int32), []
    for start in range(0, len(cases), BATCH):
        rows = np.arange(start, min(start + BATCH, len(cases)))
        queries = cases.queries.take(rows)
        scores = model.score(queries, np.tile(everything, (len(rows), 1)))
        ranks = rank_targets(scores, cases.targets[rows], queries.histories)
        found.append(rank_values(ranks)["NDCG@10"])
    return np.concatenate(found)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("name", help="which of configs/NAME-methods.toml")
    parser.add_argument("--data", type=Path, help="the data set's folder; without it, a data set llmrec knows by name")
    parser.add_argument("--peers", help="only these, by comma")
    parser.add_argument("--trials", type=int, default=TRIALS)
    parser.add_argument("--users", type=int, help="judge on a fixed random sample of so many users")
    parser.add_argument("--configs", type=Path, default=CONFIGS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
