"""Where models run: options of every command that runs one, before the environment, before the file.

The one place that reads the choice is `llmrec.models.device`, and it reads the environment, so what is chosen here
is put there: an option over what is there already, a file's value only where nothing is.
"""

from __future__ import annotations

import functools
import inspect
import os
from collections.abc import Callable
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from llmrec.config import RuntimeConfig

__all__ = ["DtypeChoice", "settle", "with_runtime"]


class DtypeChoice(StrEnum):
    """Number formats a model can run in."""

    float32 = "float32"
    bfloat16 = "bfloat16"
    float16 = "float16"
    int8 = "int8"


_OPTIONS: dict[str, Any] = {
    "device": Annotated[
        str | None,
        typer.Option(
            "--device", metavar="NAME", envvar="LLMREC_DEVICE", help="Run models on cpu, cuda, cuda:1, mps ..."
        ),
    ],
    "dtype": Annotated[
        DtypeChoice | None, typer.Option("--dtype", envvar="LLMREC_DTYPE", help="Number format of models.")
    ],
    "threads": Annotated[
        int | None,
        typer.Option("--threads", metavar="N", min=1, envvar="LLMREC_THREADS", help="Threads that models use."),
    ],
}


def with_runtime(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options --device, --dtype and --threads; it need not know of them."""

    @functools.wraps(command)
    def run(*values: Any, **options: Any) -> None:
        for name in _OPTIONS:
            chosen = options.pop(name, None)
            if chosen is not None:
                os.environ[_variable(name)] = str(chosen)
        command(*values, **options)

    own = inspect.signature(command, eval_str=True)
    kind = inspect.Parameter.KEYWORD_ONLY
    added = [inspect.Parameter(name, kind, default=None, annotation=option) for name, option in _OPTIONS.items()]
    run.__signature__ = own.replace(parameters=[*own.parameters.values(), *added])  # type: ignore[attr-defined]
    return run


def settle(runtime: RuntimeConfig) -> None:
    """Use a file's [runtime] table where neither an option nor the environment says anything."""
    for name in _OPTIONS:
        value = getattr(runtime, name)
        if value is not None and not os.environ.get(_variable(name)):
            os.environ[_variable(name)] = str(value)


def _variable(name: str) -> str:
    return f"LLMREC_{name.upper()}"
