"""A prompt template: declared fields, Jinja source, and a fingerprint of what affects the text."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, cast, get_args

from llmrec.errors import TemplateError
from llmrec.text._jinja import undeclared_names

__all__ = ["Field", "Kind", "PartScope", "Scope", "Template"]

Kind = Literal["item", "user", "pair", "chat", "explain"]
Scope = Literal["item", "user", "interaction"]
PartScope = Literal["item", "user", "evidence"]

# The parts of each kind, and whether a part sees an item's fields, a user's, or evidence of why an item is recommended.
# An entry of a user also sees the interaction's.
PARTS: Mapping[str, Mapping[str, PartScope]] = {
    "item": {"text": "item"},
    "user": {"entry": "item", "text": "user"},
    "pair": {"entry": "item", "user": "user", "item": "item"},
    "chat": {"system": "user", "entry": "item", "user": "user", "item": "item"},
    "explain": {"system": "evidence", "entry": "item", "text": "evidence", "ask": "evidence"},
}
# Parts that a template of a kind may do without; they read nothing.
OPTIONAL: Mapping[str, frozenset[str]] = {"chat": frozenset({"question"})}
# What every user part sees beside the profile.
GIVEN = ("history", "wish")
# What every part about evidence sees; "ask" also the sentence that is to be put in other words.
EVIDENCE = ("item", "history", "whole", "fields", "wish", "profile", "popular", "rule")
# What is known of an interaction beside its item; the only names a field of that scope can have.
INTERACTION = ("rating", "kind", "weight")
# Raised when rendering or cleaning changes, so that no old text passes for new.
_RENDERING = 1


@dataclass(frozen=True, slots=True)
class Field:
    """A value a template reads.

    Attributes:
        required: whether every item (or user, or interaction) must have it; otherwise a missing value is "".
        description: what it means, for people.
        scope: whether it is a catalog field, a profile field, or known of the interaction: rating, kind or weight.
    """

    required: bool
    description: str
    scope: Scope = "item"


@dataclass(frozen=True, slots=True)
class Template:
    """How an item, a user, a pair of both, a chat about them or a reason to recommend is written as text.

    All values are text. In an item part ("text" of an item template, "entry", "item") they are the declared
    fields of scope "item"; "entry" also reads the declared fields of scope "interaction": how the user rated
    the item, what the user did with it, how much that counts. In a user part ("text" of a user template,
    "user") they are `history` (the entries, newest first), `wish` ("" if there is none) and the declared
    fields of scope "user". In "text" and "ask" of an explain template they are the evidence: `item`, the name of the
    recommended item; `history`, names of what was chosen, the strongest reason first; `fields` and `profile`, names of
    fields; `wish`; and `whole`, `popular` and `rule`, which are true or false. Items are named by the part "entry".
    "ask" puts `sentence`, which is what "text" says, to a language model.

    Attributes:
        name: such as "item/title".
        kind: "item", "user", "pair", "chat" or "explain".
        version: raised by the author when the text changes.
        description: what it is for.
        fields: what it reads, by name.
        parts: Jinja source by part: item {"text"}, user {"entry", "text"}, pair {"entry", "user", "item"}, chat those
            of a pair and "system": what the model is told before; it may have "question": what it is asked once it has
            seen the items. Neither of the two reads a field. Explain {"system", "entry", "text", "ask"}.
        language: code of the language of its own words, such as "en" or "zh".

    Raises:
        TemplateError: a part is missing, unknown, not valid Jinja, or reads a name that is not declared.
    """

    name: str
    kind: Kind
    version: int
    description: str
    fields: Mapping[str, Field]
    parts: Mapping[str, str]
    language: str = "en"

    def __post_init__(self) -> None:
        if self.kind not in PARTS:
            raise TemplateError(f"template {self.name}: kind {self.kind!r} is not one of {', '.join(PARTS)}")
        wanted = PARTS[self.kind]
        if set(self.parts) - OPTIONAL.get(self.kind, frozenset()) != set(wanted):
            have, need = ", ".join(sorted(self.parts)) or "none", ", ".join(wanted)
            raise TemplateError(f"template {self.name}: kind {self.kind!r} needs the parts {need}, but has {have}")
        if not re.fullmatch(r"[a-z]{2,3}(-[A-Za-z0-9]+)*", self.language):
            raise TemplateError(
                f"template {self.name}: language {self.language!r} is not a language code, such as en, zh or zh-Hant"
            )
        for name, field in self.fields.items():
            self._check_field(name, field)
        for part in self.parts:
            self._check_part(part, wanted.get(part, "user"))

    def _check_field(self, name: str, field: Field) -> None:
        if not name.isidentifier() or name in GIVEN:
            raise TemplateError(
                f"template {self.name}: {name!r} cannot be a field's name; use letters, digits and _, and not "
                f"{' or '.join(GIVEN)} (rename the column when the catalog is read)"
            )
        if field.scope not in get_args(Scope) or (self.kind in ("item", "explain") and field.scope != "item"):
            raise TemplateError(
                f"template {self.name}: field {name!r} cannot have scope {field.scope!r} in a template of kind "
                f"{self.kind!r}"
            )
        if field.scope == "interaction" and name not in INTERACTION:
            raise TemplateError(
                f"template {self.name}: nothing called {name!r} is known of an interaction; a field of scope "
                f"'interaction' is one of {', '.join(INTERACTION)}"
            )

    def _check_part(self, part: str, scope: PartScope) -> None:
        known = self._known(part, scope)
        try:
            unknown = sorted(undeclared_names(self.parts[part]) - set(known))
        except TemplateError as error:
            raise TemplateError(f"template {self.name}, part {part!r}, is not valid Jinja: {error}") from error
        if unknown:
            raise TemplateError(
                f"template {self.name}, part {part!r}, reads {', '.join(unknown)}, which it does not declare. "
                f"It can read: {', '.join(known) or 'nothing'}. Declare it as [fields.{unknown[0]}]"
            )

    def _known(self, part: str, scope: PartScope) -> list[str]:
        """The names that a part can read."""
        if part in {"system", "question"}:
            return []
        if scope == "evidence":
            return [*EVIDENCE, *(("sentence",) if part == "ask" else ())]
        given = GIVEN if scope == "user" else ()
        return [*self.fields_of(scope), *given, *(self.fields_of("interaction") if part == "entry" else ())]

    def fields_of(self, scope: Scope) -> dict[str, Field]:
        """The declared fields of one scope."""
        return {name: field for name, field in self.fields.items() if field.scope == scope}

    @property
    def fingerprint(self) -> str:
        """Sha256 (hex) of what affects the text: kind, the fields' names and rules, parts; not the words about it."""
        fields = {name: [field.required, field.scope] for name, field in self.fields.items()}
        content = {"rendering": _RENDERING, "kind": self.kind, "fields": fields, "parts": dict(self.parts)}
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-able form that `from_dict` reads."""
        fields = {
            name: {"required": f.required, "description": f.description, "scope": f.scope}
            for name, f in self.fields.items()
        }
        return {
            "name": self.name,
            "kind": self.kind,
            "version": self.version,
            "language": self.language,
            "description": self.description,
            "fields": fields,
            "parts": dict(self.parts),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], name: str | None = None) -> Template:
        """Read the form of `to_dict`, which is also that of a template file.

        Args:
            data: name, kind, version, language ("en" if left out), description, fields, parts.
            name: used instead of `data["name"]`, which files do not have.

        Raises:
            TemplateError: a key is missing, unknown or of the wrong type, or the template is not valid.
        """
        name = name or str(data.get("name", "(no name)"))
        keys = {"kind": str, "version": int, "description": str, "parts": dict}
        _check_keys(f"template {name}", data, keys, optional={"name": str, "fields": dict, "language": str})
        for part, source in data["parts"].items():
            if not isinstance(source, str):
                raise TemplateError(f"template {name}: part {part!r} must be text")
        fields = {key: _field(f"template {name}, field {key!r}", f) for key, f in data.get("fields", {}).items()}
        parts, language = dict(data["parts"]), data.get("language", "en")
        return cls(name, data["kind"], data["version"], data["description"], fields, parts, language)


def _field(where: str, data: Any) -> Field:
    if not isinstance(data, Mapping):
        raise TemplateError(f"{where} must be a table with required and description")
    _check_keys(where, data, {"required": bool, "description": str}, optional={"scope": str})
    return Field(data["required"], data["description"], cast(Scope, data.get("scope", "item")))


def _check_keys(where: str, data: Mapping[str, Any], keys: Mapping[str, type], optional: Mapping[str, type]) -> None:
    """Raise TemplateError unless `data` has all `keys`, none but them and `optional`, each of its type."""
    known = {**keys, **optional}
    missing, unknown = sorted(keys.keys() - data.keys()), sorted(data.keys() - known.keys())
    if missing or unknown:
        problems = [
            f"{word} {', '.join(names)}" for word, names in (("lacks", missing), ("has unknown", unknown)) if names
        ]
        raise TemplateError(f"{where} {' and '.join(problems)}; known are: {', '.join(known)}")
    for key, value in data.items():
        if type(value) is not known[key] and not (known[key] is dict and isinstance(value, Mapping)):
            raise TemplateError(f"{where}: {key} must be of type {known[key].__name__}, not {type(value).__name__}")
