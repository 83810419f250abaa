"""A stage of the cascade, and the record of what it did."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from llmrec.component import Compares
from llmrec.errors import ConfigError
from llmrec.fuse import Fusion
from llmrec.models import in_threads
from llmrec.retrieve.base import Retriever, Scorer, Searches
from llmrec.retrieve.best import order_by_score
from llmrec.retrieve.merge import align, merge_candidates, stack_candidates
from llmrec.retrieve.reading import Read, ReadsOnce, thread_blocks
from llmrec.types import BoolArray, Candidates, Int32Array, Int64Array, Queries, Ranking

__all__ = ["Stage", "StageTrace", "Trace", "score_candidates", "text_searcher"]

ORDERED = 8
"""How much a candidate that is put in order takes of what threads hold, next to an item that is scored."""


RANK = 60
"""What is added to ranks before they are turned over, as in reciprocal rank fusion."""

LATE = np.int32(np.iinfo(np.int32).max)
"""The place of what did not come in from the stage before."""


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
        return _with_scores(candidates, [s for s in self.scorers if s.name not in ignored], queries, incoming)

    def rank(self, queries: Queries, candidates: Candidates, tie_order: NDArray[np.uint64]) -> StageTrace:
        """Fuse the columns and put every row's candidates in order, best first."""
        fused = self.fusion.fuse(queries, candidates)
        order = np.empty(fused.shape, dtype=np.int64)

        def put_in_order(rows: Int64Array) -> None:
            order[rows] = order_by_score(fused[rows], candidates.items[rows], tie_order)

        in_threads(put_in_order, thread_blocks(len(fused), ORDERED * fused.shape[1]))
        return StageTrace(self.name, candidates.with_column(self.name, fused), order, self.keep)


def score_candidates(
    retrievers: Sequence[tuple[Retriever, int]],
    scorers: Sequence[Scorer],
    queries: Queries,
    incoming: Candidates | None = None,
) -> Candidates:
    """Propose candidates beside the incoming ones, and score them all, one column per retriever and scorer.

    Retrievers that score the whole catalog do so once: some queries at a time, on all threads.
    """
    reads = {r.name: r.read(queries) for r, _ in retrievers if isinstance(r, ReadsOnce)}
    others = [(r, depth) for r, depth in retrievers if r.name not in reads]
    found = {r.name: r.retrieve(queries, depth).items for r, depth in others}
    work = _Reading(reads, found, {r.name: depth for r, depth in retrievers}, incoming)
    width = max((read.n_items for read in reads.values()), default=1)
    candidates = stack_candidates(in_threads(work.candidates, thread_blocks(len(queries), width)))
    candidates = _with_scores(candidates, [*(r for r, _ in others), *scorers], queries, incoming)
    earlier = () if incoming is None else incoming.columns
    order = [*earlier, *(r.name for r, _ in retrievers), *(s.name for s in scorers)]
    return replace(candidates, columns={name: candidates.columns[name] for name in order})


@dataclass(frozen=True, slots=True)
class _Reading:
    """Queries that the retrievers of a stage have read.

    Attributes:
        reads: of retrievers that read once, by name.
        found: what the others have proposed, Int32[n, k].
        depths: of all, in their order.
        incoming: candidates from the stage before.
    """

    reads: Mapping[str, Read]
    found: Mapping[str, Int32Array]
    depths: Mapping[str, int]
    incoming: Candidates | None

    def candidates(self, rows: Int64Array) -> Candidates:
        """The candidates of some queries, with the columns of the retrievers that read once."""
        scored = {name: read.some(rows) for name, read in self.reads.items()}
        lists = {
            name: scored[name].best(depth).items if name in scored else self.found[name][rows]
            for name, depth in self.depths.items()
        }
        incoming = None if self.incoming is None else self.incoming.take(rows)
        candidates = merge_candidates(lists, len(rows), incoming)
        for name, one in scored.items():
            candidates = candidates.with_column(name, one.score(candidates.items))
        return candidates


def _with_scores(
    candidates: Candidates, scorers: Sequence[Scorer], queries: Queries, incoming: Candidates | None
) -> Candidates:
    for scorer in scorers:
        if isinstance(scorer, Compares):
            order = _as_they_came(candidates, incoming)
            scores = np.empty(order.shape, dtype=np.float32)
            given = np.take_along_axis(candidates.items, order, axis=1)
            np.put_along_axis(scores, order, scorer.score(queries, given), axis=1)
        else:
            scores = scorer.score(queries, candidates.items)
        candidates = candidates.with_column(scorer.name, scores)
    return candidates


def _as_they_came(candidates: Candidates, incoming: Candidates | None) -> Int64Array:
    """Places of every row's candidates, Int64[n, k]: as the stage before left them, then by ranks here, pads last."""
    items = candidates.items
    ranks = list(candidates.source_ranks.values())
    proposed = sum((np.where(r > 0, 1 / (RANK + np.maximum(r, 1)), 0) for r in ranks), np.zeros(items.shape))
    before = np.full(items.shape, LATE, dtype=np.int32)
    if incoming is not None:
        places = np.broadcast_to(np.arange(incoming.items.shape[1], dtype=np.int32), incoming.items.shape)
        before = align(items, incoming.items, places, LATE)
    return np.lexsort((-proposed, before, items < 0), axis=1)


def text_searcher(stages: Sequence[Stage]) -> Searches:
    """Find the retriever that searches by text: embeddings before words, for they find what is said in other words.

    Raises:
        ConfigError: no retriever of these stages knows items by text.
    """
    found = [r for stage in stages for r, _ in stage.retrievers if isinstance(r, Searches)]
    if not found:
        raise ConfigError("no retriever of this recommender knows items by text; add a dense retriever to a stage")
    return next((r for r in found if getattr(r, "component", "") == "dense"), found[0])


@dataclass(frozen=True, slots=True)
class StageTrace:
    """What one stage did.

    Attributes:
        name: the stage.
        found: all candidates it ranked, in no order, with every column and source rank so far.
        order: Int64[n, k], places in `found`, best first.
        kept: how many of them went on at most.
    """

    name: str
    found: Candidates
    order: Int64Array
    kept: int

    def take(self, rows: Int64Array) -> StageTrace:
        """Return what it did with some of the queries, in the given order."""
        return replace(self, found=self.found.take(rows), order=self.order[rows])

    @property
    def candidates(self) -> Candidates:
        """All candidates it ranked, best first."""
        return self.found.pick(self.order)

    @property
    def survivors(self) -> Candidates:
        """The candidates that went on, best first."""
        return self.found.pick(self.order[:, : self.kept])

    @property
    def ranking(self) -> Ranking:
        """All candidates with their fused scores, best first."""
        ranked = Candidates(self.found.items, {self.name: self.found.columns[self.name]}).pick(self.order)
        return Ranking(ranked.items, np.nan_to_num(ranked.columns[self.name], nan=0.0))


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
            for place in np.flatnonzero(stage.found.items[row] == item):
                columns = {name: float(c[row, place]) for name, c in stage.found.columns.items()}
                found |= {name: score for name, score in columns.items() if not np.isnan(score)}
        return found

    def ranks(self, row: int, item: int) -> dict[str, int]:
        """Return the item's 1-based rank in each retriever's list and after each stage; absent: not in it."""
        found: dict[str, int] = {}
        for stage in self.stages:
            for place in np.flatnonzero(stage.found.items[row] == item):
                found |= {n: int(r[row, place]) for n, r in stage.found.source_ranks.items() if r[row, place]}
                found[stage.name] = int(np.flatnonzero(stage.order[row] == place)[0]) + 1
        return found
