"""Bodies within bounds: of size, whatever their headers say, and of time."""

from __future__ import annotations

import asyncio
import time

from starlette.types import Message, Receive, Scope

from llmrec.serve.http.problem import TooSlow
from llmrec.serve.problems import BadRequest, Problem, TooLarge

__all__ = ["BODY_S", "Bounded", "check_length", "read_off"]

BODY_S = 30.0
"""Seconds in which a body must have come."""

REST_S = 1.0
"""Seconds in which the body of a refused request is read."""


class Bounded:
    """An ASGI `receive` that refuses a body over a limit, and one that trickles.

    Args:
        receive: what is wrapped.
        most: bytes of the body; None: no bound here (bulk files are read and bounded line by line).
        within_s: seconds in which the whole body must have come; of a body without bound, each piece.
    """

    def __init__(self, receive: Receive, most: int | None, within_s: float = BODY_S) -> None:
        self._receive = receive
        self._most = most
        self._within_s = within_s
        self._until = time.monotonic() + within_s
        self._done = False
        self.read = 0

    async def __call__(self) -> Message:
        """The next message.

        Raises:
            TooLarge: the body is over the limit.
            TooSlow: it did not come in time.
        """
        if self._done:  # the next one says that the client is gone; that may take as long as it likes
            return await self._receive()
        left = self._within_s if self._most is None else self._until - time.monotonic()
        try:
            message = await asyncio.wait_for(self._receive(), max(left, 0.0))
        except TimeoutError:
            raise TooSlow(f"The body did not come within {self._within_s:g} seconds.") from None
        if message["type"] != "http.request":
            self._done = True
            return message
        self.read += len(message.get("body", b""))
        if self._most is not None and self.read > self._most:
            raise _too_large(self._most)
        self._done = not message.get("more_body", False)
        return message


def check_length(scope: Scope, most: int | None) -> None:
    """Refuse by the header what would be refused after reading.

    Raises:
        TooLarge: the body is announced to be over the limit.
        BadRequest: the header is no number, or the body is announced in two ways: a proxy may believe the other.
    """
    announced = [value for name, value in scope["headers"] if name == b"content-length"]
    if not announced:
        return
    if any(name == b"transfer-encoding" for name, _ in scope["headers"]):
        raise BadRequest("A request has Content-Length or Transfer-Encoding, not both.")
    if len(announced) > 1 or not announced[0].isdigit() or len(announced[0]) > 18:
        raise BadRequest("The header Content-Length is no number of bytes.")
    if most is not None and int(announced[0]) > most:
        raise _too_large(most)


async def read_off(scope: Scope, receive: Receive) -> None:
    """Read the body of a request that is refused, within bounds, and drop it.

    A connection that is closed while something on it is unread is reset, and the client may lose the answer.
    """
    if any(name == b"expect" for name, _ in scope["headers"]):  # it has not been sent, and need not be
        return
    try:
        async with asyncio.timeout(REST_S):
            while True:
                message = await receive()
                if message["type"] != "http.request" or not message.get("more_body", False):
                    return
    except (Problem, TimeoutError):
        return


def _too_large(most: int) -> TooLarge:
    return TooLarge(f"The body may hold {most:,} bytes; send it in parts, or use the bulk addresses.")
