"""How the command lives as a process: signals, warnings, closed pipes, and what an error looks like outside."""

from __future__ import annotations

import errno
import json
import os
import signal
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Any, Protocol, runtime_checkable

from llmrec.errors import LlmrecError

__all__ = [
    "CLOSED_PIPE",
    "Failure",
    "discard_output",
    "failure_of",
    "is_closed_pipe",
    "open_streams",
    "own_process",
    "report",
]

INTERRUPTED, CLOSED_PIPE, TERMINATED = 130, 141, 143
"""128 + the number of SIGINT, SIGPIPE, SIGTERM: what a shell reports for a process that a signal ended."""


@dataclass(frozen=True, slots=True)
class Failure:
    """What is told of an error.

    Attributes:
        kind: the name of the error's class.
        message: what went wrong, where, and what to do.
        exit_code: of the process.
        shown: what a person reads instead of "llmrec: message"; empty: nothing else.
    """

    kind: str
    message: str
    exit_code: int
    shown: str = ""


@runtime_checkable
class _Usage(Protocol):
    """An error of the command-line parser, whichever version of it is installed."""

    exit_code: int

    def format_message(self) -> str:
        """What is wrong."""

    def show(self, file: Any = None) -> None:
        """Print it, with the usage line."""


def failure_of(error: BaseException) -> Failure:
    """Say what an error is to the user, and which exit code it has."""
    kind, message = type(error).__name__, str(error)
    match error:
        case LlmrecError():
            found = Failure(kind, message, error.exit_code)
        case SystemExit():
            code = error.code if isinstance(error.code, int) else int(error.code is not None)
            found = Failure("Terminated", "told to stop; unfinished files were removed", code)
        case KeyboardInterrupt():
            found = Failure("Interrupted", "stopped; unfinished files were removed", INTERRUPTED)
        case MemoryError():
            found = Failure(kind, f"there is not enough memory for this{f': {message}' if message else ''}", 1)
        case OSError():
            place = f"{error.filename}: " if error.filename else ""
            found = Failure(kind, f"{place}{error.strerror or message}", 1)
        case _ if isinstance(error, _Usage):
            found = Failure(kind, error.format_message(), error.exit_code, _usage(error))
        case _:
            found = Failure(kind, f"{kind}: {message}\nThis is a bug in llmrec; --debug shows where.", 1)
    return found


def report(failure: Failure, *, as_json: bool) -> None:
    """Say on stderr what went wrong: one line of JSON, or a sentence.

    An end with exit code 0, such as after --version, says nothing.
    """
    if failure.exit_code == 0:
        return
    if as_json:
        error = {"type": failure.kind, "message": failure.message, "exit_code": failure.exit_code}
        sys.stderr.write(json.dumps({"error": error}) + "\n")
    else:
        sys.stderr.write(failure.shown or f"llmrec: {failure.message}\n")


def is_closed_pipe(error: BaseException) -> bool:
    """Whether what reads the output has left; the command-line parser wraps that in an exit of its own."""
    cause = error.__context__ if isinstance(error, SystemExit) else error
    return isinstance(cause, OSError) and cause.errno == errno.EPIPE


def open_streams() -> None:
    """Open what the caller of the process closed (`<&-`, `>&-`), where Python has None: read nothing, write nowhere."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115, PTH123 - lives as long


def discard_output() -> None:
    """Let Python flush what is left of stdout into nothing: a complaint would go to somebody who has left."""
    sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115, PTH123 - lives as long as the process


@contextmanager
def own_process() -> Iterator[None]:
    """Make SIGTERM clean up as Ctrl-C does, and llmrec's warnings one line each; undone at the end.

    The settings of a run that commands put into the environment do not outlive it either.
    """
    before = {name: value for name, value in os.environ.items() if name.startswith("LLMREC_")}
    main_thread = threading.current_thread() is threading.main_thread()
    handler = signal.signal(signal.SIGTERM, _terminate) if main_thread else None
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _one_line(warnings.showwarning)
            yield
    finally:
        if main_thread:
            signal.signal(signal.SIGTERM, handler)
        for name in [name for name in os.environ if name.startswith("LLMREC_") and name not in before]:
            del os.environ[name]
        os.environ.update(before)


def _terminate(_signal: int, _frame: FrameType | None) -> None:
    raise SystemExit(TERMINATED)


def _one_line(usual: Any) -> Any:
    """Print a warning of llmrec's own as a sentence, once, without the line of code it comes from."""
    said: set[str] = set()

    def show(message: Any, category: type[Warning], *place: Any, **more: Any) -> None:
        if category.__module__.split(".")[0] != "llmrec":
            usual(message, category, *place, **more)
        elif str(message) not in said:  # fitting twice, for tuning and for good, would say everything twice
            said.add(str(message))
            sys.stderr.write(f"llmrec: warning: {message}\n")

    return show


def _usage(error: _Usage) -> str:
    """The parser's own words: the usage line, a hint where the help is, the message."""
    from io import StringIO

    text = StringIO()
    error.show(file=text)
    return text.getvalue()
