"""Pairwise reranking: a language model is asked which of two items suits better."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from llmrec.component import Component, FitContext
from llmrec.data import Catalog
from llmrec.rerank.aliases import LABEL, AliasPool, labelled, seeded
from llmrec.rerank.language import ANSWER, LanguageConfig, OfTexts, Reader, read_examples
from llmrec.types import Float32Array, Int32Array, Int64Array, Queries, State

__all__ = ["COMPONENT", "Pairwise", "PairwiseConfig", "compared", "ratings"]


class PairwiseConfig(LanguageConfig):
    """Settings of `Pairwise`.

    Attributes:
        depth: so many candidates of a list are compared, its first ones.
        opponents: with so many others each is compared, or one more; with all of them where `depth` is not larger.
    """

    template: str = "chat/pairwise"
    depth: int = Field(default=10, ge=2, le=100)
    opponents: int = Field(default=10, ge=2)


def compared(count: int, opponents: int, rng: np.random.Generator) -> Int64Array:
    """Say who meets whom: everybody as often, and nobody apart from the others.

    Args:
        count: players.
        opponents: of each, at least two; an odd number is rounded up. All meet all where there are no more.
        rng: says who meets whom where not all do.

    Returns:
        Int64[p, 2], pairs of players, the lower number first, in rising order.
    """
    if opponents >= count - 1:
        first, second = np.triu_indices(count, 1)
        return np.stack([first, second], axis=1).astype(np.int64)
    seats = rng.permutation(count)  # around a table: each meets the next ones
    near = np.arange(1, (opponents + 1) // 2 + 1)
    first, second = np.repeat(seats, len(near)), seats[(np.arange(count)[:, None] + near) % count].ravel()
    return np.unique(np.sort(np.stack([first, second], axis=1), axis=1), axis=0).astype(np.int64)


def ratings(count: int, pairs: Int64Array, odds: NDArray[np.float64]) -> NDArray[np.float64]:
    """How good each player is: the differences are as near to what was seen of all pairs as they can be.

    Least squares, after Jiang et al., "Statistical Ranking and Combinatorial Hodge Theory", Mathematical
    Programming 2011. Where all have met all, it is the mean over a player's opponents, itself at 0 included.

    Args:
        count: players.
        pairs: Int64[p, 2], who met whom.
        odds: Float64[p], by how much the first is better.

    Returns:
        Float64[count], of mean 0.
    """
    design = np.zeros((len(pairs), count))
    rows = np.arange(len(pairs))
    design[rows, pairs[:, 0]], design[rows, pairs[:, 1]] = 1, -1
    return np.asarray(np.linalg.lstsq(design, odds, rcond=None)[0])


@dataclass(frozen=True, slots=True, eq=False)
class Pairwise(OfTexts):
    """Scores an item by how much likelier the model is to name it than another one, asked which of both suits.

    Each pair is asked about in both orders, under the same two aliases, so that neither a place nor an alias counts.
    As Qin et al. ask, "Large Language Models are Effective Text Rankers with Pairwise Ranking Prompting", NAACL 2024.

    Attributes:
        name: the score column.
        config: its settings.
        reader: the model, and how it is asked.
        pool: the aliases.
        seed: for aliases and pairs.
    """

    component: ClassVar[str] = "pairwise"
    compares: ClassVar[Literal[True]] = True
    config: PairwiseConfig
    pool: AliasPool
    seed: int

    def score(self, queries: Queries, items: Int32Array) -> Float32Array:
        """Return log-odds against an average candidate of the list, Float32[n, k].

        NaN at pads, behind the first `depth` of a list, where there is nothing to compare with, where a server tells
        of no pair with the item what it would answer, and without a history and a wish.

        Args:
            queries: n queries.
            items: Int32[n, k], as they came in, best first.
        """
        scores = np.full(items.shape, np.nan, dtype=np.float32)
        room = 2 * (self.reader.item_tokens + self.pool.length + LABEL) + self.pool.length + ANSWER
        for shown in self.reader.lists(queries, _first(items, self.config.depth), room):
            if len(shown.items) > 1:
                rng = seeded(self.seed, shown.user, shown.items.tolist())
                scores[shown.row, shown.places] = self._ratings(shown.user, shown.texts, rng)
        return scores

    def state(self) -> State:
        """Return the settings, the template, the seed and the model's files."""
        state = self.reader.state(self.config)
        return replace(state, config={**state.config, "seed": self.seed})

    def _ratings(self, user: str, texts: Sequence[str], rng: np.random.Generator) -> NDArray[np.float64]:
        """Float64[m], of the items of one list."""
        reader = self.reader
        shots = [text for shot in reader.shots for text in shot]
        aliases = _two(reader, self.pool, rng, [user, *texts, *shots])
        pairs = compared(len(texts), self.config.opponents, rng)
        both = np.concatenate([pairs, pairs[:, ::-1]])
        order = np.lexsort((both[:, 1], both[:, 0]))  # neighbours have much in common, which is read once
        asked = [reader.question([user, *map(labelled, aliases, (texts[a], texts[b]))]) for a, b in both[order]]
        found = reader.model.choose(reader.chats(asked), aliases).astype(np.float64)
        odds = np.empty(len(both))
        odds[order] = found[:, 0] - found[:, 1]
        there, back = np.split(odds, 2)
        return _rated(len(texts), pairs, (there - back) / 2)


def _rated(count: int, pairs: Int64Array, odds: NDArray[np.float64]) -> NDArray[np.float64]:
    """As `ratings`, by the pairs of which something is known; NaN for who is in none of these."""
    known = np.isfinite(odds)
    met = np.unique(pairs[known])
    found = np.full(count, np.nan)
    if len(met):
        found[met] = ratings(count, pairs[known], odds[known])[met]
    return found


def _two(reader: Reader, pool: AliasPool, rng: np.random.Generator, shown: Sequence[str]) -> list[str]:
    """Draw two aliases; for a server, which names first tokens only, two that do not begin alike."""
    drawn = pool.draw(rng, len(pool.first), shown)
    if reader.model.tokens is not None:
        return drawn[:2]
    return [drawn[0], next(alias for alias in drawn if alias[0] != drawn[0][0])]


def _first(items: Int32Array, count: int) -> Int32Array:
    """The same lists with pads behind their first so many items."""
    return np.where((items >= 0).cumsum(axis=1) <= count, items, np.int32(-1))


def _fit(context: FitContext, config: PairwiseConfig) -> Pairwise:
    reader, shots = Reader.of(config, context.catalog), []
    pool = AliasPool.of(reader.model.tokens)
    for example, user, texts in read_examples(reader, context, config, beside=1):
        aliases = _two(reader, pool, seeded(context.seed, example.user), [user, *texts])
        shots.append((reader.question([user, *map(labelled, aliases, texts)]), aliases[example.taken]))
    return Pairwise(context.name, config, replace(reader, shots=tuple(shots)), pool, context.seed)


def _load(name: str, state: State, catalog: Catalog) -> Pairwise:
    config = PairwiseConfig.model_validate(state.config["settings"])
    reader = Reader.from_state(state, config, catalog)
    return Pairwise(name, config, reader, AliasPool.of(reader.model.tokens), state.config["seed"])


COMPONENT = Component("scorer", PairwiseConfig, _fit, _load)
