"""Lists that another recommender made, read from a file, so that they can be judged by the same rules."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from llmrec.data import Catalog, Vocab, read_table
from llmrec.errors import DataError, UnknownIdError
from llmrec.evaluate.metrics import find_members
from llmrec.types import BoolArray, Int32Array, Int64Array

if TYPE_CHECKING:
    from llmrec.data import Holdout

__all__ = ["read_lists", "repeats_history"]

_COLUMNS = ("user_id", "rank", "item_id")


def read_lists(path: Path, catalog: Catalog, users: Vocab, holdout: Holdout) -> Int32Array:
    """Read the lists of the users of a holdout, as `llmrec recommend --out` writes them.

    Args:
        path: .parquet, .csv or .tsv with columns user_id, rank (1, 2, ... within each user) and item_id; others are
            not looked at.
        catalog: knows the items' ids.
        users: ids of the log's users.
        holdout: n cases.

    Returns:
        Int32[n, longest list], catalog rows, -1 pads; a user who has no list in the file has pads only. Lists of
        users who are not evaluated are left out.

    Raises:
        DataError: the file is not as it must be: a column is missing, a user's ranks are not 1, 2, ..., an item
            stands twice in a list, or no user of the holdout has a list.
        UnknownIdError: a user or an item is unknown.
    """
    table = read_table(path)
    if missing := [name for name in _COLUMNS if name not in table.column_names]:
        raise DataError(
            f"{path} has no column {', '.join(missing)}; lists need {', '.join(_COLUMNS)}, "
            f"this file has {', '.join(table.column_names)}"
        )
    if table.num_rows == 0:
        raise DataError(f"{path} holds no list: there is no row below its column names")
    owners, items = _rows(table, "user_id", users, path), _rows(table, "item_id", catalog.items, path)
    ranks = _ranks(table.column("rank"), path)
    order = np.lexsort((ranks, owners))
    owners, items, ranks = owners[order], items[order], ranks[order]
    _check_order(owners, items, ranks, users, path)
    case = np.full(len(users), -1, dtype=np.int64)
    case[holdout.user_rows] = np.arange(len(holdout))
    wanted = case[owners] >= 0
    if not wanted.any():
        raise DataError(f"{path} has no list for any of the {len(holdout)} users that are evaluated")
    lists = np.full((len(holdout), int(ranks[wanted].max())), -1, dtype=np.int32)
    lists[case[owners[wanted]], ranks[wanted] - 1] = items[wanted]
    return lists


def repeats_history(lists: Int32Array, holdout: Holdout) -> bool:
    """Say whether any list holds an item of its own history, so that `seen_excluded` would be untrue of it."""
    return bool(find_members(lists, holdout.queries.histories).any())


def _rows(table: Any, name: str, vocab: Vocab, path: Path) -> Int32Array:
    """Return the row of each id of a column; whole numbers are read as text, as everywhere."""
    import pyarrow as pa

    column = table.column(name)
    if column.null_count or not (pa.types.is_string(column.type) or pa.types.is_integer(column.type)):
        raise DataError(f"column {name} of {path} must hold an id in every row, as text or whole numbers")
    encoded = column.cast(pa.string()).combine_chunks().dictionary_encode()
    if isinstance(encoded, pa.ChunkedArray):
        encoded = encoded.unify_dictionaries().combine_chunks()
    try:
        known = vocab.rows(encoded.dictionary.to_pylist())
    except UnknownIdError as error:
        raise UnknownIdError(f"column {name} of {path}: {error}") from error
    rows: Int32Array = known[encoded.indices.to_numpy(zero_copy_only=False)]
    return rows


def _ranks(column: Any, path: Path) -> Int64Array:
    import pyarrow as pa

    if column.null_count or not pa.types.is_integer(column.type):
        raise DataError(f"column rank of {path} must hold a whole number in every row: 1 for the best item")
    return np.asarray(column.to_numpy(), dtype=np.int64)


def _check_order(owners: Int32Array, items: Int32Array, ranks: Int64Array, users: Vocab, path: Path) -> None:
    """Check sorted rows: ranks 1, 2, ... (a file of hits alone would look too good), no item twice."""
    starts = np.flatnonzero(np.diff(owners, prepend=-1))
    expected = np.arange(len(owners)) - np.repeat(starts, np.diff(np.append(starts, len(owners)))) + 1
    _complain(ranks != expected, owners, users, f"has ranks other than 1, 2, ... in {path}; write whole lists")
    by_item = np.lexsort((items, owners))
    twice = np.zeros(len(owners), dtype=np.bool_)
    twice[1:] = (np.diff(owners[by_item]) == 0) & (np.diff(items[by_item]) == 0)
    _complain(twice, owners[by_item], users, f"has an item twice in {path}; write each item of a list once")


def _complain(wrong: BoolArray, owners: Int32Array, users: Vocab, problem: str) -> None:
    if wrong.any():
        count = len(np.unique(owners[wrong]))
        raise DataError(f"user {users[int(owners[np.argmax(wrong)])]!r} {problem} ({count} such users)")
