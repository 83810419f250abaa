"""The bodies of answers, where they are not the service's own values as they are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from llmrec.serve.records import Deployment, Job
from llmrec.serve.views import AliasView, ItemView, Listed, ListedItem

if TYPE_CHECKING:
    from llmrec.reasons import Explanation

__all__ = [
    "AddedItems",
    "AliasesOut",
    "DeploymentsOut",
    "ExperimentOut",
    "ExperimentsOut",
    "ExplanationOut",
    "ExplanationsOut",
    "ItemsOut",
    "JobsOut",
    "ListOut",
    "LiveOut",
    "ReasonOut",
    "ReportOut",
    "list_out",
]


@dataclass(frozen=True, slots=True)
class ListOut:
    """A list; fields as in `llmrec.serve.views.Listed`, times in milliseconds."""

    items: tuple[ListedItem, ...]
    impression_id: str | None
    alias: str
    bundle: str
    experiment: str | None
    variant: str | None
    degraded: bool
    left_out: tuple[str, ...]
    timings_ms: Mapping[str, float]


def list_out(listed: Listed) -> ListOut:
    """A list as it is sent."""
    return ListOut(
        listed.items,
        listed.impression_id,
        listed.alias,
        listed.bundle,
        listed.experiment,
        listed.variant,
        listed.degraded,
        listed.left_out,
        {name: round(1e3 * seconds, 3) for name, seconds in listed.timings.items()},
    )


@dataclass(frozen=True, slots=True)
class ReasonOut:
    """Something without which an item would stand lower; fields as in `llmrec.reasons.Reason`."""

    kind: Literal["history", "field", "wish", "profile", "popular", "rule"]
    item: str | None
    field: str | None
    rank_without: int
    score_without: float
    share: float


@dataclass(frozen=True, slots=True)
class ExplanationOut:
    """Why an item is recommended; fields as in `llmrec.reasons.Explanation`."""

    item: str
    rank: int
    score: float
    candidates: int
    reasons: tuple[ReasonOut, ...]
    sentence: str
    phrased: bool

    @classmethod
    def of(cls, found: Explanation) -> ExplanationOut:
        """An explanation as it is sent."""
        reasons = tuple(
            ReasonOut(one.kind, one.item, one.field, one.rank_without, one.score_without, one.share)
            for one in found.reasons
        )
        return cls(found.item, found.rank, found.score, found.candidates, reasons, found.sentence, found.phrased)


@dataclass(frozen=True, slots=True)
class ExplanationsOut:
    """Explanations, in the order of the items."""

    explanations: tuple[ExplanationOut, ...]


@dataclass(frozen=True, slots=True)
class AddedItems:
    """How many items were new."""

    added: int


@dataclass(frozen=True, slots=True)
class ItemsOut:
    """A page of the catalog; `next` is the cursor of what follows, null at the end."""

    entries: tuple[ItemView, ...]
    next: str | None


@dataclass(frozen=True, slots=True)
class AliasesOut:
    """The pipelines that can be asked."""

    aliases: tuple[AliasView, ...]


@dataclass(frozen=True, slots=True)
class DeploymentsOut:
    """What aliases have stood for, newest first."""

    deployments: tuple[Deployment, ...]


@dataclass(frozen=True, slots=True)
class JobsOut:
    """Jobs, newest first."""

    jobs: tuple[Job, ...]


@dataclass(frozen=True, slots=True)
class ExperimentOut:
    """An experiment."""

    name: str
    variants: Mapping[str, str]
    weights: Mapping[str, float]
    kind: str
    state: str
    created: float

    @classmethod
    def of(cls, found: Any) -> ExperimentOut:
        """An experiment as it is sent; its salt stays here, so that nobody can foretell who gets what."""
        return cls(found.name, found.variants, found.weights or {}, found.kind, found.state, found.created)


@dataclass(frozen=True, slots=True)
class ExperimentsOut:
    """Experiments, newest first."""

    experiments: tuple[ExperimentOut, ...]


ReportOut = dict[str, Any]


@dataclass(frozen=True, slots=True)
class LiveOut:
    """The process answers."""

    ok: bool
