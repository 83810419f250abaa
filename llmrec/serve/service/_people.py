"""What is known of users: seen, changed, erased."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from llmrec.serve.live import holds_user, without_users
from llmrec.serve.problems import TooLarge, Unprocessable
from llmrec.serve.records import Erased
from llmrec.serve.service._events import is_storable
from llmrec.serve.service._parts import Parts
from llmrec.serve.views import UserView

__all__ = ["People"]

PATIENCE = 10.0
"""Seconds, beyond the longest deadline, that an erasure waits for requests of the user."""

MOST_FIELDS = 100


class People:
    """Users, for one event loop.

    Args:
        parts: of the service.
    """

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def user(self, user_id: str) -> UserView:
        """See `Service.user`."""
        if not is_storable(user_id):
            return UserView(user_id, False, (), {}, (), ())
        return await self._parts.blocking(self._view, user_id)

    async def put_user(self, user_id: str, profile: Mapping[str, Any]) -> None:
        """See `Service.put_user`."""
        parts = self._parts
        _check(user_id, profile, parts.config.limits.text_chars)
        async with parts.gate.inside([user_id]):
            await parts.blocking(parts.store.put_user, user_id, dict(profile))
            parts.models.forget(user_id)

    async def erase(self, user_id: str) -> Erased:
        """See `Service.erase_user`."""
        parts = self._parts
        if not is_storable(user_id):
            return Erased(0, 0, False)
        longest = parts.config.engine.longest_deadline_ms / 1000
        async with parts.gate.alone(user_id, longest + PATIENCE):
            erased = await parts.blocking(parts.store.erase_user, user_id, now=parts.clock())
            parts.models.forget(user_id)
            held = await parts.slow(self._forget_histories, user_id)
            parts.models.forget(user_id)
        return replace(erased, models=tuple(dict.fromkeys((*erased.models, *held))))

    def _forget_histories(self, user_id: str) -> list[str]:
        """Take the user out of the histories and profiles of pipelines in use; returns the bundles that had any."""
        models, held = self._parts.models, []
        for alias in models.aliases():
            snapshot = models.snapshot(alias)
            if holds_user(snapshot.recommender, user_id):
                held.append(snapshot.bundle)
                models.change(alias, partial(without_users, user_ids=[user_id]))
        return held

    def _view(self, user_id: str) -> UserView:
        parts = self._parts
        past = parts.models.past(parts.models.snapshot(), user_id)
        events = parts.store.user_events(user_id, limit=parts.config.learn.recent)
        return UserView(
            user_id=user_id,
            known=past.known,
            history=tuple(past.item_ids),
            profile=dict(past.profile or {}),
            events=tuple(events),
            dismissed=tuple(sorted(past.dismissed)),
        )


def _check(user_id: str, profile: Mapping[str, Any], longest: int) -> None:
    if not is_storable(user_id):
        raise Unprocessable("user_id must be 1 to 512 characters, none of them NUL")
    if len(profile) > MOST_FIELDS:
        raise TooLarge(f"a profile has at most {MOST_FIELDS} fields")
    for place, (name, value) in enumerate(profile.items()):
        if not is_storable(name):
            raise Unprocessable(f"profile: the name of field {place} must be 1 to 512 characters, none of them NUL")
        if not isinstance(value, str | int | float | bool | None):
            raise Unprocessable(f"profile: the value of field {place} must be a text, a number, true, false or null")
        if isinstance(value, str) and len(value) > longest:
            raise TooLarge(f"profile: the value of field {place} has more than {longest} characters")
