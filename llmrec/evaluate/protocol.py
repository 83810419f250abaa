"""The protocol card: what a printed number must say about how it was made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from llmrec.errors import DataError

if TYPE_CHECKING:
    from llmrec.data import Holdout, Interactions, Split

__all__ = ["ProtocolCard", "leave_last_out_card", "split_card"]

_TIES = "equal times keep file order; equal scores go by a hash of the item id"
_LAST = "leave last out: last interaction = test target, second last = validation target"


@dataclass(frozen=True, slots=True)
class ProtocolCard:
    """How an evaluation was set up. Ranking is always over the full catalog; there is no sampled variant.

    Attributes:
        name: short name, such as "LOO".
        split: how interactions became train, validation and test.
        ties: how equal times, and equal scores, are ordered.
        n_users: users evaluated.
        n_items: catalog size.
        n_interactions: interactions in the log before the split.
        data_hash: fingerprint of the data.
        seen_excluded: True when no item of a user's own history may be recommended.
        note: anything else a reader must know (a sample of users, a stratum, a seed), or "".
        holdout: the split, one of `llmrec.data.SPLITS`, or "" if it is another.
        parameters: the settings of the split that decide what a fit may see; JSON values.
        n_ranked: how many items are ranked, if not the whole catalog.
        items_hash: which catalog the rows of the log are of (`Interactions.items_hash`), or "" if unknown.
    """

    name: str
    split: str
    ties: str
    n_users: int
    n_items: int
    n_interactions: int
    data_hash: str
    seen_excluded: bool = True
    note: str = ""
    holdout: str = ""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    n_ranked: int | None = None
    items_hash: str = ""

    def __str__(self) -> str:
        seen = "history excluded" if self.seen_excluded else "history not excluded"
        ranked = f"all {self.n_items:,}" if self.n_ranked is None else f"{self.n_ranked:,} of {self.n_items:,}"
        parts = [
            f"{self.name} ({self.split}; ties: {self.ties})",
            f"{self.n_users:,} users",
            f"{ranked} items ranked, {seen}",
            f"{self.n_interactions:,} interactions",
            f"data {self.data_hash[:12]}",
        ]
        return " · ".join([*parts, self.note] if self.note else parts)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, safe for JSON; ``ProtocolCard(**values)`` is the card again."""
        return {**asdict(self), "parameters": dict(self.parameters)}

    def check_comparable(self, other: ProtocolCard) -> None:
        """Check that both cards describe the same test; notes may differ.

        Raises:
            DataError: they do not; the message names the difference.
        """
        mine, theirs = self.to_dict(), other.to_dict()
        differing = [key for key in mine if key != "note" and mine[key] != theirs[key]]
        if differing:
            hint = "evaluate both on one split"
            if differing == ["seen_excluded"]:
                hint = (
                    "one leaves out what its users already took and the other does not: make the lists without those "
                    "items, or take the `seen` policy out of the bundle"
                )
            shown = ", ".join(f"{key}: {mine[key]!r} and {theirs[key]!r}" for key in differing)
            raise DataError(f"results of different protocols must not be compared ({shown}); {hint}")


def leave_last_out_card(
    interactions: Interactions,
    holdout: Holdout,
    *,
    min_interactions: int = 3,
    seen_excluded: bool = True,
    note: str = "",
) -> ProtocolCard:
    """Describe the leave-last-out protocol.

    Args:
        interactions: the log before the split.
        holdout: the part that is evaluated.
        min_interactions: what it was split with.
        seen_excluded: whether the recommender leaves out each user's history.
        note: anything else a reader must know.

    Returns:
        The card; its data hash is the log's fingerprint.
    """
    return ProtocolCard(
        name="LOO",
        split=_LAST if min_interactions == 3 else f"{_LAST}; users with at least {min_interactions} interactions",
        ties=_TIES,
        n_users=len(holdout),
        n_items=interactions.catalog_size,
        n_interactions=len(interactions),
        data_hash=interactions.fingerprint,
        seen_excluded=seen_excluded,
        note=note,
        holdout="last",
        parameters={"min_interactions": min_interactions},
        items_hash=interactions.items_hash,
    )


def split_card(
    split: Split, tests: str, interactions: Interactions, *, seen_excluded: bool = True, note: str = ""
) -> ProtocolCard:
    """Describe the protocol of any split.

    Args:
        split: the split.
        tests: which of its test cases, by name.
        interactions: the log before the split.
        seen_excluded: whether the recommender leaves out each user's history.
        note: anything else a reader must know.

    Returns:
        The card; its data hash is the log's fingerprint.

    Raises:
        DataError: the split has no test cases of this name.
    """
    if tests not in split.tests:
        raise DataError(f"this split has no test cases {tests!r}; it has {', '.join(split.tests)}")
    holdout = split.tests[tests]
    if split.name == "last":
        bar = split.parameters["min_interactions"]
        return leave_last_out_card(interactions, holdout, min_interactions=bar, seen_excluded=seen_excluded, note=note)
    allow = holdout.queries.allow
    return ProtocolCard(
        name=_TITLES[split.name] + ("" if split.name == tests else f", {tests}"),
        split=_rule(split),
        ties=_TIES,
        n_users=len(holdout),
        n_items=interactions.catalog_size,
        n_interactions=len(interactions),
        data_hash=interactions.fingerprint,
        seen_excluded=seen_excluded,
        note=note,
        holdout=split.name,
        parameters=dict(split.parameters),
        n_ranked=None if allow is None else int(allow.sum()),
        items_hash=interactions.items_hash,
    )


_TITLES = MappingProxyType({"time": "global time", "cold-items": "cold items", "cold-users": "cold users"})


def _rule(split: Split) -> str:
    """Say in words how a split was made."""
    if split.cuts is not None:
        first, second = split.cuts
        shares = f"{split.parameters['validation_from']:.0%} and {split.parameters['test_from']:.0%} of the log"
        return (
            f"train before {first}, validation before {second}, test from then on ({shares}); histories end at the "
            f"cut, the target is the first interaction after it; {split.left_out:,} users without an earlier one "
            "left out"
        )
    count = 0 if split.cold is None else int(split.cold.sum())
    every, bar = split.parameters["every"], split.parameters["min_interactions"]
    if split.name == "cold-items":
        return (
            f"{count:,} items whose sha256 is divisible by {every} are in no training and no history; the target is "
            f"the last interaction of a user with at least {bar}, where it is one of these"
        )
    return (
        f"{count:,} users whose sha256 is divisible by {every} are in no training; the target is the last interaction, "
        f"the history so many right before it; users with at least {bar}, and enough for the longest history: "
        f"{split.left_out:,} left out"
    )
