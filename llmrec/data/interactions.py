"""The interaction log: who took what, oldest first, as one CSR by user."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from llmrec.data._arrow import (
    as_table,
    bytes_to_table,
    column_of,
    lookup,
    missing_column,
    read_ids,
    table_to_bytes,
    vocab_of,
)
from llmrec.data._assemble import LogOrder, LogRows, order_rows
from llmrec.data._clean_log import MOST_KINDS, CleanLog, LogShape, clean_log
from llmrec.data._tally import Tally
from llmrec.data._times import Times, read_times
from llmrec.data.catalog import Catalog
from llmrec.data.columns import InteractionColumns, usual_columns
from llmrec.data.sources import open_source
from llmrec.data.vocab import Vocab
from llmrec.errors import DataError, UnknownIdError
from llmrec.types import Csr, Float32Array, Int32Array, Int64Array, Queries, State, check_offsets, select_rows

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

__all__ = ["Interactions", "Repeats", "items_hash"]

Repeats = Literal["fold", "keep"]
Int8Array = NDArray[np.int8]
ALIGNED = ("times", "weights", "kinds", "ratings")
"""Attributes that, where they are not None, hold one value an interaction."""

_HINT = "Name the time column in InteractionColumns(time=...), or give time=None if the rows are in order."


def items_hash(ids: Sequence[str]) -> str:
    """Return the sha256 (hex) of a catalog's ids in row order: what tells logs over different catalogs apart."""
    return hashlib.sha256(json.dumps(list(ids)).encode()).hexdigest()


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
        kinds: Int8[nnz], places in `kind_names`, or None.
        kind_names: names of the kinds; empty if there are none.
        ratings: Float32[nnz], NaN where the user did not rate, or None.
        items_hash: `items_hash` of the catalog's ids at loading time, or "" if that was not stored.
    """

    catalog_size: int
    users: Vocab
    offsets: Int64Array
    items: Int32Array
    times: Int64Array | None
    weights: Float32Array | None
    repeats: Repeats
    kinds: Int8Array | None = None
    kind_names: tuple[str, ...] = ()
    ratings: Float32Array | None = None
    items_hash: str = ""

    def __post_init__(self) -> None:
        check_offsets(self.offsets, len(self.items))
        if len(self.offsets) != len(self.users) + 1:
            raise ValueError(f"{len(self.users)} users need {len(self.users) + 1} offsets, got {len(self.offsets)}")
        for name in ALIGNED:
            per = getattr(self, name)
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
        """Build from a file, chunk by chunk; see `from_table`, and `read_table` for the kinds of files.

        Ids are repaired as `load_data` repairs them; it also reports what it found and can leave bad rows out.

        Raises:
            UnknownIdError: items that are not in the catalog.
            DataError: rows that cannot be used, by class, with the first lines of each.
        """
        source = open_source(path, "interactions")
        found = columns or usual_columns(source.columns)
        for name in found.names:
            if name not in source.columns:
                raise missing_column(source.what, name, source.columns, _HINT if name == found.time else "")
        tally = Tally("interactions", source.name, source.unit)
        clean = clean_log(source, catalog.items, LogShape(found, {}, repeats == "fold"), tally)
        tally.check(catalog.items)
        return cls.from_clean(clean, catalog, repeats)

    @classmethod
    def from_clean(cls, clean: CleanLog, catalog: Catalog, repeats: Repeats) -> Interactions:
        """Build from a cleaned log; see `load_data`."""
        return cls._ordered(clean.rows, clean.order, clean.users, clean.kind_names, catalog, repeats)

    @classmethod
    def _build(
        cls, table: Any, catalog: Catalog, columns: InteractionColumns | None, repeats: Repeats, what: str
    ) -> Interactions:
        columns = columns or usual_columns(table.column_names)
        users, user_rows = vocab_of(read_ids(table, columns.user, what))
        items = _item_rows(read_ids(table, columns.item, what), catalog, what)
        times = _times(table, columns, what)
        kinds, names = (None, ()) if columns.kind is None else _kinds(table, columns.kind, what)
        weights = None if columns.weight is None else _numbers(table, columns.weight, what, "weights")
        ratings = None if columns.rating is None else _numbers(table, columns.rating, what, "ratings")
        exact, per_second = (None, 1) if times is None else (times.exact, times.per_second)
        rows = LogRows(user_rows, items, exact, per_second, weights, kinds, ratings)
        order = order_rows(rows, repeats == "fold", without_duplicates=False)
        return cls._ordered(rows, order, users, names, catalog, repeats)

    @classmethod
    def _ordered(
        cls,
        rows: LogRows,
        order: LogOrder,
        users: Vocab,
        kind_names: tuple[str, ...],
        catalog: Catalog,
        repeats: Repeats,
    ) -> Interactions:
        kept = order.order
        counts = np.bincount(rows.users[kept], minlength=len(users))
        times = None if rows.exact is None else rows.exact[kept]
        if times is not None and rows.per_second != 1:
            times //= rows.per_second
        return cls(
            catalog_size=len(catalog),
            users=users,
            offsets=np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)]),
            items=rows.items[kept],
            times=times,
            weights=None if rows.weights is None else rows.weights[kept],
            repeats=repeats,
            kinds=None if rows.kinds is None else rows.kinds[kept],
            kind_names=kind_names,
            ratings=None if rows.ratings is None else rows.ratings[kept],
            items_hash=items_hash(catalog.items.ids),
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

    def keep(self, places: Int64Array, offsets: Int64Array) -> Interactions:
        """Return the log with some of its interactions; users and catalog size stay.

        Args:
            places: Int64[m], which interactions, grouped by user as they are here, in their new order.
            offsets: Int64[n_users + 1], over `places`.
        """
        picked = {name: per[places] for name in ALIGNED if (per := getattr(self, name)) is not None}
        return replace(self, offsets=offsets, items=self.items[places], **picked)

    def queries(self, user_rows: Int64Array | None = None) -> Queries:
        """Return the histories of the given users (all by default) as queries, with all that is known of each part."""
        rows = np.arange(self.n_users, dtype=np.int64) if user_rows is None else np.asarray(user_rows, dtype=np.int64)
        offsets, picked = select_rows(self.offsets, rows)
        return Queries(
            offsets=offsets,
            items=self.items[picked],
            kind_names=self.kind_names,
            **{name: per[picked] for name in ALIGNED if (per := getattr(self, name)) is not None},
        )

    @cached_property
    def fingerprint(self) -> str:
        """Sha256 (hex) over users, items, order, times and weights, and over kinds and ratings where there are any."""
        digest = hashlib.sha256(f"{self.catalog_size} {self.repeats}".encode())
        digest.update(json.dumps(self.users.ids).encode())
        for array in (self.offsets, self.items, self.times, self.weights):
            digest.update(b"-" if array is None else np.ascontiguousarray(array).data)
        if self.kinds is not None:
            digest.update(b"kinds" + json.dumps(self.kind_names).encode() + np.ascontiguousarray(self.kinds).data)
        if self.ratings is not None:
            digest.update(b"ratings" + np.ascontiguousarray(self.ratings).data)
        return digest.hexdigest()

    def state(self) -> State:
        """Everything needed to come back."""
        arrays: dict[str, Any] = {
            "users": table_to_bytes(pa.table({"user_id": self.users.column})),
            "offsets": self.offsets,
            "items": self.items,
        }
        arrays.update({name: per for name in ALIGNED if (per := getattr(self, name)) is not None})
        config = {
            "catalog_size": self.catalog_size,
            "repeats": self.repeats,
            "kind_names": list(self.kind_names),
            "items_hash": self.items_hash,
        }
        return State(config=config, arrays=arrays)

    @classmethod
    def from_state(cls, state: State) -> Interactions:
        """Rebuild what `state` returned.

        Raises:
            DataError: the state is damaged.
        """
        arrays = state.arrays
        users = bytes_to_table(arrays["users"]).column("user_id").combine_chunks()
        try:
            return cls(
                catalog_size=int(state.config["catalog_size"]),
                users=Vocab(users),
                offsets=np.asarray(arrays["offsets"], dtype=np.int64),
                items=np.asarray(arrays["items"], dtype=np.int32),
                times=np.asarray(arrays["times"], dtype=np.int64) if "times" in arrays else None,
                weights=np.asarray(arrays["weights"], dtype=np.float32) if "weights" in arrays else None,
                repeats=state.config["repeats"],
                kinds=np.asarray(arrays["kinds"], dtype=np.int8) if "kinds" in arrays else None,
                kind_names=tuple(state.config.get("kind_names", ())),
                ratings=np.asarray(arrays["ratings"], dtype=np.float32) if "ratings" in arrays else None,
                items_hash=state.config.get("items_hash", ""),
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
    column = column_of(table, columns.time, what, _HINT)
    return read_times(column, f"column {columns.time!r} of the {what}")


def _kinds(table: Any, name: str, what: str) -> tuple[Int8Array, tuple[str, ...]]:
    vocab, codes = vocab_of(read_ids(table, name, what))
    if len(vocab) > MOST_KINDS:
        raise DataError(
            f"column {name!r} of the {what} holds {len(vocab)} kinds, more than {MOST_KINDS}, among them "
            f"{list(vocab.ids[:5])}; it is hardly a kind of interaction. Name another column, or none."
        )
    return codes.astype(np.int8), vocab.ids


def _numbers(table: Any, name: str, what: str, role: Literal["weights", "ratings"]) -> Float32Array:
    """Read a column of numbers; a rating may be missing (NaN), a weight may not."""
    column = column_of(table, name, what)
    if not (pa.types.is_integer(column.type) or pa.types.is_floating(column.type)):
        raise DataError(f"column {name!r} of the {what} is of type {column.type}; {role} must be numbers.")
    numbers: Float32Array = np.asarray(pc.fill_null(column.cast(pa.float64()), np.nan).to_numpy(), dtype=np.float32)
    bad = np.flatnonzero(np.isinf(numbers) if role == "ratings" else ~np.isfinite(numbers))
    if len(bad):
        raise DataError(
            f"column {name!r} of the {what} has {len(bad)} {role} that are not finite, first in row {bad[0] + 1}."
        )
    return numbers
