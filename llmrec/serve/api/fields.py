"""The kinds of values that requests are made of; each refuses what could do harm further in."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints

__all__ = [
    "LATEST",
    "WHOLE",
    "Alias",
    "FieldName",
    "FieldValue",
    "Fields",
    "Id",
    "In",
    "Kind",
    "LimitedIds",
    "Name",
    "Text",
    "limited",
]

LATEST = 253_402_300_799
"""The last second of the year 9999."""

_EXACT = 2**53 - 1  # every whole number up to it is the same in JSON, floats and 64-bit integers


def _whole(value: Any) -> Any:
    """1.0 is a whole number too: JSON knows one kind of number."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


WHOLE = BeforeValidator(_whole)
"""To stand last in the annotation of a whole number."""


def limited(schema_key: str, limit: str) -> dict[str, Any]:
    """A mark by which the document of the API names a configured limit (`llmrec.serve.api.document`)."""
    return {"x-limit": [schema_key, limit]}


class In(BaseModel):
    """Base of bodies: nothing is guessed, nothing unknown is passed over."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


Id = Annotated[
    str,
    StringConstraints(min_length=1, max_length=256, pattern=r"^[^\x00-\x1f\x7f-\x9f]+$"),
    Field(description="An id: any text of up to 256 characters without control characters."),
]
Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")]
Alias = Annotated[Name, Field(description="A pipeline, by the name that clients know.", examples=["default"])]
Kind = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.:-]{0,63}$")]
Text = Annotated[
    str,
    StringConstraints(min_length=1, pattern=r"^[^\x00]+$"),
    Field(json_schema_extra=limited("maxLength", "text_chars")),
]
# Fail fast: half a million wrong ids must not become half a million errors
LimitedIds = Annotated[list[Id], Field(fail_fast=True, json_schema_extra=limited("maxItems", "ids"))]

FieldName = Annotated[str, StringConstraints(min_length=1, max_length=128, pattern=r"^[^\x00-\x1f\x7f-\x9f]+$")]
FieldText = Annotated[
    str, StringConstraints(pattern=r"^[^\x00]*$"), Field(json_schema_extra=limited("maxLength", "text_chars"))
]
FieldValue = (
    FieldText
    | bool
    | Annotated[int, Field(ge=-_EXACT, le=_EXACT)]
    | Annotated[float, Field(ge=-_EXACT, le=_EXACT)]  # the same bounds: no whole number is rounded to fit
    | Annotated[list[FieldText], Field(fail_fast=True, max_length=1_000)]
    | None
)
Fields = Annotated[dict[FieldName, FieldValue], Field(max_length=200)]
