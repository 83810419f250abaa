"""Recommenders without users who were erased: a bundle's files still hold their histories, what is in use must not."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from llmrec.data import Interactions, Users
    from llmrec.pipeline import Recommender
    from llmrec.serve.store import Store

__all__ = ["erased_of", "holds_user", "without_users"]

PER_INTERACTION = ("items", "times", "weights", "kinds", "ratings")


def holds_user(recommender: Recommender, user_id: str) -> bool:
    """Whether the recommender holds the history or the profile of a user."""
    log, people = recommender.histories, recommender.users
    return (log is not None and user_id in log.users) or (people is not None and user_id in people.users)


def erased_of(recommender: Recommender, store: Store, fitted_seq: int) -> list[str]:
    """Return the users a recommender holds who were erased since it was fitted.

    Args:
        recommender: as it was loaded.
        store: knows who was erased.
        fitted_seq: the newest event that the bundle was fitted with; who was erased before is in it only anew.

    Raises:
        Unavailable: the store does not answer.
    """
    log, people = recommender.histories, recommender.users
    found: dict[str, int] = {}
    for users in (None if log is None else log.users, None if people is None else people.users):
        if users is not None:
            found |= store.erased_among(users)
    return [user for user, at in found.items() if at >= fitted_seq]


def without_users(recommender: Recommender, user_ids: Collection[str]) -> Recommender:
    """Return the recommender without the histories and profiles of users; the same one if it has none of them.

    What was fitted stays as it is. Histories that lay in the bundle's files lie in memory afterwards.
    """
    log, people = recommender.histories, recommender.users
    if log is not None and any(user in log.users for user in user_ids):
        recommender = replace(recommender, histories=_log_without(log, user_ids))
    if people is not None and any(user in people.users for user in user_ids):
        recommender = replace(recommender, users=_people_without(people, user_ids))
    return recommender


def _log_without(log: Interactions, user_ids: Collection[str]) -> Interactions:
    import pyarrow as pa

    from llmrec.data import Vocab

    rows = log.users.get(list(user_ids))
    keep = np.ones(log.n_users, dtype=np.bool_)
    keep[rows[rows >= 0]] = False
    lengths = np.diff(log.offsets)
    kept = np.repeat(keep, lengths)
    given = ((name, getattr(log, name)) for name in PER_INTERACTION)
    left: dict[str, Any] = {name: per[kept] for name, per in given if per is not None}
    users = Vocab.of_column(log.users.column.filter(pa.array(keep)))
    offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths[keep], dtype=np.int64)])
    return replace(log, users=users, offsets=offsets, **left)


def _people_without(people: Users, user_ids: Collection[str]) -> Users:
    import pyarrow as pa

    from llmrec.data import Users

    keep = np.ones(len(people), dtype=np.bool_)
    rows = people.users.get(list(user_ids))
    keep[rows[rows >= 0]] = False
    return Users.from_table(people.table.filter(pa.array(keep)))
