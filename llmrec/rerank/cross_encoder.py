"""Reranking with a cross-encoder: user text and item text are read together, one pair per candidate."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from llmrec.data import Catalog
from llmrec.models import PairScorer
from llmrec.text import Template, TokenCounter, render_items, render_users
from llmrec.types import Float32Array, Int32Array, Queries, State

__all__ = ["CrossEncoder", "load_cross_encoder", "render_pairs", "user_budget"]

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
        """Return logits, Float32[n, k]; NaN at pads and for queries without a history."""
        scores = np.full(items.shape, np.nan, dtype=np.float32)
        has_history = np.diff(queries.offsets) > 0
        rows, places = np.nonzero((items >= 0) & has_history[:, None])
        if len(rows):
            asked, local = np.unique(rows, return_inverse=True)
            batch, budget = queries.take(asked), user_budget(self.model.max_tokens, self.item_tokens)
            chosen = items[rows, places]
            pairs = render_pairs(self.template, self.catalog, batch, local, chosen, self.model, budget)
            scores[rows, places] = self.model.score(pairs)
        return scores

    def with_items(self, catalog: Catalog) -> Self:
        """Return the same scorer over a grown catalog: new items need only their text."""
        return replace(self, catalog=catalog)

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


def render_pairs(
    template: Template,
    catalog: Catalog,
    queries: Queries,
    owners: NDArray[np.integer[Any]],
    items: Int32Array,
    counter: TokenCounter,
    budget: int,
) -> list[tuple[str, str]]:
    """Render (user text, item text) pairs; every query and every item is rendered once.

    Args:
        template: a pair template.
        catalog: all items.
        queries: the queries.
        owners: Int[m], row of `queries` for each pair.
        items: Int32[m], catalog row for each pair.
        counter: counts tokens as the model does.
        budget: tokens of the user's text; see `user_budget`.
    """
    users = render_users(template, catalog, queries, budget, counter, part="user").texts
    distinct, place = np.unique(items, return_inverse=True)
    texts = render_items(template, catalog, distinct.astype(np.int32), part="item")
    return [(users[owner], texts[at]) for owner, at in zip(owners.tolist(), place.tolist(), strict=True)]


def load_cross_encoder(name: str, state: State, catalog: Catalog) -> CrossEncoder:
    """Bring a cross-encoder back from its state."""
    folder = state.files["model/config.json"].parent
    model = PairScorer.load(str(folder), max_tokens=state.config["max_tokens"])
    template = Template.from_dict(state.config["template"])
    return CrossEncoder(name, model, template, state.config["item_tokens"], catalog)
