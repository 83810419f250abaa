"""The values that pass between the parts of the service: what came in, what is stored, what was shown."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

__all__ = [
    "ACTIONS",
    "Added",
    "Deployment",
    "Erased",
    "Impression",
    "ItemState",
    "Job",
    "Key",
    "NewEvent",
    "Scope",
    "StoredEvent",
    "StoredItem",
]

Scope = Literal["read", "feedback", "admin"]
"""What a key may do: ask; ask and report what people did; everything."""

ItemState = Literal["active", "removed"]

ACTIONS = ("impression", "click", "like", "buy", "dismiss", "restore")
"""What feedback on a shown item may say. "impression": it was seen; "dismiss": never again; "restore": undo that."""


@dataclass(frozen=True, slots=True)
class NewEvent:
    """Something a person did, as it comes in.

    Attributes:
        user_id: who; None only for feedback on an impression that was shown to nobody known.
        item_id: with which item.
        kind: "view", "buy", ... as the log of the bundle names them, or one of `ACTIONS`.
        time: seconds since the epoch; None: now, as the service's clock says.
        rating: how it was rated; None: not at all.
        event_id: the caller's own id of it, unique; None: the service makes one. An id that is there is a repeat.
        impression_id: the list on which it was done; None: elsewhere.
        place: 1-based place in that list; None: unknown.
    """

    user_id: str | None
    item_id: str
    kind: str = "view"
    time: int | None = None
    rating: float | None = None
    event_id: str | None = None
    impression_id: str | None = None
    place: int | None = None


@dataclass(frozen=True, slots=True)
class StoredEvent:
    """An event as the store has it; `seq` grows by order of arrival and is never used twice.

    Attributes:
        seq: number of the event, >= 1.
        event_id: unique.
        user_id: None where nobody known did it, or who did it was erased.
        item_id: with which item.
        kind: as in `NewEvent`.
        time: seconds since the epoch.
        rating: None: not rated.
        impression_id: None: none.
        place: None: unknown.
    """

    seq: int
    event_id: str
    user_id: str | None
    item_id: str
    kind: str
    time: int
    rating: float | None = None
    impression_id: str | None = None
    place: int | None = None


@dataclass(frozen=True, slots=True)
class Added:
    """What became of a batch of events, in its order.

    Attributes:
        event_ids: of each.
        repeats: Bool of each: True where it had been there before.
        last_seq: of the newest event of the store now.
    """

    event_ids: tuple[str, ...]
    repeats: tuple[bool, ...]
    last_seq: int


@dataclass(frozen=True, slots=True)
class Impression:
    """A list that was handed out.

    Attributes:
        id: unguessable.
        user_id: to whom; None: to nobody known.
        alias: which pipeline made it.
        bundle: the version of that pipeline's bundle (first 16 hex digits of the sha256 of its manifest).
        items: ids in order.
        scores: of each.
        propensities: the chance each had of its place; None where nothing is drawn by lot.
        time: seconds since the epoch, with fractions.
        degraded: whether a stage was left out.
        experiment: the experiment that chose the alias; None: none.
        variant: the experiment's name for the alias; None: none.
        sources: of an interleaved list, the variant each item came from; None: the list is of one variant.
        unit: of a list for nobody known, what tells its reader from others in experiments; a keyed hash of the key that
            the caller gave (`Store.unit`), never the key itself; None: none was given, or the list is a user's.
    """

    id: str
    user_id: str | None
    alias: str
    bundle: str
    items: tuple[str, ...]
    scores: tuple[float, ...]
    propensities: tuple[float, ...] | None
    time: float
    degraded: bool = False
    experiment: str | None = None
    variant: str | None = None
    sources: tuple[str, ...] | None = None
    unit: str | None = None


@dataclass(frozen=True, slots=True)
class StoredItem:
    """An item as it was put, changed or removed by the service's callers.

    Attributes:
        seq: of its last change; grows over all items.
        item_id: its id.
        fields: those that were given, all changes together; None values empty a field.
        state: whether it may be recommended.
    """

    seq: int
    item_id: str
    fields: Mapping[str, Any]
    state: ItemState


@dataclass(frozen=True, slots=True)
class Key:
    """A key that opens the service; what it is made of is not stored, only its hash.

    Attributes:
        id: short and public; shown in lists and logs.
        name: whose it is, for people.
        scopes: what it may do; "feedback" and "admin" may all that "read" may, "admin" may all.
        per_minute: requests a minute; None: the service's default.
        created: seconds since the epoch.
        revoked: whether it opens nothing any more.
    """

    id: str
    name: str
    scopes: tuple[Scope, ...]
    per_minute: int | None
    created: float
    revoked: bool = False

    def may(self, scope: Scope) -> bool:
        """Whether it may do what needs this scope."""
        return "admin" in self.scopes or scope in self.scopes or (scope == "read" and bool(self.scopes))


@dataclass(frozen=True, slots=True)
class Deployment:
    """A bundle that an alias has stood for; the newest one of an alias is in force.

    Attributes:
        seq: grows by order of deployment.
        alias: the name that clients know.
        path: the bundle's folder.
        bundle: its version, as in `Impression`.
        time: seconds since the epoch.
        why: "start", "reload", "rollback" or "refit".
    """

    seq: int
    alias: str
    path: str
    bundle: str
    time: float
    why: str


@dataclass(frozen=True, slots=True)
class Erased:
    """What the store knew of a user, and no longer does.

    Attributes:
        events: so many.
        impressions: so many.
        profile: whether there was one.
        models: versions of bundles whose models were fitted with the user's interactions, or held the user's history.
    """

    events: int
    impressions: int
    profile: bool
    models: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Job:
    """Work that takes longer than an answer: a refit, a comparison of prompts.

    Attributes:
        id: unguessable.
        kind: "refit" or "prompt_compare".
        state: "waiting", "running", "done", "failed".
        asked: what was asked for, JSON.
        progress: 0 to 1.
        message: what goes on, in a few words; the error where it failed.
        result: JSON; empty until it is done.
        created: seconds since the epoch.
        updated: seconds since the epoch.
    """

    id: str
    kind: str
    state: Literal["waiting", "running", "done", "failed"]
    asked: Mapping[str, Any]
    progress: float = 0.0
    message: str = ""
    result: Mapping[str, Any] = field(default_factory=dict)
    created: float = 0.0
    updated: float = 0.0
