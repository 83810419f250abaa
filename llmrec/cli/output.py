"""Where output goes: results to stdout, progress to stderr; colour and bars only where a person is looking."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["print_json", "print_rows", "progress", "results"]

PIPE_WIDTH = 160
"""Columns of a table in a pipe, where there is no terminal to ask: wide enough that nothing is cut."""


def results() -> Console:
    """The console for results. Rich leaves out colour in a pipe and under NO_COLOR."""
    from rich.console import Console

    return Console(highlight=False, width=None if sys.stdout.isatty() else PIPE_WIDTH)


@contextmanager
def progress(quiet: bool = False) -> Iterator[Callable[[str], None]]:
    """Yield a function that says on stderr what is going on: a live line on a terminal, plain lines in a pipe."""
    if quiet:
        yield lambda _: None
        return
    start = time.monotonic()
    if not sys.stderr.isatty():
        yield lambda message: print(f"[{time.monotonic() - start:6.1f} s] {message}", file=sys.stderr, flush=True)
        return
    from rich.console import Console

    console = Console(stderr=True, highlight=False)
    with console.status("starting") as status:

        def say(message: str) -> None:
            status.update(f"[{time.monotonic() - start:5.0f} s] {message}".replace("[", r"\["))

        yield say


def print_json(values: Any) -> None:
    """Print values as JSON, one document, keys in the order given."""
    sys.stdout.write(json.dumps(values, ensure_ascii=False, indent=2, allow_nan=False) + "\n")


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
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, title=title, title_justify="left", title_style="bold", pad_edge=False)
    for place, name in enumerate(rows[0]):
        table.add_column(Text(name), justify="left" if place < left else "right", overflow="fold")
    for row in rows[1:]:
        table.add_row(*(Text(cell) for cell in row))
    console.print(table)
