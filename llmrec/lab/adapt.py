"""What a template of one kind is to a judge that reads another: its user part, its item part, a frame for the rest.

A retriever reads items and users apart, a cross-encoder both as a pair, a language model both within a chat. A user
template fits all three: the other half is that of a shipped template, the same for every template that is compared.
"""

from __future__ import annotations

from collections.abc import Mapping

from llmrec.errors import ConfigError, TemplateError
from llmrec.text import Field, Template, load_template

__all__ = ["as_chat", "as_item_and_user", "as_pair"]

ITEM, PAIR = "item/genres", "pair/history"
CHATS: Mapping[str, str] = {"title_likelihood": "chat/next", "listwise": "chat/listwise", "pairwise": "chat/pairwise"}
CHAT = "chat/yes-no"
"""The frame of all other scorers."""

# the expression keeps its space, whatever the item's source begins with
QUESTION = ("Would they choose this next:{{ ' ' }}", "? Answer Yes or No.")


def as_item_and_user(template: Template) -> tuple[Template, Template | None]:
    """What a retriever reads: an item template and a user template; None: a user is the mean of the history's items.

    Raises:
        ConfigError: it is a chat.
    """
    _refuse_explain(template)
    if template.kind == "item":
        return template, None
    if template.kind == "user":
        return load_template(ITEM), template
    _refuse_chat(template, "a retriever")
    item = _made("item", template, _of_items(template.fields), {"text": template.parts["item"]})
    parts = {"entry": template.parts["entry"], "text": template.parts["user"]}
    return item, _made("user", template, template.fields, parts)


def as_pair(template: Template) -> Template:
    """What a cross-encoder reads; the half that the template does not write is that of `pair/history`.

    Raises:
        ConfigError: it is a chat.
        TemplateError: a field has another scope in the frame.
    """
    _refuse_explain(template)
    _refuse_chat(template, "a cross-encoder")
    if template.kind == "pair":
        return template
    frame = load_template(PAIR)
    return _made("pair", template, _joined(template, frame), {**frame.parts, **_halves(template)})


def as_chat(template: Template, scorer: str = "yes_no") -> Template:
    """What a language model reads; what the template does not write is that of a chat that ships for the scorer.

    Args:
        template: any template; a chat is left as it is.
        scorer: `title_likelihood` foretells the item's text, `listwise` and `pairwise` compare items by theirs; all
            others ask whether it suits.

    Raises:
        TemplateError: a field has another scope in the frame.
    """
    _refuse_explain(template)
    if template.kind == "chat":
        return template
    name = CHATS.get(scorer, CHAT)
    frame, halves = load_template(name), _halves(template)
    if "item" in halves and name == CHAT:
        before, after = QUESTION
        halves["item"] = f"{before}{halves['item'].strip()}{after}"
    return _made("chat", template, _joined(template, frame), {**frame.parts, **halves})


def _refuse_explain(template: Template) -> None:
    if template.kind == "explain":
        raise ConfigError(f"{template.name} writes reasons, by which nothing is ranked; `llmrec explain` shows them")


def _halves(template: Template) -> dict[str, str]:
    """The parts of a pair that an item, user or pair template writes."""
    if template.kind == "item":
        return {"item": template.parts["text"]}
    if template.kind == "user":
        return {"entry": template.parts["entry"], "user": template.parts["text"]}
    return dict(template.parts)


def _joined(template: Template, frame: Template) -> dict[str, Field]:
    fields = dict(frame.fields)
    for name, field in template.fields.items():
        other = fields.get(name, field)
        if other.scope != field.scope:
            raise TemplateError(
                f"template {template.name} declares {name!r} of scope {field.scope!r}, but its frame {frame.name} of "
                f"scope {other.scope!r}; rename the field"
            )
        fields[name] = Field(field.required or other.required, field.description, field.scope)
    return fields


def _of_items(fields: Mapping[str, Field]) -> dict[str, Field]:
    return {name: field for name, field in fields.items() if field.scope == "item"}


def _made(kind: str, template: Template, fields: Mapping[str, Field], parts: Mapping[str, str]) -> Template:
    values = {**template.to_dict(), "kind": kind, "parts": dict(parts)}
    values["fields"] = {
        n: {"required": f.required, "description": f.description, "scope": f.scope} for n, f in fields.items()
    }
    return Template.from_dict(values, template.name)


def _refuse_chat(template: Template, judge: str) -> None:
    if template.kind == "chat":
        raise ConfigError(
            f"template {template.name} is a chat, which {judge} does not read; judge it with a language model (--on lm)"
        )
