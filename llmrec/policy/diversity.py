"""The diversity policy: maximal marginal relevance over the best candidates."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Self

import numpy as np
from pydantic import Field

from llmrec.component import Component, ComponentConfig, FitContext
from llmrec.data import Catalog
from llmrec.errors import ConfigError
from llmrec.models import EmbeddingCache, TextEncoder
from llmrec.policy.fields import FieldValues
from llmrec.policy.likeness import FieldLikeness, Likeness, TextLikeness
from llmrec.policy.lists import reordered
from llmrec.text import load_template
from llmrec.types import Float32Array, Int32Array, Int64Array, Queries, Ranking, State

__all__ = ["COMPONENT", "Diversity", "DiversityConfig"]

PLACES = 50
"""So many places at the top of a list are chosen for diversity; below them the order stays."""


class DiversityConfig(ComponentConfig):
    """Settings of diversity.

    Attributes:
        strength: 0 leaves the order as it is, 1 looks at likeness alone once the first item stands.
        candidates_per_place: so many candidates are looked at for each place of the list.
        fields: items are alike that share values in these fields; none: whose texts are alike.
        separator: splits a text of these fields into several values.
        encoder: embeds the texts: a named model, a folder, or a hub id.
        item_template: renders them.
        max_tokens: longer texts are cut by the encoder.
    """

    strength: float = Field(default=0.2, ge=0, le=1)
    candidates_per_place: int = Field(default=5, ge=1, le=100)
    fields: tuple[str, ...] = ()
    separator: str | None = Field(default=None, min_length=1)
    encoder: str = "minilm"
    item_template: str = "item/genres"
    max_tokens: int = Field(default=128, ge=8)


@dataclass(frozen=True, slots=True, eq=False)
class Diversity:
    """Fills place after place with the candidate of the highest (1 - strength) * relevance - strength * likeness.

    Likeness is that to the most alike item already chosen, 0 to 1. Relevance is 1 / log2(rank + 1), for scores have no
    common scale. Carbonell and Goldstein, "The Use of MMR, Diversity-Based Reranking", SIGIR 1998.

    Attributes:
        name: the policy's name in this pipeline.
        config: its settings.
        likeness: how alike items are.
    """

    component: ClassVar[str] = "diversity"
    name: str
    config: DiversityConfig
    likeness: Likeness

    def prepare(self, queries: Queries) -> Queries:
        """Return the queries unchanged."""
        return queries

    def depth(self, k: int) -> int:
        """Return the candidates that are looked at, and k where that is more: below 50 places the order stays."""
        return max(k, self.config.candidates_per_place * min(k, PLACES))

    def apply(self, queries: Queries, ranking: Ranking, k: int) -> Ranking:
        """Choose the items, and cut; candidates below those looked at keep their places."""
        order = np.tile(np.arange(ranking.items.shape[1], dtype=np.int64), (len(ranking), 1))
        depth = min(self.depth(min(k, PLACES)), ranking.items.shape[1])
        for row, items in enumerate(ranking.items[:, :depth]):
            chosen = self._choose(items[items >= 0], min(k, PLACES))
            rest = np.ones(order.shape[1], dtype=np.bool_)
            rest[chosen] = False
            order[row] = np.concatenate([chosen, np.flatnonzero(rest)])
        return reordered(ranking, order, np.ones(order.shape, dtype=np.bool_), k)

    def with_items(self, catalog: Catalog, changed: Int32Array) -> Self:
        """Return the same policy over a catalog that has grown or changed."""
        return replace(self, likeness=self.likeness.with_items(catalog, changed))

    def state(self) -> State:
        """Return the settings, and what tells how alike items are."""
        known = self.likeness.state()
        return replace(known, config={**known.config, "settings": self.config.model_dump(mode="json")})

    def _choose(self, items: Int32Array, k: int) -> Int64Array:
        """Int64[min(k, n)]: the places of the chosen among Int32[n] candidates, best first."""
        from pyversity import mmr

        vectors = self.likeness.vectors(items)
        found = mmr(vectors, _relevance(len(items)), k, diversity=self.config.strength, normalize=False)
        return np.asarray(found.indices, dtype=np.int64)


def _relevance(n: int) -> Float32Array:
    """Float32[n]: what NDCG makes of each rank, whatever the scores are; 1 for the best candidate."""
    # On MovieLens-100K, at equally diverse lists, better than relevance that falls evenly; scripts/bench/diversity.py.
    discounts: Float32Array = (1 / np.log2(np.arange(n) + 2)).astype(np.float32)
    return discounts


def _fields(config: DiversityConfig, catalog: Catalog, name: str) -> FieldLikeness:
    return FieldLikeness(tuple(FieldValues.read(catalog, field, config.separator, name) for field in config.fields))


def _fit(context: FitContext, config: DiversityConfig) -> Diversity:
    if len(set(config.fields)) < len(config.fields):
        raise ConfigError(f"{context.name}: fields names a field twice: {', '.join(config.fields)}; name each once")
    if config.fields:
        return Diversity(context.name, config, _fields(config, context.catalog, context.name))
    encoder = TextEncoder.load(
        config.encoder, max_tokens=config.max_tokens, cache=EmbeddingCache.default(), progress=context.progress
    )
    likeness = TextLikeness.read(context.catalog, encoder, load_template(config.item_template))
    return Diversity(context.name, config, likeness)


def _load(name: str, state: State, catalog: Catalog) -> Diversity:
    config = DiversityConfig.model_validate(state.config["settings"])
    if config.fields:
        return Diversity(name, config, _fields(config, catalog, name))
    return Diversity(name, config, TextLikeness.from_state(state, config.max_tokens))


COMPONENT = Component("policy", DiversityConfig, _fit, _load)
