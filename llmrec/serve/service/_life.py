"""How the service comes and goes: start, deployments, refits, stop."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from llmrec.errors import ConfigError
from llmrec.serve.problems import Problem
from llmrec.serve.records import Job
from llmrec.serve.service._parts import Parts
from llmrec.serve.service._refits import Refits
from llmrec.serve.service._watch import Watch
from llmrec.serve.service.hosts import is_loopback

if TYPE_CHECKING:
    from llmrec.serve.live import Snapshot

__all__ = ["Life"]

LOG = logging.getLogger(__name__)

NOTED = "models noted"
"""Space of the store's values: bundles of which the store knows with whose data they were fitted."""


class Life:
    """Starts, changes and stops the parts, for one event loop.

    Args:
        parts: of the service.
    """

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self.watch = Watch(parts)
        self.started = 0.0
        self._refits = Refits(parts)
        self._notes: set[asyncio.Task[None]] = set()
        self._stopped = False

    async def start(self) -> None:
        """See `Service.start`."""
        parts = self._parts
        await self._check_host()
        await parts.blocking(parts.job_book.bury, starting=True)
        self.watch.start()
        await parts.slow(parts.models.start)
        await parts.blocking(parts.experiments.refresh)
        await parts.engine.start()
        await parts.slow(parts.learner.start)
        self.started = parts.clock()
        self.watch.loaded = True
        for alias in parts.models.aliases():
            self._note(parts.models.snapshot(alias))

    async def stop(self) -> None:
        """See `Service.stop`."""
        if self._stopped:
            return
        self._stopped = self.watch.stopping = True
        parts = self._parts
        for note in self._notes:
            note.cancel()
        for step in (parts.engine.stop, self._refits.stop, self.watch.stop):
            await _tried(step())
        await _tried(asyncio.to_thread(parts.learner.stop))
        await _tried(asyncio.to_thread(parts.slow.close))
        await _tried(asyncio.to_thread(parts.blocking.close))
        await _tried(asyncio.to_thread(parts.store.close))

    async def deploy(self, alias: str, path: Path | None) -> Snapshot:
        """See `Service.deploy`."""
        parts = self._parts
        snapshot = await parts.slow(parts.models.deploy, alias, path, "reload")
        self._note(snapshot)
        return snapshot

    async def rollback(self, alias: str) -> Snapshot:
        """See `Service.rollback`."""
        parts = self._parts
        snapshot = await parts.slow(parts.models.rollback, alias)
        self._note(snapshot)
        return snapshot

    async def refit(self, alias: str, force: bool) -> Job:
        """See `Service.refit`."""
        return await self._refits.begin(alias, force)

    async def _check_host(self) -> None:
        config = self._parts.config
        if not is_loopback(config.host) and not await self._parts.blocking(self._parts.store.keys):
            raise ConfigError(
                f"{config.host} can be reached from other machines, and there is no key yet, so anybody could do "
                "anything: make one with `llmrec key add NAME --scope admin --store URL`, or listen at 127.0.0.1"
            )

    def _note(self, snapshot: Snapshot) -> None:
        """Let the store know, in the background, with whose data a bundle was fitted; an erasure names it then."""
        task = asyncio.create_task(self._noted(snapshot))
        self._notes.add(task)
        task.add_done_callback(self._notes.discard)

    async def _noted(self, snapshot: Snapshot) -> None:
        try:
            await self._parts.slow(self._note_users, snapshot)
        except Problem as problem:
            LOG.warning("with whose data bundle %s was fitted is not noted yet: %s", snapshot.bundle, problem.type)

    def _note_users(self, snapshot: Snapshot) -> None:
        store, recommender = self._parts.store, snapshot.recommender
        if store.value(NOTED, snapshot.bundle) is not None:
            return
        if recommender.histories is not None:
            store.note_models(snapshot.bundle, recommender.histories.users)
        if recommender.users is not None:
            store.note_models(snapshot.bundle, recommender.users.users)
        noted: Mapping[str, object] = {"time": self._parts.clock()}
        store.put_value(NOTED, snapshot.bundle, noted)


async def _tried(step: object) -> None:
    """Do a step of the stop; what goes wrong in it must not keep the next ones from being done."""
    try:
        await step  # type: ignore[misc]
    except Exception as error:  # noqa: BLE001
        LOG.warning("stopping: %s", type(error).__name__)
