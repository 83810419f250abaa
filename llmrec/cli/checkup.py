"""What `llmrec doctor` looks at. Every function returns facts as JSON values, and what is wrong with them."""

from __future__ import annotations

import os
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Any, Literal

from llmrec.errors import AssetError, LlmrecError

__all__ = ["Finding", "Part", "check_all"]

LIBRARIES = {"torch": "torch", "transformers": "transformers", "faiss": "faiss-cpu"}
"""Libraries with compiled parts, which may be installed and still not load: module -> distribution."""
SETTINGS = tuple(
    f"LLMREC_{name}"
    for name in ("BUNDLE", "CACHE", "CONFIG", "DATASET", "DEVICE", "DTYPE", "LAB", "OFFLINE", "SET", "THREADS")
)
"""Variables that may be shown; others may be secrets."""
TIGHT_DISK, TIGHT_MEMORY = 2 * 10**9, 1.5 * 10**9
STALE_S = 3600.0
"""Seconds after which nothing that is still at work leaves a staging folder untouched."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is wrong.

    Attributes:
        severity: "error": llmrec cannot be used so; "warning": something in it cannot.
        message: what is wrong.
        remedy: what to do about it.
    """

    severity: Literal["error", "warning"]
    message: str
    remedy: str


Part = tuple[dict[str, Any], list[Finding]]
"""Facts as JSON values, and what is wrong."""


def check_all() -> dict[str, Part]:
    """Look at everything, by heading."""
    return {
        "versions": _versions(),
        "models": _models(),
        "machine": _machine(),
        "cache": _cache(),
        "assets": _assets(),
        "hub": _hub(),
        "extras": _extras(),
        "settings": ({name: os.environ[name] for name in SETTINGS if name in os.environ}, []),
        "leftovers": _leftovers(),
    }


def _versions() -> Part:
    facts = {"python": ".".join(map(str, sys.version_info[:3])), "llmrec": version("llmrec")}
    found = []
    for module, distribution in LIBRARIES.items():
        try:
            import_module(module)
            facts[module] = version(distribution)
        except Exception as error:  # noqa: BLE001 - whatever keeps it from loading is what the user must know
            facts[module] = "broken"
            reason = str(error).strip().splitlines() or [type(error).__name__]
            remedy = f"install it again: {sys.executable} -m pip install --force-reinstall {distribution}"
            found.append(Finding("error", f"{module} does not load: {reason[0]}", remedy))
    missing = [name for name in _required("") if _installed(name) is None]
    if missing:
        remedy = f"{sys.executable} -m pip install {' '.join(missing)}"
        found.append(Finding("error", f"not installed: {', '.join(missing)}", remedy))
    return facts, found


def _models() -> Part:
    from llmrec.models import best_placement, explain_placement, known_speeds, set_threads

    try:
        placement, why = best_placement(), explain_placement()
        facts = {"device": placement.device, "dtype": placement.dtype, "threads": set_threads()}
    except (ImportError, LlmrecError) as error:
        remedy = "change or unset LLMREC_DEVICE, LLMREC_DTYPE, LLMREC_THREADS"
        nothing: dict[str, Any] = {"device": None, "dtype": None, "threads": None, "why": {}, "texts_per_second": {}}
        return nothing, [Finding("error", str(error), remedy)]
    return {**facts, "why": why, "texts_per_second": dict(known_speeds())}, []


def _machine() -> Part:
    import platform

    memory, free = _memory()
    facts = {"system": platform.platform(terse=True), "cpus": os.cpu_count(), "memory": memory, "memory_free": free}
    if free is None or free > TIGHT_MEMORY:
        return facts, []
    remedy = "close other programs; give a smaller depth, or fewer items"
    return facts, [Finding("warning", f"only {free / 1e9:.1f} GB of memory are free", remedy)]


def _cache() -> Part:
    from llmrec.assets import cache_dir

    folder = cache_dir()
    above = next(place for place in (folder, *folder.parents) if place.exists())
    writable = above.is_dir() and os.access(above, os.W_OK)
    free = shutil.disk_usage(above).free
    sizes = [path.stat().st_size for path in folder.rglob("*") if path.is_file()] if writable else []
    facts = {"folder": str(folder), "writable": writable, "bytes": sum(sizes), "disk_free": free}
    found = []
    if not writable:
        remedy = "set LLMREC_CACHE to a folder that can be written to"
        found.append(Finding("error", f"the cache {folder} cannot be written to", remedy))
    if free < TIGHT_DISK:
        remedy = "free some, or set LLMREC_CACHE to a folder on another disk"
        found.append(Finding("warning", f"only {free / 1e9:.1f} GB are free on the disk of the cache {folder}", remedy))
    return facts, found


