"""What a request asks for, in ids, after its limits were checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

__all__ = ["Asked"]


@dataclass(frozen=True, slots=True)
class Asked:
    """One list that is wanted.

    Attributes:
        kind: "recommend" for a user, a history or a wish; "search" by text alone; "similar" to one item.
        alias: the pipeline, by the name that clients know.
        k: items wanted.
        user_id: whose list; a user of whom nothing is known has an empty history.
        history: item ids, oldest first, instead of what is known of the user.
        wish: free text; None: none.
        profile: fields of the user, instead of stored ones.
        exclude: item ids that must not come back.
        allow: only these may come back; None: all.
        filters: field of the catalog to the values that are accepted, all fields together.
        diversity: 0 to 1, in the place of the strength of the pipeline's diversity policy; None: as it is.
        text: what to search for.
        item_id: to which item others are similar.
        at: the time of the request, in seconds since the epoch; None: now.
        deadline: in seconds of `time.monotonic`; 0: as configured.
    """

    kind: Literal["recommend", "search", "similar"] = "recommend"
    alias: str = "default"
    k: int = 10
    user_id: str | None = None
    history: tuple[str, ...] | None = None
    wish: str | None = None
    profile: Mapping[str, Any] | None = None
    exclude: tuple[str, ...] = ()
    allow: tuple[str, ...] | None = None
    filters: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    diversity: float | None = None
    text: str | None = None
    item_id: str | None = None
    at: int | None = None
    deadline: float = 0.0
