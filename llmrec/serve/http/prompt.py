"""Connections that must begin their requests in time: whoever says nothing, or a letter a minute, makes room."""

from __future__ import annotations

import asyncio

from uvicorn.protocols.http.h11_impl import H11Protocol

__all__ = ["HEADERS_S", "PromptProtocol"]

HEADERS_S = 15.0
"""Seconds in which the headers of a request must have come, from the connection or from their first byte on."""


class PromptProtocol(H11Protocol):
    """HTTP/1.1 as uvicorn speaks it, which itself waits for ever for the end of the headers of a request."""

    _late: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for a request."""
        super().connection_made(transport)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no more."""
        super().connection_lost(exc)
        self._unwatch()

    def data_received(self, data: bytes) -> None:
        """Read on; wait only while no request is worked on."""
        super().data_received(data)
        if self._busy:
            self._unwatch()
        else:
            self._watch()

    @property
    def _busy(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _watch(self) -> None:
        if self._late is None:
            self._late = self.loop.call_later(HEADERS_S, self._end)

    def _unwatch(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None

    def _end(self) -> None:
        self._late = None
        if not self._busy and not self.transport.is_closing():
            self.transport.close()