def _assets() -> Part:
    from llmrec.assets import describe_assets

    facts = {status.asset.name: str(status.path) if status.path else None for status in describe_assets()}
    missing = [name for name, path in facts.items() if path is None]
    commands = " ".join(f"--fetch {name}" for name in missing)
    remedy = f"they are fetched when needed; now: llmrec assets {commands}"
    return facts, [Finding("warning", f"not here yet: {', '.join(missing)}", remedy)] if missing else []


def _hub() -> Part:
    from llmrec.assets.hub import hub_offline, watched

    def ask(_beat: Any) -> int:
        from huggingface_hub import constants, get_session

        return int(get_session().head(constants.ENDPOINT, timeout=3.0, follow_redirects=True).status_code)

    if hub_offline():
        return {"asked": False, "reachable": None, "why": "offline is set in the environment"}, []
    start = time.monotonic()
    try:
        answer = watched(ask, "a sign of life", patience_s=3.0)
    except AssetError as error:
        remedy = "what is in the cache works without it; HF_HUB_OFFLINE=1 spares the waiting"
        return {"asked": True, "reachable": False, "why": str(error)}, [Finding("warning", str(error), remedy)]
    return {"asked": True, "reachable": True, "why": f"answered {answer} in {time.monotonic() - start:.1f} s"}, []


def _extras() -> Part:
    facts = {}
    names = {name for line in requires("llmrec") or [] for name in re.findall(r"extra == ['\"]([\w-]+)['\"]", line)}
    for extra in sorted(names):
        facts[extra] = {"missing": [name for name in _required(extra) if _installed(name) is None]}
    return facts, []


def _required(extra: str) -> list[str]:
    """The distributions that llmrec, or one of its extras, needs."""
    lines = [line.partition(";") for line in requires("llmrec") or []]
    wanted = [name for name, _, marker in lines if (re.findall(r"extra == ['\"]([\w-]+)", marker) or [""])[0] == extra]
    return [found[0] for name in wanted if (found := re.match(r"[\w.-]+", name))]


def _installed(distribution: str) -> str | None:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None


def _leftovers() -> Part:
    """Folders that a killed process left half-written."""
    from llmrec.assets import cache_dir

    cache = cache_dir()
    places = [*cache.glob("*/.*.tmp-*"), *Path(tempfile.gettempdir()).glob("llmrec-*"), *_staged_bundles(Path.cwd())]
    old = sorted(str(place) for place in places if _is_stale(place))
    found = []
    if old:
        import shlex

        remedy = "remove them: rm -rf -- " + " ".join(map(shlex.quote, old))
        found.append(Finding("warning", f"{len(old)} half-written folders of stopped processes are left", remedy))
    return {"folders": old}, found


def _staged_bundles(here: Path) -> Iterator[Path]:
    """Folders in which a bundle was being written, in `here` and in its folder "bundles"."""
    for folder in (here, here / "bundles"):
        for place in folder.glob(".*.*"):
            if place.is_dir() and (place / "parts").is_dir():
                yield place


def _is_stale(place: Path) -> bool:
    try:
        return place.is_dir() and time.time() - place.stat().st_mtime > STALE_S and os.access(place, os.W_OK)
    except OSError:
        return False


def _memory() -> tuple[int | None, int | None]:
    """Bytes of memory, all and free, within the container's limit; None where the system does not say."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return _physical_memory(), None
    known = {name: int(rest.split()[0]) * 1024 for name, _, rest in (line.partition(":") for line in lines)}
    total, free = known.get("MemTotal"), known.get("MemAvailable")
    limit, used = (_number(Path("/sys/fs/cgroup") / name) for name in ("memory.max", "memory.current"))
    if limit is not None and total is not None and free is not None:
        return min(total, limit), max(0, min(free, limit - (used or 0)))
    return total, free


def _physical_memory() -> int | None:
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return None


def _number(file: Path) -> int | None:
    try:
        return int(file.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None
