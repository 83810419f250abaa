"""``llmrec config``: the configuration as it would be used, and what may stand in one."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import typer

from llmrec.cli.output import print_json
from llmrec.cli.source import ConfigOption, JsonOption, SetOption

if TYPE_CHECKING:
    from llmrec.cli.layers import Layers

__all__ = ["schema", "show"]


def show(config: ConfigOption = None, sets: SetOption = None, as_json: JsonOption = False) -> None:
    """Show the configuration that a command would use, as TOML, with what set each value.

    Every value is there, defaults too, so that the output is a whole configuration file. An option of a command wins
    over the environment (LLMREC_SET, LLMREC_CONFIG, LLMREC_DEVICE ...), which wins over the file.
    """
    from llmrec.cli.layers import read_layers
    from llmrec.cli.toml_text import write_toml

    layers = read_layers(config, sets)
    values = layers.project.filled()
    environment = _from_environment(values["runtime"])
    if as_json:
        print_json({"config": values, "origins": _origins(values, layers, environment)})
        return
    typer.echo(write_toml(values, lambda path: environment.get(path) or layers.origin(path)), nl=False)


def schema() -> None:
    """Print the JSON Schema of a configuration file, with the settings of every installed component.

    An editor that is given it completes and checks configuration files.
    """
    from llmrec.cli.config_schema import config_schema

    print_json(config_schema())


def _from_environment(runtime: dict[str, Any]) -> dict[tuple[str, ...], str]:
    """Put into the runtime table what the environment says; returns the variable of each such value, by path.

    Raises:
        ConfigError: a variable holds what cannot stand in the table.
    """
    from llmrec.config import Project

    found: dict[tuple[str, ...], str] = {}
    for name in runtime:
        variable = f"LLMREC_{name.upper()}"
        if value := os.environ.get(variable):
            own = int(value) if name == "threads" and value.isdecimal() else value
            Project.from_dict({"runtime": {name: own}}, source=variable)
            runtime[name] = own
            found["runtime", name] = variable
    return found


def _origins(values: Any, layers: Layers, environment: dict[tuple[str, ...], str]) -> dict[str, str]:
    from llmrec.cli.layers import leaves

    return {".".join(path): environment.get(path) or layers.origin(path) for path in leaves(values)}
