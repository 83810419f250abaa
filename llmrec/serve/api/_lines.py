"""Lines of JSON in and out, in bounded memory: nothing is read before what was read is answered."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass

from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

__all__ = ["MEDIA_TYPES", "Line", "LinesResponse", "read_lines"]

MEDIA_TYPES = ("application/x-ndjson", "application/jsonl")

STALLED_S = 60.0
"""Seconds that a caller may take before it reads on; then the answer breaks off."""


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a request.

    Attributes:
        number: from 1, blank lines counted.
        data: without its end; None: it was over the limit, and nothing of it was kept.
    """

    number: int
    data: bytes | None


async def read_lines(
    pieces: AsyncIterator[bytes], *, most: int, longest: int, first: int = 1
) -> AsyncIterator[list[Line]]:
    """Group what comes in into lines, as many at a time as are there; never waits for more lines than one.

    Args:
        pieces: of the body, cut anywhere.
        most: lines of a group.
        longest: bytes of a line; memory is bounded by this and the size of a piece.
        first: number of the first line.

    Yields:
        Groups of at least one line; blank lines are left out.
    """
    left = bytearray()
    lost = False  # within a line that is over the limit, whose rest is passed over
    number = first - 1
    async for piece in pieces:
        group: list[Line] = []
        *whole, rest = piece.split(b"\n")
        for part in whole:
            number += 1
            data = bytes(left) + part
            left.clear()
            group += _line(number, None if lost or len(data) > longest else data)
            lost = False
            if len(group) >= most:
                yield group
                group = []
        if group:
            yield group
        if not lost:
            left += rest
        if len(left) > longest:
            left.clear()
            lost = True
    last = _line(number + 1, None if lost else bytes(left)) if left or lost else []
    if last:
        yield last


def _line(number: int, data: bytes | None) -> list[Line]:
    if data is not None:
        data = data.removeprefix(b"\xef\xbb\xbf").strip(b" \t\r") if number == 1 else data.strip(b" \t\r")
    return [] if data == b"" else [Line(number, data)]


class LinesResponse(StreamingResponse):
    """An answer that is written while the request is still read.

    Starlette's own class listens for the end of the connection meanwhile, and would take pieces of the body away from
    whoever reads them. The first lines are made before the answer begins: what goes wrong with them has a status, and a
    caller who waits to be told to go on sending (`Expect: 100-continue`) is told.
    """

    media_type = MEDIA_TYPES[0]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the lines as they come.

        Raises:
            TimeoutError: the caller does not read.
        """
        pieces = self.body_iterator.__aiter__()
        async with aclosing(pieces):  # type: ignore[type-var]
            first = await anext(pieces, b"")
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            await _send(send, first)
            async for piece in pieces:
                await _send(send, piece)
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _send(send: Send, piece: bytes | str | memoryview) -> None:
    async with asyncio.timeout(STALLED_S):
        await send({"type": "http.response.body", "body": piece, "more_body": True})
