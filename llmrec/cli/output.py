"""Where output goes: results to stdout, progress to stderr; colour and bars only where a person is looking."""

from __future__ import annotations

import json
import math
import os
import re
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

__all__ = ["print_json", "print_rows", "printable", "progress", "results", "short_score"]

PIPE_WIDTH = 200
"""Columns of a table in a pipe, where there is no terminal to ask: wide enough that nothing is cut."""

CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]+")


def results() -> Console:
    """The console for results: plain text in a pipe and under NO_COLOR."""
    from rich.console import Console

    plain = bool(os.environ.get("NO_COLOR"))  # rich would leave bold in
    return Console(
        highlight=False,
        emoji=False,
        color_system=None if plain else "auto",
        width=None if sys.stdout.isatty() else PIPE_WIDTH,
    )


@contextmanager
def progress() -> Iterator[Callable[[str], None]]:
    """Yield a function that says on stderr what is going on: a live line on a terminal, plain lines in a pipe."""
    start = time.monotonic()
    if not sys.stderr.isatty():
        yield lambda message: print(f"[{time.monotonic() - start:6.1f} s] {message}", file=sys.stderr, flush=True)
        return
    from rich.console import Console
    from rich.text import Text

    console = Console(stderr=True, highlight=False)
    with console.status("starting") as status:

        def say(message: str) -> None:
            status.update(Text(f"[{time.monotonic() - start:5.0f} s] {message}"))

        yield say


def printable(text: object) -> Text:
    """Text as it is: never markup, and without control characters, which could take over a terminal."""
    from rich.text import Text

    return Text(CONTROL.sub(" ", str(text)))


def print_json(values: Any) -> None:
    """Print values as JSON, one document, keys in the order given.

    Values from data that JSON lacks are put in its terms: NaN and infinities become null, dates and the like text.
    """
    unicode = (sys.stdout.encoding or "utf-8").lower().startswith("utf")
    text = json.dumps(_plain(values), ensure_ascii=not unicode, indent=2, allow_nan=False, default=str)
    sys.stdout.write(f"{text}\n")


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    return value


def short_score(score: float) -> float:
    """A float32 score in as few digits as tell it from every other float32; never a negative zero."""
    return float(f"{score:.9g}") + 0.0


def print_rows(console: Console, rows: Sequence[Sequence[str]], *, left: int = 1, title: str | None = None) -> None:
    """Print rows, the header first, as a table.

    Args:
        console: where to.
        rows: cells; the first row is the header.
        left: how many columns, from the left, are text; the others are numbers and stand right.
        title: printed above.
    """
    from rich import box
    from rich.table import Table

    heading = None if title is None else printable(title)
    table = Table(box=box.SIMPLE_HEAD, title=heading, title_justify="left", title_style="bold", pad_edge=False)
    for place, name in enumerate(rows[0]):
        longest = max(map(len, name.split()), default=0)  # on a narrow terminal, values wrap and names stay whole
        table.add_column(
            printable(name), justify="left" if place < left else "right", overflow="fold", min_width=longest
        )
    for row in rows[1:]:
        table.add_row(*(printable(cell) for cell in row))
    console.print(table)
