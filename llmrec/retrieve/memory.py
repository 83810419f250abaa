"""How much memory is free, so that what cannot fit is refused before it is begun."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["affordable", "available_memory"]

SHARE = 4
"""Counts that are kept beside a model may take one part of so many of what is free."""


def affordable(entries: int) -> bool:
    """Whether so many entries of a Float64 CSR matrix fit well into the memory that is free."""
    free = available_memory()
    return free is None or 12 * entries * SHARE <= free


def available_memory(meminfo: Path = Path("/proc/meminfo"), cgroup: Path = Path("/sys/fs/cgroup")) -> int | None:
    """Bytes that this process can still take: free on the machine, and within the container's limit.

    Args:
        meminfo: where Linux tells what is free.
        cgroup: where Linux tells the container's limit (cgroup v2) and what of it is used.

    Returns:
        The bytes, or None where nobody tells; elsewhere than on Linux, all memory there is.
    """
    known = [bytes_ for bytes_ in (_machine(meminfo), _container(cgroup)) if bytes_ is not None]
    return min(known) if known else None


def _machine(meminfo: Path) -> int | None:
    try:
        lines = meminfo.read_text(encoding="ascii").splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, ValueError, IndexError, StopIteration):
        return _all_there_is()


def _all_there_is() -> int | None:
    try:
        return int(os.sysconf("SC_PAGE_SIZE")) * int(os.sysconf("SC_PHYS_PAGES"))
    except (AttributeError, OSError, ValueError):
        return None


def _container(cgroup: Path) -> int | None:
    try:
        limit = (cgroup / "memory.max").read_text(encoding="ascii").strip()
        if limit == "max":
            return None
        used = int((cgroup / "memory.current").read_text(encoding="ascii"))
        counts = (line.split() for line in (cgroup / "memory.stat").read_text(encoding="ascii").splitlines())
        cached = next((int(count) for name, count in counts if name == "inactive_file"), 0)
        return max(0, int(limit) - used + cached)
    except (OSError, ValueError):
        return None
