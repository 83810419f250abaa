"""Work that waits for a database or a disk, done beside the event loop; so many at once, and no more than that wait."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import Any, ParamSpec, TypeVar

from llmrec.serve.problems import TooMany, Unavailable

__all__ = ["Blocking"]

P = ParamSpec("P")
T = TypeVar("T")


class Blocking:
    """Some threads, and a bound on what waits for them. Thread-safe.

    Args:
        name: of the threads.
        threads: that work at once.
        waiting: works that are begun or wait at most; further ones are refused.
    """

    def __init__(self, name: str, threads: int, waiting: int) -> None:
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix=name)
        self._free = threading.BoundedSemaphore(waiting)
        self._closed = False

    async def __call__(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Do the work in a thread; what is cancelled while it is done is done all the same, and its result dropped.

        Raises:
            TooMany: too much waits already.
            Unavailable: closed.
        """
        return await asyncio.wrap_future(self._begin(partial(work, *args, **kwargs)))

    async def to_the_end(self, end: Callable[[], None], work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """As calling it, and call `end` on the event loop once nothing is done any more, whoever still waits.

        Raises:
            TooMany, Unavailable: as calling it; `end` was called.
        """
        loop = asyncio.get_running_loop()
        try:
            doing = self._begin(partial(work, *args, **kwargs))
        except BaseException:
            end()
            raise
        doing.add_done_callback(lambda _: _tell(loop, end))
        return await asyncio.wrap_future(doing)

    def _begin(self, work: Callable[[], T]) -> Future[T]:
        if self._closed:
            raise Unavailable("the service is stopping; ask another one, or later", retry_after=5.0)
        if not self._free.acquire(blocking=False):
            raise TooMany("too much waits for the database; ask again", retry_after=1.0)
        try:
            doing = self._pool.submit(work)
        except BaseException:
            self._free.release()
            raise
        doing.add_done_callback(self._done)
        return doing

    def _done(self, _doing: Future[Any]) -> None:
        self._free.release()

    def close(self) -> None:
        """Refuse further work, and wait for what was begun; blocks."""
        self._closed = True
        self._pool.shutdown(wait=True)


def _tell(loop: asyncio.AbstractEventLoop, end: Callable[[], None]) -> None:
    with suppress(RuntimeError):  # the loop was closed, and with it went who waited
        loop.call_soon_threadsafe(end)
