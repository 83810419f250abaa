"""Simulated new items: what a stage would say to its tuning cases if some items had no interactions yet."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from llmrec.component import Forgets, Simulated
from llmrec.data import Holdout, Interactions
from llmrec.pipeline import Recommender
from llmrec.retrieve import Retriever
from llmrec.stage import score_candidates
from llmrec.types import BoolArray, Candidates, Int64Array, Queries

__all__ = ["Columns", "Simulation"]

GROUPS = 5
"""So many disjoint groups of items are forgotten, one after the other."""
SHARE = 0.1
"""Of the known items, in each group."""


@dataclass(frozen=True, slots=True)
class Columns:
    """What a stage's fusion is given.

    Attributes:
        before: the stages before; None for the first.
        retrievers: of the stage, each with its depth.
        scorers: of the stage.
    """

    before: Recommender | None
    retrievers: tuple[tuple[Retriever, int], ...]
    scorers: tuple[Any, ...]

    def of(self, queries: Queries) -> Candidates:
        """Return the columns the fusion may use: those of the stage's own scorers, and the result of the one before."""
        before, incoming = self.before, None
        if before is not None:
            trace = before.trace(queries, 1)
            queries, incoming = trace.queries, trace.stages[-1].survivors
        candidates = score_candidates(self.retrievers, self.scorers, queries, incoming)
        names = [*(r.name for r, _ in self.retrievers), *(s.name for s in self.scorers)]
        names += [] if before is None else [before.stages[-1].name]
        return Candidates(candidates.items, {n: candidates.columns[n] for n in names}, candidates.source_ranks)

    def unforgetting(self) -> str:
        """Name a retriever or scorer that cannot forget; "" where all can."""
        stages = () if self.before is None else self.before.stages
        everything = [*(r for r, _ in self.retrievers), *self.scorers]
        everything += [c for stage in stages for c in (*(r for r, _ in stage.retrievers), *stage.scorers)]
        return next((str(one.name) for one in everything if not isinstance(one, Forgets)), "")

    def forgetting(self, items: BoolArray) -> Columns:
        """Return the same of models that have forgotten some items, Bool[n_items]."""
        forget = partial(_forget, items=items)
        before = self.before
        if before is not None:
            before = replace(before, stages=tuple(stage.replaced(forget) for stage in before.stages))
        retrievers = tuple((forget(retriever), depth) for retriever, depth in self.retrievers)
        return Columns(before, retrievers, tuple(forget(scorer) for scorer in self.scorers))


def _forget(component: Any, items: BoolArray) -> Any:
    return component.forgetting(items) if isinstance(component, Forgets) else component


@dataclass(frozen=True, slots=True)
class Simulation:
    """Asks tuning cases again as if a random tenth of the items were new; five disjoint tenths, one after the other.

    As in the protocol of cold items, an item that is new is in no history, and one that the user took before competes
    with the target. Half of the cases of each group are sought out for having a target in it, and are weighed for it:
    a new item is as likely to be the target as any other. Items that really are new are left out; they are never
    targets, and would teach that new items are not.

    Attributes:
        columns: of the stage.
        cases: the tuning cases.
        train: what the models have learned from.
        seed: for every choice.
        progress: told what is going on.
    """

    columns: Columns
    cases: Holdout
    train: Interactions
    seed: int
    progress: Callable[[str], None]

    def __call__(self, count: int) -> tuple[Simulated, ...]:
        """Ask at most `count` cases; nothing in a stage without retrievers, or where a component cannot forget."""
        if count < 1 or not self.columns.retrievers or len(self.cases) == 0:
            return ()
        if name := self.columns.unforgetting():
            self.progress(f"new items are not simulated: {name!r} cannot forget an item")
            return ()
        rng = np.random.default_rng([self.seed, 1])
        return tuple(self._asked(items, rng, max(1, count // (2 * GROUPS))) for items in self._groups(rng))

    def _groups(self, rng: np.random.Generator) -> Iterator[BoolArray]:
        """Yield Bool[n_items], groups of known items that some case is about."""
        known = np.flatnonzero(np.bincount(self.train.items, minlength=self.train.catalog_size))
        size = int(len(known) * SHARE)
        order = rng.permutation(known)
        for start in range(0, GROUPS * size, size or 1):
            items = np.zeros(self.train.catalog_size, dtype=np.bool_)
            items[order[start : start + size]] = True
            if items[self.cases.targets].any():
                yield items

    def _asked(self, items: BoolArray, rng: np.random.Generator, count: int) -> Simulated:
        new = items[self.cases.targets]
        sought = np.sort(rng.permutation(np.flatnonzero(new))[:count])
        others = np.sort(rng.permutation(np.flatnonzero(~new))[: len(sought)])
        rows = np.concatenate([sought, others]).astype(np.int64)
        weights = np.repeat([new.sum() / len(sought), (~new).sum() / max(1, len(others))], [len(sought), len(others)])
        cases = Holdout(self.cases.user_rows[rows], self._queries(rows, items), self.cases.targets[rows])
        return Simulated(items, rows, cases, self.columns.forgetting(items).of(cases.queries), weights)

    def _queries(self, rows: Int64Array, items: BoolArray) -> Queries:
        """The queries of some cases as they would be if some items were new."""
        queries = self.cases.queries.take(rows).without_items(items)
        known = np.bincount(self.train.items, minlength=self.train.catalog_size) > 0
        return replace(queries, allow=known if queries.allow is None else known & queries.allow)
