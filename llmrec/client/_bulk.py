"""Many lines in requests of some hundred: memory stays bounded, and what breaks is asked again from where it broke."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Any

import httpx2

from llmrec.client._http import Call, Connection, Repeat, parse_line
from llmrec.client.errors import ServiceError, UnreachableError
from llmrec.client.results import BulkLine

__all__ = ["line_of", "send"]

LINES = {"interactions": 500, "items": 200, "recommend": 50}
"""Of one request. Few enough that one can be made again without much loss, and that the answer comes in time."""

BYTES = 1_000_000
"""Of one request at most, a line over that excepted."""

BULK_S = 300.0
"""Seconds to wait for the next piece of an answer."""


def line_of(values: Mapping[str, Any]) -> bytes:
    """A line of JSON, without its end."""
    return json.dumps(values, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()


def send(
    connection: Connection,
    what: str,
    lines: Iterable[bytes],
    *,
    headers: Mapping[str, str] | None = None,
    params: Mapping[str, str] | None = None,
    repeat: Repeat = "any",
) -> Iterator[BulkLine]:
    """Send lines, and yield what became of each.

    Raises:
        ServiceError: a request was not done; lines before it were.
    """
    first = 1
    for content, count in _requests(lines, LINES[what]):
        call = Call(
            "POST",
            f"/v1/bulk/{what}",
            content,
            params={**(params or {}), "first_line": first},
            headers={"Accept": "application/x-ndjson", **(headers or {})},
            repeat=repeat,
            timeout=BULK_S,
            check=_whole,
        )
        yield from _answers(connection.send(call))
        first += count


def _requests(lines: Iterable[bytes], most: int) -> Iterator[tuple[bytes, int]]:
    """Group lines into the contents of requests."""
    source = iter(lines)
    while group := list(islice(source, most)):
        held: list[bytes] = []
        size = 0
        for line in group:
            if held and size + len(line) > BYTES:
                yield b"\n".join(held) + b"\n", len(held)
                held, size = [], 0
            held.append(line.strip(b"\r\n"))
            size += len(line) + 1
        yield b"\n".join(held) + b"\n", len(held)


def _answers(response: httpx2.Response) -> Iterator[BulkLine]:
    for line in response.content.splitlines():
        if line and not line.startswith(b'{"summary"'):
            found: BulkLine = parse_line(BulkLine, line, response)
            yield found


def _whole(response: httpx2.Response) -> ServiceError | None:
    """An answer whose last line is no summary, or one of a part, broke off."""
    last = response.content.rstrip(b"\n").rpartition(b"\n")[2]
    try:
        if json.loads(last)["summary"]["complete"] is True:
            return None
    except (ValueError, KeyError, TypeError):
        pass
    return UnreachableError(
        "the answer broke off before its end", response.status_code, request_id=response.headers.get("X-Request-ID")
    )
