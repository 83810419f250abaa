"""Keys as they are remembered for a moment: the store is not asked on every request, and a revoked key stops soon."""

from __future__ import annotations

import asyncio
import hashlib
import re
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Protocol, TypeVar

from llmrec.serve.problems import Unavailable
from llmrec.serve.records import Key

__all__ = ["KeyCache", "KeyFinder"]

T = TypeVar("T")

_SHAPE = re.compile(r"llmrec_[A-Za-z0-9]{1,64}_[A-Za-z0-9_-]{20,200}")


class KeyFinder(Protocol):
    """Where keys are looked up; `Service` is one."""

    async def find_key(self, secret: str) -> Key | None:
        """The key a secret is of."""
        ...

    async def has_keys(self) -> bool:
        """Whether any key was ever made."""
        ...


class KeyCache:
    """Keys by the hash of their secret, so that no secret stays in memory. Of one event loop.

    Equal secrets that come together are looked up once. The look-up compares hashes of 256 random bits in constant
    time (`Store.find_key`); here a hash is the name in a table, which says nothing of the secret either.

    Args:
        finder: where keys are looked up.
        keep_s: an answer is believed so long, the answer "none" too.
        wait_s: a look-up may take so long.
        most: answers that are remembered.
        clock: seconds, never going back.
    """

    def __init__(
        self,
        finder: KeyFinder,
        keep_s: float = 2.0,
        wait_s: float = 5.0,
        most: int = 4_096,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._finder = finder
        self._keep_s, self._wait_s, self._most = keep_s, wait_s, most
        self._clock = clock
        self._found: OrderedDict[bytes, tuple[float, Key | None]] = OrderedDict()
        self._asked: dict[bytes, asyncio.Task[Key | None]] = {}
        self._open: tuple[float, bool] = (float("-inf"), False)

    async def find(self, secret: str) -> Key | None:
        """The key a secret is of; None: of none, or of a revoked one.

        Raises:
            Unavailable: the store does not answer in time.
        """
        if not _SHAPE.fullmatch(secret):
            return None
        name = hashlib.sha256(secret.encode()).digest()
        then, key = self._found.get(name, (float("-inf"), None))
        if self._clock() - then < self._keep_s:
            return key
        task = self._asked.get(name)
        if task is None:
            task = self._asked[name] = asyncio.create_task(self._look_up(name, secret))
            task.add_done_callback(lambda done: done.cancelled() or done.exception())  # seen, also if nobody waits
        return await self._bounded(asyncio.shield(task))

    def known(self, secret: str) -> bool:
        """Whether the answer for a secret is at hand, or was lately that it opens something."""
        if not _SHAPE.fullmatch(secret):
            return True
        then, key = self._found.get(hashlib.sha256(secret.encode()).digest(), (float("-inf"), None))
        return key is not None or self._clock() - then < self._keep_s

    async def any(self) -> bool:
        """Whether any key was ever made. Once there is one, that is remembered for good.

        Raises:
            Unavailable: the store does not answer in time.
        """
        then, some = self._open
        if not some and self._clock() - then >= self._keep_s:
            some = await self._bounded(self._finder.has_keys())
            self._open = (self._clock(), some)
        return some

    async def _look_up(self, name: bytes, secret: str) -> Key | None:
        try:
            key = await self._finder.find_key(secret)
            if key is not None and key.revoked:
                key = None
            self._found[name] = (self._clock(), key)
            self._found.move_to_end(name)
            if len(self._found) > self._most:
                self._found.popitem(last=False)
            return key
        finally:
            del self._asked[name]

    async def _bounded(self, wanted: Awaitable[T]) -> T:
        try:
            return await asyncio.wait_for(wanted, self._wait_s)
        except TimeoutError:
            raise Unavailable("The store does not answer; ask again.", retry_after=1.0) from None
