"""How one request is told from others: its id, and the trace it is part of (W3C Trace Context, level 1)."""

from __future__ import annotations

import re
import secrets
from contextvars import ContextVar
from dataclasses import dataclass

__all__ = ["CURRENT", "Trace", "trace_of"]

_SANE_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{3,63}")
_PARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")


@dataclass(frozen=True, slots=True)
class Trace:
    """What names a request in answers and logs.

    Attributes:
        request_id: the caller's, where that is sane, or made here.
        trace_id: 32 hex digits; the caller's, or made here.
        span_id: 16 hex digits; of this request, made here.
        parent_id: 16 hex digits; the caller's span; None: it named none.
        sampled: whether the caller records the trace.
    """

    request_id: str
    trace_id: str
    span_id: str
    parent_id: str | None
    sampled: bool

    @property
    def parent(self) -> str:
        """The value of `traceparent` for what this request causes."""
        return f"00-{self.trace_id}-{self.span_id}-{'01' if self.sampled else '00'}"


CURRENT: ContextVar[Trace | None] = ContextVar("llmrec_trace", default=None)
"""The trace of the request that is worked on; tasks and threads begun for it see it too."""


def trace_of(request_id: str | None, parents: list[str]) -> Trace:
    """Name a request by what its caller says, as far as that can be believed.

    Args:
        request_id: the header X-Request-ID; one that is not sane is replaced, for it goes into logs and headers.
        parents: the headers traceparent; without exactly one that is well formed a new trace begins.
    """
    sane = request_id is not None and _SANE_ID.fullmatch(request_id)
    parent = _PARENT.fullmatch(parents[0]) if len(parents) == 1 else None
    if parent is not None and not _believable(parent):
        parent = None
    return Trace(
        request_id=request_id if sane and request_id is not None else secrets.token_hex(16),
        trace_id=parent[2] if parent else secrets.token_hex(16),
        span_id=secrets.token_hex(8),
        parent_id=parent[3] if parent else None,
        sampled=bool(parent and int(parent[4], 16) & 1),
    )


def _believable(parent: re.Match[str]) -> bool:
    """Version ff is forbidden, so are ids of zeros; only versions after 00 may say more."""
    version, trace_id, span_id, _, more = parent.groups()
    return version != "ff" and set(trace_id) != {"0"} and set(span_id) != {"0"} and not (version == "00" and more)
