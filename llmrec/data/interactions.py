"""The interaction log: who took what, oldest first, as one CSR by user."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from llmrec.data._arrow import (
    as_table,
    bytes_to_table,
    column_of,
    lookup,
    read_ids,
    table_to_bytes,
    vocab_of,
)
from llmrec.data._times import Times, read_times
from llmrec.data.catalog import Catalog
from llmrec.data.tables import read_table
from llmrec.data.vocab import Vocab
from llmrec.errors import DataError, UnknownIdError
from llmrec.types import Csr, Float32Array, Int32Array, Int64Array, Queries, State, check_offsets, select_rows

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

__all__ = ["InteractionColumns", "Interactions", "Repeats", "usual_columns"]

Repeats = Literal["fold", "keep"]

_TIME_NAMES = ("timestamp", "time", "t")


@dataclass(frozen=True, slots=True)
class InteractionColumns:
    """Which columns of a table hold what.

    Attributes:
        user: user ids.
        item: item ids.
        time: when; None if the rows are already in order, oldest first.
        weight: how much each interaction counts; None if all count the same.
    """

    user: str = "user_id"
    item: str = "item_id"
    time: str | None = "timestamp"
    weight: str | None = None


def usual_columns(names: Sequence[str]) -> InteractionColumns:
    """Find the usual columns of a log.

    Args:
        names: the columns there are.

    Returns:
        "user_id" and "item_id"; for the time "timestamp", "time" or "t", the first that is there, or None: rows
        are in order; for the weight "weight" if it is there.
    """
    time = next((name for name in _TIME_NAMES if name in names), None)
    return InteractionColumns(time=time, weight="weight" if "weight" in names else None)


@dataclass(frozen=True, eq=False, repr=False)
class Interactions:
    """All interactions, grouped by user, oldest first; equal times keep the order of the file.

    Attributes:
        catalog_size: number of catalog rows at loading time.
        users: user ids in row order (first appearance in the source).
        offsets: Int64[n_users + 1]; user u owns `items[offsets[u]:offsets[u + 1]]`.
        items: Int32[nnz], catalog rows.
        times: Int64[nnz], seconds (or whatever whole number the source counts in), or None.
        weights: Float32[nnz], finite, or None.
        repeats: "fold": a user has an item at most once; "keep": repeats stay.
    """

    catalog_size: int
    users: Vocab
    offsets: Int64Array
    items: Int32Array
    times: Int64Array | None
    weights: Float32Array | None
    repeats: Repeats

    def __post_init__(self) -> None:
        check_offsets(self.offsets, len(self.items))
        if len(self.offsets) != len(self.users) + 1:
            raise ValueError(f"{len(self.users)} users need {len(self.users) + 1} offsets, got {len(self.offsets)}")
        for name, per in (("times", self.times), ("weights", self.weights)):
            if per is not None and len(per) != len(self.items):
                raise ValueError(f"{name} must align with items: {len(per)} != {len(self.items)}")

    @classmethod
    def from_table(
        cls,
        table: Any,
        catalog: Catalog,
        columns: InteractionColumns | None = None,
        repeats: Repeats = "fold",
    ) -> Interactions:
        """Build from a table with one row an interaction.

        Args:
            table: as for `Catalog.from_table`.
            catalog: knows every item.
            columns: which columns hold what; others are ignored. None: the usual ones, see `usual_columns`; without
                a time column among them, rows must be in order, oldest first.
            repeats: "fold" keeps the oldest of repeated (user, item) pairs, "keep" keeps all.

        Raises:
            UnknownIdError: items that are not in the catalog; how many, and some of them.
            DataError: a missing column, or a missing or malformed value; names its row.
        """
        return cls._build(as_table(table, "interactions"), catalog, columns, repeats, "interactions")

    @classmethod
    def from_file(
        cls,
        path: str | Path,
        catalog: Catalog,
        columns: InteractionColumns | None = None,
        repeats: Repeats = "fold",
    ) -> Interactions:
        """Build from a .csv, .tsv or .parquet file; see `from_table` and `read_table`."""
        named = columns or InteractionColumns()
        table = read_table(path, ids=(named.user, named.item))
        return cls._build(table, catalog, columns, repeats, f"interactions {path}")

    @classmethod
    def _build(
        cls, table: Any, catalog: Catalog, columns: InteractionColumns | None, repeats: Repeats, what: str
    ) -> Interactions:
        columns = columns or usual_columns(table.column_names)
        users, user_rows = vocab_of(read_ids(table, columns.user, what))
        items = _item_rows(read_ids(table, columns.item, what), catalog, what)
        times = _times(table, columns, what)
        order = _order(user_rows, times)
        if repeats == "fold":
            order = _first_of_pairs(order, user_rows, items, len(catalog))
        counts = np.bincount(user_rows[order], minlength=len(users))
        return cls(
            catalog_size=len(catalog),
            users=users,
            offsets=np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)]),
            items=items[order],
            times=None if times is None else times.seconds[order],
            weights=None if columns.weight is None else _weights(table, columns.weight, what)[order],
            repeats=repeats,
        )

    def __len__(self) -> int:
        """The number of interactions."""
        return len(self.items)

    def __repr__(self) -> str:
        return f"Interactions({len(self):,} interactions, {self.n_users:,} users, {self.catalog_size:,} items)"

    @property
    def n_users(self) -> int:
        """The number of users, those without any interaction included."""
        return len(self.users)

    @property
    def histories(self) -> Csr:
        """Every user's catalog rows, oldest first."""
        return Csr(self.offsets, self.items)

    def matrix(self) -> csr_matrix:
        """Return the user-item matrix, float32 [n_users, catalog_size]: weights, or 1.0; repeats add up."""
        from scipy.sparse import csr_matrix

        values = np.ones(len(self), dtype=np.float32) if self.weights is None else self.weights.copy()
        matrix = csr_matrix((values, self.items.copy(), self.offsets.copy()), shape=(self.n_users, self.catalog_size))
        matrix.sum_duplicates()
        return matrix

    def queries(self, user_rows: Int64Array | None = None) -> Queries:
        """Return the histories of the given users (all by default) as queries, with times and weights."""
        rows = np.arange(self.n_users, dtype=np.int64) if user_rows is None else np.asarray(user_rows, dtype=np.int64)
        offsets, picked = select_rows(self.offsets, rows)
        return Queries(
            offsets=offsets,
            items=self.items[picked],
            times=None if self.times is None else self.times[picked],
            weights=None if self.weights is None else self.weights[picked],
        )

    @cached_property
    def fingerprint(self) -> str:
        """Sha256 (hex) over users, items, order, times and weights."""
        digest = hashlib.sha256(f"{self.catalog_size} {self.repeats}".encode())
        digest.update(json.dumps(self.users.ids).encode())
        for array in (self.offsets, self.items, self.times, self.weights):
            digest.update(b"-" if array is None else np.ascontiguousarray(array).data)
        return digest.hexdigest()

    def state(self) -> State:
        """Everything needed to come back."""
        arrays: dict[str, Any] = {
            "users": table_to_bytes(pa.table({"user_id": pa.array(self.users.ids, pa.string())})),
            "offsets": self.offsets,
            "items": self.items,
        }
        if self.times is not None:
            arrays["times"] = self.times
        if self.weights is not None:
            arrays["weights"] = self.weights
        return State(config={"catalog_size": self.catalog_size, "repeats": self.repeats}, arrays=arrays)

    @classmethod
    def from_state(cls, state: State) -> Interactions:
        """Rebuild what `state` returned.

        Raises:
            DataError: the state is damaged.
        """
        arrays = state.arrays
        users = bytes_to_table(arrays["users"]).column("user_id").to_pylist()
        try:
            return cls(
                catalog_size=int(state.config["catalog_size"]),
                users=Vocab(tuple(users)),
                offsets=np.asarray(arrays["offsets"], dtype=np.int64),
                items=np.asarray(arrays["items"], dtype=np.int32),
                times=np.asarray(arrays["times"], dtype=np.int64) if "times" in arrays else None,
                weights=np.asarray(arrays["weights"], dtype=np.float32) if "weights" in arrays else None,
                repeats=state.config["repeats"],
            )
        except ValueError as error:
            raise DataError(f"the stored interactions are damaged: {error}") from error


