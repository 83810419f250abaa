"""What `quality.py` measures on a data set: our pipeline, the same without something, and peers; from TOML files.

`configs/NAME.toml` is our pipeline, as `llmrec fit --config` takes it. `configs/NAME-methods.toml` names the rest::

    [peers.item_knn]                # a retriever alone; the table is its settings, `type` as in a pipeline
    neighbours = 200

    [ablations."without text"]      # our pipeline, changed
    remove = ["dense", "bm25"]      # retrievers and scorers that are left out
    shuffle_texts = true            # items swap their fields, so that a text says nothing about its item
    [ablations."without text".set]
    "hybrid.ease.text_weight" = 0   # stage.component.key
    [ablations."without text".add]
    "hybrid.era" = { depth = 5 }                 # a retriever more, as stage.component
    [ablations."without text".stages]
    hybrid = { fusion = { type = "rrf" } }       # a stage's own keys

    [external.sasrec]               # `sasrec.py` makes its lists; the table is its settings

    [protocols.time]                # another protocol, for our pipeline and these; see `_quality_cases`
    methods = ["item_knn"]

    [[grids.item_knn]]              # what `tune_peers.py` tries
    neighbours = [50, 200]
"""

from __future__ import annotations

import copy
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from _quality_cases import HOLDOUTS

from llmrec.config import read_toml
from llmrec.errors import ConfigError

CONFIGS = Path(__file__).parent / "configs"
OURS = "ours"
NOT_PIPELINE = ("data", "runtime", "tune")
TABLES = ("peers", "ablations", "external", "protocols", "grids")


@dataclass(frozen=True, slots=True)
class Method:
    """Something to fit and measure.

    Attributes:
        name: its row in the table.
        kind: "ours", "ablation", "peer", or "external" for what makes its lists in an environment of its own.
        config: the pipeline, as values of a TOML file; of an external method, its own settings.
        shuffle_texts: whether items swap their fields before anything is fitted.
    """

    name: str
    kind: str
    config: Mapping[str, Any]
    shuffle_texts: bool = False


def read_methods(name: str, folder: Path = CONFIGS) -> list[Method]:
    """Read the methods for a data set; ours comes first.

    Raises:
        ConfigError: a file cannot be read, an ablation names what our pipeline does not have, or a name has a comma.
    """
    ours = {key: value for key, value in read_toml(folder / f"{name}.toml").items() if key not in NOT_PIPELINE}
    others = read_others(name, folder)
    found = [Method(OURS, "ours", ours)]
    found += [_without(ours, part) for part in _parts(ours)]
    found += [_ablation(ours, label, table) for label, table in others.get("ablations", {}).items()]
    found += [Method(peer, "peer", _alone(peer, table)) for peer, table in others.get("peers", {}).items()]
    found += [Method(name, "external", table) for name, table in others.get("external", {}).items()]
    if split := [method.name for method in found if "," in method.name]:
        raise ConfigError(f"{name}-methods.toml: {split[0]!r} has a comma, so --methods could not name it")
    return found


def read_others(name: str, folder: Path = CONFIGS) -> dict[str, Any]:
    """Read the tables of `NAME-methods.toml`.

    Raises:
        ConfigError: the file cannot be read, or has a table of no known name.
    """
    try:
        found = tomllib.loads((folder / f"{name}-methods.toml").read_text(encoding="utf-8"))
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"cannot read the methods of {name}: {error}") from error
    if unknown := sorted(set(found) - set(TABLES)):
        raise ConfigError(f"{name}-methods.toml: unknown table {unknown[0]!r}; known: {', '.join(TABLES)}")
    return found


def read_protocols(name: str, folder: Path = CONFIGS) -> dict[str, tuple[str, ...]]:
    """Read by which protocols is measured, and which methods beside ours: all by leave last out, some by others.

    Raises:
        ConfigError: there is no such protocol or method, or the protocol cannot be asked of lists.
    """
    methods = {method.name: method for method in read_methods(name, folder)}
    found: dict[str, tuple[str, ...]] = {"last": tuple(methods)}
    for protocol, table in read_others(name, folder).get("protocols", {}).items():
        if protocol not in HOLDOUTS or protocol == "last":
            known = ", ".join(one for one in HOLDOUTS if one != "last")
            raise ConfigError(f"no protocol beside the main one is called {protocol!r}; known: {known}")
        for method in table.get("methods", ()):
            if method not in methods or methods[method].kind == "external":
                raise ConfigError(f"protocol {protocol!r}: {method!r} is no method of ours to fit")
        found[protocol] = (OURS, *table.get("methods", ()))
    return found


def _parts(ours: Mapping[str, Any]) -> list[str]:
    """Every retriever and scorer that can be left out: not the fallback, not the only one of the first stage."""
    names: list[str] = []
    for place, stage in enumerate(ours["stages"]):
        own = [*stage.get("retrievers", {}), *stage.get("scorers", {})]
        names += [] if place == 0 and len(own) == 1 else own
    return [name for name in names if name != ours.get("fallback", "popularity")]


def _without(ours: Mapping[str, Any], part: str) -> Method:
    return _ablation(ours, f"without {part}", {"remove": [part]})


def _ablation(ours: Mapping[str, Any], label: str, table: Mapping[str, Any]) -> Method:
    known = ("remove", "add", "set", "stages", "shuffle_texts")
    if unknown := sorted(set(table) - set(known)):
        raise ConfigError(f"ablation {label!r}: unknown key {unknown[0]!r}; known: {', '.join(known)}")
    config = copy.deepcopy(dict(ours))
    for part in table.get("remove", ()):
        _remove(config, part, label)
    for path, settings in table.get("add", {}).items():
        name, _, part = path.partition(".")
        if part in (there := _stage(config, name, label)["retrievers"]):
            raise ConfigError(f"ablation {label!r}: {path!r} is there already; change it by 'set'")
        there[part] = dict(settings)
    for path, value in table.get("set", {}).items():
        _set(config, path, value, label)
    for stage, values in table.get("stages", {}).items():
        _stage(config, stage, label).update(copy.deepcopy(values))
    # a stage that has nothing left to score with says nothing that the one before has not said
    config["stages"] = [s for s in config["stages"] if s.get("retrievers") or s.get("scorers")]
    return Method(label, "ablation", config, bool(table.get("shuffle_texts", False)))


def _remove(config: dict[str, Any], part: str, label: str) -> None:
    for stage in config["stages"]:
        for role in ("retrievers", "scorers"):
            if part in stage.get(role, {}):
                del stage[role][part]
                stage.get("fusion", {}).get("weights", {}).pop(part, None)
                return
    raise ConfigError(f"ablation {label!r}: no stage has {part!r}")


def _set(config: dict[str, Any], path: str, value: Any, label: str) -> None:
    name, _, rest = path.partition(".")
    part, _, key = rest.partition(".")
    stage = _stage(config, name, label)
    for role in ("retrievers", "scorers"):
        if part in stage.get(role, {}) and key:
            stage[role][part][key] = value
            return
    raise ConfigError(f"ablation {label!r}: {path!r} is not the stage.component.key of anything in our pipeline")


def _stage(config: dict[str, Any], name: str, label: str) -> dict[str, Any]:
    for stage in config["stages"]:
        if stage["name"] == name:
            found: dict[str, Any] = stage
            return found
    raise ConfigError(f"ablation {label!r}: no stage is called {name!r}")


def _alone(name: str, table: Mapping[str, Any]) -> dict[str, Any]:
    return {"stages": [{"name": "alone", "retrievers": {name: dict(table)}}], "fallback": name}
