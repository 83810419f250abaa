"""The protocol card: what a printed number must say about how it was made."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from llmrec.errors import DataError

if TYPE_CHECKING:
    from llmrec.data import Holdout, Interactions

__all__ = ["ProtocolCard", "leave_last_out_card"]


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

    def __str__(self) -> str:
        seen = "history excluded" if self.seen_excluded else "history not excluded"
        parts = [
            f"{self.name} ({self.split}; ties: {self.ties})",
            f"{self.n_users:,} users",
            f"all {self.n_items:,} items ranked, {seen}",
            f"{self.n_interactions:,} interactions",
            f"data {self.data_hash[:12]}",
        ]
        return " · ".join([*parts, self.note] if self.note else parts)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, safe for JSON; ``ProtocolCard(**values)`` is the card again."""
        return {
            "name": self.name,
            "split": self.split,
            "ties": self.ties,
            "n_users": self.n_users,
            "n_items": self.n_items,
            "n_interactions": self.n_interactions,
            "data_hash": self.data_hash,
            "seen_excluded": self.seen_excluded,
            "note": self.note,
        }

    def check_comparable(self, other: ProtocolCard) -> None:
        """Check that both cards describe the same test; notes may differ.

        Raises:
            DataError: they do not; the message names the difference.
        """
        mine, theirs = self.to_dict(), other.to_dict()
        differing = [key for key in mine if key != "note" and mine[key] != theirs[key]]
        if differing:
            shown = ", ".join(f"{key}: {mine[key]!r} and {theirs[key]!r}" for key in differing)
            raise DataError(
                f"results of different protocols must not be compared ({shown}); evaluate both on one split"
            )


def leave_last_out_card(
    interactions: Interactions, holdout: Holdout, *, seen_excluded: bool = True, note: str = ""
) -> ProtocolCard:
    """Describe the leave-last-out protocol.

    Args:
        interactions: the log before the split.
        holdout: the part that is evaluated.
        seen_excluded: whether the recommender leaves out each user's history.
        note: anything else a reader must know.

    Returns:
        The card; its data hash is the log's fingerprint.
    """
    return ProtocolCard(
        name="LOO",
        split="leave last out: last interaction = test target, second last = validation target",
        ties="equal times keep file order; equal scores go by a hash of the item id",
        n_users=len(holdout),
        n_items=interactions.catalog_size,
        n_interactions=len(interactions),
        data_hash=interactions.fingerprint,
        seen_excluded=seen_excluded,
        note=note,
    )
