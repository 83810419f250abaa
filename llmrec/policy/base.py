"""The policy protocol: final rules about what may be shown."""

from __future__ import annotations

from typing import Protocol

from llmrec.component import Saves
from llmrec.types import Queries, Ranking

__all__ = ["Policy"]


class Policy(Saves, Protocol):
    """Applies a rule, before retrieval where that saves work, and to the finished list."""

    def prepare(self, queries: Queries) -> Queries:
        """Narrow what retrievers may propose (`exclude`, `allow`); return the queries unchanged otherwise."""

    def apply(self, queries: Queries, ranking: Ranking, k: int) -> Ranking:
        """Finish the list; return at most k items per query."""
