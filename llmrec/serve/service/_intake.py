"""What people did comes in: events, and feedback on lists."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from llmrec.serve.problems import NotFound, Unprocessable
from llmrec.serve.records import ACTIONS, Added, Impression, NewEvent
from llmrec.serve.service._events import check_events, is_storable, tied, tied_all
from llmrec.serve.service._parts import Parts

__all__ = ["Intake"]


class Intake:
    """Takes events in. For one event loop.

    Args:
        parts: of the service.
    """

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def add_events(self, events: Sequence[NewEvent], idempotency_key: str | None, caller: str) -> Added:
        """See `Service.add_events`."""
        parts = self._parts
        self._check(events)
        erasures = parts.gate.erasures
        named = {event.impression_id for event in events if event.impression_id is not None}
        shown = await parts.blocking(self._impressions, named) if named else {}
        return await self._store(tied_all(events, shown), erasures, idempotency_key, caller)

    async def feedback(self, event: NewEvent, idempotency_key: str | None, caller: str) -> Added:
        """See `Service.feedback`; the event names an impression."""
        parts = self._parts
        if event.kind not in ACTIONS:
            raise Unprocessable(f"kind must be one of {', '.join(ACTIONS)}")
        if event.event_id is not None and not is_storable(event.event_id):
            raise Unprocessable("event_id must be 1 to 512 characters, none of them NUL")
        wanted = event.impression_id or ""
        if not is_storable(wanted):
            raise NotFound("there is no such impression")
        erasures = parts.gate.erasures
        shown = await parts.blocking(parts.store.impression, wanted)
        return await self._store([tied(event, shown)], erasures, idempotency_key, caller)

    async def _store(
        self, events: Sequence[NewEvent], erasures: int, idempotency_key: str | None, caller: str
    ) -> Added:
        """Store events, and let the next requests of their users, and the learner, see them.

        Args:
            events: tied to their lists.
            erasures: begun before the lists were read.
            idempotency_key: of the call.
            caller: whose key that is.
        """
        parts = self._parts
        users = {event.user_id for event in events if event.user_id is not None}
        async with parts.gate.inside(users):
            if erasures != parts.gate.erasures:  # a user's erasure must not end in an event that tells of their list
                await parts.blocking(self._check_lists, events)
            added = await parts.blocking(
                parts.store.add_events, events, now=parts.clock(), idempotency_key=idempotency_key, caller=caller
            )
            for user in users:
                parts.models.forget(user)
        parts.learner.wake()
        return added

    def _check(self, events: Sequence[NewEvent]) -> None:
        parts = self._parts
        try:
            check_events(events, self._known, parts.config.limits, parts.clock())
        except Unprocessable as problem:
            parts.drift.saw_items(known="catalog" not in problem.detail)
            raise
        if events:
            parts.drift.saw_items(known=True)

    def _known(self, item_ids: Sequence[str]) -> list[bool]:
        """Whether each item is in the catalog of any alias; removed ones are: histories may hold them."""
        models = self._parts.models
        rows = [models.snapshot(alias).recommender.catalog.items.get(item_ids) for alias in models.aliases()]
        return list((np.max(rows, axis=0, initial=-1) >= 0).tolist())

    def _check_lists(self, events: Sequence[NewEvent]) -> None:
        """See that the lists are still there."""
        found = self._impressions({event.impression_id for event in events if event.impression_id is not None})
        if None in found.values():
            raise NotFound("there is no such impression any more")

    def _impressions(self, ids: set[str]) -> dict[str, Impression | None]:
        store = self._parts.store
        return {one: store.impression(one) if is_storable(one) else None for one in ids}
