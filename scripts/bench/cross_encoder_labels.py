"""What the cross-encoder's training labels do to it, on MovieLens-100K; validation targets only. Prints JSON.

Three trainings with the same number of pairs: hard negatives only, random negatives only, and graded (hard negatives at
0.5, random ones at 0). For each: how much its scores vary over the first stage's best 20 (0: it says the same of
everything), and NDCG@10 of those 20 in its order, beside the first stage's own order. Takes some minutes.
"""

from __future__ import annotations

import json
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np

import llmrec
from llmrec.component import FitContext, find_component

VARIANTS = {
    "hard only": {"hard_negatives": 3, "hard_label": 0.0, "random_negatives": 0},
    "random only": {"hard_negatives": 0, "random_negatives": 3},
    "graded": {"hard_negatives": 1, "hard_label": 0.5, "random_negatives": 2},
}
USERS = 250


def main() -> None:
    """Run and print."""
    data = llmrec.load_dataset("ml-100k")
    split = llmrec.leave_last_out(data.interactions)
    config = llmrec.Config.from_dict(
        {"stages": [{"name": "hybrid", "keep": 20, "retrievers": {"popularity": {}, "ease": {}, "dense": {}}}]}
    )
    first = llmrec.fit(config, data.catalog, data.interactions, holdout="last")
    rows = np.sort(np.random.default_rng(5).permutation(len(split.validation))[:USERS]).astype(np.int64)
    queries, targets = split.validation.queries.take(rows), split.validation.targets[rows]
    trace = first.trace(queries, 20)
    hit = trace.stages[0].survivors.items == targets[:, None]
    found: dict[str, dict[str, float]] = {"first stage": {"ndcg@10": _ndcg(hit)}}
    component = find_component("cross_encoder")
    with tempfile.TemporaryDirectory() as work:
        context = FitContext("cross_encoder", data.catalog, split.train, first_stage=first, work=Path(work))
        for name, settings in VARIANTS.items():
            print(f"training: {name}", file=sys.stderr)
            scorer = component.fit(replace(context, work=Path(work) / name), component.config(**settings))
            scores = scorer.score(queries, trace.stages[0].survivors.items)
            order = np.argsort(-scores, axis=1, kind="stable")
            found[name] = {
                "ndcg@10": _ndcg(np.take_along_axis(hit, order, axis=1)),
                "score_deviation": round(float(scores.std()), 4),
            }
    print(json.dumps({"users": USERS, "variants": found}, indent=2))


def _ndcg(hit: np.ndarray) -> float:
    rank = np.where(hit.any(axis=1), hit.argmax(axis=1) + 1, np.inf)
    return round(float(np.where(rank <= 10, 1 / np.log2(rank + 1), 0.0).mean()), 4)


if __name__ == "__main__":
    main()
