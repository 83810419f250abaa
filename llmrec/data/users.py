"""What is known about users besides their interactions."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from llmrec.data._arrow import (
    as_table,
    bytes_to_table,
    read_ids,
    rename_columns,
    row_numbers,
    stored_ids,
    table_to_bytes,
    vocab_of,
)
from llmrec.data._clean_table import TableShape, clean_table
from llmrec.data._tally import Tally
from llmrec.data.requests import check_list
from llmrec.data.sources import open_source
from llmrec.data.vocab import Vocab
from llmrec.errors import DataError
from llmrec.types import State

__all__ = ["Users"]

_ID = "user_id"


@dataclass(frozen=True, eq=False, repr=False)
class Users:
    """User profiles. Made by `from_table` or `from_file`.

    Attributes:
        table: pa.Table, column "user_id" (string) first, then the profile fields, one row a user.
        users: the user ids, in row order; unrelated to the rows of an interaction log.
    """

    table: Any
    users: Vocab

    @classmethod
    def from_table(cls, table: Any, id_column: str = _ID, rename: Mapping[str, str] | None = None) -> Users:
        """Build from a table with one row a user; arguments and errors as for `Catalog.from_table`."""
        return cls._build(as_table(table, "users"), id_column, rename, "users")

    @classmethod
    def from_file(cls, path: str | Path, id_column: str = _ID, rename: Mapping[str, str] | None = None) -> Users:
        """Build from a file; repairs, arguments and errors as for `Catalog.from_file`."""
        source = open_source(path, "users")
        tally = Tally("users", source.name, source.unit)
        table = clean_table(source, TableShape(id_column, _ID, rename or {}), tally)
        tally.check()
        return cls._build(table, _ID, None, source.what)

    @classmethod
    def _build(cls, table: Any, id_name: str, rename: Mapping[str, str] | None, what: str) -> Users:
        ids = read_ids(table, id_name, what)
        users, rows = vocab_of(ids)
        if len(users) < len(rows):
            twice = users.decode(np.flatnonzero(np.bincount(rows) > 1))
            raise DataError(f"the {what} have {len(twice)} ids in more than one row, among them {twice[:5]}.")
        fields = rename_columns(table.drop_columns([id_name]), rename, what)
        if _ID in fields.column_names:
            raise DataError(f"the {what} have both {id_name!r} as id and a field {_ID!r}; rename the field.")
        return cls(fields.add_column(0, _ID, ids), users)

    def __len__(self) -> int:
        return len(self.users)

    def __repr__(self) -> str:
        return f"Users({len(self):,} users, columns: {', '.join(self.columns)})"

    @property
    def columns(self) -> list[str]:
        """The names of all columns, "user_id" first."""
        return list(self.table.column_names)

    def profiles(self, user_ids: Sequence[str]) -> dict[str, list[Any]]:
        """Return every profile field of the given users, as `Queries.profiles` wants it.

        Args:
            user_ids: n ids; unknown ones are fine.

        Returns:
            A list of n Python values per field ("user_id" is none); None for null and for unknown users.

        Raises:
            DataError: one string was given for a list.
        """
        check_list(user_ids, "user_ids")
        rows = self.users.get(user_ids)
        taken = self.table.take(row_numbers(rows))
        return {name: taken.column(name).to_pylist() for name in self.columns[1:]}

    def state(self) -> State:
        """Everything needed to come back: the table as an Arrow IPC stream."""
        return State(arrays={"table": table_to_bytes(self.table)})

    @classmethod
    def from_state(cls, state: State) -> Users:
        """Rebuild what `state` returned.

        Raises:
            DataError: the state is damaged.
        """
        table = bytes_to_table(state.arrays["table"])
        return cls(table, Vocab(stored_ids(table, _ID, "users")))

    @cached_property
    def fingerprint(self) -> str:
        """Sha256 (hex) over ids and fields in row order; the same from whatever source they came."""
        digest = hashlib.sha256()
        for name in self.columns:
            values = self.table.column(name).to_pylist()
            digest.update(json.dumps([name, values], default=str, sort_keys=True).encode())
        return digest.hexdigest()
