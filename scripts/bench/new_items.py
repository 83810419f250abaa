"""What it costs to let new items compete, on MovieLens-100K; validation targets only. Prints JSON.

A tenth of the items is new (sha256 of the id, as a number, divisible by ten): in the catalog, in no interaction that is
trained on or kept in a history. For several values of `new_item_share` of the fusion: NDCG@10 on targets that are not
new, beside EASE alone; NDCG@10 on targets that are; and the share of the first ten places that new items take.
"""

from __future__ import annotations

import hashlib
import json

import numpy as np

import llmrec
from llmrec.data import Holdout
from llmrec.fuse import ReciprocalRankFusion
from llmrec.types import Queries

SHARES = (1.0, 0.95, 0.9, 0.85, 0.8, 0.0)


def main() -> None:
    """Run and print."""
    data = llmrec.load_dataset("ml-100k")
    new = np.array([int(hashlib.sha256(i.encode()).hexdigest(), 16) % 10 == 0 for i in data.catalog.items.ids])
    everything = llmrec.leave_last_out(data.interactions).validation
    kept = ~new[data.interactions.items]
    owners = np.repeat(np.arange(data.interactions.n_users), np.diff(data.interactions.offsets))[kept]
    log = llmrec.Interactions.from_table(
        {
            "user_id": [data.interactions.users[int(row)] for row in owners],
            "item_id": data.catalog.items.decode(data.interactions.items[kept]),
            "timestamp": data.interactions.times[kept],
        },
        data.catalog,
    )
    config = llmrec.Config.from_dict(
        {"stages": [{"name": "hybrid", "retrievers": {"popularity": {}, "ease": {}, "dense": {}}}]}
    )
    recommender = llmrec.fit(config, data.catalog, log, holdout="last")
    known = llmrec.leave_last_out(log).validation
    cold = _new_cases(everything, new)
    print(json.dumps(_compare(recommender, known, cold, new), indent=2))


def _compare(recommender: llmrec.Recommender, known: Holdout, cold: Holdout, new: np.ndarray) -> dict[str, object]:
    from dataclasses import replace

    stage = recommender.stages[0]
    fusion = stage.fusion
    assert isinstance(fusion, ReciprocalRankFusion)

    def with_fusion(changed: ReciprocalRankFusion) -> llmrec.Recommender:
        return replace(recommender, stages=(replace(stage, fusion=changed),))

    found: dict[str, object] = {}
    for share in SHARES:
        settings = fusion.config.model_copy(update={"new_item_share": share})
        changed = with_fusion(replace(fusion, config=settings, lift=None))
        lists = changed.recommend(known.queries, 10).items
        found[str(share)] = {
            "known_targets_ndcg@10": _ndcg(lists, known.targets),
            "new_targets_ndcg@10": _ndcg(changed.recommend(cold.queries, 10).items, cold.targets),
            "places_taken_by_new_items": round(float(new[lists].mean()), 4),
        }
    ease = with_fusion(replace(fusion, weights={"ease": 1.0})).recommend(known.queries, 10).items
    sizes = {"known_targets": len(known.targets), "new_targets": len(cold.targets), "new_items": int(new.sum())}
    return {**sizes, "weights": dict(fusion.weights), "ease_alone": _ndcg(ease, known.targets), "new_item_share": found}


def _new_cases(cases: Holdout, new: np.ndarray) -> Holdout:
    """Cases whose target is a new item, with histories that hold none."""
    rows = np.flatnonzero(new[cases.targets]).astype(np.int64)
    histories = [[int(item) for item in cases.queries.histories[row] if not new[item]] for row in rows]
    return Holdout(cases.user_rows[rows], Queries.from_lists(histories), cases.targets[rows])


def _ndcg(lists: np.ndarray, targets: np.ndarray) -> float:
    hit = lists == targets[:, None]
    return round(float(np.where(hit.any(axis=1), 1 / np.log2(hit.argmax(axis=1) + 2), 0.0).mean()), 4)


if __name__ == "__main__":
    main()
