"""The values that flow through a recommender: batches of arrays, immutable, with ids only at the edge.

Inside llmrec an item is its catalog row (int32). A batch of 50,000 queries with 200 candidates each is a
handful of arrays, never ten million Python objects.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "BoolArray",
    "Candidates",
    "Csr",
    "Float32Array",
    "Int32Array",
    "Int64Array",
    "Item",
    "Queries",
    "Ranking",
    "Recommendation",
    "State",
    "filter_rows",
    "select_rows",
]

BoolArray = NDArray[np.bool_]
Float32Array = NDArray[np.float32]
Int32Array = NDArray[np.int32]
Int64Array = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Csr:
    """Ragged rows of catalog rows: row i is ``values[offsets[i]:offsets[i + 1]]``.

    Attributes:
        offsets: Int64[n + 1], starting at 0, never decreasing.
        values: Int32[nnz], catalog rows.
    """

    offsets: Int64Array
    values: Int32Array

    def __post_init__(self) -> None:
        check_offsets(self.offsets, len(self.values))

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, row: int) -> Int32Array:
        return self.values[self.offsets[row] : self.offsets[row + 1]]

    def take(self, rows: Int64Array) -> Csr:
        """Return the given rows, in the given order."""
        offsets, picked = select_rows(self.offsets, rows)
        return Csr(offsets, self.values[picked])

    def where(self, keep: BoolArray) -> Csr:
        """Return the same rows with some of their values only, Bool[nnz]."""
        offsets, picked = filter_rows(self.offsets, keep)
        return Csr(offsets, self.values[picked])

    @classmethod
    def from_lists(cls, rows: Sequence[Sequence[int]]) -> Csr:
        """Build from one list of catalog rows per row."""
        lengths = np.fromiter((len(r) for r in rows), dtype=np.int64, count=len(rows))
        offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])
        values = np.fromiter((v for r in rows for v in r), dtype=np.int32, count=int(offsets[-1]))
        return cls(offsets, values)


def check_offsets(offsets: Int64Array, nnz: int) -> None:
    """Raise ValueError unless `offsets` is a valid CSR row pointer over `nnz` values."""
    if offsets.ndim != 1 or len(offsets) == 0 or offsets[0] != 0 or offsets[-1] != nnz:
        raise ValueError(f"offsets must run from 0 to {nnz}, got {offsets[:1]}..{offsets[-1:]}")
    if (np.diff(offsets) < 0).any():
        raise ValueError("offsets must never decrease")


def filter_rows(offsets: Int64Array, keep: BoolArray) -> tuple[Int64Array, Int64Array]:
    """Keep some values of a CSR layout.

    Args:
        offsets: Int64[n + 1].
        keep: Bool[nnz], the values to keep.

    Returns:
        The new offsets Int64[n + 1], and Int64[nnz'] positions into the old values.
    """
    counts = np.concatenate([np.zeros(1, np.int64), np.cumsum(keep)]).astype(np.int64)
    return counts[offsets], np.flatnonzero(keep).astype(np.int64)


def select_rows(offsets: Int64Array, rows: Int64Array) -> tuple[Int64Array, Int64Array]:
    """Pick rows of a CSR layout.

    Args:
        offsets: Int64[n + 1].
        rows: Int64[m], rows to keep, in order; repeats are allowed.

    Returns:
        The new offsets Int64[m + 1], and Int64[nnz'] positions into the old values.
    """
    starts, lengths = offsets[rows], offsets[rows + 1] - offsets[rows]
    out = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])
    positions = np.arange(out[-1], dtype=np.int64) - np.repeat(out[:-1] - starts, lengths)
    return out, positions


@dataclass(frozen=True, slots=True)
class Queries:
    """A batch of what is known at request time; n rows.

    Attributes:
        offsets: Int64[n + 1], CSR over the histories.
        items: Int32[nnz], catalog rows, oldest first within a history.
        times: Int64[nnz] or None; seconds since the epoch, or any order.
        weights: Float32[nnz] or None; how much each interaction counts.
        kinds: Int8[nnz] or None; kind of each interaction, a place in `kind_names`.
        kind_names: names of the kinds ("view", "buy", ...); empty if there are none.
        ratings: Float32[nnz] or None; how the user rated, NaN where not at all; shown in texts, weighs nothing.
        at: Int64[n] or None; request time, in the unit of `times`.
        profiles: structured user fields, one sequence of length n per field, or None.
        texts: free-text wishes, None where a query has none; or None.
        exclude: n rows of catalog rows that must not come back, or None.
        allow: Bool[n_items] or None; only items marked True may come back.
    """

    offsets: Int64Array
    items: Int32Array
    times: Int64Array | None = None
    weights: Float32Array | None = None
    kinds: NDArray[np.int8] | None = None
    kind_names: tuple[str, ...] = ()
    ratings: Float32Array | None = None
    at: Int64Array | None = None
    profiles: Mapping[str, Sequence[Any]] | None = None
    texts: Sequence[str | None] | None = None
    exclude: Csr | None = None
    allow: BoolArray | None = None

    def __post_init__(self) -> None:
        check_offsets(self.offsets, len(self.items))
        n = len(self.offsets) - 1
        aligned = {"times": self.times, "weights": self.weights, "kinds": self.kinds, "ratings": self.ratings}
        for name, per in aligned.items():
            if per is not None and len(per) != len(self.items):
                raise ValueError(f"{name} must align with items: {len(per)} != {len(self.items)}")
        for name, size in (("at", self.at), ("texts", self.texts), ("exclude", self.exclude)):
            if size is not None and len(size) != n:
                raise ValueError(f"{name} must have one entry per query: {len(size)} != {n}")

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def histories(self) -> Csr:
        """The histories as ragged rows, oldest first."""
        return Csr(self.offsets, self.items)

    @property
    def fingerprint(self) -> str:
        """Sha256 (hex) over everything that is asked."""
        digest = hashlib.sha256()
        for name in (one.name for one in fields(self)):
            value = getattr(self, name)
            for part in (value.offsets, value.values) if isinstance(value, Csr) else (value,):
                is_array = isinstance(part, np.ndarray)
                about = [name, str(part.dtype), part.shape] if is_array else [name, part]
                digest.update(json.dumps(about, default=_plain, sort_keys=True).encode())
                digest.update(np.ascontiguousarray(part).tobytes() if is_array else b"")
        return digest.hexdigest()

    @property
    def wishes(self) -> BoolArray:
        """Bool[n]: True where the query carries a free-text wish."""
        if self.texts is None:
            return np.zeros(len(self), dtype=np.bool_)
        return np.fromiter((bool(t) for t in self.texts), dtype=np.bool_, count=len(self))

    def without_items(self, items: BoolArray) -> Queries:
        """Return queries that know nothing of some items, Bool[n_items]: not in histories, nor among the excluded."""
        exclude = None if self.exclude is None else self.exclude.where(~items[self.exclude.values])
        return replace(self.where(~items[self.items]), exclude=exclude)

    def where(self, keep: BoolArray) -> Queries:
        """Return the same queries with some of their interactions only, Bool[nnz]; what is excluded stays so."""
        offsets, picked = filter_rows(self.offsets, keep)
        return replace(self, offsets=offsets, **self._entries(picked))

    def _entries(self, picked: Int64Array) -> dict[str, Any]:
        """Some entries of the histories, Int64[nnz'], in every array that has one value for each."""
        return {
            "items": self.items[picked],
            "times": None if self.times is None else self.times[picked],
            "weights": None if self.weights is None else self.weights[picked],
            "kinds": None if self.kinds is None else self.kinds[picked],
            "ratings": None if self.ratings is None else self.ratings[picked],
        }

    def take(self, rows: Int64Array) -> Queries:
        """Return the given queries, in the given order."""
        rows = np.asarray(rows, dtype=np.int64)
        offsets, picked = select_rows(self.offsets, rows)
        return replace(
            self,
            offsets=offsets,
            **self._entries(picked),
            at=None if self.at is None else self.at[rows],
            profiles=None if self.profiles is None else {k: [v[r] for r in rows] for k, v in self.profiles.items()},
            texts=None if self.texts is None else [self.texts[r] for r in rows],
            exclude=None if self.exclude is None else self.exclude.take(rows),
        )

    @classmethod
    def from_lists(cls, histories: Sequence[Sequence[int]], texts: Sequence[str | None] | None = None) -> Queries:
        """Build from histories given as lists of catalog rows, oldest first."""
        rows = Csr.from_lists(histories)
        return cls(offsets=rows.offsets, items=rows.values, texts=texts)


def _plain(value: Any) -> Any:
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else str(value)


@dataclass(frozen=True, slots=True)
class Candidates:
    """What flows through the cascade; columns accumulate stage by stage.

    Attributes:
        items: Int32[n, k], catalog rows, unique within a row, -1 pads on the right.
        columns: a Float32[n, k] of scores per scorer; NaN here, and only here, means "no evidence".
        source_ranks: an Int32[n, k] per retriever: 1-based rank in its list, 0 = not proposed by it.
    """

    items: Int32Array
    columns: Mapping[str, Float32Array] = field(default_factory=dict)
    source_ranks: Mapping[str, Int32Array] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for kind in (self.columns, self.source_ranks):
            for name, column in kind.items():
                if column.shape != self.items.shape:
                    raise ValueError(f"column {name!r} has shape {column.shape}, items have {self.items.shape}")

    def __len__(self) -> int:
        return len(self.items)

    def with_column(self, name: str, scores: Float32Array) -> Candidates:
        """Return the same candidates with one more score column; scores of pads become NaN."""
        column = np.where(self.items >= 0, scores, np.float32(np.nan)).astype(np.float32, copy=False)
        return replace(self, columns={**self.columns, name: column})

    def pick(self, order: Int64Array) -> Candidates:
        """Reorder or cut every row by Int64[n, m] positions along the candidate axis."""
        cells = order + np.arange(len(self.items))[:, None] * self.items.shape[1]
        return self._each(lambda array: array.ravel()[cells])

    def take(self, rows: Int64Array) -> Candidates:
        """Return the candidates of some queries, in the given order."""
        return self._each(lambda array: array[rows])

    def _each(self, change: Callable[[NDArray[Any]], NDArray[Any]]) -> Candidates:
        columns = {name: change(column) for name, column in self.columns.items()}
        return Candidates(change(self.items), columns, {name: change(r) for name, r in self.source_ranks.items()})


@dataclass(frozen=True, slots=True)
class Ranking:
    """Lists of items; column order is the ranking.

    Attributes:
        items: Int32[n, k], catalog rows, unique within a row, -1 pads on the right.
        scores: Float32[n, k], finite and never increasing along a row; 0 at pads.
        propensities: Float32[n, k] or None; the chance each item had of being shown at its place.
    """

    items: Int32Array
    scores: Float32Array
    propensities: Float32Array | None = None

    def __post_init__(self) -> None:
        if self.items.shape != self.scores.shape:
            raise ValueError(f"items {self.items.shape} and scores {self.scores.shape} must have one shape")

    def __len__(self) -> int:
        return len(self.items)


@dataclass(frozen=True, slots=True)
class Item:
    """An item as it enters: an id and its text fields.

    Attributes:
        id: the item's id.
        fields: field name to value, as the catalog's columns are named.
    """

    id: str
    fields: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Recommendation:
    """One recommended item as it leaves.

    Attributes:
        item_id: the item's id.
        rank: 1-based place in the list.
        score: the final score, higher is better; comparable within one list only.
        propensity: the chance it had of being shown at its place; None where no policy explores.
    """

    item_id: str
    rank: int
    score: float
    propensity: float | None = None


@dataclass(frozen=True, slots=True)
class State:
    """What a component needs to come back: JSON, arrays and files, no pickle.

    Attributes:
        config: values that survive a JSON round trip.
        arrays: saved as safetensors.
        files: relative name to a file on disk (model weights, tokenizers), copied byte for byte.
    """

    config: Mapping[str, Any] = field(default_factory=dict)
    arrays: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    files: Mapping[str, Path] = field(default_factory=dict)
