"""Fitted components kept in a folder, so that a fit that was killed goes on behind the last one it had finished."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Collection
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from llmrec.bundle import read_bundle, sha256_of, write_bundle
from llmrec.component import FitContext
from llmrec.config import Settings
from llmrec.errors import BundleError

__all__ = ["fit_kept", "fit_key", "forget_kept", "kept_folder"]


def kept_folder(work: Path) -> Path:
    """Where a fit that works in a folder keeps what it has finished."""
    return work / "fitted"


def forget_kept(work: Path, names: Collection[str]) -> None:
    """Remove what is kept of components of these names."""
    for path in kept_folder(work).glob("*"):
        if path.name.rpartition("-")[0] in names:
            shutil.rmtree(path, ignore_errors=True)


def fit_kept(settings: Settings, context: FitContext, folder: Path, about: str = "") -> Any:
    """Fit a component, or bring back what the same fit gave before. That it cannot be kept is told, and no error.

    Args:
        settings: which component, and its settings.
        context: what it learns from; no stage stands before it.
        folder: where finished components are kept, a bundle each, by a hash of all that decides them.
        about: what else decides it: of a refit, what it follows.

    Returns:
        The fitted component.
    """
    key = fit_key(settings, context, about)
    path = folder / f"{settings.name}-{key[:16]}"
    found = _read(path, settings, context)
    if found is not None:
        context.progress(f"{settings.name}: fitted before, read from {path}")
        return found
    shutil.rmtree(path, ignore_errors=True)  # whatever is there is of no use
    fitted = settings.component.fit(context, settings.values)
    try:
        write_bundle(path, {"component": fitted.component}, {settings.name: fitted.state()})
    except BundleError as error:
        context.progress(f"{settings.name}: another fit will have to fit it again: {error}")
    return fitted


def fit_key(settings: Settings, context: FitContext, about: str = "") -> str:
    """Sha256 (hex) of what decides a fit: settings, data, seed, how models are to run, and the version of the package.

    Of code that changes under one version, of other libraries, and of what a hub has changed, it knows nothing.
    """
    values = settings.values.model_dump(mode="json")
    cases, users, how = context.validation, context.users, settings.component.fit
    parts = {
        "versions": [version("llmrec"), _version_of(how.__module__)],
        "component": [f"{one.__module__}.{one.__qualname__}" for one in (how, type(settings.values))],
        "name": settings.name,
        "settings": values,
        "files": [_outside(text) for text in _strings(values)],
        "catalog": [context.catalog.fingerprint, hashlib.sha256(context.catalog.active.tobytes()).hexdigest()],
        "train": context.train.fingerprint,
        "validation": None if cases is None else cases.fingerprint,
        "users": None if users is None else users.fingerprint,
        "seed": context.seed,
        "about": about,
        **{name: os.environ[name] for name in ("LLMREC_DEVICE", "LLMREC_DTYPE") if os.environ.get(name)},
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _version_of(module: str) -> str:
    try:
        return version(module.partition(".")[0])
    except PackageNotFoundError:
        return ""


def _read(path: Path, settings: Settings, context: FitContext) -> Any:
    """What is kept there; None where there is nothing, or what is there is damaged or of another format."""
    if not path.exists():
        return None
    try:
        _, parts = read_bundle(path)
        return settings.component.load(settings.name, parts[settings.name], context.catalog)
    except (BundleError, KeyError, TypeError, ValueError) as error:
        context.progress(f"{settings.name}: fitting it again: {error}")
        return None


def _strings(values: Any) -> list[str]:
    """All strings among JSON values."""
    if isinstance(values, dict):
        return [text for value in values.values() for text in _strings(value)]
    if isinstance(values, list):
        return [text for value in values for text in _strings(value)]
    return [values] if isinstance(values, str) else []


def _outside(text: str) -> Any:
    """What tells the file or folder that a setting names apart from what stood there before; None if it names none."""
    try:
        path = Path(text).expanduser()
        if not text or not path.exists():
            return None
        if path.is_file():
            return sha256_of(path)
        files = sorted(file for file in path.rglob("*") if file.is_file())
        return [[str(file.relative_to(path)), file.stat().st_size, file.stat().st_mtime_ns] for file in files]
    except (OSError, RuntimeError, ValueError):  # it cannot be the name of a file, or not of one that may be read
        return None
