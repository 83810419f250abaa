"""The root configuration: which components stand in which stage. One TOML file, every key checked."""

from __future__ import annotations

import difflib
import json
import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, Self, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from llmrec.assets import ASSETS
from llmrec.component import Component, ComponentConfig, Role, find_component
from llmrec.data.config import DataConfig
from llmrec.errors import ConfigError
from llmrec.policy import check_order
from llmrec.space import Space, flatten, kind_of

__all__ = [
    "DEPTH",
    "Config",
    "Project",
    "RuntimeConfig",
    "Settings",
    "StageConfig",
    "Table",
    "read_toml",
    "read_values",
    "resolve",
]

DEPTH = 200
"""How many candidates a retriever proposes unless its table says otherwise."""

_Model = TypeVar("_Model", bound=BaseModel)

Table = dict[str, Any]
"""A component's part of the file: `type`, `depth` for retrievers, and the component's own keys."""


@dataclass(frozen=True, slots=True)
class Settings:
    """One component's part of the file, checked.

    Attributes:
        name: its name in the pipeline.
        component: what is registered under its type.
        values: its own settings.
        depth: for retrievers, how many candidates it proposes.
    """

    name: str
    component: Component
    values: ComponentConfig
    depth: int


class StageConfig(BaseModel):
    """One stage.

    Attributes:
        name: the stage, and the column of its fused score.
        keep: how many candidates go on; the next stage's scorers look at these only.
        retrievers: by name; the type is the name unless `type` says otherwise.
        scorers: by name, likewise.
        fusion: the fusion; its type is `rrf` unless `type` says otherwise.
        tuning_users: at most this many validation cases are used to tune the fusion.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(min_length=1)
    keep: int = Field(default=200, gt=0, strict=True)
    retrievers: dict[str, Table] = Field(default_factory=dict)
    scorers: dict[str, Table] = Field(default_factory=dict)
    fusion: Table = Field(default_factory=lambda: {"type": "rrf"})
    tuning_users: int = Field(default=5_000, gt=0, strict=True)


def _default_stages() -> tuple[StageConfig, ...]:
    retrievers: dict[str, Table] = {"popularity": {}, "next_item": {}, "transition": {}, "dense": {}}
    return (StageConfig(name="hybrid", retrievers=retrievers),)


def _default_policies() -> dict[str, Table]:
    return {"seen": {}}


class Config(BaseModel):
    """The whole pipeline.

    Attributes:
        seed: for every random choice.
        stages: the cascade, in order; the default is one stage of popularity, next_item, transition and dense.
        policies: by name.
        fallback: the retriever that fills short lists; it must be able to rank the whole catalog.
        min_interactions: users with fewer stay whole in training when the last ones are held out.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    seed: int = Field(default=0, strict=True)
    stages: tuple[StageConfig, ...] = Field(default_factory=_default_stages, min_length=1)
    policies: dict[str, Table] = Field(default_factory=_default_policies)
    fallback: str = "popularity"
    min_interactions: int = Field(default=3, ge=3, strict=True)

    @model_validator(mode="after")
    def _check(self) -> Self:
        names: list[str] = []
        for stage in self.stages:
            tables = {**stage.retrievers, **stage.scorers}
            names += [stage.name, f"{stage.name}_fusion", *stage.retrievers, *stage.scorers]
            for name, table in tables.items():
                resolve(name, table, "retriever" if name in stage.retrievers else "scorer", stage.name)
            resolve(f"{stage.name}_fusion", {"type": "rrf", **stage.fusion}, "fusion", stage.name)
        for name, table in self.policies.items():
            resolve(name, table, "policy", "policies")
        check_order({name: table.get("type", name) for name, table in self.policies.items()})
        names += self.policies
        _check_names(names)
        if not self.stages[0].retrievers:
            raise ConfigError(f"stage {self.stages[0].name!r} comes first and needs at least one retriever")
        _check_order(self.stages)
        if self.fallback not in self.stages[0].retrievers:
            raise ConfigError(f"fallback {self.fallback!r} must name a retriever of the first stage")
        return self

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], *, source: str = "configuration") -> Self:
        """Check values as they come from TOML or JSON.

        Raises:
            ConfigError: a key is unknown (the nearest known one is named) or a value is out of range.
        """
        return read_values(cls, values, source)

    @classmethod
    def from_toml(cls, path: str | Path) -> Self:
        """Read the pipeline of a TOML file; its tables [data], [runtime] and [tune] are checked and left to `Project`.

        Raises:
            ConfigError: the file cannot be read, or a value in it is wrong.
        """
        values = read_toml(path)
        Project.from_dict(values, source=str(path))
        return cls.from_dict({k: v for k, v in values.items() if k not in _TABLES}, source=str(path))

    def filled(self) -> dict[str, Any]:
        """Return JSON values with every component's defaults written out: what a bundle says it was made with."""
        values = self.model_dump(mode="json")
        for stage, own in zip(self.stages, values["stages"], strict=True):
            own["retrievers"] = {n: _fill(n, t, "retriever") for n, t in stage.retrievers.items()}
            own["scorers"] = {n: _fill(n, t, "scorer") for n, t in stage.scorers.items()}
            own["fusion"] = _fill("rrf", stage.fusion, "fusion")
        values["policies"] = {n: _fill(n, t, "policy") for n, t in self.policies.items()}
        return values


