"""The candidates of one query, kept as they are while other queries rank them: what a counterfactual compares."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray

from llmrec.retrieve.merge import align, complete, merge_candidates
from llmrec.stage import Stage, score_candidates
from llmrec.types import Candidates, Float32Array, Int32Array, Queries, Ranking

__all__ = ["FixedCandidates"]


@dataclass(frozen=True, slots=True)
class FixedCandidates:
    """What every stage of a cascade ranked for one query.

    A ranking of these says where each stands for another query, whatever that one's retrievers would have proposed: no
    item enters, and none leaves.

    Attributes:
        stages: the cascade.
        found: one row each: the candidates of every stage, and who proposed them.
        kept: Int32[1, m] each: those that came to the stage from the one before; what it scored is known of these.
        tie_order: UInt64[n_items], see `Catalog`.
    """

    stages: tuple[Stage, ...]
    found: tuple[Candidates, ...]
    kept: tuple[Int32Array, ...]
    tie_order: NDArray[np.uint64]

    @classmethod
    def of(cls, stages: Sequence[Stage], query: Queries, tie_order: NDArray[np.uint64]) -> Self:
        """Let the stages propose and rank.

        Args:
            stages: the cascade.
            query: one query, as the policies prepared it.
            tie_order: UInt64[n_items].
        """
        found: list[Candidates] = []
        kept: list[Candidates] = []
        for stage in stages:
            trace = stage.rank(query, stage.columns(query, kept[-1] if kept else None), tie_order)
            found.append(replace(trace.found, columns={}))
            kept.append(trace.survivors)
        came = [np.empty((1, 0), dtype=np.int32), *(survivors.items for survivors in kept)]
        return cls(tuple(stages), tuple(found), tuple(came[: len(found)]), tie_order)

    def with_item(self, item: int) -> Self:
        """Return the same candidates and one more, which nobody proposed; it is a candidate of the first stage."""
        asked = Candidates(np.array([[item]], dtype=np.int32))
        both = merge_candidates({"": self.found[0].items}, 1, asked).items
        ranks = {
            name: align(both, self.found[0].items, rank, np.int32(0))
            for name, rank in self.found[0].source_ranks.items()
        }
        return replace(self, found=(Candidates(both, {}, ranks), *self.found[1:]))

    def first_stage(self) -> Self:
        """Return the candidates of the first stage only."""
        return replace(self, stages=self.stages[:1], found=self.found[:1], kept=self.kept[:1])

    def __contains__(self, item: int) -> bool:
        """Whether an item is a candidate of any stage."""
        return any(bool((found.items == item).any()) for found in self.found)

    def rank(self, queries: Queries, stages: Sequence[Stage] | None = None) -> Ranking:
        """Rank the candidates for n queries: the last stage's, and below them those of the stages before.

        Args:
            queries: n queries, as the policies prepared them.
            stages: the same cascade over a catalog with other fields; None: as it is.
        """
        rankings: list[Ranking] = []
        before: Candidates | None = None
        for stage, found, kept in zip(stages or self.stages, self.found, self.kept, strict=True):
            incoming = _spread(found, kept, len(queries), before)
            scorers = [*(retriever for retriever, _ in stage.retrievers), *stage.scorers]
            trace = stage.rank(queries, score_candidates((), scorers, queries, incoming), self.tie_order)
            before = trace.found
            rankings.insert(0, trace.ranking)
        return complete(rankings, sum(ranking.items.shape[1] for ranking in rankings))


def _spread(found: Candidates, kept: Int32Array, n: int, before: Candidates | None) -> Candidates:
    """One row of candidates for each of n queries, with the columns of those that came from the stage before."""
    items = _rows(found.items, n)
    columns: dict[str, Float32Array] = {}
    if before is not None:
        came = np.where(np.isin(items, kept), items, -1)
        columns = {name: align(came, before.items, c, np.float32(np.nan)) for name, c in before.columns.items()}
    return Candidates(items, columns, {name: _rows(rank, n) for name, rank in found.source_ranks.items()})


def _rows(row: Int32Array, n: int) -> Int32Array:
    return np.repeat(row, n, axis=0)
