"""Profiles of users, as a refit learns from them: the bundle's, with what was put since."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from typing import Any

import numpy as np

from llmrec.data import Users, Vocab

__all__ = ["put_over", "without"]


def without(users: Users | None, gone: Set[str]) -> Users | None:
    """Return the profiles of all but some users; None where there are none at all."""
    if users is None or not gone:
        return users
    rows = [row for row, user in enumerate(users.users) if user not in gone]
    table: Any = users.table.take(rows)
    return Users(table, Vocab(users.users.decode(rows)))


def put_over(users: Users | None, put: Iterable[tuple[str, Mapping[str, Any]]]) -> tuple[Users | None, int]:
    """Return profiles with the fields that were put since, as requests of these users are answered with.

    Args:
        users: of the bundle; None: it has no profiles, and gets none, for nothing in it would read them.
        put: users, each once, and their fields; those that the bundle has no column for are left out.

    Returns:
        The profiles, users who are new last; and of how many users a value does not fit its column: it stays as it was.
    """
    if users is None:
        return None, 0
    columns = users.columns[1:]
    given = {user: {name: fields[name] for name in columns if name in fields} for user, fields in put}
    given = {user: fields for user, fields in given.items() if fields}
    if not given:
        return users, 0
    import pyarrow as pa

    ids, schema = list(given), users.table.schema
    before, unfit = users.profiles(ids), set[str]()
    arrays = [pa.array(ids, type=schema.field(0).type)]
    for name in columns:
        kind = schema.field(name).type
        for row, user in enumerate(ids):
            if name not in given[user]:
                continue
            if _fits(given[user][name], kind):
                before[name][row] = given[user][name]
            else:
                unfit.add(user)
        arrays.append(pa.array(before[name], type=kind))
    return _joined(users, ids, pa.table(arrays, names=users.columns)), len(unfit)


def _fits(value: Any, kind: Any) -> bool:
    import pyarrow as pa

    try:
        pa.array([value], type=kind)
    except (ValueError, TypeError, OverflowError):  # Arrow's own errors are among these
        return False
    return True


def _joined(users: Users, ids: Sequence[str], rows: Any) -> Users:
    """Rows in the places of the users who are there, the others behind them."""
    import pyarrow as pa

    known, n = users.users.get(ids), len(users)
    order = np.arange(n)
    order[known[known >= 0]] = n + np.flatnonzero(known >= 0)
    new = np.flatnonzero(known < 0)
    whole = pa.concat_tables([users.table, rows.cast(users.table.schema)])
    table = whole.take(np.concatenate([order, n + new])).combine_chunks()
    return Users(table, Vocab([*users.users, *(ids[place] for place in new.tolist())]))
