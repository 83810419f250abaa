"""A recommender without one of its users."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from llmrec.data import Interactions, Users
    from llmrec.pipeline import Recommender

__all__ = ["holds_user", "without_user"]

PER_INTERACTION = ("items", "times", "weights", "kinds", "ratings")


def holds_user(recommender: Recommender, user_id: str) -> bool:
    """Whether the recommender holds the history or the profile of a user."""
    log, people = recommender.histories, recommender.users
    return (log is not None and user_id in log.users) or (people is not None and user_id in people.users)


def without_user(recommender: Recommender, user_id: str) -> Recommender:
    """Return the recommender without the history and the profile of a user; the same one if it has neither.

    What was fitted stays as it is. Histories that lay in the bundle's files lie in memory afterwards.
    """
    log, people = recommender.histories, recommender.users
    if log is not None and user_id in log.users:
        recommender = replace(recommender, histories=_log_without(log, user_id))
    if people is not None and user_id in people.users:
        recommender = replace(recommender, users=_people_without(people, user_id))
    return recommender


def _log_without(log: Interactions, user_id: str) -> Interactions:
    import pyarrow as pa

    from llmrec.data import Vocab

    row = int(log.users.get([user_id])[0])
    start, end = int(log.offsets[row]), int(log.offsets[row + 1])
    given = ((name, getattr(log, name)) for name in PER_INTERACTION)
    left: dict[str, Any] = {name: np.concatenate([per[:start], per[end:]]) for name, per in given if per is not None}
    names = log.users.column
    users = Vocab.of_column(pa.concat_arrays([names.slice(0, row), names.slice(row + 1)]))
    offsets = np.concatenate([log.offsets[: row + 1], log.offsets[row + 2 :] - (end - start)])
    return replace(log, users=users, offsets=offsets, **left)


def _people_without(people: Users, user_id: str) -> Users:
    import pyarrow as pa

    from llmrec.data import Users

    keep = np.ones(len(people), dtype=np.bool_)
    keep[people.users.get([user_id])] = False
    return Users.from_table(people.table.filter(pa.array(keep)))
