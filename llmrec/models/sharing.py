"""Work on the CPU, shared out among threads."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from functools import cache
from typing import TypeVar

from llmrec.models.threads import cpu_threads

__all__ = ["in_threads"]

Part = TypeVar("Part")
Result = TypeVar("Result")

_HERE = threading.local()


def in_threads(work: Callable[[Part], Result], parts: Iterable[Part]) -> list[Result]:
    """Do some work on every part, on as many threads as `cpu_threads` says; worth it where most of it is array work.

    Within the work torch uses no more threads: sharing out parts costs less waiting than sharing out each product. Work
    that shares out work in its turn does so on its own thread.

    Args:
        work: called with one part at a time, from several threads at once; its result depends on the part alone.
        parts: what to share out.

    Returns:
        The results, in the order of the parts, whatever the number of threads.
    """
    every = list(parts)
    with _torch_as_it_was():
        if len(every) < 2 or cpu_threads() == 1 or getattr(_HERE, "works", False):
            _bound_torch()
            return [work(part) for part in every]
        pool = _pool(os.getpid(), cpu_threads())
        asked = [pool.submit(_alone, work, part) for part in every]
        wait(asked)  # nothing goes on behind an error's back
        return [one.result() for one in asked]


@cache
def _pool(process: int, threads: int) -> ThreadPoolExecutor:
    """Threads that stay; by process, as a fork has none of its parent's."""
    return ThreadPoolExecutor(threads, "llmrec")


def _alone(work: Callable[[Part], Result], part: Part) -> Result:
    _HERE.works = True
    _bound_torch()
    return work(part)


def _bound_torch() -> None:
    """Let torch start no other threads in this one; where it was not loaded it is not, which takes a second."""
    if "torch" not in sys.modules:
        return
    import torch

    if torch.get_num_threads() != 1:
        torch.set_num_threads(1)


@contextmanager
def _torch_as_it_was() -> Iterator[None]:
    """Give this thread its number of torch threads back in the end.

    Torch keeps the number by thread, and the last one that anybody set for threads that are new to it.
    """
    before = sys.modules["torch"].get_num_threads() if "torch" in sys.modules else None
    try:
        yield
    finally:
        if before is not None:
            sys.modules["torch"].set_num_threads(before)
