"""Doing many things together, so that what is wrong with one of them stops only that one."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Hashable, Iterator, Sequence
from typing import TypeVar

from llmrec.serve.http.logs import log_failure
from llmrec.serve.problems import Broken, Problem

__all__ = ["apart", "patiently", "together"]

In = TypeVar("In")
Out = TypeVar("Out")

LATER = frozenset({429, 503})
"""Refusals that another moment may not bring."""

OWN = frozenset({400, 404, 409, 413, 422})
"""Refusals of what was asked, of which others are free."""

PATIENCE_S = 30.0
"""Seconds that one thing is tried again, before its caller is told."""


async def patiently(work: Callable[[], Awaitable[Out]]) -> Out | Problem:
    """Do something, again while there is no room for it; return its result, or what it was refused with."""
    until = time.monotonic() + PATIENCE_S
    pause = 0.05
    while True:
        try:
            return await work()
        except Problem as problem:
            wait = max(pause, problem.retry_after or 0.0)
            if problem.status not in LATER or time.monotonic() + wait > until:
                return problem
        except Exception as error:  # noqa: BLE001 - one line of many; the others go on
            log_failure("/v1/bulk", error)
            return Broken("Something is wrong with the service; its log has more under this request id.")
        await asyncio.sleep(wait)
        pause = min(2.0 * pause, 2.0)


async def together(things: Sequence[In], do: Callable[[Sequence[In]], Awaitable[Sequence[Out]]]) -> list[Out | Problem]:
    """Do things in one go, which does all of them or none; where some are refused, the others in smaller goes.

    With r of n refused, that takes about 2 r log2(n / r) goes.

    Args:
        things: what to do.
        do: does them; one result each.

    Returns:
        Of each its result, or what it was refused with.
    """
    found = await patiently(lambda: do(things))
    if not isinstance(found, Problem):
        return list(found)
    if len(things) == 1 or found.status not in OWN:
        return [found] * len(things)
    half = len(things) // 2
    return [*await together(things[:half], do), *await together(things[half:], do)]


def apart(things: Sequence[In], name: Callable[[In], Hashable]) -> Iterator[list[In]]:
    """Cut things into runs in which every name is there once; a name that is None may be there often."""
    run: list[In] = []
    seen: set[Hashable] = set()
    for thing in things:
        named = name(thing)
        if named in seen:
            yield run
            run, seen = [], set()
        run.append(thing)
        if named is not None:
            seen.add(named)
    if run:
        yield run
