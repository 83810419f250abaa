"""The configuration a search found: the user's own file, comments and all, with the best values in it."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmrec.cli.toml_text import write_toml

if TYPE_CHECKING:
    from llmrec.cli.layers import Layers
    from llmrec.tune import TuneResult

__all__ = ["best_toml", "edit_toml"]

_Place = tuple[str | int, ...]
_Values = dict[_Place, Any]


def best_toml(found: TuneResult, layers: Layers, config: Path | None, out: Path) -> str:
    """Write what a search found.

    Args:
        found: the search.
        layers: the configuration it began with; what --set and LLMREC_SET said is written too.
        config: its file, or None.
        out: where the text will stand; relative paths of the [data] table still lead where they led.

    Returns:
        TOML: the file with the best values in it; without a file, the whole pipeline.
    """
    pipeline = found.config.model_dump(mode="json")
    if config is None:
        return write_toml({**pipeline, "data": layers.project.data.model_dump(mode="json", exclude_none=True)})
    text = config.read_text(encoding="utf-8")
    own = tomllib.loads(text)
    values = _moved(own, config, out) | _said(layers, str(config)) | found.best_values()
    absent = {place[0] for place in values} - own.keys()
    whole: dict[str, Any] = {key: pipeline[key] for key in ("stages", "policies") if key in absent}
    return edit_toml(f"{text.rstrip()}\n\n{write_toml(whole)}" if whole else text, values)


def edit_toml(text: str, values: Mapping[_Place, Any]) -> str:
    """Put values into somebody's TOML.

    Args:
        text: TOML.
        values: by keys and positions that lead to them from the top; tables on the way that are missing are made.

    Returns:
        The text with these values; the comments and the order are as they were.
    """
    import tomlkit

    document: Any = tomlkit.parse(text)
    for place, value in values.items():
        node = document
        for key in place[:-1]:
            if not isinstance(key, int) and key not in node:
                node[key] = {}
            node = node[key]
        node[place[-1]] = value
    return tomlkit.dumps(document)


def _said(layers: Layers, file: str) -> _Values:
    """What was set by --set and LLMREC_SET, by place."""
    project = layers.project
    tables = {"data": project.data, "runtime": project.runtime}
    top = project.pipeline.model_dump(mode="json") | {k: v.model_dump(mode="json") for k, v in tables.items()}
    said = [path for path, origin in layers.origins.items() if origin != file and path[0] in top]
    found = dict(_walk(top, path) for path in said)
    return {place: value for place, value in found.items() if not isinstance(value, dict)}


def _walk(top: Any, path: tuple[str, ...]) -> tuple[_Place, Any]:
    """Where a path leads that names stages, as a place that counts them; and what stands there."""
    node, place = top, list[str | int]()
    for key in path:
        names = [stage["name"] for stage in node] if isinstance(node, list) else []
        place.append(names.index(key) if key in names else int(key) if names else key)
        node = node[place[-1]]
    return tuple(place), node


def _moved(own: Mapping[str, Any], config: Path, out: Path) -> _Values:
    """The relative paths of a [data] table, from the folder of another file."""
    from llmrec.config import read_toml

    if config.resolve().parent == out.resolve().parent:
        return {}
    before, now = own.get("data", {}), read_toml(config).get("data", {})
    changed = {key: path for key, path in now.items() if path != before[key] and not Path(before[key]).is_absolute()}
    return {("data", key): os.path.relpath(path, out.resolve().parent) for key, path in changed.items()}
