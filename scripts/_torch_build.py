"""Tell whether this machine has an NVIDIA GPU, and which build of torch pip would install."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any, Mapping  # noqa: UP035 - parses on 3.8

GPU_PACKAGES = re.compile(r"(nvidia|cuda)-|triton$|pytorch-triton")


def has_nvidia_gpu() -> bool:
    """Tell whether this machine has an NVIDIA GPU with its driver."""
    if Path("/dev/nvidia0").exists() or Path("/proc/driver/nvidia").exists():
        return True
    tool = shutil.which("nvidia-smi") or shutil.which("nvidia-smi", path="/usr/lib/wsl/lib")
    if tool is None:
        return False
    try:
        out = subprocess.run([tool, "-L"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=30, check=False)
    except (OSError, subprocess.SubprocessError):
        return False
    return out.returncode == 0 and b"GPU" in out.stdout


def marker_applies(marker: str, environment: Mapping[str, str]) -> bool:
    """Evaluate a PEP 508 marker; what cannot be read counts as applying, the cautious answer here."""
    try:
        return _truth(ast.parse(marker.strip(), mode="eval").body, environment)
    except (SyntaxError, ValueError, TypeError):
        return True


def _truth(node: ast.AST, environment: Mapping[str, str]) -> bool:
    if isinstance(node, ast.BoolOp):
        parts = [_truth(value, environment) for value in node.values]
        return all(parts) if isinstance(node.op, ast.And) else any(parts)
    if not isinstance(node, ast.Compare) or len(node.ops) != 1:
        raise ValueError("not a marker")
    left, right = (_operand(side, environment) for side in (node.left, node.comparators[0]))
    operator = node.ops[0]
    if isinstance(operator, (ast.In, ast.NotIn)):
        return (left in right) == isinstance(operator, ast.In)
    if isinstance(operator, (ast.Eq, ast.NotEq)):
        return (left == right) == isinstance(operator, ast.Eq)
    low, high = ([int(part) for part in re.findall(r"\d+", side)] for side in (left, right))
    if isinstance(operator, (ast.Lt, ast.LtE)):
        return low < high or (isinstance(operator, ast.LtE) and low == high)
    return low > high or (isinstance(operator, ast.GtE) and low == high)


def _operand(node: ast.AST, environment: Mapping[str, str]) -> str:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.Name) and (node.id == "extra" or node.id in environment):
        return environment.get(node.id, "")
    raise ValueError("not a marker operand")


def torch_build(report: Mapping[str, Any]) -> str:
    """Read from a report of `pip install --dry-run torch` what pip would install.

    Returns:
        "installed" (nothing to do), "cpu", or "gpu" (the build carries or requires GPU libraries).
    """
    for entry in report["install"]:
        metadata = entry["metadata"]
        if metadata["name"].lower() != "torch":
            continue
        local = metadata["version"].partition("+")[2]
        if local:
            return "cpu" if local.startswith("cpu") else "gpu"
        for requirement in metadata.get("requires_dist") or ():
            name, _, marker = requirement.partition(";")
            name = re.split(r"[^A-Za-z0-9._-]", name.strip())[0].lower().replace("_", "-")
            if GPU_PACKAGES.match(name) and (not marker or marker_applies(marker, report["environment"])):
                return "gpu"
        return "cpu"
    return "installed"
