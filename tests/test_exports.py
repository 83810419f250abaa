"""What llmrec offers, and what importing it costs."""

from __future__ import annotations

import importlib
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import llmrec

TOP_LEVEL = [
    "Catalog",
    "Config",
    "Explanation",
    "Interactions",
    "Item",
    "Queries",
    "Ranking",
    "Reason",
    "Recommendation",
    "Recommender",
    "Users",
    "fit",
    "leave_last_out",
    "load",
    "load_dataset",
]
HEAVY = ["torch", "transformers", "sentence_transformers", "datasets", "faiss", "pyarrow", "pydantic"]
ROOT = Path(llmrec.__file__).parent


def public_modules() -> list[str]:
    """Every module of llmrec whose path has no part with a leading underscore; nothing is imported for it."""
    names = []
    for path in sorted(ROOT.rglob("*.py")):
        parts = path.relative_to(ROOT.parent).with_suffix("").parts
        parts = parts[:-1] if parts[-1] == "__init__" else parts
        if not any(part.startswith("_") for part in parts):
            names.append(".".join(parts))
    return names


def sort_key(name: str) -> tuple[int, str]:
    """The order ruff's RUF022 keeps: constants, then classes, then the rest."""
    if name.isupper() and len(name) > 1:
        return 0, name
    return (1 if name[:1].isupper() else 2), name


def is_documented(name: str, found: object) -> bool:
    """Whether a class, function or module has a docstring of its own; other values cannot have one."""
    if not (inspect.isclass(found) or inspect.isroutine(found) or inspect.ismodule(found)):
        return True
    doc = found.__doc__ or ""
    # A dataclass without a docstring gets its signature for one.
    return bool(doc.strip()) and not doc.startswith(f"{name}(")


def modules_after(code: str) -> tuple[set[str], str]:
    """Run code in a fresh interpreter; return the top-level modules it loaded, and its output."""
    tail = "\nimport sys\nprint('\\nLOADED', *sorted(name for name in sys.modules if '.' not in name))"
    done = subprocess.run([sys.executable, "-c", code + tail], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    output, _, loaded = done.stdout.rpartition("LOADED")
    return set(loaded.split()), output


def test_top_level_names_are_exactly_these():
    assert llmrec.__all__ == TOP_LEVEL


def test_modules_are_found():
    assert {"llmrec", "llmrec.types", "llmrec.errors", "llmrec.evaluate.metrics"} <= set(public_modules())


@pytest.mark.parametrize("module_name", public_modules())
def test_exports_are_sorted_exist_and_are_documented(module_name):
    module = importlib.import_module(module_name)
    assert (module.__doc__ or "").strip(), f"{module_name} has no docstring"
    exported = getattr(module, "__all__", None)
    assert exported is not None, f"{module_name} has no __all__"
    assert list(exported) == sorted(set(exported), key=sort_key)
    missing = [name for name in exported if not hasattr(module, name)]
    assert not missing, f"{module_name}.__all__ names what is not there: {missing}"
    bare = [name for name in exported if not is_documented(name, getattr(module, name))]
    assert not bare, f"{module_name} exports without a docstring: {bare}"


def test_importing_llmrec_is_light():
    loaded, _ = modules_after("import llmrec")
    assert "llmrec" in loaded
    assert not loaded & set(HEAVY)


def test_help_is_light():
    loaded, output = modules_after(
        "import sys\n"
        "sys.argv = ['llmrec', '--help']\n"
        "from llmrec.cli import main\n"
        "try:\n"
        "    main()\n"
        "except SystemExit as stop:\n"
        "    assert not stop.code, stop.code\n"
    )
    assert "usage" in output.lower()
    assert not loaded & {"torch", "transformers", "sentence_transformers", "datasets", "faiss"}
