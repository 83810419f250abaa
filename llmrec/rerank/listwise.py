"""Listwise reranking: a language model is shown a list and says in which order it belongs."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain
from typing import ClassVar, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from llmrec.component import Component, FitContext
from llmrec.data import Catalog
from llmrec.rerank.aliases import LABEL, SEPARATOR, AliasPool, labelled, seeded
from llmrec.rerank.language import ANSWER, LanguageConfig, OfTexts, Reader, read_examples
from llmrec.types import Float32Array, Int32Array, Int64Array, Queries, State

__all__ = ["COMPONENT", "Counts", "Listwise", "ListwiseConfig", "Tally", "parse_permutation", "slide"]

_WORD = re.compile(r"[^\W\d_]+")


class ListwiseConfig(LanguageConfig):
    """Settings of `Listwise`.

    Attributes:
        window: so many candidates are shown at once; a longer list is read in windows, from its end to its start.
        step: by so many places a window is further up than the one before; the best of one take part in the next.
        passes: how often a list is ranked: first as it came in, then in random orders; places are averaged.
        shown: candidates of an example, if there are any (`shots`).
    """

    template: str = "chat/listwise"
    max_tokens: int = Field(default=1024, ge=64)
    item_tokens: int = Field(default=32, ge=4)
    window: int = Field(default=10, ge=2, le=50)
    step: int = Field(default=5, ge=1)
    passes: int = Field(default=1, ge=1, le=20)
    shown: int = Field(default=4, ge=2, le=20)

    @model_validator(mode="after")
    def _overlap(self) -> Self:
        if self.step >= self.window:
            raise ValueError(f"step={self.step} must be less than window={self.window}: windows have to overlap")
        return self


@dataclass(frozen=True, slots=True)
class Counts:
    """What became of the answers of a model so far.

    Attributes:
        asked: how often it was asked for an order.
        fell_back: how often the answer was no permutation of what was asked about, and things stayed as they were.
    """

    asked: int = 0
    fell_back: int = 0


class Tally:
    """Counts answers; threads may share one."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts = Counts()

    @property
    def counts(self) -> Counts:
        """What was counted so far."""
        return self._counts

    def add(self, *, fell_back: bool) -> None:
        """Count one answer."""
        with self._lock:
            self._counts = Counts(self._counts.asked + 1, self._counts.fell_back + fell_back)


def parse_permutation(text: str, aliases: Sequence[str]) -> list[int] | None:
    """Read an order from what a model said, whichever way it was made to say it.

    Signs and numbers between aliases do not matter, nor does case. Any other word, an alias that is missing and one
    that comes twice do: then it is no answer.

    Args:
        text: the answer.
        aliases: m different words of letters.

    Returns:
        The places of the aliases in the order of the answer, a permutation of 0 to m - 1; None if it is no answer.
    """
    places = {alias.upper(): place for place, alias in enumerate(aliases)}
    found = [places.get(word.upper(), -1) for word in _WORD.findall(text)]
    return found if sorted(found) == list(range(len(aliases))) else None


def slide(order: Int64Array, window: int, step: int, rank: Callable[[Int64Array], Int64Array]) -> Int64Array:
    """Rank a list by windows, from its end to its start, so that the best can rise through all of it.

    As Sun et al. do, "Is ChatGPT Good at Search? Investigating Large Language Models as Re-Ranking Agents",
    EMNLP 2023; here the last window always begins at the start.

    Args:
        order: Int64[m], a list, best first.
        window: items that are ranked at once.
        step: places from one window to the next, less than `window`.
        rank: puts the items of a window in order.

    Returns:
        Int64[m], the list in its new order.
    """
    order = order.copy()
    start = max(0, len(order) - window)
    while True:
        order[start : start + window] = rank(order[start : start + window])
        if start == 0:
            return order
        start = max(0, start - step)


