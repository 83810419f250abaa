"""Work on the CPU, shared out among threads."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

from llmrec.models.threads import cpu_threads

__all__ = ["in_threads"]

Part = TypeVar("Part")
Result = TypeVar("Result")


def in_threads(work: Callable[[Part], Result], parts: Iterable[Part]) -> list[Result]:
    """Do some work on every part, on as many threads as `cpu_threads` says; worth it where most of it is array work.

    Within the work torch uses no more threads: sharing out parts costs less waiting than sharing out each product.

    Args:
        work: called with one part at a time, from several threads at once; its result depends on the part alone.
        parts: what to share out.

    Returns:
        The results, in the order of the parts, whatever the number of threads.
    """
    every = list(parts)
    threads = min(cpu_threads(), len(every)) if len(every) > 1 else 1
    with _torch_on_one_thread() as alone:
        if threads <= 1:
            alone()
            return [work(part) for part in every]
        with ThreadPoolExecutor(threads, initializer=alone) as pool:
            return list(pool.map(work, every))


@contextmanager
def _torch_on_one_thread() -> Iterator[Callable[[], None]]:
    """Yield what a thread calls so that torch starts no others in it; in the end all is as it was for this thread.

    Torch keeps the number by thread, and the last one that anybody set for threads that are new to it.
    """
    if "torch" not in sys.modules:  # then there are no threads of its, and loading it takes a second
        yield lambda: None
        return
    import torch

    threads = torch.get_num_threads()
    try:
        yield lambda: torch.set_num_threads(1)
    finally:
        torch.set_num_threads(threads)
