"""The cache on disk: folders that appear whole and verified, or not at all."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from llmrec.errors import AssetError

__all__ = ["MARKER", "cache_dir", "damaged_files", "hash_file", "install", "is_stored", "locked"]

MARKER = ".llmrec.json"


def cache_dir() -> Path:
    """Return the folder llmrec keeps models, data sets and embeddings in: $LLMREC_CACHE, or the user's cache folder.

    It may not exist yet.
    """
    import platformdirs

    chosen = os.environ.get("LLMREC_CACHE")
    return Path(chosen).expanduser().absolute() if chosen else Path(platformdirs.user_cache_dir("llmrec"))


def hash_file(path: Path) -> str:
    """Return the sha256 (hex) of a file's bytes."""
    with path.open("rb") as raw:
        return hashlib.file_digest(raw, "sha256").hexdigest()


def is_stored(folder: Path) -> bool:
    """Say whether `install` finished this folder; not whether its files are still whole."""
    return (folder / MARKER).is_file()


def damaged_files(folder: Path, files: Mapping[str, str] | None = None) -> list[str]:
    """Return the files of an installed folder that are missing or no longer what they were.

    Files are hashed when they are stored. Later only those whose size or modification time changed since are.

    Args:
        folder: an installed folder.
        files: relative path -> sha256 the folder must hold; None for what was stored.
    """
    try:
        stored = json.loads((folder / MARKER).read_text(encoding="utf-8"))["files"]
    except (OSError, ValueError, KeyError, TypeError):
        return [MARKER]
    wanted = {name: entry["sha256"] for name, entry in stored.items()} if files is None else files
    return [name for name, digest in wanted.items() if not _is_whole(folder / name, digest, stored.get(name))]


def _is_whole(path: Path, digest: str, entry: Mapping[str, object] | None) -> bool:
    if not path.is_file():
        return False
    if entry is not None and entry == _entry(path, digest):
        return True
    return hash_file(path) == digest


def _entry(path: Path, digest: str) -> dict[str, object]:
    stat = path.stat()
    return {"sha256": digest, "size": stat.st_size, "mtime_ns": stat.st_mtime_ns}


@contextmanager
def locked(folder: Path, say: Callable[[str], None]) -> Iterator[None]:
    """Let one process at a time fill a cache folder.

    Args:
        folder: the folder to be filled.
        say: told when another process is at it.

    Raises:
        AssetError: the cache cannot be written to.
    """
    import filelock

    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(folder.parent / f".{folder.name}.lock")
        try:
            lock.acquire(timeout=0.1)
        except filelock.Timeout:
            say(f"waiting for another process that is fetching {folder.name}")
            lock.acquire()
    except OSError as error:
        raise AssetError(
            f"cannot write to the cache {folder.parent}: {error}. Set LLMREC_CACHE to a folder that can be written to."
        ) from error
    try:
        yield
    finally:
        lock.release()


def install(folder: Path, fill: Callable[[Path], Mapping[str, str]]) -> Path:
    """Make a cache folder: fill a temporary one, verify every file, rename it. Hold the lock meanwhile.

    Args:
        folder: where it shall be; whatever is there is replaced.
        fill: writes the files into the folder it is given; returns relative path -> sha256 (hex) of every file it
            must hold.

    Returns:
        `folder`.

    Raises:
        AssetError: a file is missing or has another hash, or the disk refuses; the cache is left as it was.
    """
    for stale in folder.parent.glob(f".{folder.name}.tmp-*"):
        shutil.rmtree(stale, ignore_errors=True)
    try:
        work = Path(tempfile.mkdtemp(prefix=f".{folder.name}.tmp-", dir=folder.parent))
        try:
            _seal(work, fill(work))
            _swap(work, folder)
        finally:
            shutil.rmtree(work, ignore_errors=True)
    except OSError as error:
        raise AssetError(f"cannot store {folder.name} in the cache {folder.parent}: {error}") from error
    return folder


def _seal(work: Path, files: Mapping[str, str]) -> None:
    """Verify every file and write the marker that says so."""
    entries = {}
    for name, digest in files.items():
        path = work / name
        if not path.is_file():
            raise AssetError(f"the file {name} is missing from what was fetched.")
        found = hash_file(path)
        if found != digest:
            raise AssetError(
                f"the fetched {name} has sha256 {found}, expected {digest}: it is damaged or was exchanged."
            )
        entries[name] = _entry(path, digest)
    (work / MARKER).write_text(json.dumps({"files": entries}, indent=1), encoding="utf-8")


def _swap(work: Path, folder: Path) -> None:
    # A folder cannot be renamed over a full one, so a damaged one steps aside first.
    work.chmod(0o755)
    if folder.exists():
        aside = Path(tempfile.mkdtemp(prefix=f".{folder.name}.tmp-", dir=folder.parent))
        folder.rename(aside / "old")
        work.rename(folder)
        shutil.rmtree(aside, ignore_errors=True)
    else:
        work.rename(folder)
