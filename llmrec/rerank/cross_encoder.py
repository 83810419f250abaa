"""Reranking with a cross-encoder: user text and item text are read together, one pair per candidate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from llmrec.data import Catalog
from llmrec.models import PairScorer
from llmrec.text import Template, TokenCounter, render_items, render_users
from llmrec.types import BoolArray, Float32Array, Int32Array, Int64Array, Queries, State

__all__ = ["CrossEncoder", "Pairs", "load_cross_encoder", "render_pairs", "user_budget"]

SPECIAL_TOKENS = 4
"""Of a pair, at most: RoBERTa frames it with four, BERT with three."""


@dataclass(frozen=True, slots=True, eq=False)
class CrossEncoder:
    """Scores a candidate by reading it beside the rendered history.

    Attributes:
        name: the score column.
        model: scores pairs of texts.
        template: a pair template: how a history and an item are rendered.
        item_tokens: tokens kept for the item; the history gets the rest of the model's limit.
        catalog: all items.
    """

    component: ClassVar[str] = "cross_encoder"
    name: str
    model: PairScorer
    template: Template
    item_tokens: int
    catalog: Catalog

    def score(self, queries: Queries, items: Int32Array) -> Float32Array:
        """Return logits, Float32[n, k].

        NaN at pads, and for queries without a history or with a wish: it was trained on neither.
        """
        scores = np.full(items.shape, np.nan, dtype=np.float32)
        trained_on = (np.diff(queries.offsets) > 0) & ~queries.wishes
        rows, places = np.nonzero((items >= 0) & trained_on[:, None])
        if len(rows):
            asked, local = np.unique(rows, return_inverse=True)
            budget = user_budget(self.model.max_tokens, self.item_tokens)
            pairs = render_pairs(
                self.template, self.catalog, queries.take(asked), local, items[rows, places], self.model, budget
            )
            scores[rows, places] = self.model.score_rows(pairs.users, pairs.items, pairs.user_rows, pairs.item_rows)
        return scores

    def with_items(self, catalog: Catalog, changed: Int32Array) -> Self:
        """Return the same scorer over another state of the catalog: items are read when they are scored."""
        return replace(self, catalog=catalog)

    def forgetting(self, items: BoolArray) -> Self:
        """Return the scorer as it is: it knows items by their texts alone."""
        return self

    def state(self) -> State:
        """Return the template, the limits and the model's files."""
        config = {
            "template": self.template.to_dict(),
            "item_tokens": self.item_tokens,
            "max_tokens": self.model.max_tokens,
        }
        return State(config, {}, {f"model/{name}": path for name, path in self.model.files().items()})


def user_budget(max_tokens: int, item_tokens: int) -> int:
    """Tokens of a pair that are the user's: what special tokens and the item leave over."""
    return max_tokens - SPECIAL_TOKENS - item_tokens


@dataclass(frozen=True, slots=True)
class Pairs:
    """Pairs of texts, each text written once.

    Attributes:
        users: user texts.
        items: item texts.
        user_rows: Int64[m], which user text a pair has.
        item_rows: Int64[m], which item text a pair has.
        truncated: history items of all users that the token budget left out.
    """

    users: Sequence[str]
    items: Sequence[str]
    user_rows: Int64Array
    item_rows: Int64Array
    truncated: int

    def texts(self) -> list[tuple[str, str]]:
        """The pairs themselves."""
        rows = zip(self.user_rows.tolist(), self.item_rows.tolist(), strict=True)
        return [(self.users[user], self.items[item]) for user, item in rows]


def render_pairs(
    template: Template,
    catalog: Catalog,
    queries: Queries,
    owners: NDArray[np.integer[Any]],
    items: Int32Array,
    counter: TokenCounter,
    budget: int,
) -> Pairs:
    """Render user and item texts; every query and every item is rendered once.

    Args:
        template: a pair template.
        catalog: all items.
        queries: the queries.
        owners: Int[m], row of `queries` for each pair.
        items: Int32[m], catalog row for each pair.
        counter: counts tokens as the model does.
        budget: tokens of the user's text; see `user_budget`.
    """
    users = render_users(template, catalog, queries, budget, counter, part="user")
    distinct, place = np.unique(items, return_inverse=True)
    texts = render_items(template, catalog, distinct.astype(np.int32), part="item")
    return Pairs(users.texts, texts, owners.astype(np.int64), place.astype(np.int64), int(users.truncated.sum()))


def load_cross_encoder(name: str, state: State, catalog: Catalog) -> CrossEncoder:
    """Bring a cross-encoder back from its state."""
    folder = state.files["model/config.json"].parent
    model = PairScorer.load(str(folder), max_tokens=state.config["max_tokens"])
    template = Template.from_dict(state.config["template"])
    return CrossEncoder(name, model, template, state.config["item_tokens"], catalog)
