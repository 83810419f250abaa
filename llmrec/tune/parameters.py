"""The settings that are searched: checked against the pipeline before anything is fitted."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from llmrec.config import Config
from llmrec.errors import ConfigError
from llmrec.space import Choices, Range, Space
from llmrec.tune.places import Place, locate, put, value_at

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

__all__ = ["Parameter", "changed", "read_parameters", "standing"]

DIGITS = 4
"""Significant digits of a drawn number: more would say nothing, and make the file hard to read."""

CLOSE = 1e-8
"""A number of steps so near to a whole one is whole."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """A setting that is searched.

    Attributes:
        path: as it is named in the table [tune].
        place: where it stands in the pipeline.
        values: what it may be.
        whole: whether it is a whole number.
    """

    path: str
    place: Place
    values: Range | Choices
    whole: bool

    def distribution(self) -> BaseDistribution:
        """What the sampler draws from; a choice is drawn as its JSON text."""
        from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

        values = self.values
        if isinstance(values, Choices):
            return CategoricalDistribution([json.dumps(choice) for choice in values.choices])
        if self.whole:
            return IntDistribution(int(values.low), int(values.high), log=values.log, step=int(values.step or 1))
        step = None if values.step is None else float(values.step)
        return FloatDistribution(float(values.low), float(values.high), log=values.log, step=step)

    def value(self, drawn: Any) -> Any:
        """What is set for a drawn value: numbers in few digits, choices as they stand in the table."""
        if isinstance(self.values, Choices):
            return json.loads(drawn)
        if self.whole:
            return int(drawn)
        digits = DIGITS if self.values.step is None else 12  # a step is kept but for what adding it up does
        return min(max(float(f"{drawn:.{digits}g}"), float(self.values.low)), float(self.values.high))

    def drawn(self, value: Any) -> Any:
        """What the sampler calls a value; None: it lies outside of what is searched."""
        if isinstance(self.values, Choices):
            return next((json.dumps(choice) for choice in self.values.choices if choice == value), None)
        low, high, step = self.values.low, self.values.high, self.values.step
        if not isinstance(value, int | float) or not low <= value <= high:
            return None
        steps = 0.0 if step is None else (value - low) / step
        return value if abs(steps - round(steps)) < CLOSE else None


def read_parameters(space: Space, config: Config) -> tuple[Parameter, ...]:
    """Check a search space against a pipeline: every path, both ends of every range, and every choice.

    Args:
        space: what is searched.
        config: the pipeline.

    Raises:
        ConfigError: nothing is searched, a path leads nowhere, or a value does not suit its setting.
    """
    if not space.root:
        raise ConfigError(
            "there is nothing to tune: the configuration has no table [tune]; give it lines such as "
            '"hybrid.next_item.l2" = { low = 10, high = 1000, log = true }'
        )
    found = [_parameter(path, values, config) for path, values in space.root.items()]
    places = [parameter.place for parameter in found]
    for place, one in enumerate(found):
        if one.place in places[:place]:
            raise ConfigError(f"tune.{one.path} stands there twice")
    return tuple(found)


def _parameter(path: str, values: Range | Choices, config: Config) -> Parameter:
    place = locate(config, path)
    if isinstance(values, Choices):
        for choice in values.choices:
            _tried(config, path, place, choice)
        return Parameter(path, place, values, False)
    ends = [_tried(config, path, place, end) for end in (values.low, values.high)]
    if not all(isinstance(end, int | float) and not isinstance(end, bool) for end in ends):
        raise ConfigError(f"tune.{path} is no number, so it has no range; give choices = [...]")
    whole = all(isinstance(end, int) for end in ends)
    if whole and isinstance(values.step, float) and not values.step.is_integer():
        raise ConfigError(f"tune.{path} is a whole number, so step must be one, got {values.step}")
    return Parameter(path, place, values, whole)


def _tried(config: Config, path: str, place: Place, value: Any) -> Any:
    """Set a value, and return what the component makes of it."""
    try:
        return value_at(put(config, {place: value}), place)
    except ConfigError as error:
        raise ConfigError(f"tune.{path} may not be {json.dumps(value)}: {error}") from None


def standing(parameters: tuple[Parameter, ...], config: Config) -> dict[str, Any]:
    """The values of the pipeline as it stands, by path; None where it says nothing."""
    return {parameter.path: value_at(config, parameter.place) for parameter in parameters}


def changed(config: Config, parameters: tuple[Parameter, ...], values: Mapping[str, Any]) -> Config:
    """Return the pipeline with values by path.

    Raises:
        ConfigError: together they do not suit it.
    """
    return put(config, {one.place: values[one.path] for one in parameters if values.get(one.path) is not None})
