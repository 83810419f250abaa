"""Users: profiles, who there is, and forgetting them."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping
from itertools import groupby, islice
from typing import Any

from sqlalchemy import Connection, delete, select, update

from llmrec.serve.records import Erased
from llmrec.serve.store._plain import loaded
from llmrec.serve.store._sql import counter, insert_missing, put
from llmrec.serve.store._tables import ERASED, EVENTS, IMPRESSIONS, MODELS, PROFILES

__all__ = ["all_erased", "erase", "erased_at", "fitted_with", "page", "profile", "profiles_after", "put_profile"]


def put_profile(connection: Connection, user_id: str, profile: str) -> None:
    """Store a profile, as JSON, in the place of the old one."""
    put(connection, PROFILES, [{"user_id": user_id, "profile": profile}])


def profile(connection: Connection, user_id: str) -> Mapping[str, Any] | None:
    """What was stored; None: nothing."""
    text = connection.execute(select(PROFILES.c.profile).where(PROFILES.c.user_id == user_id)).scalar_one_or_none()
    if text is None:
        return None
    found: Mapping[str, Any] = loaded(text)
    return found


def profiles_after(connection: Connection, user_id: str, limit: int) -> list[tuple[str, Mapping[str, Any]]]:
    """The first `limit` profiles of users behind an id, in the order of ids."""
    columns = PROFILES.c.user_id, PROFILES.c.profile
    rows = select(*columns).where(PROFILES.c.user_id > user_id).order_by(PROFILES.c.user_id).limit(limit)
    return [(user, loaded(profile)) for user, profile in connection.execute(rows)]


def page(connection: Connection, cursor: str | None, limit: int) -> list[str]:
    """The first `limit` users behind `cursor`, by code point, of whom there is an event, an impression or a profile."""
    several = []
    for table in (EVENTS, IMPRESSIONS, PROFILES):
        column = table.c.user_id
        statement = select(column).where(column.is_not(None)).distinct().order_by(column).limit(limit)
        if cursor is not None:
            statement = statement.where(column > cursor)
        several.append(connection.execute(statement).scalars().all())
    return [user_id for user_id, _same in islice(groupby(heapq.merge(*several)), limit)]


def erase(connection: Connection, user_id: str, mark: bytes, now: float) -> Erased:
    """Delete everything of a user, and note the mark. What others did on the user's lists loses the list's name."""
    lists = select(IMPRESSIONS.c.id).where(IMPRESSIONS.c.user_id == user_id)
    events = connection.execute(delete(EVENTS).where(EVENTS.c.user_id == user_id)).rowcount
    on_them = EVENTS.c.impression_id.in_(lists)
    events += connection.execute(delete(EVENTS).where(on_them, EVENTS.c.user_id.is_(None))).rowcount
    connection.execute(update(EVENTS).where(on_them).values(impression_id=None, place=None))
    impressions = connection.execute(delete(IMPRESSIONS).where(IMPRESSIONS.c.user_id == user_id)).rowcount
    profiles = connection.execute(delete(PROFILES).where(PROFILES.c.user_id == user_id)).rowcount
    put(connection, ERASED, [{"mark": mark, "seq": counter(connection, "events"), "time": now}])
    statement = select(MODELS.c.bundle).where(MODELS.c.mark == mark).order_by(MODELS.c.bundle)
    return Erased(events, impressions, profiles > 0, tuple(connection.execute(statement).scalars()))


def erased_at(connection: Connection, mark: bytes) -> int | None:
    """The number of the newest event when the user was last erased; None: never."""
    return connection.execute(select(ERASED.c.seq).where(ERASED.c.mark == mark)).scalar_one_or_none()


def all_erased(connection: Connection) -> dict[bytes, int]:
    """The number of the newest event when each user was last erased, by mark."""
    return {bytes(mark): seq for mark, seq in connection.execute(select(ERASED.c.mark, ERASED.c.seq))}


def fitted_with(connection: Connection, bundle: str, marks: Iterable[bytes]) -> None:
    """Note that a bundle was fitted with what these users did."""
    insert_missing(connection, MODELS, [{"mark": mark, "bundle": bundle} for mark in marks])
