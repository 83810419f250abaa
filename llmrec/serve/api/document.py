"""The document of the API (OpenAPI 3.1): complete, with the limits as they are configured."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from llmrec.serve.config import ServeConfig
from llmrec.serve.http.route import guarded_routes

__all__ = ["document"]

_PROBLEM: dict[str, Any] = {
    "type": "object",
    "description": "What was refused or went wrong (RFC 9457).",
    "required": ["type", "title", "status", "detail", "request_id"],
    "properties": {
        "type": {"type": "string", "format": "uri", "description": "The same for every problem of this kind."},
        "title": {"type": "string", "description": "The kind, in words."},
        "status": {"type": "integer", "minimum": 400, "maximum": 599},
        "detail": {"type": "string", "description": "What, where, and what to do."},
        "request_id": {"type": "string", "description": "By which the service's log names the request."},
        "errors": {
            "type": "array",
            "description": "What is wrong where.",
            "items": {
                "type": "object",
                "required": ["in", "pointer", "detail"],
                "properties": {
                    "in": {"enum": ["body", "path", "query", "header", "cookie"]},
                    "pointer": {"type": "string", "description": "A JSON pointer, or the parameter's name."},
                    "detail": {"type": "string"},
                },
            },
        },
        "ok": {"const": False},
        "reasons": {"type": "array", "items": {"type": "string"}},
    },
}
_EVERY_HEADER: dict[str, Any] = {
    "X-Request-ID": {"description": "The request's id.", "schema": {"type": "string"}},
    "traceresponse": {"description": "The trace that this answer is part of.", "schema": {"type": "string"}},
}
_ABOUT = (
    "Lists from saved recommenders, what people did with them, and the catalog. Ids are any text of up to 256 "
    "characters; times are seconds since the epoch; everything that is refused is a problem (RFC 9457)."
)


def document(app: FastAPI, config: ServeConfig, version: str) -> dict[str, Any]:
    """The document of an app's routes.

    Args:
        app: the app.
        config: its limits are named.
        version: of llmrec.
    """
    found = get_openapi(title="llmrec", version=version, description=_ABOUT, routes=app.routes)
    limits = config.limits.model_dump() | {"longest_deadline_ms": config.engine.longest_deadline_ms}
    _complete(found, limits)
    parts = found.setdefault("components", {})
    parts.setdefault("schemas", {})["Problem"] = _PROBLEM
    parts["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer", "description": "`llmrec key add`"}}
    for route in guarded_routes(app.routes):
        if not route.include_in_schema:
            continue
        for method in route.methods or ():
            operation = found["paths"][route.path_format][method.lower()]
            for parameter in operation.get("parameters", ()):
                parameter["schema"] = _not_null(parameter["schema"])
            if route.need != "public":
                operation["security"] = [{"key": []}]
                operation["x-scope"] = route.need
            for status, response in operation["responses"].items():
                response["headers"] = dict(_EVERY_HEADER)
                _show_example(response, route.responses.get(int(status), {}))
    return found


def _not_null(schema: dict[str, Any]) -> dict[str, Any]:
    """A parameter can be left out, but there is no null in addresses and headers."""
    kinds = [kind for kind in schema.get("anyOf", ()) if kind != {"type": "null"}]
    if len(kinds) != 1:
        return schema
    return {**{name: value for name, value in schema.items() if name != "anyOf"}, **kinds[0]}


def _show_example(response: dict[str, Any], declared: Mapping[str, Any]) -> None:
    """Put examples as they were declared; FastAPI leaves their nulls out."""
    for media_type, content in declared.get("content", {}).items():
        if "example" in content:
            response["content"][media_type]["example"] = content["example"]


def _complete(node: Any, limits: Mapping[str, Any]) -> None:
    """Put configured limits in the place of the marks that `limited` made, and say which names an object may have."""
    if isinstance(node, dict):
        mark = node.pop("x-limit", None)
        if mark is not None:
            node[mark[0]] = limits[mark[1]]
        if "patternProperties" in node:  # pydantic says what matching names hold, and not that others are refused
            ((pattern, values),) = node.pop("patternProperties").items()
            node["propertyNames"] = node.get("propertyNames", {}) | {"pattern": pattern}
            node["additionalProperties"] = values
        for value in node.values():
            _complete(value, limits)
    elif isinstance(node, list):
        for value in node:
            _complete(value, limits)
