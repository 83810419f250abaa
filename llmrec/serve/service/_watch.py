"""How the service is: whether it answers, and everything that a person who runs it wants to see."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from llmrec.serve.problems import Problem, TooMany
from llmrec.serve.service._parts import Parts
from llmrec.serve.views import AliasView, DayCounts, Readiness, Status

if TYPE_CHECKING:
    from llmrec.serve.live import Snapshot

__all__ = ["Watch"]

LOG = logging.getLogger(__name__)

DAYS = 14
DAY = 86_400.0

PING_EVERY, PING_PATIENCE = 1.0, 5.0
"""Seconds between questions to the database, and until no answer is one too."""

FOLLOW_EVERY = 3.0
"""Seconds until what another process has put is shown here."""

FRESH = 5.0
"""Seconds that counts are shown again: a page that looks every second must not count every second."""


@dataclass(frozen=True, slots=True)
class _Counted:
    """What the store says; `at` seconds since the epoch."""

    at: float
    events: int
    days: tuple[DayCounts, ...]


class Watch:
    """Looks after the service, for one event loop.

    Args:
        parts: of the service.
    """

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._store_ok = True
        self._counted: _Counted | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self.loaded = False
        self.stopping = False

    def start(self) -> None:
        """Look from now on whether the database is there, and what other processes have changed in it."""
        self._tasks = [asyncio.create_task(self._ping_on()), asyncio.create_task(self._follow())]

    async def stop(self) -> None:
        """Look no more."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def ready(self) -> Readiness:
        """See `Service.ready`."""
        reasons = []
        if self.stopping:
            reasons.append("stopping")
        elif not self.loaded:
            reasons.append("the pipelines are being loaded")
        if not self._store_ok:
            reasons.append("the store does not answer")
        return Readiness(not reasons, tuple(reasons))

    async def status(self, started: float) -> Status:
        """See `Service.status`.

        Args:
            started: seconds since the epoch.
        """
        parts = self._parts
        counted = await self._counts()
        lag = await self._lag()
        snapshots = [parts.models.snapshot(alias) for alias in parts.models.aliases()]
        return Status(
            ready=self.ready(),
            started=started,
            aliases=tuple(await parts.blocking(_views, snapshots)),
            engine=parts.engine.state(),
            learner_lag=lag,
            store_ok=self._store_ok,
            events=counted.events,
            days=counted.days,
            coverage={snapshot.alias: parts.coverage.share(snapshot) for snapshot in snapshots},
            drift=parts.drift.views(),
        )

    async def _counts(self) -> _Counted:
        """What the store counts; what it counted last where it does not answer."""
        now = self._parts.clock()
        if self._counted is None or now - self._counted.at > FRESH:
            try:
                self._counted = await self._parts.blocking(self._count, now)
            except Problem:
                self._store_ok = False
                return self._counted or _Counted(now, 0, ())
        return self._counted

    async def _lag(self) -> int:
        try:
            return await self._parts.blocking(self._parts.learner.lag)
        except Problem:
            return 0

    def _count(self, now: float) -> _Counted:
        store = self._parts.store
        first = (now // DAY - DAYS + 1) * DAY  # whole days (UTC), today among them
        rows = store.counts_between(first, now + 1)
        days = sorted((DayCounts(**row) for row in rows), key=lambda one: (one.alias, one.bundle))
        return _Counted(now, store.last_seq(), tuple(sorted(days, key=lambda one: one.day, reverse=True)))

    async def _ping_on(self) -> None:
        while True:
            try:
                async with asyncio.timeout(PING_PATIENCE):  # `wait_for` of Python 3.11 may swallow a cancellation
                    await self._parts.blocking(self._look)
                self._store_ok = True
            except TooMany:
                pass  # the database is busy, not gone
            except Exception:  # noqa: BLE001 - whatever it is, the question must be asked again
                self._store_ok = False
            await asyncio.sleep(PING_EVERY)

    async def _follow(self) -> None:
        """Show items that other processes have put."""
        while True:
            await asyncio.sleep(FOLLOW_EVERY)
            try:
                if self.loaded:
                    await self._parts.slow(self._parts.models.refresh)
            except Problem as problem:
                LOG.warning("items of other processes are not followed now: %s", problem.type)

    def _look(self) -> None:
        """Ask the database whether it is there, and which experiment runs: another process may have begun one."""
        self._parts.store.ping()
        self._parts.experiments.refresh()


def _views(snapshots: list[Snapshot]) -> list[AliasView]:
    return [_view(snapshot) for snapshot in snapshots]


def _view(snapshot: Snapshot) -> AliasView:
    recommender = snapshot.recommender
    return AliasView(
        alias=snapshot.alias,
        bundle=snapshot.bundle,
        version=snapshot.version,
        loaded=snapshot.loaded,
        fitted=_made_at(Path(snapshot.path)),
        items=int(recommender.catalog.active.sum()),
        users=0 if recommender.histories is None else recommender.histories.n_users,
        stages=tuple(stage.name for stage in recommender.stages),
        policies=tuple(policy.name for policy in recommender.policies),
    )


def _made_at(bundle: Path) -> float | None:
    """When a bundle was written; None where its folder is gone."""
    try:
        return (bundle / "manifest.json").stat().st_mtime
    except OSError:
        return None
