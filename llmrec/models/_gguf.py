"""GGUF files, as llama.cpp writes them, converted once to the safetensors that everything else here reads."""

from __future__ import annotations

import hashlib
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from llmrec.assets import cache_dir, hash_file, install, is_stored, locked
from llmrec.errors import MissingExtraError, ModelError
from llmrec.models.quiet import quiet_transformers

__all__ = ["readable_folder"]

FORMAT = "bfloat16"
"""Of the converted weights: what 4 bits hold is rougher than its rounding."""


def readable_folder(folder: Path) -> Path:
    """Return a folder with config.json and safetensors weights: the given one, or its GGUF file converted.

    What was converted is kept in the user's cache, by the hash of the file.

    Args:
        folder: holds config.json, or exactly one .gguf file.

    Raises:
        ModelError: there is neither, there are several, or the file cannot be converted.
        MissingExtraError: there is one, and the library that reads it is not installed.
        AssetError: the cache cannot be written to.
    """
    files = sorted(folder.glob("*.gguf"))
    if (folder / "config.json").exists() or not files:
        return folder
    if len(files) > 1:
        raise ModelError(f"{folder} holds {len(files)} GGUF files; leave one of them in a folder of its own")
    key = hashlib.sha256(f"{hash_file(files[0])} {FORMAT}".encode()).hexdigest()[:16]
    place = cache_dir() / "gguf" / key
    with locked(place, lambda _: None):
        if is_stored(place):
            return place
        if find_spec("gguf") is None:
            raise MissingExtraError("gguf", "llm")

        def fill(target: Path) -> dict[str, str]:
            _convert(files[0], target)
            return {path.name: hash_file(path) for path in sorted(target.iterdir())}

        return install(place, fill)


def _convert(file: Path, target: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    where: dict[str, Any] = {"gguf_file": file.name, "local_files_only": True}
    try:
        with quiet_transformers():
            module = AutoModelForCausalLM.from_pretrained(file.parent, dtype=FORMAT, **where, **_dense())
            module.save_pretrained(target)
            AutoTokenizer.from_pretrained(file.parent, **where).save_pretrained(target)
    except Exception as error:  # the libraries raise whatever comes up in a file of an unknown architecture
        raise ModelError(f"{file} cannot be converted ({error}); choose safetensors weights of the model") from error


def _dense() -> dict[str, Any]:
    """What makes transformers unpack the weights; before it could leave them packed it always did."""
    try:
        from transformers import GgufConfig
    except ImportError:
        return {}
    return {"quantization_config": GgufConfig(dequantize=True)}
