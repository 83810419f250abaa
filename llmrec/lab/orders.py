"""Position bias: what the order in which candidates are shown changes in the order they come back in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import Any

import numpy as np

from llmrec.evaluate import rank_values
from llmrec.lab.ground import CUT, Shortlists, ranks_of, reordered
from llmrec.retrieve.base import Scorer
from llmrec.types import Int32Array

__all__ = ["ONE_BY_ONE", "OrderTest", "kendall", "order_test"]

ONE_BY_ONE = frozenset({"cross_encoder", "yes_no", "title_likelihood"})
"""Scorers that read a candidate without the others: no order can change what they say."""


@dataclass(frozen=True, slots=True)
class OrderTest:
    """What came of showing the same candidates in several orders.

    Attributes:
        orders: how many, the first stage's among them.
        tau: mean of Kendall's tau between the lists that came back, over users and pairs of orders; 1: always the same.
        low: the lowest mean of the metric over users among the orders.
        high: the highest.
        metric: its name.
    """

    orders: int
    tau: float
    low: float
    high: float
    metric: str = f"NDCG@{CUT}"

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, found: Mapping[str, Any] | None) -> OrderTest | None:
        """Rebuild what `to_dict` returned."""
        return None if found is None else cls(**found)


def order_test(
    scorer: Scorer, lists: Shortlists, tie_order: np.ndarray[Any, np.dtype[np.uint64]], *, count: int, seed: int
) -> OrderTest:
    """Show candidates in the first stage's order, and in so many random ones; see `OrderTest`.

    Args:
        scorer: what is tested.
        lists: who is asked, and the candidates.
        tie_order: UInt64[n_items], how equal scores are ordered.
        count: random orders, at least 1.
        seed: of the random orders.
    """
    rng = np.random.default_rng([seed, 3])
    answers = []
    for turn in range(count + 1):
        shown = lists.items if turn == 0 else _shuffled(lists.items, rng)
        answers.append(reordered(shown, scorer.score(lists.cases.queries, shown), tie_order))
    taus = [kendall(a, b) for a, b in combinations(answers, 2)]
    means = [rank_values(ranks_of(a, lists.cases.targets), (CUT,))[f"NDCG@{CUT}"].mean() for a in answers]
    return OrderTest(count + 1, float(np.mean(taus)), float(min(means)), float(max(means)))


def _shuffled(items: Int32Array, rng: np.random.Generator) -> Int32Array:
    """The same candidates in random orders; pads stay on the right."""
    keys = np.where(items >= 0, rng.random(items.shape), 2.0)
    return np.take_along_axis(items, np.argsort(keys, axis=1, kind="stable"), axis=1)


def kendall(a: Int32Array, b: Int32Array) -> float:
    """Mean of Kendall's tau over rows that hold the same items in two orders; rows with fewer than two count as 1.

    Args:
        a: Int32[n, k], items in one order, -1 pads on the right.
        b: Int32[n, k], the same items in another.
    """
    from scipy.stats import kendalltau

    found = []
    for left, right in zip(a, b, strict=True):
        known = {item: place for place, item in enumerate(right[right >= 0].tolist())}
        places = [known[item] for item in left[left >= 0].tolist()]
        found.append(float(kendalltau(np.arange(len(places)), places).statistic) if len(places) > 1 else 1.0)
    return float(np.mean(found)) if found else 1.0
