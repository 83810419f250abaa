"""A bundle on disk: manifest.json + JSON + safetensors + copied files; written atomically, verified when read.

::

    README.md                         the model card: for people, not verified, free to be edited
    manifest.json                     format version, structure, sha256 and size of every file below parts
    parts/NAME/config.json            State.config
    parts/NAME/arrays.safetensors     State.arrays
    parts/NAME/files/...              State.files, byte for byte

There is no pickle anywhere, so opening a bundle never runs code from it. Older formats open; newer ones are
refused with a hint. Beside the card, what the Hugging Face Hub and its client put into a folder (`.gitattributes`,
`.cache`) is let pass; any other file that the manifest does not list is refused.
"""

from __future__ import annotations

import ctypes
import glob
import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from llmrec.errors import BundleError
from llmrec.mapped import Content, arrays_of, map_file, sha256_of, start_sums
from llmrec.types import State

__all__ = [
    "CARD",
    "FORMAT_VERSION",
    "MANIFEST",
    "OpenedBundle",
    "check_outside",
    "open_bundle",
    "read_bundle",
    "read_manifest",
    "replace_structure",
    "sha256_of",
    "write_bundle",
]

FORMAT_VERSION = 2
MIN_READER = 2
"""Format 1 knew no card and no profiles, and its readers refuse a file that the manifest does not list."""

MANIFEST = "manifest.json"
CARD = "README.md"
KIND = "llmrec-bundle"

BESIDE = (MANIFEST, CARD, ".gitattributes", ".cache")
"""What may lie at the top of a bundle without being listed; nothing there has any influence on what is loaded."""

STALE_S = 60.0
"""A folder that nobody holds is left alone for so long: its maker may be about to take hold of it."""


