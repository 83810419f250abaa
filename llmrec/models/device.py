"""The one place where device, number format and threads are chosen."""

from __future__ import annotations

import os
import warnings
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from llmrec.errors import ConfigError, MissingExtraError

if TYPE_CHECKING:
    import torch

__all__ = ["DTYPES", "Placement", "best_placement", "cpu_threads", "explain_placement", "set_threads"]

DTYPES = ("float32", "bfloat16", "float16", "int8")
"""Number formats a model can run in; int8 is for text encoders on a CPU, by OpenVINO."""


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
    offers: cuda in bfloat16 (float16 on cards without it), Apple's mps in float32, and the CPU in bfloat16
    where its instructions compute it natively, else in float32. Also sets the thread count, once a process.

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
        warnings.warn(f"{message}; going on in {_best_dtype(device)}", RuntimeWarning, stacklevel=3)
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
    elif placement.dtype == "bfloat16":
        dtype = "the device computes bfloat16 natively"
    elif placement.dtype == "float16":
        dtype = "the GPU does not compute bfloat16 natively"
    else:
        dtype = f"bfloat16 is not known to be native to the {'CPU' if placement.is_cpu else 'device'}"
    if _threads_from_environment() is not None:
        threads = "LLMREC_THREADS, --threads or the configuration says so"
    else:
        threads = "OMP_NUM_THREADS says so" if os.environ.get("OMP_NUM_THREADS") else "the physical cores usable here"
    return {"device": device, "dtype": dtype, "threads": threads}


@cache
def set_threads() -> int:
    """Let torch use the physical cores this process may use; returns their number.

    `LLMREC_THREADS` sets another number. An `OMP_NUM_THREADS` of the user is left as it is. Hyper-threads
    share the vector units that matrix products wait for, so more threads than cores only add waiting.
    """
    import torch

    threads = _threads_from_environment()
    if threads is None and os.environ.get("OMP_NUM_THREADS"):
        return torch.get_num_threads()
    threads = threads or _usable_cores()
    if threads != torch.get_num_threads():
        torch.set_num_threads(threads)
    return threads


def cpu_threads() -> int:
    """How many threads a library beside torch may use: as `LLMREC_THREADS` or `OMP_NUM_THREADS` say, or the cores."""
    openmp = os.environ.get("OMP_NUM_THREADS", "")
    given = int(openmp) if openmp.isdecimal() and int(openmp) > 0 else None
    return _threads_from_environment() or given or _usable_cores()


def _threads_from_environment() -> int | None:
    text = os.environ.get("LLMREC_THREADS")
    if not text:
        return None
    if not text.isdecimal() or int(text) < 1:
        raise ConfigError(f"LLMREC_THREADS must be a whole number from 1, not {text!r}")
    return int(text)


def _usable_cores() -> int:
    """Physical cores, within the CPU affinity and the container's quota."""
    logical = os.cpu_count() or 1
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else logical
    return max(1, min(allowed, _physical_cores() or logical, _quota() or logical))


def _physical_cores(cpuinfo: Path = Path("/proc/cpuinfo")) -> int | None:
    """Distinct (socket, core) pairs where Linux tells them, else None."""
    try:
        blocks = cpuinfo.read_text(encoding="utf-8", errors="replace").split("\n\n")
    except OSError:
        return None
    fields = [dict(_key_value(line) for line in block.splitlines()) for block in blocks]
    cores = {(f["physical id"], f["core id"]) for f in fields if "physical id" in f and "core id" in f}
    return len(cores) or None


def _key_value(line: str) -> tuple[str, str]:
    key, _, value = line.partition(":")
    return key.strip(), value.strip()


def _quota(cpu_max: Path = Path("/sys/fs/cgroup/cpu.max")) -> int | None:
    """CPUs the container may use, from cgroup v2's "quota period" line; None if unlimited."""
    try:
        quota, period = cpu_max.read_text(encoding="ascii").split()
        return None if quota == "max" else max(1, round(int(quota) / int(period)))
    except (OSError, ValueError):
        return None


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
    return "bfloat16" if device.startswith("cpu") and _cpu_has_bfloat16() else "float32"


def _cpu_has_bfloat16(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """Whether the CPU computes bfloat16 products natively; only Linux on x86 says so in a stable place."""
    try:
        text = cpuinfo.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    flags = next((line.split() for line in text.splitlines() if line.startswith("flags")), [])
    return "avx512_bf16" in flags or "amx_bf16" in flags
