"""The JSON Schema of a configuration file: the tables llmrec knows, and the settings of every registered component."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from llmrec.component import Role

__all__ = ["config_schema"]

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def config_schema() -> dict[str, Any]:
    """Build the JSON Schema of a configuration file.

    A table among retrievers, scorers or policies is one component's: its `type`, which is the table's name unless
    written, and that component's settings.
    """
    from llmrec.component import component_names, find_component
    from llmrec.config import Project

    schema = Project.json_schema()
    definitions = schema.setdefault("$defs", {})
    by_role: dict[Role, list[str]] = {"retriever": [], "scorer": [], "fusion": [], "policy": []}
    for name in component_names():
        component = find_component(name)
        by_role[component.role].append(name)
        own = component.config.model_json_schema()
        definitions |= own.pop("$defs", {})
        own["properties"] = {**own.get("properties", {}), **_shared(name, component.role)}
        definitions[name] = own
    stage = definitions["StageConfig"]["properties"]
    stage["retrievers"] |= _tables(by_role["retriever"])
    stage["scorers"] |= _tables(by_role["scorer"])
    stage["fusion"] |= _one_of(by_role["fusion"], usual="rrf")
    schema["properties"]["policies"] |= _tables(by_role["policy"])
    return {"$schema": DIALECT, **schema}


def _shared(name: str, role: Role) -> dict[str, Any]:
    """Keys that every component of a role has besides its own."""
    from llmrec.config import DEPTH

    kind = {"type": {"const": name, "description": "The component; the table's name unless written."}}
    depth = {"type": "integer", "minimum": 1, "default": DEPTH, "description": "How many candidates it proposes."}
    return {**kind, "depth": depth} if role == "retriever" else kind


def _tables(names: list[str]) -> dict[str, Any]:
    """A table of components: one with a component's name is that component's; one with another name says its type."""
    other = {"anyOf": [{"$ref": f"#/$defs/{name}", "required": ["type"]} for name in names]}
    named = {name: {"if": {"required": ["type"]}, "then": other, "else": {"$ref": f"#/$defs/{name}"}} for name in names}
    return {"properties": named, "additionalProperties": other}


def _one_of(names: list[str], usual: str) -> dict[str, Any]:
    other = {"anyOf": [{"$ref": f"#/$defs/{name}", "required": ["type"]} for name in names]}
    return {"if": {"required": ["type"]}, "then": other, "else": {"$ref": f"#/$defs/{usual}"}}
