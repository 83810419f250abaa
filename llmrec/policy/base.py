"""The policy protocol: final rules about what may be shown."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from llmrec.component import Saves
from llmrec.types import Int32Array, Queries, Ranking

__all__ = ["Inserts", "Policy"]


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
    """A policy that puts items into lists that did not hold them; never one that a query excludes or does not allow."""

    @property
    def inserts(self) -> Int32Array:
        """Int32[m]: the catalog rows it may put into a list."""
