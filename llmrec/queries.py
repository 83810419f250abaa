"""From a request to a batch of queries: the one place where ids become rows, and stored users become histories."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from numbers import Integral
from typing import Any

import numpy as np

from llmrec.data import Catalog, Interactions, Users, check_list, check_lists
from llmrec.errors import DataError
from llmrec.types import BoolArray, Csr, Int32Array, Int64Array, Queries

__all__ = ["Request", "log_queries"]


@dataclass(frozen=True, slots=True)
class Request:
    """What a caller asks for, in ids; every part that is given has one entry per query, except `allow`.

    Attributes:
        users: known users.
        histories: item ids per query, oldest first; instead of `users`.
        wishes: a free text per query, or None.
        profiles: user fields by name, one value per query.
        exclude: item ids per query that must not come back.
        allow: only these items may come back, for every query.
        at: the time of each query, in the unit of the log's times.
    """

    users: Sequence[str] | None = None
    histories: Sequence[Sequence[str]] | None = None
    wishes: Sequence[str | None] | None = None
    profiles: Mapping[str, Sequence[Any]] | None = None
    exclude: Sequence[Sequence[str]] | None = None
    allow: Sequence[str] | None = None
    at: Sequence[int] | None = None

    def queries(self, catalog: Catalog, log: Interactions | None, people: Users | None) -> Queries:
        """Turn ids into rows.

        Args:
            catalog: all items.
            log: the histories of known users, or None.
            people: the profiles of known users, or None; attached to `users` where the request brings none.

        Raises:
            UnknownIdError: a user or item is not known.
            DataError: there are neither users, histories nor wishes, the arguments differ in length, or one string
                was given for a list.
        """
        n = self._check()
        if self.users is not None:
            base = _known(self.users, log, people)
        else:
            past = [[]] * n if self.histories is None else self.histories
            base = Queries.from_lists([_rows(catalog, ids) for ids in past])
        return replace(
            base,
            texts=self.wishes,
            profiles=base.profiles if self.profiles is None else self.profiles,
            exclude=None if self.exclude is None else Csr.from_lists([_rows(catalog, ids) for ids in self.exclude]),
            allow=None if self.allow is None else _mask(catalog, self.allow),
            at=None if self.at is None else _moments(self.at),
        )

    def _check(self) -> int:
        """Return the number of queries."""
        check_list(self.users, "users")
        check_list(self.wishes, "wishes", "texts")
        check_list(self.allow, "allow")
        check_list(self.at, "at", "times")
        check_lists(self.histories, "histories")
        check_lists(self.exclude, "exclude")
        asked = [part for part in (self.users, self.histories, self.wishes) if part is not None]
        beside = [part for part in (self.exclude, self.at, *(self.profiles or {}).values()) if part is not None]
        sizes = {len(part) for part in (*asked, *beside)}
        if not asked or len(sizes) != 1 or (self.users is not None and self.histories is not None):
            raise DataError(
                "give users or histories, wishes, or both, all of the same length; [[]] is one empty history"
            )
        if self.wishes is not None and any(wish is not None and not wish.strip() for wish in self.wishes):
            raise DataError("a wish is empty; leave it out or use None")
        return sizes.pop()


def log_queries(log: Interactions, rows: Int64Array | None, people: Users | None) -> Queries:
    """Return histories of a log as queries, with the profiles that are known of their users.

    Args:
        log: any log over the catalog.
        rows: Int64[n], rows of `log.users`; all users if None.
        people: profiles, or None; a user without one has None in every field.
    """
    rows = np.arange(log.n_users, dtype=np.int64) if rows is None else np.asarray(rows, dtype=np.int64)
    queries = log.queries(rows)
    return queries if people is None else _with_profiles(queries, log.users.decode(rows), people)


def _known(users: Sequence[str], log: Interactions | None, people: Users | None) -> Queries:
    """Histories and profiles of known users; a user with a profile and no history has an empty one."""
    if log is None and people is None:
        raise DataError("this recommender stores no users; pass histories instead of user ids")
    rows = np.full(len(users), -1, dtype=np.int32) if log is None else log.users.get(users)
    if people is not None:
        _check_known(users, (rows >= 0) | (people.users.get(users) >= 0), log, people)
    elif log is not None:
        rows = log.users.rows(users)
    base = Queries.from_lists([[]] * len(users)) if log is None else _histories(log, rows)
    return base if people is None else _with_profiles(base, users, people)


def _check_known(users: Sequence[str], known: BoolArray, log: Interactions | None, people: Users) -> None:
    if not known.all():
        there = people.users if log is None else log.users
        raise there.unknown_error([users[place] for place in np.flatnonzero(~known).tolist()])


def _histories(log: Interactions, rows: Int32Array) -> Queries:
    """The histories of Int32[n] users; empty at -1."""
    found = log.queries(rows[rows >= 0].astype(np.int64))
    lengths = np.zeros(len(rows), dtype=np.int64)
    lengths[rows >= 0] = np.diff(found.offsets)
    return replace(found, offsets=np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)]))


def _with_profiles(queries: Queries, users: Sequence[str], people: Users) -> Queries:
    return replace(queries, profiles=people.profiles(users) or None)


def _moments(at: Sequence[Any]) -> Int64Array:
    if not all(isinstance(moment, Integral) and not isinstance(moment, bool) for moment in at):
        raise DataError(f"at must hold whole numbers, in the unit of the log's times, got {list(at)[:5]}")
    return np.asarray(at, dtype=np.int64)


def _rows(catalog: Catalog, ids: Sequence[str]) -> list[int]:
    rows: list[int] = catalog.items.rows(ids).tolist()
    return rows


def _mask(catalog: Catalog, ids: Sequence[str]) -> BoolArray:
    mask = np.zeros(len(catalog), dtype=np.bool_)
    mask[catalog.items.rows(ids)] = True
    return mask
