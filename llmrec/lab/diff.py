"""Two templates beside each other: what their sources say, and what they make of the same rows."""

from __future__ import annotations

import difflib
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from llmrec.data import Catalog
from llmrec.errors import ConfigError
from llmrec.lab.write import template_toml
from llmrec.text import Template, TokenCounter, render_items, render_users
from llmrec.types import Int32Array, Queries

__all__ = ["Pair", "check_alike", "rendered_pairs", "source_diff"]

ITEM_PARTS = {
    "item": ("text",),
    "user": ("entry",),
    "pair": ("entry", "item"),
    "chat": ("entry", "item"),
    "explain": ("entry",),
}
USER_PARTS = {"item": (), "user": ("text",), "pair": ("user",), "chat": ("user",), "explain": ()}


@dataclass(frozen=True, slots=True)
class Pair:
    """One part of one item or user, as both templates write it.

    Attributes:
        part: such as "text" or "entry".
        id: whose; None for a user without an id.
        before: the first template's text.
        after: the second's.
        tokens: of both.
    """

    part: str
    id: str | None
    before: str
    after: str
    tokens: tuple[int, int]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {**asdict(self), "tokens": list(self.tokens)}


def check_alike(before: Template, after: Template) -> None:
    """Raise ConfigError unless both are of one kind."""
    if before.kind != after.kind:
        raise ConfigError(
            f"{before.name} is of kind {before.kind!r} and {after.name} of kind {after.kind!r}; only templates of one "
            "kind can be told apart line by line"
        )


def source_diff(before: Template, after: Template) -> list[str]:
    """Lines of a unified diff of both sources; empty if they are the same."""
    left, right = (template_toml(template).splitlines() for template in (before, after))
    return list(difflib.unified_diff(left, right, before.name, after.name, lineterm=""))


def rendered_pairs(
    before: Template,
    after: Template,
    catalog: Catalog,
    rows: Int32Array,
    users: tuple[list[str | None], Queries] | None,
    counter: TokenCounter,
    budget: int,
) -> list[Pair]:
    """Write the same items and users with both templates.

    Args:
        before: a template.
        after: another of its kind.
        catalog: all items.
        rows: Int32[n], items to show.
        users: ids and histories to show, or None.
        counter: counts tokens.
        budget: tokens of a user's text.

    Raises:
        ConfigError: the kinds differ.
        TemplateError: the data do not suit a template.
    """
    check_alike(before, after)
    pairs = []
    for part in ITEM_PARTS[before.kind]:
        one, two = (render_items(template, catalog, rows, part) for template in (before, after))
        pairs += _pairs(part, catalog.items.decode(rows), one, two, counter)
    if users is not None:
        ids, queries = users
        for part in USER_PARTS[before.kind]:
            one, two = (render_users(t, catalog, queries, budget, counter, part).texts for t in (before, after))
            pairs += _pairs(part, ids, one, two, counter)
    return pairs


def _pairs(
    part: str, ids: list[str] | list[str | None], before: list[str], after: list[str], counter: TokenCounter
) -> list[Pair]:
    tokens = np.stack([counter.count_tokens(before), counter.count_tokens(after)], axis=1).tolist()
    rows = zip(ids, before, after, tokens, strict=True)
    return [Pair(part, id_, one, two, (counts[0], counts[1])) for id_, one, two, counts in rows]
