"""How a list came about, as values: what each stage found, and which policy took an item out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from llmrec.serve.service._items import fields_of, title_of
from llmrec.serve.views import CandidateView, ListedItem, StageView, Traced

if TYPE_CHECKING:
    from llmrec.data import Catalog
    from llmrec.pipeline import Recommender
    from llmrec.stage import StageTrace, Trace
    from llmrec.types import Int64Array, Queries, Ranking

__all__ = ["Wanted", "traced"]


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be traced.

    Attributes:
        alias: the pipeline.
        bundle: the version of its bundle.
        k: items of the list.
        candidates: of each stage that are shown, at most.
    """

    alias: str
    bundle: str
    k: int
    candidates: int


def traced(recommender: Recommender, queries: Queries, wanted: Wanted) -> Traced:
    """Recommend to one query, and return how.

    Args:
        recommender: the pipeline.
        queries: one query.
        wanted: see there.
    """
    catalog = recommender.catalog
    trace = recommender.trace(queries, wanted.k)
    dropped = _dropped(recommender, trace, wanted.k)
    stages = []
    before: StageTrace | None = None
    for stage in trace.stages:
        last = stage is trace.stages[-1]
        stages.append(_stage(catalog, stage, before, wanted.candidates, dropped if last else {}))
        before = stage
    excluded = trace.queries.exclude
    final = _final(recommender, trace.ranking)
    fallback = [one.item_id for one, filled in zip(final, trace.from_fallback[0].tolist(), strict=False) if filled]
    return Traced(
        alias=wanted.alias,
        bundle=wanted.bundle,
        stages=tuple(stages),
        final=final,
        from_fallback=tuple(fallback),
        excluded=0 if excluded is None else len(np.unique(excluded[0])),
        history=tuple(catalog.items.decode(queries.histories[0])),
    )


def _stage(
    catalog: Catalog, stage: StageTrace, before: StageTrace | None, most: int, dropped: dict[int, str]
) -> StageView:
    ranked = stage.candidates
    there = np.flatnonzero(ranked.items[0] >= 0)
    rows = ranked.items[0][there][:most].tolist()
    came = {} if before is None else _places(before)
    ids, fields = catalog.items.decode(rows), fields_of(catalog, rows)
    candidates = tuple(
        CandidateView(
            item_id=ids[place],
            title=title_of(ids[place], fields[place]),
            rank=place + 1,
            came_in=came.get(row),
            columns={name: _score(column[0, place]) for name, column in ranked.columns.items()},
            source_ranks={name: int(ranks[0, place]) for name, ranks in ranked.source_ranks.items() if ranks[0, place]},
            kept=place < stage.kept,
            dropped_by=dropped.get(row),
        )
        for place, row in enumerate(rows)
    )
    return StageView(stage.name, len(there), min(stage.kept, len(there)), tuple(ranked.columns), candidates)


def _places(stage: StageTrace) -> dict[int, int]:
    """Rank of each item that went on from a stage."""
    rows = stage.survivors.items[0]
    return {int(row): place + 1 for place, row in enumerate(rows) if row >= 0}


def _score(score: float) -> float | None:
    return None if math.isnan(score) else float(score)


def _final(recommender: Recommender, ranking: Ranking) -> tuple[ListedItem, ...]:
    rows = ranking.items[0]
    (items,) = recommender.decode(ranking)
    fields = fields_of(recommender.catalog, rows[rows >= 0].tolist())
    return tuple(
        ListedItem(one.item_id, one.rank, one.score, one.propensity, own)
        for one, own in zip(items, fields, strict=True)
    )


def _dropped(recommender: Recommender, trace: Trace, k: int) -> dict[int, str]:
    """By row, the policy that took an item out: the first after which the list goes on below it, and without it."""
    from llmrec.policy.chain import finish

    n_items = len(recommender.catalog)
    proposed = _proposed(trace)
    width = min(n_items, max(k, proposed.items.shape[1]))

    def lists(_rows: Int64Array, wanted: int) -> Ranking:
        return _wide(proposed, wanted)

    final = set(trace.ranking.items[0].tolist())
    found: dict[int, str] = {}
    for place, policy in enumerate(recommender.policies):
        order = finish(recommender.policies[:place], trace.queries, width, n_items, lists).items[0]
        after = finish(recommender.policies[: place + 1], trace.queries, k, n_items, lists).items[0]
        for row in _passed_over(order.tolist(), after.tolist(), k):
            if row not in final:
                found.setdefault(row, policy.name)
    return found


def _proposed(trace: Trace) -> Ranking:
    """What the stages propose, the last one's first; without the fallback, whose items no stage shows."""
    from llmrec.retrieve.merge import complete

    lists = [stage.ranking for stage in reversed(trace.stages)]
    return complete(lists, sum(one.items.shape[1] for one in lists))


def _wide(ranking: Ranking, width: int) -> Ranking:
    """The same list, exactly so wide."""
    from llmrec.types import Ranking

    pads = ((0, 0), (0, max(0, width - ranking.items.shape[1])))
    items = np.pad(ranking.items, pads, constant_values=-1)[:, :width]
    return Ranking(items, np.pad(ranking.scores, pads)[:, :width])


def _passed_over(order: Sequence[int], after: Sequence[int], k: int) -> list[int]:
    """Items of an order that a list of k was made without: it holds one that stood below them, or is short."""
    listed = set(after) - {-1}
    last = max((place for place, row in enumerate(order) if row in listed), default=-1)
    end = last + 1 if len(listed) >= k else len(order)
    return [row for row in order[:end] if row >= 0 and row not in listed]
