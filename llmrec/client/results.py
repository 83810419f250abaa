"""What the service answers, as values; what a newer service adds is passed over."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, TypeVar

__all__ = [
    "Added",
    "BulkLine",
    "Candidate",
    "Erased",
    "Explanation",
    "Item",
    "Listed",
    "ListedItem",
    "Page",
    "Reason",
    "Stage",
    "StoredEvent",
    "Traced",
    "User",
]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ListedItem:
    """An item of a list.

    Attributes:
        item_id: its id.
        rank: 1-based.
        score: higher is better; comparable within one list only.
        propensity: the chance of its place; None where nothing is drawn by lot.
        fields: of the catalog, by name.
    """

    item_id: str
    rank: int
    score: float
    propensity: float | None = None
    fields: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Listed:
    """A list.

    Attributes:
        items: best first.
        alias: the pipeline that made it.
        bundle: the version of its bundle.
        impression_id: what `Client.feedback` names; None: the list was not recorded.
        experiment: that chose the pipeline; None: none.
        variant: of the experiment; None: none.
        degraded: whether stages were left out, for want of time or because they are broken.
        left_out: which.
        timings_ms: milliseconds, by "queue", "history", each stage's name, "policies", "total".
    """

    items: tuple[ListedItem, ...]
    alias: str
    bundle: str
    impression_id: str | None = None
    experiment: str | None = None
    variant: str | None = None
    degraded: bool = False
    left_out: tuple[str, ...] = ()
    timings_ms: Mapping[str, float] = field(default_factory=dict)

    @property
    def item_ids(self) -> tuple[str, ...]:
        """The ids alone, best first."""
        return tuple(item.item_id for item in self.items)


@dataclass(frozen=True, slots=True)
class Reason:
    """Something without which an item would stand lower.

    Attributes:
        kind: "history", "field", "wish", "profile", "popular" or "rule".
        item: the id of the history item; None: another kind of reason, or the history as a whole.
        field: the field's name; None: another kind of reason.
        rank_without: 1-based place among the same candidates, if this were not known.
        score_without: the score there.
        share: its part, 0 to 1, of what all single pieces of evidence do.
    """

    kind: str
    item: str | None
    field: str | None
    rank_without: int
    score_without: float
    share: float


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why an item is recommended.

    Attributes:
        item: its id.
        rank: 1-based place among the candidates, before policies move items.
        score: its score there.
        candidates: among how many.
        reasons: the strongest first; empty where nothing decides it alone.
        sentence: the reasons in words.
        phrased: whether the words are those of a language model.
    """

    item: str
    rank: int
    score: float
    candidates: int
    reasons: tuple[Reason, ...]
    sentence: str
    phrased: bool = False


@dataclass(frozen=True, slots=True)
class Candidate:
    """A candidate in a stage.

    Attributes:
        item_id: its id.
        title: what to call it.
        rank: 1-based, after the stage.
        came_in: 1-based rank after the stage before; None: it was not there.
        columns: score by scorer; None: no evidence.
        source_ranks: rank in each retriever's list; absent: not in it.
        kept: whether it went on.
        dropped_by: the policy that took it out after the last stage; None: none.
    """

    item_id: str
    title: str
    rank: int
    came_in: int | None
    columns: Mapping[str, float | None]
    source_ranks: Mapping[str, int]
    kept: bool
    dropped_by: str | None = None


@dataclass(frozen=True, slots=True)
class Stage:
    """What a stage did.

    Attributes:
        name: the stage.
        found: how many candidates it ranked.
        kept: how many may go on.
        columns: the names of its score columns, the fused one last.
        candidates: the best of them, best first.
    """

    name: str
    found: int
    kept: int
    columns: tuple[str, ...]
    candidates: tuple[Candidate, ...]


@dataclass(frozen=True, slots=True)
class Traced:
    """How a list came about.

    Attributes:
        alias: the pipeline.
        bundle: the version of its bundle.
        stages: in order.
        final: the list.
        from_fallback: ids of the final list that no stage proposed.
        excluded: how many items were excluded before any stage.
        history: the history that was read, oldest first.
    """

    alias: str
    bundle: str
    stages: tuple[Stage, ...]
    final: tuple[ListedItem, ...]
    from_fallback: tuple[str, ...] = ()
    excluded: int = 0
    history: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Added:
    """What became of events, in their order.

    Attributes:
        event_ids: of each.
        repeats: of each: True where it had been there before.
        last_seq: of the newest event of the store.
    """

    event_ids: tuple[str, ...]
    repeats: tuple[bool, ...]
    last_seq: int


@dataclass(frozen=True, slots=True)
class Item:
    """An item of the catalog.

    Attributes:
        item_id: its id.
        fields: by name.
        state: "active": it may be recommended; "removed": no more.
        texts: by retriever, the text as it is indexed.
        trained: whether it was in the catalog when the bundle was fitted.
    """

    item_id: str
    fields: Mapping[str, Any]
    state: Literal["active", "removed"] = "active"
    texts: Mapping[str, str] = field(default_factory=dict)
    trained: bool = True


@dataclass(frozen=True, slots=True)
class StoredEvent:
    """An event as the service has it.

    Attributes:
        seq: number of the event; grows by order of arrival.
        event_id: unique.
        item_id: with which item.
        kind: what was done.
        time: seconds since the epoch.
        user_id: who.
        rating: None: not rated.
        impression_id: None: none.
        place: None: unknown.
    """

    seq: int
    event_id: str
    item_id: str
    kind: str
    time: int
    user_id: str | None = None
    rating: float | None = None
    impression_id: str | None = None
    place: int | None = None


@dataclass(frozen=True, slots=True)
class User:
    """What the service knows of a user.

    Attributes:
        user_id: who.
        known: whether anything is known.
        history: item ids as a request would use them, oldest first.
        profile: by field.
        events: the newest ones, oldest first.
        dismissed: items that never come back.
    """

    user_id: str
    known: bool
    history: tuple[str, ...] = ()
    profile: Mapping[str, Any] = field(default_factory=dict)
    events: tuple[StoredEvent, ...] = ()
    dismissed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Erased:
    """What the service knew of a user, and no longer does.

    Attributes:
        events: so many.
        impressions: so many.
        profile: whether there was one.
        models: versions of bundles that were fitted with the user's interactions; these forget only when fitted anew.
    """

    events: int
    impressions: int
    profile: bool
    models: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """Some of many.

    Attributes:
        entries: in order.
        next: a cursor for what follows; None: nothing follows.
    """

    entries: tuple[T, ...]
    next: str | None = None


@dataclass(frozen=True, slots=True)
class BulkLine:
    """What became of one line of a bulk request.

    Attributes:
        line: its number, from 1.
        status: as of an HTTP answer; below 400: it was done.
        title: what kind of problem; empty: none.
        detail: what, where, and what to do; empty: no problem.
        event_id: of the event that was stored.
        repeat: whether the event had been there before.
        item_id: of the item that was put.
        answer: the list.
    """

    line: int
    status: int
    title: str = ""
    detail: str = ""
    event_id: str | None = None
    repeat: bool = False
    item_id: str | None = None
    answer: Listed | None = None

    @property
    def ok(self) -> bool:
        """Whether it was done."""
        return self.status < 400