def _item_rows(ids: Any, catalog: Catalog, what: str) -> Int32Array:
    rows = lookup(catalog.items, ids)
    unknown = np.flatnonzero(rows < 0)
    if len(unknown):
        some = list(dict.fromkeys(ids.take(pa.array(unknown[:1000])).to_pylist()))
        near = catalog.items.unknown_error(some)
        raise UnknownIdError(
            f"{len(unknown)} of {len(rows)} {what} are of items outside the catalog, "
            f"first in row {unknown[0] + 1}: "
            f"{near} Add the items to the catalog, or drop the rows."
        )
    return rows


def _times(table: Any, columns: InteractionColumns, what: str) -> Times | None:
    if columns.time is None:
        return None
    hint = "Name the time column in InteractionColumns(time=...), or give time=None if the rows are in order."
    column = column_of(table, columns.time, what, hint)
    return read_times(column, f"column {columns.time!r} of the {what}")


def _weights(table: Any, name: str, what: str) -> Float32Array:
    column = column_of(table, name, what)
    if not (pa.types.is_integer(column.type) or pa.types.is_floating(column.type)):
        raise DataError(f"column {name!r} of the {what} is of type {column.type}; weights must be numbers.")
    weights: Float32Array = np.asarray(pc.fill_null(column.cast(pa.float64()), np.nan).to_numpy(), dtype=np.float32)
    bad = np.flatnonzero(~np.isfinite(weights))
    if len(bad):
        raise DataError(
            f"column {name!r} of the {what} has {len(bad)} weights that are not finite, first in row {bad[0] + 1}."
        )
    return weights


def _order(user_rows: Int32Array, times: Times | None) -> Int64Array:
    """Return the rows of the source by user, then time, then place in the source, Int64[n]."""
    by_time = np.arange(len(user_rows), dtype=np.int64)
    if times is not None:
        by_time = np.argsort(times.exact, kind="stable")
    order: Int64Array = by_time[np.argsort(user_rows[by_time], kind="stable")]
    return order


def _first_of_pairs(order: Int64Array, user_rows: Int32Array, items: Int32Array, n_items: int) -> Int64Array:
    """Keep the first of each (user, item) pair of an ordering."""
    pairs = user_rows[order].astype(np.int64) * n_items + items[order]
    _, first = np.unique(pairs, return_index=True)
    if len(first) == len(order):
        return order
    kept: Int64Array = order[np.sort(first)]
    return kept
