"""What learning needs of the store and of the recommenders in use."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

from llmrec.pipeline import Recommender
from llmrec.serve.records import Deployment, StoredEvent, StoredItem

__all__ = ["HasModels", "HasRecommender", "HasStore"]


class HasStore(Protocol):
    """The part of the store that is read, and where a refit is noted."""

    def last_seq(self) -> int:
        """The number of the newest event."""

    def events_after(self, seq: int, limit: int = 1000) -> Sequence[StoredEvent]:
        """Events after a number, in order."""

    def user_events(self, user_id: str, *, after: int = 0, limit: int = 1000) -> Sequence[StoredEvent]:
        """A user's newest events, oldest first."""

    def items_after(self, seq: int, limit: int = 1000) -> Sequence[StoredItem]:
        """Items as they are now, whose last change is after a number, in order."""

    def erased_at_seq(self, user_id: str) -> int | None:
        """The newest event when a user was erased; None: never."""

    def note_models(self, bundle: str, user_ids: Iterable[str]) -> None:
        """Note whose interactions a bundle was fitted with."""

    def add_deployment(self, alias: str, path: str, bundle: str, *, now: float, why: str) -> Deployment:
        """Let an alias stand for a bundle."""


class HasRecommender(Protocol):
    """The part of a snapshot that is read."""

    @property
    def recommender(self) -> Recommender:
        """As it is now."""


class HasModels(Protocol):
    """The part of the recommenders in use that learning needs."""

    def aliases(self) -> Sequence[str]:
        """Their names."""

    def snapshot(self, alias: str = "default") -> HasRecommender:
        """One of them as it is now."""

    def change(self, alias: str, by: Callable[[Recommender], Recommender]) -> None:
        """Put another recommender in the place of one."""
