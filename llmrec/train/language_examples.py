"""What a language model is tuned on: the questions of its scorer about moments of the training log, and the answers."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from llmrec.component import Proposes
from llmrec.data import Catalog, Holdout, Interactions
from llmrec.models import Asked, ChatTokenizer, LanguageModel
from llmrec.rerank import Listwise, ListwiseConfig
from llmrec.rerank.aliases import SEPARATOR, AliasPool, seeded
from llmrec.rerank.language import Reader, Title, TitleConfig, YesNo, YesNoConfig
from llmrec.train.examples import hard_negatives, next_item_cases, popular_negatives
from llmrec.train.language_config import LanguageModelConfig
from llmrec.types import Float32Array, Int32Array, Int64Array, Queries

__all__ = ["LanguageExamples", "asked_of", "check_room", "draw_examples", "plan_batches", "scorer_of"]

AT_ONCE = 200
"""Cases that are written at once."""

SPAN = 50
"""Batches among which cases are sorted by length, so that a batch has little padding and the order stays random."""


@dataclass(frozen=True, slots=True, eq=False)
class LanguageExamples:
    """Prompts with their answers as token ids; m of them, about n cases.

    Attributes:
        ids: Int32[t], all sequences, one after the other: prompt, then answer.
        starts: Int64[m + 1], where each begins.
        prompts: Int64[m], tokens of each that are the prompt.
        firsts: Int64[n + 1], the first sequence of each case.
    """

    ids: Int32Array
    starts: Int64Array
    prompts: Int64Array
    firsts: Int64Array

    def __len__(self) -> int:
        return len(self.firsts) - 1

    @classmethod
    def of(cls, cases: Sequence[Sequence[Asked]]) -> LanguageExamples:
        """Hold the questions of some cases."""
        every = [one for case in cases for one in case]
        ids = [np.array([*one.prompt, *one.continuation], dtype=np.int32) for one in every]
        return cls(
            np.concatenate([np.zeros(0, np.int32), *ids]),
            _ends([len(part) for part in ids]),
            np.array([len(one.prompt) for one in every], dtype=np.int64),
            _ends([len(case) for case in cases]),
        )

    @property
    def fingerprint(self) -> str:
        """Sha256 (hex) of all of it."""
        digest = hashlib.sha256()
        for array in (self.ids, self.starts, self.prompts, self.firsts):
            digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()

    def case(self, row: int) -> list[Asked]:
        """The questions about a case."""
        found = []
        for place in range(self.firsts[row], self.firsts[row + 1]):
            ids = self.ids[self.starts[place] : self.starts[place + 1]].tolist()
            found.append(Asked(ids[: self.prompts[place]], ids[self.prompts[place] :]))
        return found


def draw_examples(
    config: LanguageModelConfig, catalog: Catalog, train: Interactions, first_stage: Proposes | None, *, seed: int
) -> LanguageExamples:
    """Draw moments of the training log and write what is asked about them.

    A history is what came before its target, never anything after it; what is held out is not in the log at all.
    Nothing that a user ever took, before or after, is asked about as if they had not.

    Args:
        config: the task, how many cases, which negatives.
        catalog: all items.
        train: what may be learned from.
        first_stage: where the negatives come from, if they come from one.
        seed: for the draws.
    """
    cases = next_item_cases(train, config.cases, seed=seed, latest=config.per_user)
    items = cases.targets[:, None]
    if config.task != "next_title":
        items = np.concatenate([items, _negatives(config, cases, train, first_stage, seed)], axis=1)
    return LanguageExamples.of(asked_of(config, catalog, cases.queries, items))


def asked_of(config: LanguageModelConfig, catalog: Catalog, queries: Queries, items: Int32Array) -> list[list[Asked]]:
    """Write what a scorer asks, with the right answers.

    Args:
        config: the task.
        catalog: all items.
        queries: n histories.
        items: Int32[n, k], what is asked about; -1 pads on the right. The first of each row was taken, so a yes is
            right, and a no for the others; where the answer is a name, it is each item's own.

    Returns:
        For each query, a question about each item.
    """
    recorder = _Recorder.load(config.model, max_tokens=config.max_tokens)
    assert isinstance(recorder, _Recorder)  # `load` makes what it is called on
    scorer, tokens = _asking(config, catalog, recorder), recorder.tokens
    end = [] if config.answer_only else list(tokens.end[:1])
    if isinstance(scorer, Listwise):
        return list(_orders(scorer, tokens, queries, items, end))
    found: list[list[Asked]] = []
    for start in range(0, len(queries), AT_ONCE):
        part = np.arange(start, min(start + AT_ONCE, len(queries)))
        recorder.heard.clear()
        scorer.score(queries.take(part), items[part])
        heard = iter(recorder.heard)
        for count in (items[part] >= 0).sum(axis=1).tolist():
            if isinstance(scorer, Title):
                prompt, names = next(heard)
                said = [(prompt, name) for name in names]
            else:
                prompts = [next(heard)[0] for _ in range(count)]
                said = [(prompt, config.no if place else config.yes) for place, prompt in enumerate(prompts)]
            found.append([Asked(prompt, [*tokens.text(answer), *end]) for prompt, answer in said])
    return found


def _orders(
    scorer: Listwise, tokens: ChatTokenizer, queries: Queries, items: Int32Array, end: list[int]
) -> Iterator[list[Asked]]:
    """A list for each query, in random order, and the answer that names what was taken first."""
    for shown in scorer.reader.lists(queries, items, scorer.room()):
        rng = seeded(scorer.seed, shown.row, shown.user, shown.items.tolist())
        order = rng.permutation(len(shown.texts)).tolist()
        aliases, prompt = scorer.asked(shown.user, [shown.texts[place] for place in order], rng)
        best = aliases.pop(order.index(0))
        yield [Asked(prompt, [*tokens.text(SEPARATOR.join([best, *aliases])), *end])]


def scorer_of(config: LanguageModelConfig, catalog: Catalog, model: LanguageModel) -> YesNo | Title | Listwise:
    """The scorer that a model is tuned for, asking it."""
    usual: dict[str, Any] = {"model": config.model, "max_tokens": config.max_tokens}
    some = {"template": config.template, "item_tokens": config.item_tokens}
    usual |= {name: value for name, value in some.items() if value is not None}  # else the scorer's own
    if config.task == "yes_no":
        asking = YesNoConfig(**usual, yes=config.yes, no=config.no)
        return YesNo(config.task, asking, replace(Reader.of(asking, catalog), model=model))
    if config.task == "listwise":
        ordering = ListwiseConfig(**usual, window=config.window, step=config.window // 2)
        return Listwise(
            config.task,
            ordering,
            replace(Reader.of(ordering, catalog), model=model),
            AliasPool.of(model.tokens),
            seed=0,
        )
    naming = TitleConfig(**usual)
    return Title(config.task, naming, replace(Reader.of(naming, catalog), model=model))


def check_room(scorer: YesNo | Title | Listwise) -> None:
    """Raise ConfigError if what a scorer asks and what is answered leave no room for a user."""
    scorer.reader.budget(scorer.room() if isinstance(scorer, Listwise) else None)


def _asking(config: LanguageModelConfig, catalog: Catalog, model: LanguageModel) -> YesNo | Title | Listwise:
    """The scorer, asking about nothing but users: how likely a title is without one is no part of what is learned."""
    scorer = scorer_of(config, catalog, model)
    if isinstance(scorer, Title):
        return replace(scorer, config=scorer.config.model_copy(update={"prior_weight": 0.0}))
    return scorer


class _Recorder(LanguageModel):
    """Notes what a scorer asks instead of answering, so that what is learned is what will be asked, token by token."""

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self.heard: list[tuple[Sequence[int], Sequence[str]]] = []

    def log_likelihood(
        self, prompts: Sequence[Sequence[int]], continuations: Sequence[Sequence[str]], *, ended: bool = False
    ) -> list[Float32Array]:
        self.heard += zip(prompts, continuations, strict=True)
        return [np.zeros(len(texts), dtype=np.float32) for texts in continuations]


def _negatives(
    config: LanguageModelConfig, cases: Holdout, train: Interactions, first_stage: Proposes | None, seed: int
) -> Int32Array:
    if config.negatives_from == "popularity" or first_stage is None:
        return popular_negatives(cases, train, count=config.negatives, seed=seed)
    return hard_negatives(cases, train, first_stage, depth=config.negative_depth, count=config.negatives, seed=seed)


def plan_batches(sizes: Int64Array, budget: int, epochs: int, *, seed: int) -> list[list[int]]:
    """Put cases into steps of about as many tokens, cases of one length together.

    Args:
        sizes: Int64[n], tokens of each case.
        budget: tokens of a batch, padding included, but for one case that alone is longer.
        epochs: every case comes so often.
        seed: for the order.
    """
    rng = np.random.default_rng(seed)
    span = max(1, SPAN * budget // max(1, round(float(sizes.mean()))))
    plan: list[list[int]] = []
    for _ in range(epochs):
        order = rng.permutation(len(sizes))
        epoch: list[list[int]] = []
        for start in range(0, len(order), span):
            part = order[start : start + span]
            epoch += _filled(part[np.argsort(sizes[part], kind="stable")], sizes, budget)
        plan += [epoch[place] for place in rng.permutation(len(epoch))]
    return plan


def _filled(rising: Int64Array, sizes: Int64Array, budget: int) -> list[list[int]]:
    """Batches of neighbours; a batch is as many rows as it has, all as long as its last."""
    batches: list[list[int]] = []
    for row in rising.tolist():
        if not batches or (len(batches[-1]) + 1) * sizes[row] > budget:
            batches.append([])
        batches[-1].append(row)
    return batches


def _ends(lengths: Sequence[int]) -> Int64Array:
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths, dtype=np.int64)])
