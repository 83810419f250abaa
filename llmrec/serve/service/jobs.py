"""Jobs and who works on them: what a process began that is gone must not look as if it went on."""

from __future__ import annotations

import os
import secrets
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from llmrec.errors import LlmrecError
from llmrec.serve.records import Job

if TYPE_CHECKING:
    from llmrec.serve.store import Store

__all__ = ["BEAT", "DEAD", "UNDER_WAY", "JobBook"]

BEAT = 20.0
"""Seconds after which a job is noted as alive, even if it says nothing."""

DEAD = 90.0
"""Seconds of silence after which what works on a job is taken to be gone, wherever it ran."""

UNDER_WAY = ("waiting", "running")

OWNERS = "job owners"
"""Space of the store's values: who works on a job, by its id."""

LOOKED = 500
"""Jobs that are looked through, the newest."""

GONE = "what worked on it is gone"


class JobBook:
    """Begins jobs under this service's name, and buries those that nobody works on. Thread-safe.

    Args:
        store: where jobs are.
        clock: seconds since the epoch.
    """

    def __init__(self, store: Store, clock: Callable[[], float]) -> None:
        self._store, self._clock = store, clock
        # a number of a process comes again, in a container always the same one; the token does not
        self._me = {"host": socket.gethostname(), "pid": os.getpid(), "token": secrets.token_hex(8)}

    def begin(self, kind: str, asked: Mapping[str, Any]) -> Job:
        """Add a job that this service works on."""
        job = self._store.add_job(kind, asked, now=self._clock())
        self._store.put_value(OWNERS, job.id, self._me)
        return job

    @contextmanager
    def alive(self, job: Job) -> Iterator[None]:
        """Note a job as alive while the block runs, in a thread, so that silence means that nobody is there."""
        ended = threading.Event()

        def beat() -> None:
            while not ended.wait(BEAT):
                with suppress(LlmrecError):  # the store is away; the next one may reach it
                    self._store.update_job(job.id, now=self._clock())

        thread = threading.Thread(target=beat, name="llmrec-beat", daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()

    def bury(self, *, starting: bool = False) -> None:
        """Mark as failed, whatever their kind, jobs that nobody sees through any more.

        Args:
            starting: this service has begun no job yet, so what bears the number of its process, or of one that
                is not there, or nobody's, was left behind; otherwise, and of other machines, silence alone tells.
        """
        now, owners = self._clock(), self._store.values(OWNERS)
        for job in self._store.jobs(None, LOOKED):
            owner = owners.get(job.id)
            if job.state not in UNDER_WAY:
                if owner is not None:
                    self._store.delete_value(OWNERS, job.id)
            elif now - job.updated > DEAD or (starting and self._is_gone(owner)):
                self._store.update_job(job.id, now=now, state="failed", message=GONE)

    def _is_gone(self, owner: Mapping[str, Any] | None) -> bool:
        if owner is None:
            return True
        if owner.get("host") != self._me["host"]:
            return False
        if owner.get("pid") == self._me["pid"]:
            return owner.get("token") != self._me["token"]
        return not _runs(owner.get("pid"))


def _runs(pid: Any) -> bool:
    """Whether a process of this machine runs; True where that cannot be told."""
    if os.name != "posix" or not isinstance(pid, int) or pid <= 0:  # elsewhere the question would end the process
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True