def write_bundle(path: Path, structure: Mapping[str, Any], parts: Mapping[str, State], card: str = "") -> Path:
    """Write a bundle so that a reader sees the old one, or the new one, and never half of either.

    A process that is killed while it saves leaves a hidden folder beside the bundle; the next save removes it.

    Args:
        path: the bundle's folder; a bundle or an empty folder there is replaced, anything else is left alone.
        structure: JSON values that describe how the parts fit together.
        parts: the state of each part, by name.
        card: the model card; no file if empty.

    Returns:
        The folder written, absolute.

    Raises:
        BundleError: `path` exists and is not a bundle, lies inside another bundle, or cannot be written.
    """
    path = path.expanduser().resolve()
    if path.exists() and not (_is_bundle(path) or _is_empty(path)):
        raise BundleError(f"{path} exists and is not a bundle; choose another path or remove it first")
    check_outside(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _staging(path) as staging:
            for name, state in parts.items():
                _write_part(staging / "parts" / _safe(name), state)
            _write_manifest(staging, structure, list(parts))
            if card:
                (staging / CARD).write_text(card, encoding="utf-8")
            staging.chmod(0o755)
            _swap(staging, path)
    except OSError as error:
        raise BundleError(f"cannot write the bundle {path}: {error}") from error
    return path


def replace_structure(path: Path, structure: Mapping[str, Any], card: str) -> None:
    """Give a bundle another structure and card; its parts, and their place on disk, stay as they are.

    Raises:
        BundleError: `path` is not a bundle, or cannot be written.
    """
    path = path.expanduser().resolve()
    manifest = {**read_manifest(path), "format": FORMAT_VERSION, "min_reader": MIN_READER, "structure": structure}
    try:
        with _staging(path) as staging:  # beside the bundle: what is left of a killed process must not damage it
            for name, text in ((CARD, card), (MANIFEST, _json(manifest))):
                (staging / name).write_text(text, encoding="utf-8")
                _fsync(staging / name)
                (staging / name).replace(path / name)
        _fsync(path)
    except OSError as error:
        raise BundleError(f"cannot write the bundle {path}: {error}") from error


def check_outside(path: Path) -> None:
    """Check that a place does not lie inside a bundle, which would be damaged by anything more in it.

    Args:
        path: where something is to be saved; it need not exist.

    Raises:
        BundleError: a folder above it is a bundle, of whatever format.
    """
    for folder in path.expanduser().resolve().parents:
        if _has_manifest(folder):
            raise BundleError(f"{path} lies inside another bundle, {folder}; choose another path")


def read_manifest(path: Path) -> dict[str, Any]:
    """Read and check a bundle's manifest, without verifying the other files.

    Raises:
        BundleError: missing, damaged, or written by a newer llmrec.
    """
    file = path / MANIFEST
    try:
        manifest = json.loads(file.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError) as error:
        raise BundleError(f"{path} is not a bundle: it has no {MANIFEST}; make one with `llmrec fit`") from error
    except (OSError, ValueError) as error:
        raise BundleError(f"{file} cannot be read: {error}; restore the bundle or fit it again") from error
    if not isinstance(manifest, dict) or manifest.get("kind") != KIND:
        raise BundleError(f"{file} is not the manifest of a bundle; make one with `llmrec fit`")
    if not isinstance(manifest.get("min_reader"), int):
        raise BundleError(f"{file} is damaged: it does not say which format it needs; restore it or fit again")
    if manifest["min_reader"] > FORMAT_VERSION:
        raise BundleError(
            f"{path} needs bundle format {manifest['min_reader']}, this llmrec reads up to {FORMAT_VERSION}; "
            "upgrade with: pip install -U llmrec"
        )
    return manifest


@dataclass(frozen=True, slots=True, eq=False)
class OpenedBundle:
    """A bundle whose files are being verified, in threads, while whoever opened it makes ready to use it.

    Attributes:
        path: its folder, absolute.
        structure: what `write_bundle` was given.
        names: of the parts.
        known: size and sum of each file.
        contents: of each file.
        sums: of each file, sha256 (hex) as it is found.
    """

    path: Path
    structure: dict[str, Any]
    names: Sequence[str]
    known: Mapping[str, Any]
    contents: Mapping[str, Content]
    sums: Mapping[str, Future[str]]

    def parts(self) -> dict[str, State]:
        """Wait until every file is verified; only then is anything of them used.

        Returns:
            The state of each part by name. Its arrays are read-only, and lie in the files: nothing is copied.

        Raises:
            BundleError: a file was changed, or cannot be read.
        """
        with _told(self.path):
            for name, found in self.sums.items():
                if found.result() != self.known[name]["sha256"]:
                    raise _changed(self.path / name)
            return {name: self._part(name) for name in self.names}

    def _part(self, name: str) -> State:
        folder, prefix = f"parts/{_safe(name)}", f"parts/{name}/files/"
        config = json.loads(bytes(self.contents[f"{folder}/config.json"]).decode())
        content = self.contents.get(arrays := f"{folder}/arrays.safetensors")
        copied = {f.removeprefix(prefix): self.path / f for f in self.known if f.startswith(prefix)}
        return State(config, {} if content is None else arrays_of(content, str(self.path / arrays)), copied)


def open_bundle(path: Path) -> OpenedBundle:
    """Open a bundle, and begin to verify every file against the manifest: `OpenedBundle.parts` waits for that.

    Raises:
        BundleError: a file is missing, extra or of another size, or the format is too new.
    """
    path = path.expanduser().resolve()
    manifest = read_manifest(path)
    with _told(path):
        files, structure, names = manifest["files"], manifest["structure"], list(manifest["parts"])
        contents = {name: _content(path / _safe(name), known["size"]) for name, known in files.items()}
        here = {p.relative_to(path) for p in path.rglob("*") if not p.is_dir()}
        if extra := sorted({p.as_posix() for p in here if p.parts[0] not in BESIDE} - set(files)):
            more = path / extra[0]
            raise BundleError(f"{more} is not part of the bundle; remove it, or save or copy the bundle again")
    return OpenedBundle(path, structure, names, files, contents, start_sums(contents))


def read_bundle(path: Path) -> tuple[dict[str, Any], dict[str, State]]:
    """Read a bundle and verify every file against the manifest.

    Returns:
        The structure given to `write_bundle`, and the state of each part by name, as `OpenedBundle.parts` gives it.

    Raises:
        BundleError: a file is missing, changed or extra, or the format is too new.
    """
    opened = open_bundle(path)
    return opened.structure, opened.parts()


@contextmanager
def _told(path: Path) -> Iterator[None]:
    """Raise a BundleError where a bundle turns out to be damaged."""
    try:
        yield
    except (OSError, KeyError, TypeError, AttributeError, ValueError) as error:
        raise BundleError(f"{path} cannot be read: {error!r}; restore the bundle or fit it again") from error


def _content(file: Path, size: int) -> Content:
    if not file.is_file() or file.stat().st_size != size:
        raise _changed(file)
    return map_file(file)


def _changed(file: Path) -> BundleError:
    return BundleError(f"{file} is missing or was changed since the bundle was saved; save or copy it again")


def _has_manifest(folder: Path) -> bool:
    """Whether a folder holds the manifest of a bundle, be it of a format that this llmrec cannot read."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(manifest, dict) and manifest.get("kind") == KIND


def _is_empty(path: Path) -> bool:
    return path.is_dir() and not any(path.iterdir())


def _is_bundle(path: Path) -> bool:
    try:
        read_manifest(path)
    except BundleError:
        return False
    return True


def _write_part(folder: Path, state: State) -> None:
    from safetensors.numpy import save_file

    folder.mkdir(parents=True)
    config = json.dumps(state.config, ensure_ascii=False, indent=1, sort_keys=True, allow_nan=False)
    (folder / "config.json").write_text(config, encoding="utf-8")
    if state.arrays:
        save_file({k: np.ascontiguousarray(v) for k, v in state.arrays.items()}, folder / "arrays.safetensors")
    for name, source in state.files.items():
        target = folder / "files" / _safe(name)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)


def _write_manifest(folder: Path, structure: Mapping[str, Any], parts: list[str]) -> None:
    files = {}
    for file in sorted(p for p in folder.rglob("*") if p.is_file()):
        files[file.relative_to(folder).as_posix()] = {"sha256": sha256_of(file), "size": file.stat().st_size}
        _fsync(file)
    manifest = {
        "kind": KIND,
        "format": FORMAT_VERSION,
        "min_reader": MIN_READER,
        "llmrec": version("llmrec"),
        "structure": structure,
        "parts": parts,
        "files": files,
    }
    (folder / MANIFEST).write_text(_json(manifest), encoding="utf-8")
    _fsync(folder / MANIFEST)
    for directory in sorted({p.parent for p in folder.rglob("*")}):
        _fsync(directory)


def _json(manifest: Mapping[str, Any]) -> str:
    return json.dumps(manifest, ensure_ascii=False, indent=1, allow_nan=False)


@contextmanager
def _staging(path: Path) -> Iterator[Path]:
    """A new folder beside a bundle, held by this process and removed in the end; left ones are removed before."""
    prefix = f".{path.name}.saving-"
    for left in path.parent.glob(f"{glob.escape(prefix)}????????"):
        _remove_stale(left)
    folder = Path(tempfile.mkdtemp(prefix=prefix, dir=path.parent))
    held = _hold(folder)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if held is not None:
            os.close(held)


def _remove_stale(folder: Path) -> None:
    """Remove a staging folder whose process is gone; locks of a dead process are gone too, on every machine."""
    try:
        if not folder.is_dir() or time.time() - folder.stat().st_mtime < STALE_S:
            return
    except OSError:  # somebody else removed it
        return
    held = _hold(folder)
    if held is not None:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(held)


def _hold(folder: Path) -> int | None:
    """Lock a folder until the result is closed or the process ends; None where it is locked, or cannot be."""
    try:
        import fcntl
    except ImportError:  # Windows has none: there, what a killed save leaves is removed by hand
        return None
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:  # locked, or a file system without locks
        os.close(descriptor)
        return None
    return descriptor


def _swap(staging: Path, path: Path) -> None:
    """Put `staging` at `path`; what was there before, if anything, is then at `staging`."""
    if not path.exists():
        staging.rename(path)
    elif not _exchange(staging, path):
        aside = staging.with_name(staging.name + ".old")
        path.rename(aside)
        try:
            staging.rename(path)
        except OSError:
            aside.rename(path)
            raise
        aside.rename(staging)
    _fsync(path.parent)


def _exchange(first: Path, second: Path) -> bool:
    """Let two folders change names in one step; False where the system or file system cannot.

    Without it there is a moment between two renames in which a killed process leaves no bundle at all.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    here, swap = -100, 2  # AT_FDCWD and RENAME_EXCHANGE of renameat2(2); RENAME_SWAP of renamex_np(2) is 2 too
    if hasattr(libc, "renameat2"):
        return int(libc.renameat2(here, os.fsencode(first), here, os.fsencode(second), swap)) == 0
    if hasattr(libc, "renamex_np"):
        return int(libc.renamex_np(os.fsencode(first), os.fsencode(second), swap)) == 0
    return False


def _safe(name: str) -> str:
    pure = PurePosixPath(name)
    if pure.is_absolute() or ".." in pure.parts or not pure.parts:
        raise BundleError(f"{name!r} is not a name a bundle may hold")
    return name


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
