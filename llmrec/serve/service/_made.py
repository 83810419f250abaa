"""Lists as they were made, before they are recorded and leave."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from llmrec.serve.records import Impression
from llmrec.serve.service._items import fields_of
from llmrec.serve.views import Listed, ListedItem

if TYPE_CHECKING:
    from llmrec.serve.engine import Answer
    from llmrec.serve.live import Snapshot

__all__ = ["Made", "impression_of", "listed", "new_id"]


@dataclass(frozen=True, slots=True, eq=False)
class Made:
    """A list, and where it comes from.

    Attributes:
        items: ids, best first.
        scores: of each.
        propensities: of each, or None.
        snapshot: the pipeline that made it; of an interleaved list, the first one.
        degraded: whether stages were left out.
        left_out: which.
        timings: seconds by step.
        experiment: that chose the pipeline, or None.
        variant: of the experiment, or None.
        sources: of an interleaved list, the variant each item is from.
    """

    items: tuple[str, ...]
    scores: tuple[float, ...]
    propensities: tuple[float, ...] | None
    snapshot: Snapshot
    degraded: bool
    left_out: tuple[str, ...]
    timings: Mapping[str, float] = field(default_factory=dict)
    experiment: str | None = None
    variant: str | None = None
    sources: tuple[str, ...] | None = None

    @classmethod
    def of(cls, answer: Answer, experiment: str | None = None, variant: str | None = None) -> Made:
        """A list of one pipeline."""
        return cls(
            items=answer.items,
            scores=answer.scores,
            propensities=answer.propensities,
            snapshot=answer.snapshot,
            degraded=answer.degraded,
            left_out=answer.left_out,
            timings=answer.timings,
            experiment=experiment,
            variant=variant,
        )

    @classmethod
    def interleaved(
        cls, first: Answer, second: Answer, items: tuple[str, ...], sources: tuple[str, ...], experiment: str
    ) -> Made:
        """A list of two pipelines.

        Scores of two pipelines have no common scale: a place's score is 1 / its rank. Nor is the chance of an item's
        place known where one pipeline explores, so there are no propensities.
        """
        timings = {name: max(first.timings.get(name, 0.0), second.timings.get(name, 0.0)) for name in first.timings}
        return cls(
            items=items,
            scores=tuple(1 / (place + 1) for place in range(len(items))),
            propensities=None,
            snapshot=first.snapshot,
            degraded=first.degraded or second.degraded,
            left_out=tuple(dict.fromkeys((*first.left_out, *second.left_out))),
            timings=timings,
            experiment=experiment,
            sources=sources,
        )


def new_id() -> str:
    """Return an id that nobody can guess: 128 random bits."""
    return secrets.token_urlsafe(16)


def impression_of(
    made: Made, impression_id: str, user_id: str | None, time: float, unit: str | None = None
) -> Impression:
    """Return what is recorded of a list."""
    return Impression(
        id=impression_id,
        user_id=user_id,
        alias=made.snapshot.alias,
        bundle=made.snapshot.bundle,
        items=made.items,
        scores=made.scores,
        propensities=made.propensities,
        time=time,
        degraded=made.degraded,
        experiment=made.experiment,
        variant=made.variant,
        sources=made.sources,
        unit=unit,
    )


def listed(made: Made, impression_id: str | None) -> Listed:
    """Return a list with the fields of its items, as it leaves."""
    catalog = made.snapshot.recommender.catalog
    fields = dict(zip(made.items, fields_of(catalog, catalog.items.get(made.items).tolist()), strict=True))
    chances = made.propensities or (None,) * len(made.items)
    items = tuple(
        ListedItem(item, place + 1, score, chance, fields[item])
        for place, (item, score, chance) in enumerate(zip(made.items, made.scores, chances, strict=True))
    )
    return Listed(
        items=items,
        impression_id=impression_id,
        alias=made.snapshot.alias,
        bundle=made.snapshot.bundle,
        experiment=made.experiment,
        variant=made.variant,
        degraded=made.degraded,
        left_out=made.left_out,
        timings=made.timings,
    )
