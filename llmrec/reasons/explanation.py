"""Why an item is recommended: reasons that were measured, and a sentence that says them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["Explanation", "Kind", "Reason"]

Kind = Literal["history", "field", "wish", "profile", "popular", "rule"]


@dataclass(frozen=True, slots=True)
class Reason:
    """Something that brings an item where it stands: without it, the item stands lower.

    Attributes:
        kind: "history": something that was chosen; "field": a field of the item; "wish": the free text; "profile": a
            field of the user; "popular": nothing, the item stands as high for somebody of whom neither a history nor a
            wish is known, and is taken often; "rule": a policy put the item there.
        item: the id of the history item; None: the history as a whole, or the reason is of another kind.
        field: the field's name; None: the reason is of another kind.
        rank_without: 1-based place among the same candidates, if this were not known.
        score_without: the score there; comparable with others of its list only.
        share: its part, 0 to 1, of all that single pieces of evidence, taken away one by one, do to the item; 1 for the
            history as a whole, 0 for "popular" and "rule".
    """

    kind: Kind
    item: str | None
    field: str | None
    rank_without: int
    score_without: float
    share: float


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why one item is recommended.

    Attributes:
        item: its id.
        rank: its 1-based place among the candidates, before policies move items.
        score: its score there.
        candidates: among how many it has that place.
        reasons: the strongest first; empty where nothing decides it alone.
        sentence: the reasons in words; it names only the item, and the items of `reasons`.
        phrased: whether the words are those of a language model.
    """

    item: str
    rank: int
    score: float
    candidates: int
    reasons: tuple[Reason, ...]
    sentence: str
    phrased: bool = False
