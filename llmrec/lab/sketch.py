"""Templates made of a few choices: which fields, in which order, how they are put, how much history, which words."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from types import MappingProxyType

from llmrec.errors import ConfigError
from llmrec.text import Field, Template

__all__ = ["LENGTHS", "SEPARATORS", "STYLES", "Sketch", "check_start", "sketched"]

SEPARATORS = MappingProxyType({"semicolon": "; ", "comma": ", ", "stop": ". ", "bar": " | "})
LENGTHS = (3, 5, 10, 20, None)
"""Newest items of a history; None: as many as the budget holds."""

STYLES = ("plain", "labelled", "brackets")
"""How an item's fields are put: "Heat, 1995"; "title: Heat. year: 1995"; "Heat (1995)"."""


@dataclass(frozen=True, slots=True)
class Sketch:
    """The choices a template is made of.

    Attributes:
        fields: of an item, in order; of an entry of a history where the template writes no item.
        style: one of `STYLES`.
        entry: fields of an entry of a history, in order, put in brackets behind the first.
        length: of the history shown; one of `LENGTHS`.
        separator: between entries; a key of `SEPARATORS`.
        wording: before the history; "" for none.
        profile: fields of the user, in order, before everything else.
    """

    fields: tuple[str, ...]
    style: str = "plain"
    entry: tuple[str, ...] = ()
    length: int | None = None
    separator: str = "semicolon"
    wording: str = ""
    profile: tuple[str, ...] = ()


def sketched(start: Template, sketch: Sketch, name: str) -> Template:
    """Write the template of some choices.

    Args:
        start: an item, user or pair template; fields it does not declare are not required.
        sketch: the choices.
        name: of the new template.

    Raises:
        ConfigError: it is a chat, whose words are more than its fields, or writes reasons.
    """
    check_start(start)
    parts = {}
    if start.kind in ("item", "pair"):
        parts["text" if start.kind == "item" else "item"] = _item(sketch.fields, sketch.style)
    if start.kind in ("user", "pair"):
        parts["entry"] = _item(sketch.entry or sketch.fields[:1], "brackets")
        parts["text" if start.kind == "user" else "user"] = _user(sketch)
    used = {*sketch.fields, *sketch.entry, *sketch.profile}
    fields = {key: start.fields.get(key, Field(False, f"The {key}.")) for key in sorted(used)}
    return Template(name, start.kind, 1, f"Found from {start.name}: {_told(sketch)}", fields, parts, start.language)


def check_start(start: Template) -> None:
    """Raise ConfigError for a template from which no other can be made: a chat, or one that writes reasons."""
    if start.kind == "chat":
        raise ConfigError(
            f"template {start.name} is a chat, whose words are not searched; search a user or item template "
            "with --on lm"
        )
    if start.kind not in ("item", "user", "pair"):
        raise ConfigError(
            f"template {start.name} is of kind {start.kind!r}, by which nothing is ranked; search an item, user or "
            "pair template"
        )


def _item(fields: Sequence[str], style: str) -> str:
    first, *rest = fields
    if style == "labelled":
        return "".join(f"{{% if {f} %}}{f}: {{{{ {f} }}}}. {{% endif %}}" for f in fields)
    opened, closed = (" (", ")") if style == "brackets" else (", ", "")
    head = f"{{{{ {first} }}}}"
    return head + "".join(f"{{% if {f} %}}{opened}{{{{ {f} }}}}{closed}{{% endif %}}" for f in rest)


def _user(sketch: Sketch) -> str:
    """Who it is, a wish, and then the newest of the history."""
    between = json.dumps(SEPARATORS[sketch.separator])
    shown = "history" if sketch.length is None else f"history[:{sketch.length}]"
    # as an expression, words are text and nothing else, whatever stands in them
    words = f"{{{{ {json.dumps(sketch.wording + ' ', ensure_ascii=False)} }}}}" if sketch.wording else ""
    wish = "{{ wish }}{% if wish and history %}; {% endif %}"
    person = "".join(f"{{% if {f} %}}{f}: {{{{ {f} }}}}. {{% endif %}}" for f in sketch.profile)
    return f"{person}{wish}{{% if history %}}{words}{{{{ {shown} | join({between}) }}}}{{% endif %}}"


def _told(sketch: Sketch) -> str:
    told = [f"fields {', '.join(sketch.fields)}", sketch.style]
    told += [f"entries of {', '.join(sketch.entry)}"] if sketch.entry else []
    told += [f"profile {', '.join(sketch.profile)}"] if sketch.profile else []
    told += [f"{sketch.length} of the history"] if sketch.length is not None else []
    return "; ".join(told) + "."
