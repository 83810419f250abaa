"""How fast items and users are written as text; prints one line of JSON.

Run: python scripts/bench/render.py [items] [users]
"""

from __future__ import annotations

import json
import sys
import time

import numpy as np
import pyarrow as pa

from llmrec.data import Catalog
from llmrec.text import load_template, render_items, render_users
from llmrec.types import Int32Array, Queries


class WordCounter:
    """Counts words, so that the templates are measured and not a tokenizer."""

    def count_tokens(self, texts: list[str]) -> Int32Array:
        """Int32[n]: words of each text."""
        return np.fromiter((len(text.split()) for text in texts), np.int32, len(texts))


def make_catalog(n: int) -> Catalog:
    """A catalog of `n` items with title, year and genres."""
    return Catalog.from_table(
        pa.table(
            {
                "item_id": [f"i{row}" for row in range(n)],
                "title": [f"A Title of Some Words, Number {row}" for row in range(n)],
                "year": [1900 + row % 120 for row in range(n)],
                "genres": ["Comedy Drama" if row % 3 else None for row in range(n)],
            }
        )
    )


def main(n_items: int = 100_000, n_users: int = 20_000) -> None:
    """Measure and print."""
    catalog = make_catalog(n_items)
    result: dict[str, object] = {"items": n_items, "users": n_users}
    for name in ("item/title", "item/labelled"):
        start = time.perf_counter()
        render_items(load_template(name), catalog)
        result[f"{name} seconds"] = round(time.perf_counter() - start, 3)
    lengths = np.full(n_users, 50)
    rng = np.random.default_rng(0)
    items = rng.integers(0, n_items, int(lengths.sum())).astype(np.int32)
    ratings = rng.integers(1, 6, len(items)).astype(np.float32)
    queries = Queries(np.concatenate([[0], np.cumsum(lengths)]), items, ratings=ratings)
    for name in ("user/recent", "user/profile", "user/ratings"):
        start = time.perf_counter()
        render_users(load_template(name), catalog, queries, 120, WordCounter())
        result[f"{name} seconds"] = round(time.perf_counter() - start, 3)
    print(json.dumps(result))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
