"""Group commit: one thread writes what all callers ask for, as many of them in a transaction as are waiting.

A commit waits for the disk, which takes as long for one event as for a hundred. While the thread waits, further
callers queue, and the next transaction takes them all. Every transaction starts by locking one row of the store (in
SQLite: the file), so that writers of several processes take turns, too: numbers are given and become visible in the
same order, and a reader that has seen number n has seen all before it.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine, select

from llmrec.serve.problems import Problem, Unavailable
from llmrec.serve.store._errors import is_down, is_lost, problem_of
from llmrec.serve.store._tables import COUNTERS

__all__ = ["PATIENCE_S", "Apply", "Work", "Writer", "lock"]

P = TypeVar("P")
R = TypeVar("R")

Apply = Callable[[Connection, Sequence[P]], Sequence[R | Problem]]
"""Writes what several callers want; an answer or a problem for each, and nothing written for a problem."""

Work = Callable[[Connection], R]

PATIENCE_S = 30.0
"""So long a caller waits for its commit."""

_MOST_WAITING = 10_000
_MOST_TOGETHER = 256

_LOCK = select(COUNTERS.c.value).where(COUNTERS.c.name == "events").with_for_update()


@dataclass(frozen=True, slots=True, eq=False)
class _Write:
    apply: Callable[[Connection, Sequence[Any]], Sequence[Any]]
    payload: Any
    answer: Future[Any] = field(default_factory=Future)


def lock(connection: Connection) -> None:
    """Wait for the turn to write; nobody else writes until the transaction ends. SQLite's BEGIN IMMEDIATE did it."""
    connection.execute(_LOCK).all()


class Writer:
    """Writes for many threads, durably, in the order of arrival. Thread-safe.

    Args:
        engine: whose transactions may write.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._waiting: queue.Queue[_Write | None] = queue.Queue(_MOST_WAITING)
        self._gate = threading.Lock()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="llmrec-store", daemon=True)
        self._thread.start()

    def write(self, apply: Apply[P, R], payload: P) -> R:
        """What `apply` answers for the payload, once that is on disk.

        Args:
            apply: a function of a module: waiting payloads of the same one are handed to it together.
            payload: checked by the caller, so that it cannot fail for what is in it.

        Raises:
            Problem: as `apply` says.
            Unavailable: the database does not answer, or the turn did not come in `PATIENCE_S` seconds. A write whose
                commit broke may have been stored or not.
        """
        write = _Write(apply, payload)
        with self._gate:
            if self._closed:
                raise Unavailable("The store is closed.")
            try:
                self._waiting.put_nowait(write)
            except queue.Full:
                raise Unavailable("Too many writes wait for the store; ask again.", retry_after=1.0) from None
        try:
            answer: R = write.answer.result(PATIENCE_S)
        except TimeoutError:
            write.answer.cancel()
            raise Unavailable("The store takes too long to write; ask again.", retry_after=5.0) from None
        return answer

    def run(self, work: Work[R]) -> R:
        """What `work` returns, once what it wrote is on disk; what it wrote is undone where it raises.

        Raises:
            Problem: what `work` raises, or as `write`.
        """
        answer: R = self.write(_each, work)
        return answer

    def close(self) -> None:
        """Write what waits, then stop. Doing it again does nothing."""
        with self._gate:
            if self._closed:
                return
            self._closed = True
        self._waiting.put(None)
        self._thread.join(PATIENCE_S)

    def _run(self) -> None:
        going = True
        while going:
            group, going = self._next()
            self._commit(group)

    def _next(self) -> tuple[list[_Write], bool]:
        """Who waits now, at least one; and whether the writer goes on."""
        group: list[_Write] = []
        write = self._waiting.get()
        while write is not None:
            if write.answer.set_running_or_notify_cancel():
                group.append(write)
            if len(group) >= _MOST_TOGETHER:
                return group, True
            try:
                write = self._waiting.get_nowait()
            except queue.Empty:
                return group, True
        return group, False

    def _commit(self, group: Sequence[_Write]) -> None:
        if not group:
            return
        try:
            answers = self._transaction(group)
        except BaseException as error:  # noqa: BLE001 - whatever it is, somebody waits to hear it
            if len(group) > 1 and not is_down(error):  # one of them cannot be written: find out which
                for write in group:
                    self._commit([write])
                return
            for write in group:
                _settle(write, problem_of(error))
        else:
            for write, answer in zip(group, answers, strict=True):
                _settle(write, answer)

    def _transaction(self, group: Sequence[_Write], retry: bool = True) -> list[Any]:
        alike: dict[Any, list[int]] = {}
        for place, write in enumerate(group):
            alike.setdefault(write.apply, []).append(place)
        answers: list[Any] = [None] * len(group)
        locked = False
        try:
            with self._engine.begin() as connection:
                lock(connection)
                locked = True
                for apply, places in alike.items():
                    found = apply(connection, [group[place].payload for place in places])
                    for place, answer in zip(places, found, strict=True):
                        answers[place] = answer
        except Exception as error:
            if retry and not locked and is_lost(error):  # a connection of the pool was dead: nothing was done with it
                return self._transaction(group, retry=False)
            raise
        return answers


def _each(connection: Connection, works: Sequence[Work[R]]) -> list[R | Problem]:
    answers: list[R | Problem] = []
    for work in works:
        try:
            with connection.begin_nested():
                answers.append(work(connection))
        except Problem as problem:
            answers.append(problem)
    return answers


def _settle(write: _Write, answer: Any) -> None:
    if isinstance(answer, Problem):
        write.answer.set_exception(answer)
    else:
        write.answer.set_result(answer)
