"""Bounds on what templates of others may cost: steps and characters of each text, and the time of all of them.

A template that somebody is writing may hold loops in loops or a width of a thousand million by mistake. Within
`bounded_rendering` such a template ends with an error; it makes the same texts as without where it ends at all.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set, Sized
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import wraps
from typing import Any

from jinja2 import nodes, pass_context, pass_environment
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.visitor import NodeTransformer

from llmrec.errors import TemplateError

__all__ = ["BoundedEnvironment", "bounded_rendering", "is_bounded", "next_text"]

STEPS = 300_000
"""Of one text: turns of loops, calls, and characters that are made on the way."""

SIZE = 1_000_000
"""What one operation may make, in characters or entries, as far as it can be told before."""

_OPERATORS = frozenset({"+", "-", "*", "/", "//", "%", "**"})


@dataclass(slots=True)
class _Spent:
    """What is left: steps of this text, and time of `time.monotonic` of all texts."""

    until: float
    seconds: float
    left: int = STEPS

    def spend(self, steps: int) -> None:
        self.left -= steps
        if self.left < 0:
            raise TemplateError("a text takes too many steps: look for loops in loops, and for wide repeats")
        if time.monotonic() > self.until:
            raise TemplateError(f"the texts take longer than {self.seconds:g} seconds; simplify the template")


_CURRENT: ContextVar[_Spent | None] = ContextVar("llmrec_template_bounds", default=None)


@contextmanager
def bounded_rendering(seconds: float) -> Iterator[None]:
    """Bound what this thread (or task) renders within: for templates that somebody else wrote.

    Args:
        seconds: for all texts together.

    A text beyond the bounds is a `TemplateError`.
    """
    token = _CURRENT.set(_Spent(time.monotonic() + seconds, seconds))
    try:
        yield
    finally:
        _CURRENT.reset(token)


def is_bounded() -> bool:
    """Whether rendering is bounded here."""
    return _CURRENT.get() is not None


def next_text() -> None:
    """Begin another text."""
    if (spent := _CURRENT.get()) is not None:
        spent.left = STEPS
        spent.spend(1)


def _spend(steps: int) -> None:
    if (spent := _CURRENT.get()) is not None:
        spent.spend(steps)


class BoundedEnvironment(ImmutableSandboxedEnvironment):
    """A sandbox in which loops, calls, operators, filters and what is written are counted."""

    intercepted_binops = _OPERATORS  # which also keeps the compiler from working them out beforehand

    def __init__(self, **options: Any) -> None:
        super().__init__(finalize=_written, **options)
        self.filters = {name: _counted(function) for name, function in self.filters.items()}
        self.filters |= {"_steps": _steps, "_joined": _joined}
        self.globals.pop("lipsum")

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        """Work out an operator whose result is not too large."""
        if operator == "**" and not (abs(left) <= SIZE and abs(right) <= 6):
            raise TemplateError("the power is too large")
        if operator in {"*", "%"}:
            _check(_size(left) * max(1, _size(right)))
        elif operator == "+":
            _check(_size(left) + _size(right))
        return super().call_binop(context, operator, left, right)

    def call(__self, __context: Any, __obj: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: N805 - as in Jinja
        """Call what a template calls, if what it is given is not too large."""
        own = _size(getattr(__obj, "__self__", None))
        _check(max(1, own) * max(1, *map(_size, args), *map(_size, kwargs.values()), 1))
        _spend(1)
        made = super().call(__context, __obj, *args, **kwargs)
        _spend(_size(made) if isinstance(made, str | list | tuple) else 0)
        return made

    def _generate(self, source: nodes.Template, *args: Any, **kwargs: Any) -> str:
        _Bounding(self).visit(source)
        return super()._generate(source, *args, **kwargs)


class _Bounding(NodeTransformer):
    """Puts counters into a template: around what loops go over, and in the place of `~`."""

    def __init__(self, environment: BoundedEnvironment) -> None:
        self._environment = environment

    def visit_For(self, node: nodes.For) -> nodes.For:  # noqa: N802 - as in Jinja
        """A turn costs what it writes in any case."""
        written = sum(len(data.data) for data in node.find_all(nodes.TemplateData))
        self.generic_visit(node)
        node.iter = self._filter(node.iter, "_steps", nodes.Const(1 + written))
        return node

    def visit_Concat(self, node: nodes.Concat) -> nodes.Expr:  # noqa: N802 - as in Jinja
        """Joined by a function that looks at the parts first."""
        self.generic_visit(node)
        return self._filter(nodes.List(node.nodes), "_joined")

    def _filter(self, node: nodes.Node, name: str, *args: nodes.Expr) -> nodes.Filter:
        made = nodes.Filter(node, name, list(args), [], None, None)
        return made.set_environment(self._environment)  # type: ignore[return-value]


def _size(value: Any) -> int:
    """Characters of a text, the value of a whole number, and all that is in a list; no more than is needed."""
    total, left = 0, [value]
    while left and total <= SIZE:
        one = left.pop()
        total += 1
        if isinstance(one, str | bytes):
            total += len(one)
        elif isinstance(one, int | float) and not isinstance(one, bool):
            total += int(min(abs(one), SIZE + 1)) if one == one else 0
        elif isinstance(one, Mapping):
            left += [*one.keys(), *one.values()]
        elif isinstance(one, Sequence | Set) and not isinstance(one, range):
            left += one
    return total


def _check(size: int) -> None:
    if size > SIZE:
        raise TemplateError("a value is too large: look for wide repeats and large numbers")


@pass_context
def _written(_context: Any, value: Any) -> Any:
    size = _size(value) if not isinstance(value, int | float) else 20
    _check(size)
    _spend(size)
    return value


@pass_environment  # never worked out beforehand
def _steps(_environment: Any, values: Iterable[Any], cost: int) -> Iterable[Any]:
    if isinstance(values, Sized):
        _spend(cost * len(values))
        return values
    return _one_by_one(values, cost)


def _one_by_one(values: Iterable[Any], cost: int) -> Iterator[Any]:
    for value in values:
        _spend(cost)
        yield value


@pass_environment
def _joined(_environment: Any, parts: Sequence[Any]) -> str:
    size = _size([part for part in parts if isinstance(part, str) or hasattr(part, "__len__")])
    _check(size)
    _spend(size)
    return "".join(map(str, parts))


def _counted(function: Callable[..., Any]) -> Callable[..., Any]:
    """A filter that counts, with the marks of the one it wraps."""

    @wraps(function)
    def counted(*args: Any, **kwargs: Any) -> Any:
        given = args[1:] if hasattr(function, "jinja_pass_arg") else args
        if given:
            _check(_size(given[0]) * max(1, *map(_size, given[1:]), *map(_size, kwargs.values()), 1) // 4)
        _spend(1)
        made = function(*args, **kwargs)
        _spend(_size(made) if isinstance(made, str | list | tuple) else 0)
        return made

    return counted
