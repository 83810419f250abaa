"""How fast this machine encodes in each number format, as far as that was measured; remembered by machine."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

from llmrec.assets import cache_dir
from llmrec.models.threads import cpu_threads

__all__ = ["FLOATING", "fastest_dtype", "known_speeds", "machine", "remember_speeds"]

FLOATING = ("float32", "bfloat16")
"""Formats that may stand for each other without asking: cosines differ by 1e-4 at most."""


def known_speeds() -> Mapping[str, float]:
    """What was measured on this machine, by number format; nothing if it was not, or not with these libraries."""
    try:
        return {str(d): float(n) for d, n in json.loads(_file().read_text(encoding="utf-8"))[machine()].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def fastest_dtype() -> str | None:
    """The fastest of `FLOATING` on this machine's CPU; None if that was not measured."""
    speeds = {dtype: speed for dtype, speed in known_speeds().items() if dtype in FLOATING}
    return max(speeds, key=lambda dtype: speeds[dtype]) if len(speeds) == len(FLOATING) else None


def machine() -> str:
    """What speed depends on: the CPU, the threads and the libraries."""
    return f"{_cpu()}, {cpu_threads()} threads, torch {version('torch')}"


def _cpu(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    try:
        lines = cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _file() -> Path:
    return cache_dir() / "speeds.json"


def remember_speeds(speeds: Mapping[str, float]) -> None:
    """Keep what was measured on this machine: texts a second, by number format."""
    try:
        known = json.loads(_file().read_text(encoding="utf-8"))
    except (OSError, ValueError):
        known = {}
    known = {**known, machine(): dict(speeds)} if isinstance(known, dict) else {machine(): dict(speeds)}
    _file().parent.mkdir(parents=True, exist_ok=True)
    fresh = _file().with_suffix(".new")
    fresh.write_text(json.dumps(known, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    fresh.replace(_file())
