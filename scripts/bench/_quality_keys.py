"""What a result of `quality.py` is kept by: a hash of all that decides it, and of nothing else."""

from __future__ import annotations

import ast
import hashlib
import json
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

import llmrec

PACKAGE = Path(llmrec.__file__).resolve().parent
BENCH = Path(__file__).resolve().parent
PROMPTS = (PACKAGE / "prompts", PACKAGE.parent / "prompts")
LIBRARIES = ("faiss-cpu", "implicit", "lightgbm", "numpy", "scipy", "sentence-transformers", "torch", "transformers")
NO_MATTER = frozenset(
    {"__main__.py", "card.py", "cli", "client", "errors.py", "publish.py", "serve", "space.py", "testing", "tune"}
)
"""Of llmrec: what changes how a thing is said or shown, and no figure."""
SHOWN = frozenset({"plots.py", "tables.py"})
"""Of llmrec.evaluate, likewise."""
STEERS = frozenset({"__init__.py", "cases.py", "metrics.py"})
"""Of llmrec.evaluate: what training stops early by."""

GIVEN = (("_quality_cases.py", ("HOLDOUTS", "log_for", "shuffled_ties")), ("_quality_job.py", ("shuffled",)))
"""Of the files that measure, by name: what decides which log and which catalog a fit is given."""


def digest(values: Any) -> str:
    """Sha256 (hex) of JSON values."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def contents(folder: Path | None) -> str:
    """What tells the files of a data folder apart from others: their names and their bytes."""
    files = [] if folder is None else sorted(path for path in folder.iterdir() if path.is_file())
    return digest([[path.name, hashlib.sha256(path.read_bytes()).hexdigest()] for path in files])


@cache
def code_version(of: Literal["fit", "measure", "external"]) -> str:
    """Hash of the code that decides a fit, a measurement, or the lists of a method outside llmrec.

    Comments, docstrings and layout do not count; prompt templates and the versions of libraries do.
    """
    if of == "external":
        return digest([_hash([*_files(PACKAGE / "data"), BENCH / "sasrec.py"]), _given()])
    files = [path for path in _files(PACKAGE) if path.relative_to(PACKAGE).parts[0] not in NO_MATTER]
    evaluate = [path for path in files if path.parent.name == "evaluate"]
    own = [BENCH / "_quality_job.py", BENCH / "_quality_cases.py"]
    if of == "measure":
        return _hash([path for path in files if path not in evaluate or path.name not in SHOWN] + own)
    rest = [path for path in files if path not in evaluate or path.name in STEERS]
    templates = [path for folder in PROMPTS if folder.is_dir() for path in sorted(folder.rglob("*.toml"))]
    return digest([_hash([*rest, *templates]), _given(), libraries()])


def _given() -> list[str]:
    """What `GIVEN` names, as Python understands it."""
    found = []
    for name, wanted in GIVEN:
        known = {_name(node): node for node in _plain((BENCH / name).read_text(encoding="utf-8")).body}
        found += [ast.dump(known[one]) for one in wanted]
    return found


def libraries() -> dict[str, str]:
    """The versions of what results depend on; those that are not installed left out."""
    found = {}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def meaning(source: str) -> str:
    """What Python makes of a module, without its docstrings, as text."""
    return ast.dump(_plain(source))


def _plain(source: str) -> ast.Module:
    tree = ast.parse(source)
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list):
            node.body = [one for one in body if not _is_text(one)]  # type: ignore[attr-defined]
    return tree


def _name(node: ast.stmt) -> str:
    """What a statement of a module defines, or ""."""
    if isinstance(node, ast.AnnAssign | ast.Assign):
        target = node.target if isinstance(node, ast.AnnAssign) else node.targets[0]
        return target.id if isinstance(target, ast.Name) else ""
    return node.name if isinstance(node, ast.FunctionDef | ast.ClassDef) else ""


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*.py") if "__pycache__" not in path.parts)


def _hash(files: list[Path]) -> str:
    found = hashlib.sha256()
    for path in files:
        found.update(f"{path.parent.name}/{path.name} {_hash_of(path)}\n".encode())
    return found.hexdigest()


@cache
def _hash_of(path: Path) -> str:
    text = path.read_text(encoding="utf-8")
    return hashlib.sha256((meaning(text) if path.suffix == ".py" else text).encode()).hexdigest()
