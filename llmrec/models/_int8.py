"""Encoders in 8-bit integers on a CPU, by OpenVINO: made once from calibration texts, kept as files, run without torch.

Weights and the inputs of matrix products become integers (per channel, per tensor), with the outliers of activations
moved into the weights first (Xiao et al., "SmoothQuant: Accurate and Efficient Post-Training Quantization for Large
Language Models", ICML 2023); what is in between stays in bfloat16 where the CPU has it, else in float32.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import threading
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np

from llmrec.assets import cache_dir, hash_file, install, is_stored, locked
from llmrec.errors import ModelError
from llmrec.models._network import Forward, Network
from llmrec.models._pooling import Output
from llmrec.models._tokens import Framed
from llmrec.models.device import Placement
from llmrec.models.threads import set_threads
from llmrec.types import Float32Array, Int64Array

__all__ = ["INT8_FILES", "SAMPLE", "load_int8", "quantise", "stored_int8"]

INT8_FILES = ("model.xml", "model.bin")
"""What a quantised model consists of."""

SAMPLE = 300
"""Texts that ranges of activations are taken from."""


def stored_int8(folder: Path, output: Output, sample: Framed, weights: str) -> Path:
    """The folder of a model's 8-bit form in the user's cache; made if it is not there.

    Args:
        folder: holds config.json and safetensors weights.
        output: what is made of a sequence.
        sample: sequences to calibrate with.
        weights: fingerprint of the model's files.

    Raises:
        ModelError: it could not be made.
        AssetError: the cache cannot be written to.
    """
    key = hashlib.sha256(f"{weights} {output} {_version()}".encode())
    for part in (sample.offsets, sample.ids, sample.types):
        key.update(np.ascontiguousarray(part).tobytes())
    place = cache_dir() / "int8" / key.hexdigest()[:16]
    with locked(place, lambda _: None):
        if is_stored(place):
            return place

        def fill(target: Path) -> dict[str, str]:
            quantise(folder, output, sample, target)
            return {name: hash_file(target / name) for name in INT8_FILES}

        return install(place, fill)


def _version() -> str:
    """Of what decides how numbers are rounded."""
    found = []
    for name in ("openvino", "nncf"):
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            found.append(f"no {name}")
    return ", ".join(found)


def quantise(folder: Path, output: Output, sample: Framed, target: Path) -> None:
    """Make the 8-bit form of a model.

    In a process of its own: the libraries draw progress bars, warn, and would ask for leave to report usage.

    Args:
        folder: holds config.json and safetensors weights.
        output: what is made of a sequence.
        sample: sequences as they will be asked, to calibrate with.
        target: an empty folder for `INT8_FILES`.

    Raises:
        ModelError: it could not be made; says why.
    """
    fields = {name: getattr(sample, name) for name in ("offsets", "ids", "types", "borders")}
    np.savez(target / "sample.npz", **fields)
    order = json.dumps({"folder": str(folder), "output": output, "target": str(target)})
    command = [sys.executable, "-m", "llmrec.models._int8_export", order]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, "CI": "true"})
    (target / "sample.npz").unlink()
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise ModelError(
            f"the 8-bit form of {folder.name} could not be made: {last}. Is the extra there (pip install "
            "'llmrec[int8]')? Without it choose another dtype (LLMREC_DTYPE=bfloat16)"
        )


def load_int8(folder: Path, pad_id: int) -> Network:
    """Load what `quantise` made.

    Raises:
        ModelError: OpenVINO is not installed, or cannot read the files.
    """
    threads = set_threads()
    try:
        import openvino

        settings = {"INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": threads, "ENABLE_CPU_PINNING": False}
        model = openvino.Core().compile_model(folder / INT8_FILES[0], "CPU", settings)
    except (ImportError, RuntimeError) as error:
        raise ModelError(
            f"the 8-bit model in {folder} cannot be run ({error}); pip install 'llmrec[int8]', or choose another "
            "dtype (LLMREC_DTYPE=bfloat16)"
        ) from error
    return Network(_forward(model), Placement("cpu", "int8"), pad_id)


def _forward(model: object) -> Forward:
    """The forward pass; every thread has a request of its own."""
    own = threading.local()

    def forward(ids: Int64Array, types: Int64Array) -> Float32Array:
        if not hasattr(own, "request"):
            own.request = model.create_infer_request()  # type: ignore[attr-defined]
        return np.array(own.request.infer([ids, types])[0], dtype=np.float32)

    return forward
