"""Keeps what is done for a user apart from the erasure of that user."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager

from llmrec.serve.problems import Conflict, Unavailable

__all__ = ["Gate"]


class Gate:
    """Requests of a user pass; an erasure waits until those within have left, and holds up new ones. For one loop.

    Without it a list that was asked for before an erasure would be recorded, with the user's id, after it.

    Attributes:
        erasures: begun so far; what was read before one may be gone after it.
    """

    def __init__(self) -> None:
        self._inside: Counter[str] = Counter()
        self._held: dict[str, asyncio.Event] = {}
        self.erasures = 0

    @asynccontextmanager
    async def inside(self, user_ids: Iterable[str | None]) -> AsyncIterator[None]:
        """Do something for users.

        Raises:
            Unavailable: one of them is being erased.
        """
        users = {user for user in user_ids if user is not None}
        if self._held.keys() & users:
            raise Unavailable("this user is being erased; ask again in a moment", retry_after=1.0)
        self._inside.update(users)
        try:
            yield
        finally:
            for user in users:
                self._left(user)

    def stay(self, user_ids: Iterable[str | None]) -> Callable[[], None]:
        """Count users in once more, from within: for work that goes on when nobody waits for it any more.

        Returns:
            Counts them out; to be called once, on the event loop, when the work has ended.
        """
        users = {user for user in user_ids if user is not None}
        self._inside.update(users)

        def leave() -> None:
            for user in users:
                self._left(user)

        return leave

    @asynccontextmanager
    async def alone(self, user_id: str, patience: float) -> AsyncIterator[None]:
        """Do something while nothing else is done for a user.

        Args:
            user_id: who.
            patience: seconds to wait for what is being done.

        Raises:
            Conflict: the user is being erased already.
            Unavailable: what is being done takes longer.
        """
        if user_id in self._held:
            raise Conflict("this user is being erased already")
        empty = self._held[user_id] = asyncio.Event()
        self.erasures += 1
        try:
            if self._inside[user_id] and not await _came(empty, patience):
                raise Unavailable("requests of this user are still being answered; ask again", retry_after=5.0)
            yield
        finally:
            del self._held[user_id]

    def _left(self, user: str) -> None:
        self._inside[user] -= 1
        if self._inside[user] <= 0:
            del self._inside[user]
            if user in self._held:
                self._held[user].set()


async def _came(event: asyncio.Event, patience: float) -> bool:
    """Whether it came within so many seconds."""
    try:
        async with asyncio.timeout(patience):
            await event.wait()
    except TimeoutError:
        return False
    return True
