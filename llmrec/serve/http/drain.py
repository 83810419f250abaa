"""Who is inside: requests that are worked on, and whether new ones are let in."""

from __future__ import annotations

__all__ = ["Door"]


class Door:
    """Counts requests, and closes. Of one event loop; `close` may also be called by a signal handler.

    Args:
        most: requests inside at a time.
    """

    def __init__(self, most: int = 1_024) -> None:
        self._most = most
        self._inside = 0
        self._closed = False

    @property
    def inside(self) -> int:
        """Requests that are worked on."""
        return self._inside

    @property
    def closed(self) -> bool:
        """Whether new requests are refused."""
        return self._closed

    @property
    def full(self) -> bool:
        """Whether as many are inside as may be."""
        return self._inside >= self._most

    def close(self) -> None:
        """Let nobody in any more."""
        self._closed = True

    def enter(self) -> None:
        """Count one in."""
        self._inside += 1

    def leave(self) -> None:
        """Count one out."""
        self._inside -= 1
