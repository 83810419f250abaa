"""What of an error may stand in the log: what it is and where it came from, never the data in its message."""

from __future__ import annotations

import traceback

__all__ = ["told"]


def told(error: BaseException) -> str:
    """Return an error's class and the lines of code it came through, those of its causes too; not its message."""
    parts = []
    seen: BaseException | None = error
    while seen is not None:
        frames = "".join(traceback.format_tb(seen.__traceback__))
        parts.append(f"{type(seen).__name__}\n{frames}")
        seen = seen.__cause__
    return "because of ".join(parts)
