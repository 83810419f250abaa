"""What storing item vectors in fewer bytes changes: NDCG@10 of zero-shot dense retrieval by item titles. Prints JSON.

Validation targets only: the interaction before each user's last one, asked with the history before it, which is left
out of the lists; the last interaction is never looked at. `change` is against "float32", with its standard error over
users; `same_10` is the share of the ten best items that are the same.

Run: python scripts/bench/storage.py DATA
"""

from __future__ import annotations

import json
import sys

import numpy as np

from llmrec.data import leave_last_out, load_dataset
from llmrec.models import EmbeddingCache, TextEncoder
from llmrec.policy import Seen
from llmrec.retrieve import DenseConfig, fit_dense

STORAGES = ("float32", "float16", "int8")
K = 10


def main() -> None:
    """Run and print."""
    data = load_dataset(sys.argv[1] if len(sys.argv) > 1 else "ml-100k")
    split = leave_last_out(data.interactions)
    queries, targets = Seen().prepare(split.validation.queries), split.validation.targets
    encoder = TextEncoder.load("minilm", cache=EmbeddingCache.default())
    found, lists, gains = {}, {}, {}
    for storage in STORAGES:
        dense = fit_dense(data.catalog, DenseConfig(item_template="item/title", storage=storage), encoder)
        lists[storage] = dense.retrieve(queries, K).items
        hit = lists[storage] == targets[:, None]
        gains[storage] = np.where(hit.any(axis=1), 1 / np.log2(hit.argmax(axis=1) + 2), 0.0)
        change = gains[storage] - gains["float32"]
        same = [len(np.intersect1d(a, b)) for a, b in zip(lists[storage], lists["float32"], strict=True)]
        found[storage] = {
            "bytes_an_item": dense.nearest.vectors.base.nbytes / len(data.catalog),
            f"ndcg@{K}": round(float(gains[storage].mean()), 6),
            "change": round(float(change.mean()), 6),
            "standard_error": round(float(change.std() / np.sqrt(len(change))), 6),
            f"same_{K}": round(float(np.mean(same)) / K, 4),
        }
    print(json.dumps({"cases": len(targets), "storages": found}, indent=2))


if __name__ == "__main__":
    main()