class RuntimeConfig(BaseModel):
    """Where models run; what is None is chosen by `llmrec.models.device`.

    Attributes:
        device: a torch device, such as "cpu", "cuda", "cuda:1" or "mps".
        dtype: the number format of models.
        threads: how many threads they use.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    device: str | None = Field(default=None, min_length=1)
    dtype: Literal["float32", "bfloat16", "float16", "int8"] | None = None
    threads: int | None = Field(default=None, gt=0)


class Project(BaseModel):
    """A whole configuration file: the pipeline, where the data are, where models run, what may be tuned.

    In the file, the pipeline's keys stand at the top, beside the tables [data], [runtime] and [tune].

    Attributes:
        pipeline: what `llmrec.fit` takes.
        data: what `llmrec.data.load_data` takes.
        runtime: what `llmrec.models` heeds, once a command has put it into the environment.
        tune: what `llmrec.tune` searches.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    pipeline: Config = Field(default_factory=Config)
    data: DataConfig = Field(default_factory=DataConfig)
    runtime: RuntimeConfig = Field(default_factory=RuntimeConfig)
    tune: Space = Field(default_factory=lambda: Space({}))

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], *, source: str = "configuration") -> Self:
        """Check values as they come from TOML or JSON.

        Raises:
            ConfigError: a key is unknown (the nearest known one is named) or a value is out of range.
        """
        _check_top(values, source)
        data = read_values(DataConfig, values.get("data", {}), f"{source}: data")
        runtime = read_values(RuntimeConfig, values.get("runtime", {}), f"{source}: runtime")
        pipeline = Config.from_dict({k: v for k, v in values.items() if k not in _TABLES}, source=source)
        entries = flatten(values.get("tune", {}))
        space = {
            path: read_values(kind_of(entry), entry, f"{source}: tune.{path}".rstrip("."))
            for path, entry in entries.items()
        }
        return cls(pipeline=pipeline, data=data, runtime=runtime, tune=Space(space))

    @classmethod
    def from_toml(cls, path: str | Path) -> Self:
        """Read a TOML file; paths in its [data] table are relative to the file, and then to the working folder.

        Raises:
            ConfigError: the file cannot be read, or a value in it is wrong.
        """
        return cls.from_dict(read_toml(path), source=str(path))

    def filled(self) -> dict[str, Any]:
        """Return JSON values, every default written out, laid out as in a file."""
        data, runtime = self.data.model_dump(mode="json"), self.runtime.model_dump(mode="json")
        filled = {**self.pipeline.filled(), "data": data, "runtime": runtime}
        return {**filled, "tune": self.tune.model_dump(mode="json")} if self.tune.root else filled

    @classmethod
    def json_schema(cls) -> dict[str, Any]:
        """Return the JSON Schema of a file; components' tables are not in it."""
        schema = Config.model_json_schema()
        for name, model in _TABLES.items():
            own = model.model_json_schema()
            schema.setdefault("$defs", {}).update(own.pop("$defs", {}))
            schema["$defs"][name] = own
            schema["properties"][name] = {"$ref": f"#/$defs/{name}"}
        return schema


_TABLES: Mapping[str, type[BaseModel]] = MappingProxyType({"data": DataConfig, "runtime": RuntimeConfig, "tune": Space})
"""Tables of a file that are no part of the pipeline."""


def read_toml(path: str | Path) -> dict[str, Any]:
    """Read the values of a configuration file, unchecked; paths in its [data] table become relative to here.

    Raises:
        ConfigError: the file cannot be read, or is not TOML.
    """
    try:
        values = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"cannot read the configuration {path}: {error.strerror or error}") from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"cannot read the configuration {path}: {error}") from error
    data, folder = values.get("data"), Path(path).parent
    if isinstance(data, dict):
        for name in ("items", "interactions", "users", "quarantine"):
            if isinstance(data.get(name), str):
                data[name] = str(folder / Path(data[name]).expanduser())
        own = data.get("dataset")
        if isinstance(own, str) and ("/" in own or os.sep in own or (own not in ASSETS and (folder / own).is_dir())):
            data["dataset"] = str(folder / Path(own).expanduser())
    return values


def _check_top(values: Mapping[str, Any], source: str) -> None:
    """Raise ConfigError for a key that neither the pipeline nor a table has."""
    known = [*Config.model_fields, *_TABLES]
    for key in values:
        if key not in known:
            near = difflib.get_close_matches(str(key), known, n=1, cutoff=0.4)
            hint = f"did you mean {near[0]!r}? " if near else ""
            raise ConfigError(f"{source}: unknown key {key!r}; {hint}known: {', '.join(known)}")


