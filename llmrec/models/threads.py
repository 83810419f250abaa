"""The one place where the number of threads is chosen."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

from llmrec.errors import ConfigError

__all__ = ["cpu_threads", "set_threads", "threads_from_environment"]


@cache
def set_threads() -> int:
    """Let torch use the physical cores this process may use; returns their number.

    `LLMREC_THREADS` sets another number. An `OMP_NUM_THREADS` of the user is left as it is. Hyper-threads
    share the vector units that matrix products wait for, so more threads than cores only add waiting.
    """
    import torch

    threads = threads_from_environment()
    if threads is None and os.environ.get("OMP_NUM_THREADS"):
        return torch.get_num_threads()
    threads = threads or _usable_cores()
    if threads != torch.get_num_threads():
        torch.set_num_threads(threads)
    return threads


def cpu_threads() -> int:
    """How many threads a library beside torch may use: as `LLMREC_THREADS` or `OMP_NUM_THREADS` say, or the cores."""
    openmp = os.environ.get("OMP_NUM_THREADS", "")
    given = int(openmp) if openmp.isdecimal() and int(openmp) > 0 else None
    return threads_from_environment() or given or _usable_cores()


def threads_from_environment() -> int | None:
    """The number that `LLMREC_THREADS` asks for; None if it does not say."""
    text = os.environ.get("LLMREC_THREADS")
    if not text:
        return None
    if not text.isdecimal() or int(text) < 1:
        raise ConfigError(f"LLMREC_THREADS must be a whole number from 1, not {text!r}")
    return int(text)


def _usable_cores() -> int:
    """Physical cores, within the CPU affinity and the container's quota."""
    logical = os.cpu_count() or 1
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else logical
    return max(1, min(allowed, _physical_cores() or logical, _quota() or logical))


def _physical_cores(cpuinfo: Path = Path("/proc/cpuinfo")) -> int | None:
    """Distinct (socket, core) pairs where Linux tells them, else None."""
    try:
        blocks = cpuinfo.read_text(encoding="utf-8", errors="replace").split("\n\n")
    except OSError:
        return None
    fields = [dict(_key_value(line) for line in block.splitlines()) for block in blocks]
    cores = {(f["physical id"], f["core id"]) for f in fields if "physical id" in f and "core id" in f}
    return len(cores) or None


def _key_value(line: str) -> tuple[str, str]:
    key, _, value = line.partition(":")
    return key.strip(), value.strip()


def _quota(cpu_max: Path = Path("/sys/fs/cgroup/cpu.max")) -> int | None:
    """CPUs the container may use, from cgroup v2's "quota period" line; None if unlimited."""
    try:
        quota, period = cpu_max.read_text(encoding="ascii").split()
        return None if quota == "max" else max(1, round(int(quota) / int(period)))
    except (OSError, ValueError):
        return None
