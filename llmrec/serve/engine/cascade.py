"""One batch through the cascade, stage by stage: timed, and without the later stages where these are not well."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from llmrec.errors import ConfigError
from llmrec.serve.asked import Asked
from llmrec.serve.engine.answer import Answer
from llmrec.serve.engine.breaker import Stages
from llmrec.serve.engine.line import Ticket, Wanted
from llmrec.serve.engine.reading import together
from llmrec.serve.live import Snapshot, told
from llmrec.serve.problems import Unprocessable
from llmrec.types import Int32Array, Queries, Ranking

if TYPE_CHECKING:
    from llmrec.pipeline import Recommender
    from llmrec.stage import StageTrace

__all__ = ["Cascade", "Run", "as_diverse", "check_asked", "common_k"]

LOG = logging.getLogger(__name__)

NO_SAY = frozenset({"availability", "seen"})
"""Policies that keep items out before anything is ranked, and do nothing to a list afterwards."""

MORE = 4
"""Each time too few of the similar items may come back, so many times as many are looked at."""


@dataclass(slots=True, eq=False)
class Run:
    """A batch on its way through the cascade; whoever waits for it can make do with what is there.

    Attributes:
        snapshot: the recommender's.
        recommender: with the strength of diversity that is wanted.
        prepared: the queries, as the policies prepared them.
        names: of all stages.
        traces: what the stages did that are done; only ever grows.
        seconds: what each of them took, and the policies.
    """

    snapshot: Snapshot
    recommender: Recommender
    prepared: Queries
    names: tuple[str, ...]
    traces: list[StageTrace] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)

    def rescued(self, ticket: Ticket, k: int) -> Answer:
        """Return the list of one request from the stages that are done, at least one."""
        began = time.monotonic()
        row, traces = np.array([ticket.place], dtype=np.int64), list(self.traces)
        ranking = self.recommender.finish(self.prepared.take(row), [trace.take(row) for trace in traces], k)
        timings = {name: self.seconds[name] for name in self.names[: len(traces)]}
        timings["policies"] = time.monotonic() - began
        return _answer(self.snapshot, ticket, ranking, 0, self.names[len(traces) :], timings)


class Cascade:
    """Answers batches; used by one worker at a time."""

    def __init__(self, stages: Stages, *, degrade: bool) -> None:
        """Know how the stages do.

        Args:
            stages: what they take, and whether they are well.
            degrade: whether lists may come without their later stages.
        """
        self._stages, self._degrade = stages, degrade

    def answers(self, tickets: Sequence[Ticket]) -> list[Answer | Exception]:
        """Answer requests of one key; each gets a list, or what was wrong with it.

        Where a batch fails each is asked alone: nobody's list depends on who else was in the batch.
        """
        wanted = [ticket.wanted for ticket in tickets if ticket.wanted is not None]
        try:
            return list(self._together(tickets, wanted))
        except Exception as error:  # noqa: BLE001 - handed to whoever waits for it
            if len(tickets) == 1:
                LOG.warning("a %s of alias %s failed: %s", wanted[0].asked.kind, wanted[0].asked.alias, told(error))
                return [error]
        return [answer for ticket in tickets for answer in self.answers([ticket])]

    def _together(self, tickets: Sequence[Ticket], wanted: Sequence[Wanted]) -> list[Answer]:
        if wanted[0].asked.kind == "recommend":
            return self._recommended(tickets, wanted)
        began = time.monotonic()
        rankings = _found(wanted)
        timings = {"search": time.monotonic() - began}
        pairs = zip(tickets, wanted, rankings, strict=True)
        return [_answer(want.snapshot, ticket, ranking, 0, (), timings) for ticket, want, ranking in pairs]

    def _recommended(self, tickets: Sequence[Ticket], wanted: Sequence[Wanted]) -> list[Answer]:
        first = wanted[0]
        recommender = as_diverse(first.snapshot.recommender, first.asked.diversity)
        prepared = recommender.prepare(together([want.row for want in wanted], first.allow))
        names = tuple(stage.name for stage in recommender.stages)
        run = Run(first.snapshot, recommender, prepared, names)
        for place, ticket in enumerate(tickets):
            ticket.place, ticket.run = place, run
        self._rank(run, min(ticket.deadline for ticket in tickets), alone=len(tickets) == 1)
        began = time.monotonic()
        ranking = recommender.finish(prepared, run.traces, max(want.asked.k for want in wanted))
        timings = {**run.seconds, "policies": time.monotonic() - began}
        left_out = names[len(run.traces) :]
        rows = enumerate(zip(tickets, wanted, strict=True))
        return [
            _answer(first.snapshot, ticket, _row(ranking, row, want.asked.k), 0, left_out, timings)
            for row, (ticket, want) in rows
        ]

    def _rank(self, run: Run, deadline: float, *, alone: bool) -> None:
        """Let stage after stage rank, as far as they are well and there is time."""
        alias, size = run.snapshot.alias, len(run.prepared)
        for place, stage in enumerate(run.recommender.stages):
            later = place > 0 and self._degrade
            began = time.monotonic()
            if later and not self._stages.may_run(alias, stage.name, size, deadline - began):
                return
            try:
                kept = run.traces[-1].survivors if run.traces else None
                columns = stage.needed_columns(run.prepared, kept)
                trace = stage.rank(run.prepared, columns, run.recommender.catalog.tie_order)
            except Exception as error:
                self._stages.failed(alias, stage.name)
                if not later or not alone:
                    raise
                LOG.warning("alias %s: stage %s is left out: %s", alias, stage.name, type(error).__name__)
                return
            run.seconds[stage.name] = time.monotonic() - began
            run.traces.append(trace)
            self._stages.took(alias, stage.name, size, run.seconds[stage.name])


def check_asked(snapshot: Snapshot, asked: Asked) -> None:
    """Check that a recommender can do what is asked.

    Raises:
        Unprocessable: it has no diversity to set, or nothing in it searches by text.
    """
    from llmrec.stage import text_searcher

    if asked.kind != "recommend":
        try:
            text_searcher(snapshot.recommender.stages)
        except ConfigError as error:
            raise Unprocessable(f"alias {asked.alias!r} cannot search: {error}") from error
    if asked.k < 1:
        raise Unprocessable("k: a list has at least one item")
    if asked.diversity is None:
        return
    if not 0 <= asked.diversity <= 1:
        raise Unprocessable("diversity: a number from 0 to 1")
    if asked.kind == "recommend" and not any(p.component == "diversity" for p in snapshot.recommender.policies):
        raise Unprocessable(f"diversity: alias {asked.alias!r} has no policy of that kind")


def common_k(recommender: Recommender, asked: Asked) -> int:
    """Return the k that requests of one batch must have in common; 0: any, for a list begins as a longer one does.

    That is certain only where no policy has a say in the finished list (most look at more candidates for a longer
    one), and where what fills a short list ranks the whole catalog exactly.
    """
    exact = getattr(recommender.fallback, "component", "") == "popularity"
    policies = {policy.component for policy in recommender.policies}
    return 0 if asked.kind == "recommend" and exact and policies <= NO_SAY else asked.k


def as_diverse(recommender: Recommender, strength: float | None) -> Recommender:
    """Return the recommender with another strength of its diversity policy; None: as it is."""
    from llmrec.policy import Diversity

    if strength is None:
        return recommender
    policies = [
        replace(policy, config=policy.config.model_copy(update={"strength": strength}))
        if isinstance(policy, Diversity)
        else policy
        for policy in recommender.policies
    ]
    return replace(recommender, policies=tuple(policies))


def _found(wanted: Sequence[Wanted]) -> list[Ranking]:
    """The lists of searches, or of similar items."""
    from llmrec.stage import text_searcher

    first = wanted[0]
    searcher = text_searcher(first.snapshot.recommender.stages)
    queries = together([want.row for want in wanted], first.allow)
    k = first.asked.k
    if first.asked.kind == "search":
        found = searcher.retrieve(queries, k)
    elif queries.allow is None and queries.exclude is not None and len(queries.exclude.values) == 0:
        found = searcher.similar(queries.items, k)
    else:
        alone = [queries.take(np.array([row])) for row in range(len(wanted))]
        return [_similar(first.snapshot.recommender, one, k) for one in alone]
    return [_row(found, row, k) for row in range(len(wanted))]


def _similar(recommender: Recommender, query: Queries, k: int) -> Ranking:
    """The nearest items of those that may come back: from further and further down, until there are enough."""
    from llmrec.policy.lists import may_be_shown, without
    from llmrec.stage import text_searcher

    searcher, n_items, width = text_searcher(recommender.stages), len(recommender.catalog), k
    while True:
        found = searcher.similar(query.items, min(width, n_items))
        shown = may_be_shown(found.items, query, recommender.catalog.active)
        if shown.sum() >= k or width >= n_items or (found.items < 0).any():
            return without(found, ~shown, k)
        width *= MORE


def _row(ranking: Ranking, row: int, k: int) -> Ranking:
    """One list, cut."""
    shown = ranking.propensities
    cut = slice(row, row + 1), slice(0, k)
    return Ranking(ranking.items[cut], ranking.scores[cut], None if shown is None else shown[cut])


def _answer(
    snapshot: Snapshot,
    ticket: Ticket,
    ranking: Ranking,
    row: int,
    left_out: tuple[str, ...],
    timings: dict[str, float],
) -> Answer:
    there = ranking.items[row] >= 0
    items: Int32Array = ranking.items[row][there]
    shown = None if ranking.propensities is None else tuple(ranking.propensities[row][there].tolist())
    return Answer(
        items=tuple(snapshot.recommender.catalog.items.decode(items)),
        scores=tuple(ranking.scores[row][there].tolist()),
        propensities=shown,
        snapshot=snapshot,
        degraded=bool(left_out),
        left_out=left_out,
        timings={
            "queue": max(0.0, ticket.taken - ticket.entered - ticket.history_s),
            "history": ticket.history_s,
            **timings,
        },
    )
