"""Jinja in a sandbox: what a template may do, and how its errors read."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Any

from jinja2 import StrictUndefined, TemplateSyntaxError, meta
from jinja2.sandbox import ImmutableSandboxedEnvironment

from llmrec.errors import TemplateError
from llmrec.text._bounds import BoundedEnvironment, is_bounded, next_text

__all__ = ["compile_part", "undeclared_names"]


def _environment(bounded: bool = False) -> ImmutableSandboxedEnvironment:
    kind = BoundedEnvironment if bounded else ImmutableSandboxedEnvironment
    return kind(undefined=StrictUndefined, autoescape=False, trim_blocks=True, lstrip_blocks=True)


def undeclared_names(source: str) -> set[str]:
    """Names a template takes from outside.

    Raises:
        TemplateError: the source is not valid Jinja.
    """
    try:
        return meta.find_undeclared_variables(_environment().parse(source))
    except TemplateSyntaxError as error:
        raise TemplateError(f"line {error.lineno}: {error.message}") from error
    except RecursionError as error:
        raise TemplateError("it is nested too deep") from error


def compile_part(source: str) -> Callable[[Iterable[dict[str, Any]]], list[str]]:
    """Compile a template; the result renders one text for each set of values.

    Outer blank space of a text is dropped, so that a source may be laid out over several lines.
    """
    return _compiled(source, is_bounded())


@lru_cache(maxsize=256)
def _compiled(source: str, bounded: bool) -> Callable[[Iterable[dict[str, Any]]], list[str]]:
    template = _environment(bounded).from_string(source)

    def render(contexts: Iterable[dict[str, Any]]) -> list[str]:
        try:
            texts = []
            for values in contexts:
                next_text()
                texts.append(template.render(values).strip())
            return texts
        except TemplateError:
            raise
        except Exception as error:  # a template can fail in any way Python can
            raise TemplateError(f"{type(error).__name__}: {error}") from error

    return render
