"""The one place where device and number format are chosen."""

from __future__ import annotations

import os
import warnings
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from llmrec.errors import ConfigError, MissingExtraError
from llmrec.models.speeds import fastest_dtype
from llmrec.models.threads import set_threads, threads_from_environment

if TYPE_CHECKING:
    import torch

__all__ = ["DTYPES", "Placement", "QuantisationWarning", "best_placement", "explain_placement"]

DTYPES = ("float32", "bfloat16", "float16", "int8")
"""Number formats a model can run in; int8 is for text encoders on a CPU, by OpenVINO."""


class QuantisationWarning(RuntimeWarning):
    """A model runs in floating point though int8 was meant, and why."""


@dataclass(frozen=True, slots=True)
class Placement:
    """Where a model runs and in which number format.

    Attributes:
        device: a torch device, such as "cpu", "cuda", "cuda:1" or "mps".
        dtype: "float32", "bfloat16", "float16" or "int8".
    """

    device: str
    dtype: str

    def __post_init__(self) -> None:
        if self.dtype not in DTYPES:
            raise ConfigError(f"dtype {self.dtype!r} is not known; choose one of {', '.join(DTYPES)}")
        if self.dtype == "int8" and not self.is_cpu:
            raise ConfigError(f"dtype int8 is for the CPU, not for {self.device}; choose bfloat16, float16 or float32")

    @property
    def floating(self) -> Placement:
        """The same place for what is not quantised: in int8's stead, the best floating-point format there."""
        return self if self.dtype != "int8" else Placement(self.device, _best_dtype(self.device))

    @property
    def torch_dtype(self) -> torch.dtype:
        """The torch number format of weights."""
        import torch

        formats = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
        return formats[self.floating.dtype]

    @property
    def is_cpu(self) -> bool:
        """Whether the model runs on the CPU."""
        return self.device.startswith("cpu")


def best_placement(device: str | None = None, dtype: str | None = None, *, quantised: bool = False) -> Placement:
    """Choose where models run.

    An argument wins over the environment (`LLMREC_DEVICE`, `LLMREC_DTYPE`), which wins over what the machine
    offers: cuda in bfloat16 (float16 on cards without it), Apple's mps in float32, and the CPU in what `doctor
    --measure` found to be faster, bfloat16 or float32; where nothing was measured, in bfloat16 if its instructions
    compute it natively. Also sets the thread count, once a process.

    Args:
        device: a torch device, or None.
        dtype: "float32", "bfloat16", "float16" or "int8", or None.
        quantised: whether there is an 8-bit form of the model: where nothing else is asked for it is run, if it can be.

    Raises:
        ConfigError: the device is not there, or a name is not known.
        MissingExtraError: int8 is asked for, and OpenVINO is not installed.
    """
    set_threads()
    device = device or os.environ.get("LLMREC_DEVICE") or _best_device()
    _check_device(device)
    asked = dtype or os.environ.get("LLMREC_DTYPE")
    if asked is None and quantised and device.startswith("cpu"):
        if find_spec("openvino") is not None:
            return Placement(device, "int8")
        message = "there is an 8-bit form of this model, but no OpenVINO to run it: pip install 'llmrec[int8]'"
        warnings.warn(f"{message}; going on in {_best_dtype(device)}", QuantisationWarning, stacklevel=3)
    if asked == "int8" and find_spec("openvino") is None:
        raise MissingExtraError("openvino", "int8")
    return Placement(device, asked or _best_dtype(device))


def explain_placement() -> dict[str, str]:
    """Say in words why `best_placement()` and `set_threads()` choose what they choose here.

    Returns:
        A sentence each for "device", "dtype" and "threads".
    """
    placement = best_placement()
    if os.environ.get("LLMREC_DEVICE"):
        device = "LLMREC_DEVICE, --device or the configuration says so"
    else:
        device = "no GPU that torch can use was found" if placement.is_cpu else "the best device that torch found"
    if os.environ.get("LLMREC_DTYPE"):
        dtype = "LLMREC_DTYPE, --dtype or the configuration says so"
    elif placement.is_cpu and fastest_dtype() is not None:
        dtype = "the fastest here, by `llmrec doctor --measure`"
    elif placement.dtype == "bfloat16":
        dtype = "the device computes bfloat16 natively"
    elif placement.dtype == "float16":
        dtype = "the GPU does not compute bfloat16 natively"
    else:
        dtype = f"bfloat16 is not known to be native to the {'CPU' if placement.is_cpu else 'device'}"
    if threads_from_environment() is not None:
        threads = "LLMREC_THREADS, --threads or the configuration says so"
    else:
        threads = "OMP_NUM_THREADS says so" if os.environ.get("OMP_NUM_THREADS") else "the physical cores usable here"
    return {"device": device, "dtype": dtype, "threads": threads}


def _best_device() -> str:
    import torch

    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def _check_device(device: str) -> None:
    """Raise ConfigError unless torch can use the device now."""
    import torch

    try:
        kind = torch.device(device).type
    except RuntimeError as error:
        raise ConfigError(f"device {device!r} is not known to torch; try cpu, cuda, cuda:0 or mps") from error
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not there.get(kind, True):
        raise ConfigError(f"device {device!r} is not available on this machine; use device 'cpu'")


def _best_dtype(device: str) -> str:
    import torch

    if device.startswith("cuda"):
        return "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float16"
    if not device.startswith("cpu"):
        return "float32"
    return fastest_dtype() or ("bfloat16" if _cpu_has_bfloat16() else "float32")


def _cpu_has_bfloat16(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """Whether the CPU computes bfloat16 products natively; only Linux on x86 says so in a stable place."""
    try:
        text = cpuinfo.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    flags = next((line.split() for line in text.splitlines() if line.startswith("flags")), [])
    return "avx512_bf16" in flags or "amx_bf16" in flags
