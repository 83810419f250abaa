"""A recommender after some more events: popularity and neighbours learn, everything else stays as it is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from llmrec.component import Learns
from llmrec.data import Interactions
from llmrec.pipeline import Recommender
from llmrec.serve.learn.logs import LogShape, joined, nothing_done
from llmrec.serve.records import StoredEvent
from llmrec.types import BoolArray

__all__ = ["LEARNED", "Increment", "fitted_seq", "learned_seq", "learners", "prepared"]

STORED = "store_seq"
"""What a bundle calls the newest event that it was fitted with."""

LEARNED = "learned_seq"
"""What a recommender in use calls the newest event that it has learned; it is not there before `prepared`."""


def fitted_seq(recommender: Recommender) -> int:
    """The newest event that a recommender was fitted with; 0: none of the store."""
    return int((recommender.about or {}).get(STORED, 0))


def learned_seq(recommender: Recommender) -> int | None:
    """The newest event that a recommender has learned; None: it is not prepared to learn."""
    found = (recommender.about or {}).get(LEARNED)
    return None if found is None else int(found)


def learners(recommender: Recommender) -> list[str]:
    """The names of the components that learn, in order."""
    everything: list[Any] = [part for stage in recommender.stages for part in stage.components]
    return list(dict.fromkeys(part.name for part in (*everything, recommender.fallback) if _able(part)))


def prepared(recommender: Recommender) -> Recommender:
    """Return the recommender able to learn, its components with what they count; takes about as long as their fits.

    Counts are those of the stored histories: of a bundle that was fitted for measuring (`--holdout`), these hold the
    cases it was tuned on, and events may hold those of its test. So it no longer says that anything was held out:
    nothing measures it on what it may have learned. One without histories learns popularity only.
    """
    log, ready = recommender.histories, recommender
    if log is not None:
        n_items = len(recommender.catalog)
        whole = replace(log, catalog_size=n_items, items_hash="")
        ready = _changed(recommender, lambda component: component.with_counts(whole))
    seen = {"holdout": "none", "holdout_parameters": {}, LEARNED: fitted_seq(recommender)}
    return replace(ready, about={**(recommender.about or {}), **seen})


@dataclass(frozen=True, slots=True)
class Increment:
    """Events that come next, and what is needed to learn them.

    Attributes:
        start: the newest event that was learned before.
        end: the newest event of these.
        fitted: the newest event that the bundle was fitted with.
        users: who did something, each once.
        own: Bool[n], whose history in the bundle counts: nobody's who was erased since.
        events: all positive events of these users behind `fitted`, up to `end`, in order of arrival.
        kinds: weight of each kind.
    """

    start: int
    end: int
    fitted: int
    users: Sequence[str]
    own: BoolArray
    events: Sequence[StoredEvent]
    kinds: Mapping[str, float]

    def fits(self, recommender: Recommender) -> bool:
        """Whether it is what this recommender has to learn next."""
        return learned_seq(recommender) == self.start and fitted_seq(recommender) == self.fitted

    def learned_by(self, recommender: Recommender) -> Recommender:
        """Return the recommender after these events; the old one stays as it is."""
        about = {**(recommender.about or {}), LEARNED: self.end}
        if not self.users:
            return replace(recommender, about=about)
        catalog, n_items = recommender.catalog, len(recommender.catalog)
        log = nothing_done(n_items) if recommender.histories is None else recommender.histories
        shape = LogShape(log, self.kinds)
        earlier = [event for event in self.events if event.seq <= self.start]
        before = joined(shape, catalog, earlier, self.users, self.own)
        after = joined(shape, catalog, self.events, self.users, self.own)
        if _same(before, after):  # only repeats
            return replace(recommender, about=about)
        learned = _changed(recommender, lambda component: component.learning(before, after))
        return replace(learned, about=about)


def _able(component: Any) -> bool:
    return isinstance(component, Learns) and component.learns


def _same(before: Interactions, after: Interactions) -> bool:
    """Whether two logs of the same users say the same of what they did, and when."""
    names = ("offsets", "items", "times", "weights")
    pairs = [(getattr(before, name), getattr(after, name)) for name in names]
    return all(old is new or np.array_equal(old, new) for old, new in pairs)


def _changed(recommender: Recommender, by: Callable[[Learns], Any]) -> Recommender:
    """Return the recommender with every component that learns replaced; one in two places is replaced once."""
    done: dict[int, Any] = {}

    def change(component: Any) -> Any:
        if id(component) not in done:
            done[id(component)] = by(component) if _able(component) else component
        return done[id(component)]

    stages = tuple(stage.replaced(change) for stage in recommender.stages)
    return replace(recommender, stages=stages, fallback=change(recommender.fallback))
