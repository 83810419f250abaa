"""Lists: which pipeline makes them, that they are recorded before they leave, and how they come about."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Coroutine, Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

from llmrec.errors import ConfigError, DataError, TemplateError, UnknownIdError
from llmrec.serve.asked import Asked
from llmrec.serve.problems import NotFound, TooLarge, TooLate, Unprocessable
from llmrec.serve.service._made import Made, impression_of, listed, new_id
from llmrec.serve.service._parts import Parts
from llmrec.serve.service._query import query_of
from llmrec.serve.service._trace import Wanted, traced
from llmrec.serve.views import Listed, Traced

if TYPE_CHECKING:
    from llmrec.reasons import Explanation
    from llmrec.serve.engine import Answer
    from llmrec.serve.experiments import Assignment

__all__ = ["Lists"]

T = TypeVar("T")

EXPERIMENTED = "default"
"""The alias whose users take part in experiments."""


class Lists:
    """Makes lists, for one event loop.

    Args:
        parts: of the service.
    """

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def recommend(self, asked: Asked, log: bool, anonymous: str | None) -> Listed:
        """See `Service.recommend`."""
        parts = self._parts
        asked = self._timed(asked, "recommend")
        async with parts.gate.inside([asked.user_id]):
            try:
                made = await self._made(asked, self._assigned(asked, anonymous) if log else None)
            except Unprocessable:
                self._watch_refused(asked)
                raise
            end = parts.gate.stay([asked.user_id])  # too late, or gone: what is being recorded is recorded all the same
            work = parts.blocking.to_the_end(end, self._leave, made, asked, anonymous, log)
            return await _by(asked.deadline, work)

    async def search(self, asked: Asked) -> Listed:
        """See `Service.search`."""
        asked = self._timed(asked, "search")
        answer = await self._parts.engine.ask(asked)
        return await _by(asked.deadline, self._parts.blocking(listed, Made.of(answer), None))

    async def similar(self, asked: Asked) -> Listed:
        """See `Service.similar`."""
        asked = self._timed(asked, "similar")
        answer = await self._parts.engine.ask(asked)
        return await _by(asked.deadline, self._parts.blocking(listed, Made.of(answer), None))

    async def explain(self, asked: Asked, item_ids: Sequence[str] | None, reasons: int) -> list[Explanation]:
        """See `Service.explain`."""
        parts = self._parts
        asked = self._timed(asked, "recommend")
        most = parts.config.limits.k
        if item_ids is not None and not 0 < len(item_ids) <= most:
            raise TooLarge(f"name 1 to {most} items to explain")
        async with parts.gate.inside([asked.user_id]):
            return await parts.engine.run(lambda: self._explained(asked, item_ids, reasons), deadline=asked.deadline)

    async def trace(self, asked: Asked, candidates: int) -> Traced:
        """See `Service.trace`."""
        parts = self._parts
        asked = self._timed(asked, "recommend")
        if not 1 <= candidates <= parts.config.limits.candidates:
            raise TooLarge(f"candidates must be 1 to {parts.config.limits.candidates}")
        async with parts.gate.inside([asked.user_id]):
            return await parts.engine.run(lambda: self._traced(asked, candidates), deadline=asked.deadline)

    def _timed(self, asked: Asked, kind: str) -> Asked:
        """What is asked, with the moment at which it is too late."""
        if asked.kind != kind:
            raise Unprocessable(f"this answers requests of kind {kind!r}, not {asked.kind!r}")
        if asked.deadline:
            return asked
        return replace(asked, deadline=time.monotonic() + self._parts.config.engine.deadline_ms / 1000)

    def _assigned(self, asked: Asked, anonymous: str | None) -> Assignment | None:
        """What an experiment has in mind for this user; None: no experiment, or nobody to tell from others."""
        who = asked.user_id or anonymous
        if asked.alias != EXPERIMENTED or not who:
            return None
        return self._parts.experiments.assign(who)

    async def _made(self, asked: Asked, assignment: Assignment | None) -> Made:
        engine = self._parts.engine
        if assignment is None:
            return Made.of(await engine.ask(asked))
        answers = await _together(engine.ask(replace(asked, alias=alias)) for alias in assignment.aliases)
        if assignment.kind == "ab":
            return Made.of(answers[0], assignment.experiment, assignment.variant)
        return _interleaved(answers[0], answers[1], asked.k, assignment)

    def _leave(self, made: Made, asked: Asked, anonymous: str | None, log: bool) -> Listed:
        """Record a list, and return it as it leaves; in a thread."""
        parts = self._parts
        self._watch(made, asked)
        if not log:
            return listed(made, None)
        start, impression = time.monotonic(), new_id()
        unit = None if asked.user_id is not None or not anonymous else parts.store.unit(anonymous)
        parts.store.add_impressions([impression_of(made, impression, asked.user_id, parts.clock(), unit)])
        timings = {**made.timings, "record": time.monotonic() - start}
        return listed(replace(made, timings=timings), impression)

    def _watch(self, made: Made, asked: Asked) -> None:
        """Count what was asked and what was shown."""
        parts = self._parts
        parts.coverage.saw(made.snapshot, made.items)
        parts.drift.saw_wish(asked.wish)
        if asked.history is not None:
            parts.drift.saw_items(known=True)
        if asked.user_id is None:
            parts.drift.saw_user(None)
            parts.drift.saw_history(len(asked.history or ()))
            return
        past = parts.models.past(made.snapshot, asked.user_id)  # at hand: it was just read
        parts.drift.saw_user(past.known)
        parts.drift.saw_history(len(past.item_ids if asked.history is None else asked.history))

    def _watch_refused(self, asked: Asked) -> None:
        """Count a request that was refused for what its history holds; it is not among those that are answered."""
        catalog = self._parts.models.snapshot(asked.alias).recommender.catalog
        if asked.history and (catalog.items.get(asked.history) < 0).any():
            self._parts.drift.saw_items(known=False)

    def _explained(self, asked: Asked, item_ids: Sequence[str] | None, reasons: int) -> list[Explanation]:
        parts = self._parts
        recommender, queries = query_of(parts.models.snapshot(asked.alias), parts.models, asked)
        items = None if item_ids is None else [list(item_ids)]
        try:
            return recommender.explain(queries, items, k=asked.k, reasons=reasons)[0]
        except UnknownIdError as error:
            raise NotFound("an item to explain is not in the catalog") from error
        except DataError as error:
            raise Unprocessable("an item cannot be recommended in answer to this request: it is excluded") from error
        except (ConfigError, TemplateError) as error:
            raise Unprocessable(f"this pipeline cannot explain: {error}") from error

    def _traced(self, asked: Asked, candidates: int) -> Traced:
        parts = self._parts
        snapshot = parts.models.snapshot(asked.alias)
        recommender, queries = query_of(snapshot, parts.models, asked)
        return traced(recommender, queries, Wanted(snapshot.alias, snapshot.bundle, asked.k, candidates))


async def _by(deadline: float, work: Coroutine[Any, Any, T]) -> T:
    """Do what waits for the database before it is too late."""
    try:
        async with asyncio.timeout(max(0.0, deadline - time.monotonic())):
            return await work
    except TimeoutError as error:
        raise TooLate("the list was made, but could not be recorded in time") from error


def _interleaved(first: Answer, second: Answer, k: int, assignment: Assignment) -> Made:
    from llmrec.serve.experiments import team_draft

    one, other = assignment.variants
    items, sources = team_draft(first.items, second.items, k, secrets.randbits(63), (one, other))
    return Made.interleaved(first, second, items, sources, assignment.experiment)


async def _together(asks: Iterable[Coroutine[Any, Any, Answer]]) -> list[Answer]:
    """The answers to requests that go together; where one fails the others are given up."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(ask) for ask in asks]
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from None
    return [task.result() for task in tasks]
