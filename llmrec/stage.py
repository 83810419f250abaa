"""A stage of the cascade, and the record of what it did."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from llmrec.fuse import Fusion
from llmrec.retrieve.base import Retriever, Scorer, order_by_score
from llmrec.retrieve.merge import merge_candidates
from llmrec.types import BoolArray, Candidates, Queries, Ranking

__all__ = ["Stage", "StageTrace", "Trace", "score_candidates"]


@dataclass(frozen=True, slots=True)
class Stage:
    """One step of the cascade: propose, score, fuse, keep.

    Attributes:
        name: also the name of the column that holds the fused score.
        retrievers: each with its depth, the number of candidates it proposes.
        scorers: score every candidate; the retrievers do so too.
        fusion: turns the columns into one.
        keep: how many candidates the next stage sees.
    """

    name: str
    retrievers: tuple[tuple[Retriever, int], ...]
    scorers: tuple[Scorer, ...]
    fusion: Fusion
    keep: int

    @property
    def components(self) -> tuple[Any, ...]:
        """Its retrievers, scorers and fusion."""
        return (*(retriever for retriever, _ in self.retrievers), *self.scorers, self.fusion)

    def replaced(self, change: Callable[[Any], Any]) -> Self:
        """Return the same stage with every component replaced by what `change` makes of it."""
        return type(self)(
            name=self.name,
            retrievers=tuple((change(retriever), depth) for retriever, depth in self.retrievers),
            scorers=tuple(change(scorer) for scorer in self.scorers),
            fusion=change(self.fusion),
            keep=self.keep,
        )

    def outline(self) -> dict[str, Any]:
        """The stage as JSON values, its components by name."""
        return {
            "name": self.name,
            "retrievers": [[retriever.name, depth] for retriever, depth in self.retrievers],
            "scorers": [scorer.name for scorer in self.scorers],
            "fusion": self.fusion.name,
            "keep": self.keep,
        }

    @classmethod
    def from_outline(cls, outline: Mapping[str, Any], components: Mapping[str, Any]) -> Self:
        """Rebuild what `outline` described."""
        return cls(
            name=outline["name"],
            retrievers=tuple((components[name], depth) for name, depth in outline["retrievers"]),
            scorers=tuple(components[name] for name in outline["scorers"]),
            fusion=components[outline["fusion"]],
            keep=outline["keep"],
        )

    def columns(self, queries: Queries, incoming: Candidates | None = None) -> Candidates:
        """Propose candidates beside the incoming ones, and score them all, one column per scorer."""
        return score_candidates(self.retrievers, self.scorers, queries, incoming)

    def needed_columns(self, queries: Queries, incoming: Candidates | None = None) -> Candidates:
        """The same without the scorers that the fusion ignores: a reranker of weight 0 costs nothing."""
        candidates = score_candidates(self.retrievers, (), queries, incoming)
        ignored = self.fusion.ignores(queries, candidates)
        return _with_scores(candidates, [s for s in self.scorers if s.name not in ignored], queries)

    def rank(self, queries: Queries, candidates: Candidates, tie_order: NDArray[np.uint64]) -> Candidates:
        """Fuse the columns and put every row's candidates in order, best first."""
        fused = self.fusion.fuse(queries, candidates)
        candidates = candidates.with_column(self.name, fused)
        return candidates.pick(order_by_score(fused, candidates.items, tie_order))


def score_candidates(
    retrievers: Sequence[tuple[Retriever, int]],
    scorers: Sequence[Scorer],
    queries: Queries,
    incoming: Candidates | None = None,
) -> Candidates:
    """Propose candidates beside the incoming ones, and score them all, one column per retriever and scorer."""
    lists = {r.name: r.retrieve(queries, depth).items for r, depth in retrievers}
    candidates = merge_candidates(lists, len(queries), incoming)
    return _with_scores(candidates, [*(r for r, _ in retrievers), *scorers], queries)


def _with_scores(candidates: Candidates, scorers: Sequence[Scorer], queries: Queries) -> Candidates:
    for scorer in scorers:
        candidates = candidates.with_column(scorer.name, scorer.score(queries, candidates.items))
    return candidates


@dataclass(frozen=True, slots=True)
class StageTrace:
    """What one stage did.

    Attributes:
        name: the stage.
        candidates: all candidates it ranked, best first, with every column and source rank so far.
        kept: how many of them went on at most.
    """

    name: str
    candidates: Candidates
    kept: int

    @property
    def survivors(self) -> Candidates:
        """The candidates that went on."""
        everything = self.candidates
        return Candidates(
            everything.items[:, : self.kept],
            {name: column[:, : self.kept] for name, column in everything.columns.items()},
            {name: ranks[:, : self.kept] for name, ranks in everything.source_ranks.items()},
        )

    @property
    def ranking(self) -> Ranking:
        """All candidates with their fused scores, best first."""
        return Ranking(self.candidates.items, np.nan_to_num(self.candidates.columns[self.name], nan=0.0))


@dataclass(frozen=True, slots=True)
class Trace:
    """How a list came about.

    Attributes:
        queries: the queries as the policies prepared them, with what was excluded.
        stages: what each stage did, in order.
        ranking: the final lists.
        from_fallback: Bool[n, k], True at items that no stage proposed: the fallback, or a policy, put them there.
    """

    queries: Queries
    stages: tuple[StageTrace, ...]
    ranking: Ranking
    from_fallback: BoolArray

    def scores(self, row: int, item: int) -> dict[str, float]:
        """Return every score column of one item in one query's trace, NaN columns left out."""
        found: dict[str, float] = {}
        for stage in self.stages:
            for place in np.flatnonzero(stage.candidates.items[row] == item):
                columns = {name: float(c[row, place]) for name, c in stage.candidates.columns.items()}
                found |= {name: score for name, score in columns.items() if not np.isnan(score)}
        return found

    def ranks(self, row: int, item: int) -> dict[str, int]:
        """Return the item's 1-based rank in each retriever's list and after each stage; absent: not in it."""
        found: dict[str, int] = {}
        for stage in self.stages:
            for place in np.flatnonzero(stage.candidates.items[row] == item):
                found |= {n: int(r[row, place]) for n, r in stage.candidates.source_ranks.items() if r[row, place]}
                found[stage.name] = int(place) + 1
        return found
