"""The seen policy: what is in a history does not come back."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from llmrec.component import Component, ComponentConfig, FitContext
from llmrec.data import Catalog
from llmrec.policy.lists import first
from llmrec.types import Csr, Queries, Ranking, State

__all__ = ["COMPONENT", "Seen", "SeenConfig"]


class SeenConfig(ComponentConfig):
    """The seen policy has nothing to set; leave it out where repeats are wanted (music, groceries)."""


@dataclass(frozen=True, slots=True)
class Seen:
    """Adds each query's history to its exclude list, so that no retriever spends depth on seen items."""

    component: ClassVar[str] = "seen"
    name: str = "seen"

    def prepare(self, queries: Queries) -> Queries:
        """Return the queries with their histories excluded."""
        if queries.exclude is None:
            return replace(queries, exclude=queries.histories)
        return replace(queries, exclude=_join(queries.exclude, queries.histories))

    def depth(self, k: int) -> int:
        """Return k: what was seen is not among the candidates."""
        return k

    def apply(self, queries: Queries, ranking: Ranking, k: int) -> Ranking:
        """Return the first k: everything seen was kept out before."""
        return first(ranking, k)

    def state(self) -> State:
        """Return nothing: there is nothing to keep."""
        return State()


def _join(first: Csr, second: Csr) -> Csr:
    """Append the second's rows to the first's, row by row."""
    owners = np.concatenate([np.repeat(np.arange(len(c)), np.diff(c.offsets)) for c in (first, second)])
    order = np.argsort(owners, kind="stable")
    values = np.concatenate([first.values, second.values])[order]
    return Csr(first.offsets + second.offsets, values)


def _fit(context: FitContext, _: SeenConfig) -> Seen:
    return Seen(context.name)


def _load(name: str, state: State, catalog: Catalog) -> Seen:
    return Seen(name)


COMPONENT = Component("policy", SeenConfig, _fit, _load)
