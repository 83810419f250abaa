"""A template as a file, and a new one to start from."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from llmrec.errors import ConfigError, TemplateError
from llmrec.text import Field, Template, load_template

__all__ = ["KINDS", "new_template", "template_toml", "write_new"]

KINDS = ("item", "user", "pair", "chat")

START = {"item": "item/labelled", "user": "user/recent", "pair": "pair/history", "chat": "chat/yes-no"}
"""What a new template of a kind begins as."""

NOTES = {
    "kind": "item, user, pair (a cross-encoder) or chat (a language model)",
    "version": "raise it when the text changes",
    "language": "of its own words: en, zh ...",
}
PARTS = {
    "text": "what is written; a user template sees `history` (the entries, newest first) and `wish`",
    "entry": 'one item of a history; may also read rating, kind and weight, declared with scope = "interaction"',
    "user": 'the user: sees `history` (the entries, newest first), `wish`, and fields with scope = "user"',
    "item": 'the candidate; sees fields with scope = "item"',
    "system": "what a language model is told before; reads no field",
    "question": "what a language model is asked once the items are shown; reads no field",
    "ask": "what a language model is asked to put in other words; sees the evidence, and `sentence`",
}
FIELDS = (
    'A field is a column of the catalog (scope = "item"), of the users ("user"), or known of an interaction',
    '("interaction": rating, kind, weight). A required one must be there; any other is "" where it is missing.',
)
TRY = "Try it: llmrec prompt render {path} --dataset ml-100k; llmrec prompt test {path} --dataset ml-100k"


def template_toml(template: Template, *, path: str | None = None) -> str:
    """Write a template as the TOML that `load_template` reads.

    Args:
        template: the template.
        path: where it will lie; with it, comments say what is what and how to try it.
    """
    import tomlkit

    document = tomlkit.document()
    if path is not None:
        document.add(tomlkit.comment(TRY.format(path=path)))
        document.add(tomlkit.nl())
    for key in ("kind", "version", "language", "description"):
        item = tomlkit.item(getattr(template, key))
        if path is not None and key in NOTES:
            item.comment(NOTES[key])
        document.add(key, item)
    fields = tomlkit.table(is_super_table=True)
    for name, field in template.fields.items():
        fields.add(name, _field(field))
    if path is not None:
        document.add(tomlkit.nl())
        for line in FIELDS:
            document.add(tomlkit.comment(line))
    document.add("fields", fields)
    parts = tomlkit.table()
    for name, source in template.parts.items():
        if path is not None:
            parts.add(tomlkit.comment(PARTS[name]))
        parts.add(name, tomlkit.string(source, multiline="\n" in source))
    document.add("parts", parts)
    return tomlkit.dumps(document)


def _field(field: Field) -> object:
    import tomlkit

    table = tomlkit.table()
    if field.scope != "item":
        table.add("scope", field.scope)
    table.add("required", field.required)
    table.add("description", field.description)
    return table


def new_template(kind: str, name: str, fields: Sequence[str] = ()) -> Template:
    """Make a template to start from.

    Args:
        kind: one of `KINDS`.
        name: its name.
        fields: columns of the catalog its item part writes, the first one required; none: those of a shipped template.

    Raises:
        ConfigError: there is no such kind.
        TemplateError: a field cannot have that name.
    """
    if kind not in KINDS:
        raise ConfigError(f"kind {kind!r} is not one of {', '.join(KINDS)}")
    start = load_template(START[kind]).to_dict()
    start |= {"version": 1, "description": "Say here what it is for."}
    if fields:
        for field in fields:
            if not field.isidentifier():
                raise TemplateError(f"{field!r} cannot be a field's name; use letters, digits and _")
        kept = {key: value for key, value in start["fields"].items() if value["scope"] != "item"}
        told = {name: {"required": place == 0, "description": f"The {name}."} for place, name in enumerate(fields)}
        start["fields"] = {**told, **kept}
        start["parts"] |= _item_parts(kind, start["parts"], fields)
    return Template.from_dict(start, name)


def _item_parts(kind: str, parts: dict[str, str], fields: Sequence[str]) -> dict[str, str]:
    first, *rest = fields
    text = f"{{{{ {first} }}}}" + "".join(f"{{% if {f} %}} · {{{{ {f} }}}}{{% endif %}}" for f in rest)
    if kind == "item":
        return {"text": text}
    written = {"entry": f"{{{{ {first} }}}}"}
    if kind == "pair":
        written["item"] = text
    if kind == "chat":
        written["item"] = f"Would they choose this next: {text}? Answer Yes or No."
    return written


def write_new(path: Path, template: Template, *, commented: bool = True) -> None:
    """Write a template where there is nothing; what is written reads back as the same template.

    Raises:
        ConfigError: something is there, the name does not end in .toml, or the folder is missing.
    """
    import tomllib

    if path.suffix != ".toml":
        raise ConfigError(f"{path} must end in .toml, as templates do")
    text = template_toml(template, path=str(path) if commented else None)
    again = Template.from_dict(tomllib.loads(text), template.name)
    if again.fingerprint != template.fingerprint:
        raise TemplateError(f"template {template.name} cannot be written as TOML without a change to its text")
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise ConfigError(f"{path} is there already, and is not written over; choose another name") from None
    except (FileNotFoundError, NotADirectoryError):
        raise ConfigError(f"{path.parent} is no folder; make it first") from None
