"""A sentence in a language model's own words, if it says no more than the evidence does."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from llmrec.models.chat import Message
from llmrec.reasons.names import ItemNames
from llmrec.text import Template, render_evidence, render_items, render_system

if TYPE_CHECKING:
    from llmrec.data import Catalog
    from llmrec.models import LanguageModel

__all__ = ["is_grounded", "phrased"]

ANSWER = 120
"""Tokens of a sentence at most."""

LONGEST = 600
"""Signs of a sentence, beside the names in it, at most."""

_END = re.compile(r"[.!?\u3002\uff01\uff1f]\s*$")
_BEFORE = re.compile(r"(?:^|[.!?:\u3002\uff01\uff1f\uff1a])[\s\"“(]*$")
_QUOTED = re.compile(r"(?:^|\s)['\u2018]\s*\w|[\"“「『《]\s*\w")
_MARKS = "“”\"'\u2018\u2019「」『』《》"
_STAND_IN = "\N{BULLET}"


def phrased(
    model: LanguageModel,
    template: Template,
    catalog: Catalog,
    evidence: Sequence[Mapping[str, Any]],
    sentences: Sequence[str],
) -> list[str | None]:
    """Let a model say sentences in its own words.

    Args:
        model: a language model.
        template: of kind "explain": how the model is asked.
        catalog: all items, whose names a sentence must not contain, unless they are in the evidence.
        evidence: n times what `sentences` were made of.
        sentences: n sentences of the template.

    Returns:
        n sentences; None where the model's names something else, leaves out what it must name, does not end, or where
        the question is too long for it.
    """
    system = Message("system", render_system(template))
    given = [{**one, "sentence": sentence} for one, sentence in zip(evidence, sentences, strict=True)]
    names = ItemNames.of(render_items(template, catalog, None, "entry"))
    chats = [model.chat([system, Message("user", text)]) for text in render_evidence(template, given, "ask")]
    short = [place for place, chat in enumerate(chats) if len(chat) + ANSWER <= model.max_tokens]
    said = model.generate([chats[place] for place in short], max_new_tokens=ANSWER)
    answers = {place: " ".join(text.split()) for place, text in zip(short, said, strict=True)}
    return [
        answer if answer is not None and is_grounded(answer, one["item"], one["history"], names) else None
        for answer, one in ((answers.get(place), one) for place, one in enumerate(evidence))
    ]


def is_grounded(sentence: str, item: str, history: Sequence[str], names: ItemNames) -> bool:
    """Whether a sentence names an item and the strongest piece of its history, and nothing that is not evidence.

    Refused are names of other items of the catalog, and, beside the names of the evidence, whatever looks like a name:
    capitals within a sentence, numbers, words between quotation marks.

    Args:
        sentence: what a model said.
        item: the name of the recommended item.
        history: the names of the items in the evidence, the strongest first; or none.
        names: of all items.
    """
    named = [item, *history]
    if not sentence.isprintable() or not _END.search(sentence):
        return False
    if any(name not in sentence for name in named[:2]):
        return False
    if names.others(sentence, named):
        return False
    rest = sentence
    for name in sorted(named, key=len, reverse=True):
        rest = rest.replace(name, f" {_STAND_IN} ")
    # quotation marks around what stood for a name are no quotation any more
    rest = re.sub(rf"[{_MARKS}(]*\s*{_STAND_IN}\s*[{_MARKS})]*", " it ", rest)
    return len(rest) <= LONGEST and not _looks_named(rest)


def _looks_named(text: str) -> bool:
    """Whether a text may point to something by name: by a number, between quotation marks, by a capital within it."""
    if _QUOTED.search(text) or any(sign.isdigit() for sign in text):
        return True
    capitals = [word for word in re.finditer(r"\w+", text) if any(sign.isupper() for sign in word.group())]
    return any(word.group() != "I" and not _BEFORE.search(text[: word.start()]) for word in capitals)
