"""The configuration a command runs with: ``--set`` over ``LLMREC_SET`` over the file over defaults."""

from __future__ import annotations

import difflib
import os
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmrec.errors import ConfigError

if TYPE_CHECKING:
    from llmrec.config import Project

__all__ = ["Layers", "leaves", "read_layers", "read_value"]

VARIABLE = "LLMREC_SET"
_NOT_QUOTED = r"""(?=(?:[^"']|"[^"]*"|'[^']*')*$)"""
"""Matches a place that does not stand within quotes."""

_Path = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Layers:
    """The configuration, and where it comes from.

    Attributes:
        project: everything, checked.
        origins: what set a value, by its path; the longest path that leads to a value counts.
    """

    project: Project
    origins: Mapping[_Path, str]

    def origin(self, path: _Path) -> str:
        """Say where a value comes from: "--set", "LLMREC_SET", the file, or "default"."""
        above = (path[:length] for length in range(len(path), 0, -1))
        return next((self.origins[part] for part in above if part in self.origins), "default")


def read_layers(config: Path | None, sets: Sequence[str] | None) -> Layers:
    """Read a configuration file, if any, and put single values over it.

    Args:
        config: a TOML file; None: the default pipeline.
        sets: `PATH=VALUE` each. A path is TOML's, with stages by name: `stages.hybrid.retrievers.ease.l2`. A value is
            TOML too; what is none is text, so that `runtime.device=cpu` needs no quotes.

    Raises:
        ConfigError: a file, path or value is wrong; says which, and the nearest known name.
    """
    from llmrec.config import Config, Project, read_toml

    values: dict[str, Any] = Config().model_dump(mode="json")
    given = read_toml(config) if config is not None else {}
    values |= given
    origins = dict.fromkeys(leaves(given), str(config))
    layers = ((VARIABLE, _from_environment()), ("--set", list(sets or [])))
    for origin, entries in layers:
        for entry in entries:
            origins |= dict.fromkeys(_set(values, entry, origin), origin)
    changes = [f"{origin} {entry}" for origin, entries in layers for entry in entries]
    source = " with ".join([str(config or "the default pipeline"), *([", ".join(changes)] if changes else [])])
    return Layers(Project.from_dict(values, source=source), origins)


def _from_environment() -> list[str]:
    """The entries of LLMREC_SET, which stand apart by `;`."""
    entries = re.split(f";{_NOT_QUOTED}", os.environ.get(VARIABLE, ""))
    return [entry.strip() for entry in entries if entry.strip()]


def _set(values: dict[str, Any], entry: str, origin: str) -> list[_Path]:
    """Put one value in its place; returns the paths of what was set.

    Raises:
        ConfigError: the entry is not of the form PATH=VALUE, or its path leads nowhere.
    """
    path, value = _parse(entry, origin)
    node: Any = values
    for place, key in enumerate(path[:-1]):
        node = _enter(node, path[:place], key, f"{origin} {entry}")
    if not isinstance(node, dict):
        raise ConfigError(f"{origin} {entry}: {'.'.join(path)} is a whole stage; set one of its values")
    node[path[-1]] = value
    below = leaves(value) if isinstance(value, dict | list) else []
    return [path, *((*path, *rest) for rest in below)]


def _parse(entry: str, origin: str) -> tuple[_Path, Any]:
    name, equals, text = entry.partition("=")
    wrong = ConfigError(f"{origin} {entry!r} must be of the form PATH=VALUE, such as stages.hybrid.keep=50 or seed=3")
    if not equals:
        raise wrong
    try:
        node: Any = tomllib.loads(f"{name} = 0")
    except tomllib.TOMLDecodeError:
        raise wrong from None
    path: list[str] = []
    while isinstance(node, dict):
        if len(node) != 1:
            raise wrong
        ((key, node),) = node.items()
        path.append(key)
    return tuple(path), read_value(text)


def read_value(text: str) -> Any:
    """Read a value as TOML; what is none is text."""
    try:
        found = tomllib.loads(f"value = {text}")
    except tomllib.TOMLDecodeError:
        return text.strip()
    return found["value"] if len(found) == 1 else text.strip()


def _enter(node: Any, above: _Path, key: str, entry: str) -> Any:
    """Go one step down a path; where nothing stands yet, make a table, unless its name would be made up.

    Tables that do not belong there are found when the whole is checked.
    """
    if isinstance(node, list):
        named = {str(stage.get("name")): stage for stage in node} | {str(i): stage for i, stage in enumerate(node)}
        if key not in named:
            names = [str(stage.get("name")) for stage in node]
            raise ConfigError(f"{entry}: there is no stage {key!r}; {_near(key, names)}")
        return named[key]
    named_tables = above == ("policies",) or (len(above) == 3 and above[2] in ("retrievers", "scorers"))
    if key not in node and named_tables:
        place = ".".join(above)
        add = f"a new one is given whole: --set '{place}.{key}={{}}'"
        raise ConfigError(f"{entry}: {place} has no {key!r}; {_near(key, list(node))}; {add}")
    below = node.setdefault(key, {})
    if not isinstance(below, dict | list):
        raise ConfigError(f"{entry}: {'.'.join([*above, key])} is one value, with nothing below it")
    return below


def _near(key: str, known: list[str]) -> str:
    near = difflib.get_close_matches(key, known, n=1, cutoff=0.4)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return f"{hint}known: {', '.join(known) or 'none'}"


def leaves(values: Any, above: _Path = ()) -> list[_Path]:
    """The path of every value that is no table; stages by name."""
    if isinstance(values, dict):
        return [path for key, part in values.items() for path in leaves(part, (*above, str(key)))]
    if isinstance(values, list) and values and all(isinstance(part, dict) for part in values):
        named = [(str(part.get("name", place)), part) for place, part in enumerate(values)]
        return [path for key, part in named for path in leaves(part, (*above, key))]
    return [above]
