"""What may stand in the table [tune] of a configuration file: for each setting, where to look for a better value."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, RootModel, model_validator

from llmrec.errors import ConfigError

__all__ = ["Choices", "Range", "Space", "flatten", "kind_of"]

DEEPEST = 4
"""Tables above an entry that an editor is told of; a path is not much longer."""

_CONFIG = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Range(BaseModel):
    """Numbers from `low` to `high`, both of them included.

    Attributes:
        low: the smallest.
        high: the largest.
        log: look as closely between 1 and 10 as between 10 and 100; `low` must be above 0.
        step: only `low`, `low + step`, ...; none: every number (of a setting that counts, every whole one).
    """

    model_config = _CONFIG

    low: int | float
    high: int | float
    log: bool = False
    step: int | float | None = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.low >= self.high:
            raise ConfigError(f"low must be below high, got low = {self.low} and high = {self.high}")
        if self.log and self.low <= 0:
            raise ConfigError(f"with log = true, low must be above 0, got {self.low}")
        if self.step is None:
            return self
        if self.log:
            raise ConfigError("log and step exclude each other; leave one of them out")
        if self.step <= 0 or (Decimal(str(self.high)) - Decimal(str(self.low))) % Decimal(str(self.step)):
            raise ConfigError(f"steps of {self.step} do not lead from low = {self.low} to high = {self.high}")
        return self


class Choices(BaseModel):
    """Values of any kind, in no order.

    Attributes:
        choices: at least two, all different.
    """

    model_config = _CONFIG

    choices: tuple[Any, ...]

    @model_validator(mode="after")
    def _check(self) -> Self:
        if len(self.choices) < 2 or any(one in self.choices[:place] for place, one in enumerate(self.choices)):
            raise ConfigError(f"choices must hold at least two different values, got {list(self.choices)}")
        return self


def _nested(schema: dict[str, Any]) -> None:
    """Say that a path may also be written as tables in tables."""
    leaves = schema["additionalProperties"]["anyOf"]
    entry: dict[str, Any] = {"anyOf": leaves}
    for _ in range(DEEPEST):
        entry = {"anyOf": [*leaves, {"type": "object", "additionalProperties": entry, "minProperties": 1}]}
    schema["additionalProperties"] = entry


class Space(RootModel[dict[str, Range | Choices]]):
    """By path, such as "hybrid.ease.l2", where to look; see `llmrec.tune`."""

    model_config = ConfigDict(frozen=True, json_schema_extra=_nested)


def flatten(table: Any, above: str = "") -> dict[str, Any]:
    """Return the entries of a [tune] table by path, whether paths are quoted keys or tables in tables."""
    if not isinstance(table, Mapping) or (
        above and not (table and all(isinstance(v, Mapping) for v in table.values()))
    ):
        return {above: table}
    found: dict[str, Any] = {}
    for key, below in table.items():
        for path, entry in flatten(below, f"{above}.{key}" if above else str(key)).items():
            if path in found:
                raise ConfigError(f"tune.{path} stands there twice")
            found[path] = entry
    return found


def kind_of(entry: Any) -> type[Range | Choices]:
    """Return what an entry means to be."""
    return Choices if isinstance(entry, Mapping) and "choices" in entry else Range