def _fill(name: str, table: Table, role: Role) -> Table:
    settings = resolve(name, table, role, role)
    depth = {"depth": settings.depth} if role == "retriever" else {}
    return {"type": table.get("type", name), **depth, **settings.values.model_dump(mode="json")}


def _check_names(names: list[str]) -> None:
    """Raise ConfigError for a name that is used twice, or that cannot name a folder of a bundle."""
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise ConfigError(f"the name {repeated[0]!r} is used twice; stages, components and policies need their own")
    for name in names:
        if not re.fullmatch(r"[\w-]+", name):
            raise ConfigError(f"the name {name!r} may hold letters, digits, '_' and '-' only")


def _check_order(stages: tuple[StageConfig, ...]) -> None:
    """Raise ConfigError where a stage asks for what neither it nor the stage before it has."""
    for name, table in stages[0].scorers.items():
        if table.get("type", name) == "cross_encoder":
            raise ConfigError(
                f"{stages[0].name}.{name}: a cross_encoder needs a stage before it; put it in a second stage"
            )
    for place, stage in enumerate(stages):
        known = [*stage.retrievers, *stage.scorers, *(s.name for s in stages[max(0, place - 1) : place])]
        unknown = [name for name in stage.fusion.get("weights") or {} if name not in known]
        if unknown:
            raise ConfigError(
                f"{stage.name}.fusion: weights names {unknown[0]!r}, which this stage does not have; "
                f"known: {', '.join(known)}"
            )


def resolve(name: str, table: Table, role: Role, where: str) -> Settings:
    """Check one component's table against the component's own settings.

    Args:
        name: its name in the pipeline, and its type unless the table says otherwise.
        table: the part of the file.
        role: what it must be.
        where: for messages.

    Raises:
        ConfigError: the type is unknown, stands in the wrong place, or a key is wrong.
    """
    values = dict(table)
    kind = values.pop("type", name)
    if not isinstance(kind, str):
        raise ConfigError(f"{where}.{name}: type must be the name of a component, got {kind!r}")
    component = find_component(kind)
    if component.role != role:
        others = "policies" if role == "policy" else f"{role}s"
        raise ConfigError(f"{where}: {name!r} is a {component.role} and cannot stand among the {others}")
    depth = values.pop("depth", DEPTH) if role == "retriever" else DEPTH
    if not isinstance(depth, int) or isinstance(depth, bool) or depth < 1:
        raise ConfigError(f"{where}.{name}: depth must be a whole number of at least 1, got {depth!r}")
    try:
        settings = _validate(component.config, values)
    except ValidationError as error:
        extra = ("type", "depth") if role == "retriever" else ("type",)
        raise ConfigError(f"{where}.{name}: {_explain(error, component.config, extra)}") from None
    return Settings(name, component, settings, depth)


def _validate(model: type[_Model], values: Mapping[str, Any]) -> _Model:
    """Check values as JSON, strictly: `true` or "5" is no number, but an array may become a tuple, a string a path."""
    return model.model_validate_json(json.dumps(values, default=str), strict=True)


def read_values(model: type[_Model], values: Mapping[str, Any], source: str) -> _Model:
    """Check values as they come from TOML or JSON.

    Raises:
        ConfigError: a key is unknown or a value is wrong; the message begins with the source.
    """
    try:
        return _validate(model, values)
    except ValidationError as error:
        raise ConfigError(f"{source}: {_explain(error, model)}") from None
    except ConfigError as error:
        raise ConfigError(f"{source}: {error}") from None


def _explain(error: ValidationError, model: type[BaseModel], extra: tuple[str, ...] = ()) -> str:
    """Say what is wrong with each value, and name the nearest known key for an unknown one."""
    messages = []
    problems = error.errors()
    for problem in problems:
        # a list with a wrong entry counts as too short as well; the entry is what must be put right
        if problem["type"] == "too_short" and any(_is_within(other["loc"], problem["loc"]) for other in problems):
            continue
        where = ".".join(str(part) for part in problem["loc"])
        if problem["type"] != "extra_forbidden":
            messages.append(f"{where + ': ' if where else ''}{problem['msg']}, got {problem['input']!r}")
            continue
        owner = _owner(model, problem["loc"])
        known = [*owner.model_fields, *extra]
        near = difflib.get_close_matches(str(problem["loc"][-1]), known, n=1, cutoff=0.4)
        hint = f"did you mean {near[0]!r}? " if near else ""
        messages.append(f"unknown key {where!r}; {hint}known: {', '.join(known)}")
    return "; ".join(messages)


def _owner(model: type[BaseModel], place: tuple[int | str, ...]) -> type[BaseModel]:
    """The model of the table a key stands in."""
    for key in place[:-1]:
        field = model.model_fields.get(str(key))
        kinds = [] if field is None else [field.annotation, *get_args(field.annotation)]
        model = next((kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)), model)
    return model


def _is_within(place: tuple[int | str, ...], table: tuple[int | str, ...]) -> bool:
    return len(place) > len(table) and place[: len(table)] == table
