"""The policy protocol: final rules about what may be shown."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from llmrec.component import Saves
from llmrec.types import BoolArray, Int32Array, Queries, Ranking

__all__ = ["Inserts", "Policy", "TakesOut"]


class Policy(Saves, Protocol):
    """Applies a rule, before retrieval where that saves work, and to the finished list.

    Every policy prepares the queries before the first one finishes a list, so what any of them keeps out of the
    queries is out for all. Lists are finished in the order in which the policies are configured, see
    `llmrec.policy.finish`.
    """

    def prepare(self, queries: Queries) -> Queries:
        """Narrow what retrievers may propose (`exclude`, `allow`); return the queries unchanged otherwise."""

    def depth(self, k: int) -> int:
        """Say how many ranked items it wants to see for a list of k; at least k."""

    def apply(self, queries: Queries, ranking: Ranking, k: int) -> Ranking:
        """Finish the list; return at most k items per query, shown with the propensities it was given.

        Args:
            queries: as all policies prepared them.
            ranking: lists of `depth(k)` columns, fewer where the catalog has no more items.
            k: how many items whatever comes next wants.
        """


@runtime_checkable
class Inserts(Protocol):
    """A policy that puts items into lists.

    `llmrec.policy.finish` takes these items out of the lists before, so that where they stand does not depend on what
    was proposed or drawn; policies that take items out see them in front, and count them.
    """

    def inserted(self, queries: Queries) -> Int32Array:
        """Int32[n, m]: the rows it puts into each list that is long enough; -1 for what a query may not be shown."""


@runtime_checkable
class TakesOut(Protocol):
    """A policy that may leave a list short, and can say when looking further down the catalog is of no use."""

    def may_grow(self, queries: Queries, ranking: Ranking) -> BoolArray:
        """Say of lists that `apply` returned whether any other item of the catalog could stand in them, Bool[n]."""
