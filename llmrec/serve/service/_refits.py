"""Refits in the background: one process each, its progress in the store, the new bundle deployed if it is not worse."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmrec.serve.problems import Conflict, Unavailable
from llmrec.serve.records import Job
from llmrec.serve.service._parts import Parts
from llmrec.serve.service.jobs import BEAT, UNDER_WAY

if TYPE_CHECKING:
    from llmrec.serve.live import Snapshot

__all__ = ["Refits", "refit_command"]

PATIENCE = 5.0
"""Seconds that a process has to end when it is told to."""

LONGEST_LINE = 1 << 20


def refit_command() -> list[str]:
    """The command line of the process that fits."""
    return [sys.executable, "-m", "llmrec.serve.service._refit_process"]


@dataclass(frozen=True, slots=True)
class _Told:
    """What a process said last.

    Attributes:
        result: of the fit; None: there is none.
        error: what went wrong; None: nothing was said.
    """

    result: Mapping[str, Any] | None = None
    error: str | None = None


class Refits:
    """Begins refits and sees them through. For one event loop.

    Args:
        parts: of the service.
        command: of the process.
    """

    def __init__(self, parts: Parts, command: Callable[[], list[str]] = refit_command) -> None:
        self._store, self._models, self._config = parts.store, parts.models, parts.config
        self._blocking, self._slow, self._clock, self._command = parts.blocking, parts.slow, parts.clock, command
        self._book = parts.job_book
        self._tasks: dict[str, asyncio.Task[None]] = {}

    async def begin(self, alias: str, force: bool) -> Job:
        """Begin a refit of an alias.

        Raises:
            NotFound: no such alias.
            Conflict: one is under way.
        """
        snapshot = self._models.snapshot(alias)
        if alias in self._tasks:
            raise Conflict(f"a refit of {alias!r} is under way; ask for its job")
        # the place is taken before anything is awaited: of two that begin together, one is refused
        begun: asyncio.Future[Job] = asyncio.get_running_loop().create_future()
        task = self._tasks[alias] = asyncio.create_task(self._see_through(snapshot, force, begun))
        task.add_done_callback(lambda _: self._tasks.pop(alias, None))
        return await begun

    async def stop(self) -> None:
        """End what is under way; its jobs fail."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _see_through(self, snapshot: Snapshot, force: bool, begun: asyncio.Future[Job]) -> None:
        try:
            job = await self._added(snapshot, force)
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - told to who asked
            if not begun.done():
                begun.set_exception(error if isinstance(error, Exception) else Unavailable("the service is stopping"))
            return
        if not begun.done():
            begun.set_result(job)
        try:
            await self._update(job, state="running", message="starting")
            changes = await self._outcome(job, snapshot, force)
        except asyncio.CancelledError:
            changes = {"state": "failed", "message": "the service was stopped"}
        except Exception as error:  # noqa: BLE001 - a background job has nobody else to tell
            changes = {"state": "failed", "message": getattr(error, "detail", type(error).__name__)}
        await self._update(job, **changes)

    async def _added(self, snapshot: Snapshot, force: bool) -> Job:
        await self._blocking(self._book.bury)
        for job in await self._blocking(self._store.jobs, "refit"):
            if job.state in UNDER_WAY and job.asked.get("alias") == snapshot.alias:
                raise Conflict(f"a refit of {snapshot.alias!r} is under way elsewhere; ask for its job")
        asked = {"alias": snapshot.alias, "bundle": snapshot.bundle, "force": force}
        return await self._blocking(self._book.begin, "refit", asked)

    async def _outcome(self, job: Job, snapshot: Snapshot, force: bool) -> dict[str, Any]:
        """Fit, then deploy; what the job says in the end."""
        out = _folder_for(Path(snapshot.path), self._clock())
        told = await self._fitted(job, snapshot, out, force)
        if told.result is None:
            return {"state": "failed", "message": told.error or "the process ended without a word"}
        result = dict(told.result)
        if not (result.get("passed") or force):
            message = "the new bundle is surely worse on the newest events, and is not deployed"
            return {"state": "done", "progress": 1.0, "message": message, "result": {**result, "deployed": False}}
        await self._update(job, message="deploying", progress=0.95)
        path = Path(result.get("path") or out)
        deployed = await self._slow(self._models.deploy, snapshot.alias, path, "refit")
        result |= {"deployed": True, "bundle": deployed.bundle}
        return {"state": "done", "progress": 1.0, "message": "deployed", "result": result}

    async def _fitted(self, job: Job, snapshot: Snapshot, out: Path, force: bool) -> _Told:
        process = await asyncio.create_subprocess_exec(
            *self._command(),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,  # a traceback may hold ids
            limit=LONGEST_LINE,
        )
        asked = {
            "bundle": snapshot.path,
            "store": self._config.store,
            "out": str(out),
            "learn": self._config.learn.model_dump(mode="json"),
            "force": force,
        }
        try:
            assert process.stdin is not None
            process.stdin.write(json.dumps(asked).encode() + b"\n")
            told = _Told()
            async for line in self._lines(process, job):
                told = _heard(told, line)
                if message := line.get("message"):
                    job = await self._update(job, message=str(message), progress=_further(job.progress))
            await process.wait()
            return told
        finally:
            await _ended(process)

    async def _lines(self, process: asyncio.subprocess.Process, job: Job) -> AsyncIterator[Mapping[str, Any]]:
        """What the process says, line by line; while it is silent the job is noted as alive."""
        assert process.stdout is not None
        reading = asyncio.ensure_future(process.stdout.readline())
        try:
            while True:
                done, _ = await asyncio.wait([reading], timeout=BEAT)
                if not done:
                    await self._update(job)
                    continue
                if not (line := reading.result()):
                    return
                reading = asyncio.ensure_future(process.stdout.readline())
                yield json.loads(line)
        finally:
            reading.cancel()

    async def _update(self, job: Job, **changes: Any) -> Job:
        return await self._blocking(self._store.update_job, job.id, now=self._clock(), **changes)


def _heard(told: _Told, line: Mapping[str, Any]) -> _Told:
    if "result" in line:
        return replace(told, result=line["result"])
    return replace(told, error=str(line["error"])) if "error" in line else told


def _further(progress: float) -> float:
    """How far a fit is nobody knows; each thing it says brings it a tenth of the rest nearer to .9."""
    return progress + (0.9 - progress) / 10


def _folder_for(old: Path, now: float) -> Path:
    """Beside the bundle: its name, and the time (UTC); a time that stands there is replaced."""
    stem, dot, end = old.name.rpartition("@")
    name = stem if dot and end.replace("-", "").isdigit() else old.name
    return old.with_name(f"{name}@{time.strftime('%Y%m%d-%H%M%S', time.gmtime(now))}")


async def _ended(process: asyncio.subprocess.Process) -> None:
    """End a process that has not ended."""
    if process.returncode is not None:
        return
    process.terminate()
    try:
        async with asyncio.timeout(PATIENCE):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()
