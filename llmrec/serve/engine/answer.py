"""What the engine answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from llmrec.serve.live import Snapshot

__all__ = ["Answer"]


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """One list.

    Attributes:
        items: ids, best first.
        scores: of each.
        propensities: the chance each had of its place; None where nothing is drawn by lot.
        snapshot: the recommender that made it; all of it comes from this one.
        degraded: whether stages were left out.
        left_out: their names.
        timings: seconds, by "queue", "history", each stage's name, "policies", "total"; of a search or of similar
            items, "search" in the place of stages and policies.
    """

    items: tuple[str, ...]
    scores: tuple[float, ...]
    propensities: tuple[float, ...] | None
    snapshot: Snapshot
    degraded: bool = False
    left_out: tuple[str, ...] = ()
    timings: Mapping[str, float] = field(default_factory=dict)
