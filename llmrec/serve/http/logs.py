"""Logs as JSON lines: what was asked by route, never by whom or for what."""

from __future__ import annotations

import json
import logging
import sys
import traceback
from datetime import UTC, datetime

from llmrec.serve.http.trace import CURRENT

__all__ = ["ACCESS", "JsonLines", "log_failure", "set_up_logs"]

ACCESS = "llmrec.serve.access"
"""The logger of answered requests."""

_MOST_FRAMES = 12


class JsonLines(logging.Formatter):
    """One JSON object a line; fields of a record come from `extra={"fields": {...}}`."""

    def format(self, record: logging.LogRecord) -> str:
        """The line; texts of exceptions and of other libraries are left out, for they may hold what a caller sent."""
        trace = CURRENT.get()
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage() if _ours(record.name) else f"{record.module}:{record.lineno} says something",
        }
        if trace is not None:
            line |= {"request_id": trace.request_id, "trace_id": trace.trace_id, "span_id": trace.span_id}
        line |= getattr(record, "fields", {})
        if record.exc_info and record.exc_info[1] is not None:
            line |= _failure(record.exc_info[1])
        return json.dumps(line, default=str)


def set_up_logs(level: int = logging.INFO) -> None:
    """Send the logs of llmrec and of the HTTP server to stderr as JSON lines, of a process that only serves."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    for name in ("llmrec", "uvicorn"):
        logger = logging.getLogger(name)
        logger.handlers = [handler]
        logger.setLevel(level if name == "llmrec" else logging.WARNING)
        logger.propagate = False
    root = logging.getLogger()
    root.handlers = [handler]  # else Python writes what others say as it is
    root.setLevel(logging.WARNING)


def _ours(logger: str) -> bool:
    return logger.partition(".")[0] in {"llmrec", "uvicorn"}


def log_failure(where: str, error: BaseException) -> None:
    """Log what went wrong in us: the kind of error and where, without its text."""
    logging.getLogger("llmrec.serve").error("failed: %s", where, extra={"fields": _failure(error)})


def _failure(error: BaseException) -> dict[str, object]:
    frames = traceback.extract_tb(error.__traceback__)[-_MOST_FRAMES:]
    return {
        "error": type(error).__name__,
        "frames": [f"{frame.filename.rsplit('/', 3)[-1]}:{frame.lineno} {frame.name}" for frame in frames],
    }
