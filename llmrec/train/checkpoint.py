"""Where a training run stands, in one safetensors file that is replaced whole, so that a killed run goes on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

__all__ = ["Checkpoint", "optimizer_tensors", "read_checkpoint", "restore_optimizer", "run_key", "write_checkpoint"]


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What a run needs to go on as if it had not been stopped.

    Attributes:
        key: of what is trained, on what, how; see `run_key`.
        facts: JSON values, such as how many steps were taken.
        tensors: weights and the optimizer's moments.
    """

    key: str
    facts: Mapping[str, Any] = field(default_factory=dict)
    tensors: Mapping[str, torch.Tensor] = field(default_factory=dict)


def run_key(**parts: Any) -> str:
    """Sha256 (hex) over everything that a run's result depends on, JSON values, and the version of llmrec."""
    return hashlib.sha256(json.dumps([version("llmrec"), parts], sort_keys=True).encode()).hexdigest()


def write_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Put a checkpoint in the place of the one before; a kill at any moment leaves one of the two."""
    from safetensors.torch import save_file

    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f"{path.name}.new")
    tensors = {name: tensor.detach().contiguous() for name, tensor in checkpoint.tensors.items()}
    save_file(tensors, fresh, {"key": checkpoint.key, "facts": json.dumps(dict(checkpoint.facts))})
    fresh.replace(path)


def read_checkpoint(path: Path, key: str) -> Checkpoint | None:
    """Read a checkpoint; None where there is none, or one of another run, or of another version of torch's files."""
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        return None
    try:
        with safe_open(path, framework="pt") as stored:
            about = stored.metadata() or {}
            if about.get("key") != key:
                return None
            names = list(stored.keys())  # not a mapping
            tensors = {name: stored.get_tensor(name) for name in names}
        return Checkpoint(key, json.loads(about["facts"]), tensors)
    except (SafetensorError, OSError, KeyError, ValueError):
        return None


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    """An optimizer's moments and counts, by parameter number and name."""
    state = optimizer.state_dict()["state"]
    return {f"optimizer.{place}.{name}": tensor for place, per in state.items() for name, tensor in per.items()}


def restore_optimizer(optimizer: torch.optim.Optimizer, tensors: Mapping[str, torch.Tensor]) -> None:
    """Put moments and counts back; settings such as the learning rate stay as they are."""
    state: dict[int, dict[str, torch.Tensor]] = {}
    for key, tensor in tensors.items():
        if key.startswith("optimizer."):
            _, place, name = key.split(".", 2)
            state.setdefault(int(place), {})[name] = tensor
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
