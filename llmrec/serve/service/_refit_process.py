"""The process that fits a pipeline anew, beside the one that answers.

It reads one line of JSON on stdin (so that the store's password stands in no list of processes) and writes lines of
JSON on stdout: what goes on, then the result or what is wrong.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any, TextIO

__all__ = ["main", "plain"]

NICENESS = 15
"""Answers go before."""


def main(asked: Mapping[str, Any], out: TextIO) -> int:
    """Fit anew, and tell how it goes.

    Args:
        asked: "bundle", "store", "out", "learn" (settings) and "force".
        out: where lines of JSON go.

    Returns:
        The process's exit code.
    """
    from llmrec.errors import LlmrecError

    def tell(**values: Any) -> None:
        out.write(json.dumps(values, default=str) + "\n")
        out.flush()

    try:
        tell(result=_refitted(asked, lambda message: tell(message=str(message))))
    except LlmrecError as error:
        tell(error=_said(error))
        return error.exit_code
    except Exception as error:  # noqa: BLE001 - whatever it is, it is told where it is looked for
        tell(error=f"{type(error).__name__}; fit by hand to see all of it: llmrec refit")
        return 1
    return 0


def _refitted(asked: Mapping[str, Any], progress: Any) -> dict[str, Any]:
    from llmrec.serve.config import LearnConfig
    from llmrec.serve.learn import refit
    from llmrec.serve.store import open_store

    progress("opening the store")
    store = open_store(asked["store"])
    try:
        done = refit(
            Path(asked["bundle"]),
            store,
            Path(asked["out"]),
            config=LearnConfig.model_validate(asked["learn"]),
            progress=progress,
            force=bool(asked["force"]),
        )
        return dict(plain(done.to_dict()))
    finally:
        store.close()


def _said(error: Exception) -> str:
    """What went wrong; without ids or texts of the data, which a job's message must not show."""
    from llmrec.errors import DataError

    if isinstance(error, DataError):
        return f"{type(error).__name__}: the data do not fit; fit by hand to see where: llmrec refit"
    return str(error)


def plain(value: Any) -> Any:
    """A result as JSON values."""
    if is_dataclass(value) and not isinstance(value, type):
        return plain(asdict(value))
    if isinstance(value, Mapping):
        return {str(name): plain(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [plain(part) for part in value]
    return str(value) if isinstance(value, Path) else value


if __name__ == "__main__":
    # libraries may print; what they print must not stand between our lines
    lines = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    if hasattr(os, "nice"):
        os.nice(NICENESS)
    sys.exit(main(json.loads(sys.stdin.readline()), lines))