@dataclass(frozen=True, slots=True, eq=False)
class Listwise(OfTexts):
    """Scores the items of a list by the places that a language model gives them when it is shown the list.

    Each item is shown behind an alias, two random letters that are in no text beside it, and the model answers with
    aliases alone: only those it has not named yet may come next. Aliases depend on what is asked and nothing else, so
    a query is answered the same alone and in any batch.

    Attributes:
        name: the score column.
        config: its settings.
        reader: the model, and how it is asked.
        pool: the aliases.
        seed: for aliases and orders.
        tally: counts answers, of this scorer and of those made from it over other states of the catalog.
    """

    component: ClassVar[str] = "listwise"
    compares: ClassVar[Literal[True]] = True
    config: ListwiseConfig
    pool: AliasPool
    seed: int
    tally: Tally = field(default_factory=Tally)

    @property
    def usage(self) -> Counts:
        """How often the model was asked for an order, and how often its answer was none."""
        return self.tally.counts

    def score(self, queries: Queries, items: Int32Array) -> Float32Array:
        """Return ranks below zero, Float32[n, k]: -1 for the best; NaN at pads, and without a history and a wish.

        Args:
            queries: n queries.
            items: Int32[n, k], as they came in, best first: this is the order where the model gives none.
        """
        scores = np.full(items.shape, np.nan, dtype=np.float32)
        for shown in self.reader.lists(queries, items, self.room()):
            rng = seeded(self.seed, shown.user, shown.items.tolist())
            scores[shown.row, shown.places] = -self._ranks(shown.user, shown.texts, rng)
        return scores

    def state(self) -> State:
        """Return the settings, the template, the seed and the model's files."""
        state = self.reader.state(self.config)
        return replace(state, config={**state.config, "seed": self.seed})

    def room(self) -> int:
        """Tokens that a window and its answer take."""
        count, line = self.config.window, self.reader.item_tokens + self.pool.length + LABEL
        return count * line + self.pool.answer_tokens(count) + ANSWER

    def asked(self, user: str, texts: Sequence[str], rng: np.random.Generator) -> tuple[list[str], list[int]]:
        """Draw aliases for some items, and write the prompt that asks for their order."""
        reader = self.reader
        aliases = self.pool.draw(rng, len(texts), [user, *texts, *chain.from_iterable(reader.shots)])
        (prompt,) = reader.chats([reader.question([user, *map(labelled, aliases, texts)])])
        return aliases, prompt

    def _ranks(self, user: str, texts: Sequence[str], rng: np.random.Generator) -> Int64Array:
        """Int64[m], from 1: of the items of one list; where places are equal on average, as they came in.

        A further pass in which some answer was none does not count: its random order says nothing.
        """
        ranks: list[Int64Array] = []
        for number in range(self.config.passes):
            start = rng.permutation(len(texts)) if number else np.arange(len(texts))
            order, read = self._pass(user, texts, rng, start)
            if read or number == 0:
                ranks.append(np.argsort(order, kind="stable"))
        return np.argsort(np.argsort(np.mean(ranks, axis=0), kind="stable"), kind="stable") + 1

    def _pass(
        self, user: str, texts: Sequence[str], rng: np.random.Generator, start: Int64Array
    ) -> tuple[Int64Array, bool]:
        """Int64[m], the list in its new order, and whether all answers could be read."""
        read: list[bool] = []

        def rank(window: Int64Array) -> Int64Array:
            if len(window) < 2:
                return window
            found = self._answer(user, [texts[place] for place in window], rng)
            read.append(found is not None)
            return window if found is None else window[found]

        return slide(start, self.config.window, self.config.step, rank), all(read)

    def _answer(self, user: str, texts: Sequence[str], rng: np.random.Generator) -> list[int] | None:
        """The order the model gives some items, by their places; None if it gives none."""
        reader, pool = self.reader, self.pool
        aliases, prompt = self.asked(user, texts, rng)
        (said,) = reader.model.generate(
            [prompt],
            max_new_tokens=pool.answer_tokens(len(texts)),
            allowed=None if reader.model.tokens is None else partial(pool.next_ids, aliases),
        )
        found = parse_permutation(said, aliases)
        self.tally.add(fell_back=found is None)
        return found


def _fit(context: FitContext, config: ListwiseConfig) -> Listwise:
    """In an example, the item that was taken comes first, the others as they are shown."""
    reader, shots = Reader.of(config, context.catalog), []
    pool = AliasPool.of(reader.model.tokens)
    for example, user, texts in read_examples(reader, context, config, beside=config.shown - 1):
        aliases = pool.draw(seeded(context.seed, example.user), len(texts), [user, *texts])
        asked = reader.question([user, *map(labelled, aliases, texts)])
        best = aliases.pop(example.taken)
        shots.append((asked, SEPARATOR.join([best, *aliases])))
    return Listwise(context.name, config, replace(reader, shots=tuple(shots)), pool, context.seed)


def _load(name: str, state: State, catalog: Catalog) -> Listwise:
    config = ListwiseConfig.model_validate(state.config["settings"])
    reader = Reader.from_state(state, config, catalog)
    return Listwise(name, config, reader, AliasPool.of(reader.model.tokens), state.config["seed"])


COMPONENT = Component("scorer", ListwiseConfig, _fit, _load)
