"""Validation cases with a planted truth, and a learned fusion of them, for tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from llmrec.component import FitContext, Simulated
from llmrec.data import Catalog, Holdout, Interactions
from llmrec.fuse import LambdaMart, LambdaMartConfig, fit_lambdamart
from llmrec.types import Candidates, Queries

__all__ = ["learned_fusion", "planted_context", "planted_simulation"]


def planted_context(catalog: Catalog, interactions: Interactions, *, n: int = 600, seed: int = 0) -> FitContext:
    """Make validation cases that no weighted sum of columns can tell: the best by "ease" whose "dense" is near zero.

    Columns: these two, of which "dense" lacks evidence here and there, targets included, and "popularity", which tells
    nothing. All items are candidates of all cases.
    """
    rng = np.random.default_rng(seed)
    items = np.stack([rng.permutation(len(catalog)) for _ in range(n)]).astype(np.int32)
    ease, dense, popularity = rng.normal(size=(3, *items.shape)).astype(np.float32)
    targets = items[np.arange(n), np.where(abs(dense) < 0.8, ease, -9).argmax(axis=1)]
    dense[rng.random(items.shape) < 0.1] = np.nan
    columns = {"ease": ease, "dense": dense, "popularity": popularity}
    ranks = {"ease": (ease > 0).astype(np.int32)}
    histories = [rng.permutation(len(catalog))[: rng.integers(1, 6)].tolist() for _ in range(n)]
    cases = Holdout(np.arange(n, dtype=np.int64), Queries.from_lists(histories), targets)
    return FitContext(
        "lambdamart", catalog, interactions, validation=cases, candidates=Candidates(items, columns, ranks), work=Path()
    )


def planted_simulation(catalog: Catalog, cases: Holdout, *, seed: int = 0) -> tuple[Simulated, ...]:
    """Ask planted cases again as if every fourth item were new: only "dense" knows of these.

    In half of the cases the target is a new item, with a "dense" of 6; in the others it is as in `planted_context`,
    and every new item has about 4: still the highest, so that ranks do not tell the two apart.
    """
    rng = np.random.default_rng([seed, 2])
    forgotten = np.arange(len(catalog)) % 4 == 0
    n = len(cases)
    items = np.stack([rng.permutation(len(catalog)) for _ in range(n)]).astype(np.int32)
    new, rows = forgotten[items], np.arange(n)
    ease, dense, popularity = rng.normal(size=(3, *items.shape)).astype(np.float32)
    dense = np.where(new, 4 + np.float32(0.1) * dense, dense)
    found = rng.random(n) < 0.5
    best = np.where(new, dense, -9).argmax(axis=1)
    dense[rows[found], best[found]] = 6
    others = np.where(~new & (abs(dense) < 0.8), ease, -9).argmax(axis=1)
    targets = items[rows, np.where(found, best, others)]
    ease[new], popularity[new] = np.nan, np.nan
    columns = {"ease": ease, "dense": dense, "popularity": popularity}
    ranks = {"ease": np.nan_to_num(ease > 0).astype(np.int32)}
    asked = Holdout(cases.user_rows, cases.queries, targets)
    return (Simulated(forgotten, rows.astype(np.int64), asked, Candidates(items, columns, ranks), np.ones(n)),)


def learned_fusion(catalog: Catalog, interactions: Interactions, *, n: int = 600, **settings: Any) -> LambdaMart:
    """Fit a small LambdaMART on planted cases; with few of them it falls back to weighted RRF."""
    values = {"max_trees": 20, "learning_rate": 0.3, "min_leaf": 10, "folds": 2, "depth": 12, **settings}
    return fit_lambdamart(planted_context(catalog, interactions, n=n), LambdaMartConfig(**values))
