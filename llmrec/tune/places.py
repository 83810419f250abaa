"""Where a path such as "hybrid.ease.l2" leads in a pipeline, and a pipeline with other values there."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import Any

from llmrec.config import Config, StageConfig
from llmrec.errors import ConfigError

__all__ = ["Place", "locate", "put", "value_at"]

Place = tuple[str | int, ...]
"""Keys and positions that lead from the top of a configuration file to a value."""

STAGE_VALUES = ("keep", "tuning_users")


def locate(config: Config, path: str) -> Place:
    """Say where a path leads: `STAGE.COMPONENT.KEY`, `STAGE.fusion.KEY`, `STAGE.keep` or `policies.POLICY.KEY`.

    A key may go on into tables of its own, as `hybrid.fusion.weights.ease` does. Whether there is such a key is for
    the component to say.

    Raises:
        ConfigError: there is no such stage, component or policy.
    """
    head, _, rest = path.partition(".")
    names = [stage.name for stage in config.stages]
    if head in names:
        place = names.index(head)
        return ("stages", place, *_within(config.stages[place], rest, path))
    if head != "policies":
        raise ConfigError(f"tune.{path}: there is no stage {head!r}; {_near(head, [*names, 'policies'])}")
    name, _, key = rest.partition(".")
    if name not in config.policies or not key:
        raise ConfigError(f"tune.{path} is no policies.POLICY.KEY; {_near(name, config.policies)}")
    return ("policies", name, *key.split("."))


def _within(stage: StageConfig, rest: str, path: str) -> Place:
    name, _, key = rest.partition(".")
    for role, tables in (("retrievers", stage.retrievers), ("scorers", stage.scorers)):
        if name in tables and key:
            return (role, name, *key.split("."))
    if name == "fusion" and key:
        return ("fusion", *key.split("."))
    if name in STAGE_VALUES and not key:
        return (name,)
    known = [*stage.retrievers, *stage.scorers, "fusion"]
    if name in known:
        raise ConfigError(f"tune.{path} names a whole component; name one of its settings: {path}.KEY")
    raise ConfigError(f"tune.{path}: stage {stage.name!r} has no {name!r}; {_near(name, [*known, *STAGE_VALUES])}")


def _near(name: str, known: Iterable[str]) -> str:
    known = list(known)
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.4)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return f"{hint}known: {', '.join(known) or 'none'}"


def put(config: Config, values: Mapping[Place, Any]) -> Config:
    """Return the pipeline with these values in their places.

    Raises:
        ConfigError: a component has no such setting, or the value does not suit it.
    """
    table = config.model_dump(mode="json")
    for place, value in values.items():
        node: Any = table
        for depth, key in enumerate(place[:-1]):
            node = node[key] if isinstance(key, int) else node.setdefault(key, {})
            if not isinstance(node, dict | list):
                shown = ".".join(map(str, place[: depth + 1]))
                raise ConfigError(f"{shown} is one value, with nothing below it")
        node[place[-1]] = value
    return Config.from_dict(table)


def value_at(config: Config, place: Place) -> Any:
    """Return the value in a place, the component's default if the file does not say; None: there is none."""
    node: Any = config.filled()
    for key in place:
        known = isinstance(key, int) or (isinstance(node, Mapping) and key in node)
        node = node[key] if known else None
    return node
