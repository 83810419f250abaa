"""Who is signed in: random tokens in cookies, and on this side what each may do; few, and not for ever."""

from __future__ import annotations

import hashlib
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace

__all__ = ["Session", "Sessions"]

MOST = 1_000
"""Sessions at once; beyond it the one that was idle longest ends."""

OF_ONE_KEY = 50
"""Sessions of one key at once, so that one key cannot end the sessions of all others."""


@dataclass(frozen=True, slots=True)
class Session:
    """Somebody who signed in with a key.

    Attributes:
        key_id: the key; whether it is still good is asked at each request.
        begun: seconds of the clock.
        seen: of the last request.
    """

    key_id: str
    begun: float
    seen: float


class Sessions:
    """Sessions by token. Only hashes of tokens are held. Used on one event loop; not thread-safe.

    Args:
        clock: seconds, never going back.
        idle_s: a session that asks nothing for so long ends.
        longest_s: and any session after so long.
    """

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, idle_s: float = 7_200.0, longest_s: float = 43_200.0
    ) -> None:
        self._clock, self._idle, self._longest = clock, idle_s, longest_s
        self._by_hash: OrderedDict[str, Session] = OrderedDict()

    def __len__(self) -> int:
        return len(self._by_hash)

    def open(self, key_id: str) -> str:
        """Begin a session, and return its token: 256 random bits, known to the browser alone."""
        now = self._clock()
        own = [name for name, session in self._by_hash.items() if session.key_id == key_id]
        for name in own[: max(0, len(own) - OF_ONE_KEY + 1)]:
            del self._by_hash[name]
        while len(self._by_hash) >= MOST:
            self._by_hash.popitem(last=False)
        token = secrets.token_urlsafe(32)
        self._by_hash[_hash(token)] = Session(key_id, now, now)
        return token

    def find(self, token: str) -> Session | None:
        """Return a session that has not ended; it counts as seen."""
        name, now = _hash(token), self._clock()
        session = self._by_hash.get(name)
        if session is None:
            return None
        if now - session.seen > self._idle or now - session.begun > self._longest:
            del self._by_hash[name]
            return None
        self._by_hash[name] = replace(session, seen=now)
        self._by_hash.move_to_end(name)
        return session

    def close(self, token: str) -> None:
        """End a session; one that is not there is no error."""
        self._by_hash.pop(_hash(token), None)


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()
