"""What diversity costs, on MovieLens-100K; validation targets only. Prints JSON.

Lists of ten from popularity + EASE, models fitted on what came before each user's last two interactions, finished by
the diversity policy at several strengths, once by texts (MiniLM) and once by genres. For each: NDCG@10 on the
validation targets, the paired difference from strength 0 between the ends of its 95% interval, and how unlike the items
of a list are (1 - cosine, the mean over pairs and users), by texts and by genres.
"""

from __future__ import annotations

import json
import time
from dataclasses import replace

import numpy as np

import llmrec
from llmrec.component import FitContext, find_component
from llmrec.policy import Diversity, DiversityConfig

STRENGTHS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.7, 0.9)
K = 10


def main() -> None:
    """Run and print."""
    data = llmrec.load_dataset("ml-100k")
    stage = {"name": "first", "retrievers": {"popularity": {}, "ease": {}}}
    config = llmrec.Config.from_dict({"stages": [stage]})
    recommender = llmrec.fit(config, data.catalog, data.interactions, holdout="last")
    cases = llmrec.leave_last_out(data.interactions).validation
    context = FitContext("diversity", data.catalog, data.interactions)
    component = find_component("diversity")
    likeness = {
        "texts": component.fit(context, DiversityConfig()).likeness,
        "genres": component.fit(context, DiversityConfig(fields=("genres",), separator=" ")).likeness,
    }
    found: dict[str, object] = {"users": len(cases.targets)}
    base = _ndcg(recommender.recommend(cases.queries, K).items, cases.targets)
    for source, alike in likeness.items():
        rows: list[dict[str, object]] = []
        found[source] = rows
        for strength in STRENGTHS:
            policy = Diversity("diversity", DiversityConfig(strength=strength), alike)
            start = time.perf_counter()
            changed = replace(recommender, policies=(*recommender.policies, policy))
            lists = changed.recommend(cases.queries, K).items
            seconds = time.perf_counter() - start
            gain = _ndcg(lists, cases.targets) - base
            wide = 1.96 * float(gain.std(ddof=1) / np.sqrt(len(gain)))
            rows.append(
                {
                    "strength": strength,
                    "ndcg@10": round(float(base.mean() + gain.mean()), 4),
                    "difference": [round(float(gain.mean()) + side * wide, 4) for side in (-1, 0, 1)],
                    **{f"unlike_by_{name}": round(_unlike(lists, by.vectors), 3) for name, by in likeness.items()},
                    "seconds": round(seconds, 2),
                }
            )
    print(json.dumps(found, indent=1))


def _ndcg(lists: np.ndarray, targets: np.ndarray) -> np.ndarray:
    hit = lists == targets[:, None]
    return np.where(hit.any(axis=1), 1 / np.log2(hit.argmax(axis=1) + 2), 0.0)


def _unlike(lists: np.ndarray, vectors) -> float:
    """One less the mean cosine between two items of a list; the mean over lists."""
    pairs = np.triu_indices(lists.shape[1], 1)
    return float(np.mean([1 - (own @ own.T)[pairs].mean() for own in map(vectors, lists)]))


if __name__ == "__main__":
    main()
