"""Metrics of what a list is made of, one value a user: how varied it is, and whether it reflects the user's taste.

A `ListMetric` takes Int32[n, m] lists of catalog rows (-1 pads), the queries they answer and a cut-off, and returns
Float64[n]. A user's value is the same in every batch. Hand them to `evaluate(extra=...)` by printed name.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from llmrec.data import Catalog
from llmrec.errors import ConfigError, DataError
from llmrec.evaluate.metrics import Float64Array, first_occurrences
from llmrec.types import BoolArray, Csr, Float32Array, Int32Array, Int64Array, Queries, select_rows

__all__ = ["FieldDiversity", "ListMetric", "Miscalibration", "VectorDiversity", "categories_of"]

ListMetric = Callable[[Int32Array, Queries, int], Float64Array]

# Float64 cells held at once: 16 MB.
_CELLS = 2**21
_SEPARATORS = ("|", ";", ",")


@dataclass(frozen=True, slots=True, eq=False)
class VectorDiversity:
    """Intra-list diversity over item vectors: the mean cosine distance of two items of a list.

    Source: Ziegler et al., Improving recommendation lists through topic diversification, WWW 2005, whose
    intra-list similarity is summed over pairs; here averaged, and a distance, so that more is more diverse.

    Attributes:
        vectors: Float32[n_items, dim], finite; of any length, none of them zero.

    Raises:
        DataError: the vectors are none of that.
    """

    vectors: Float32Array

    def __post_init__(self) -> None:
        if self.vectors.ndim != 2 or not np.isfinite(self.vectors).all():
            raise DataError(f"diversity needs finite vectors [n_items, dim], got an array of {self.vectors.shape}")
        if (zero := ~self.vectors.any(axis=1)).any():
            raise DataError(f"item {int(np.argmax(zero))} has a vector of zeros, which has no direction")

    def __call__(self, lists: Int32Array, queries: Queries, k: int) -> Float64Array:
        """Return each list's mean distance over pairs of its first `k` items, in [0, 2].

        Args:
            lists: Int32[n, m], catalog rows, -1 pads; a repeated item counts once.
            queries: not looked at.
            k: places looked at, at least 1.

        Returns:
            Float64[n]; 0.0 where a list has fewer than two items.

        Raises:
            ConfigError: `k` is below 1.
            DataError: an item has no vector.
        """
        return _mean_distance(lists, k, len(self.vectors), self.vectors.shape[1], self._distances)

    def _distances(self, items: Int32Array) -> Float64Array:
        found = self.vectors[items].astype(np.float64)
        found /= np.linalg.norm(found, axis=2, keepdims=True)
        return np.asarray(np.clip(1.0 - found @ found.transpose(0, 2, 1), 0.0, 2.0))


@dataclass(frozen=True, slots=True, eq=False)
class FieldDiversity:
    """Intra-list diversity over a field: the mean Jaccard distance of the categories of two items of a list.

    Source: as in `VectorDiversity`, over taxonomic categories as there; the distance of sets A and B is
    `1 - |A and B| / |A or B|`, and 0 where both are empty.

    Attributes:
        categories: n_items rows of category numbers, see `categories_of`.
    """

    categories: Csr

    def __call__(self, lists: Int32Array, queries: Queries, k: int) -> Float64Array:
        """Return each list's mean distance, in [0, 1]; arguments and errors as in `VectorDiversity`."""
        width = _n_categories(self.categories)
        return _mean_distance(lists, k, len(self.categories), width, self._distances)

    def _distances(self, items: Int32Array) -> Float64Array:
        marks = _marks(self.categories, items.ravel()).reshape(*items.shape, -1).astype(np.float64)
        sizes = marks.sum(axis=2)
        both = marks @ marks.transpose(0, 2, 1)
        either = sizes[:, :, None] + sizes[:, None, :] - both
        return np.where(either > 0, 1.0 - both / np.maximum(either, 1.0), 0.0)


@dataclass(frozen=True, slots=True, eq=False)
class Miscalibration:
    """How far a list's categories are from those of the user's history, in bits; 0 is perfectly calibrated.

    Source: Steck, Calibrated recommendations, RecSys 2018: the Kullback-Leibler divergence of the list's
    distribution q, smoothed to 0.99 q + 0.01 p, from the history's p. Every interaction and every place counts the
    same, and an item's weight is shared by its categories; items without any are left out.

    Attributes:
        categories: n_items rows of category numbers, see `categories_of`.
        smoothing: share of p mixed into q, so that a category that is missing has a finite cost; inside (0, 1).

    Raises:
        ConfigError: `smoothing` is out of range.
    """

    categories: Csr
    smoothing: float = 0.01

    def __post_init__(self) -> None:
        if not 0.0 < self.smoothing < 1.0:
            raise ConfigError(f"smoothing must be inside (0, 1), got {self.smoothing}")

    def __call__(self, lists: Int32Array, queries: Queries, k: int) -> Float64Array:
        """Return each list's divergence from its history.

        Args:
            lists: Int32[n, m], catalog rows, -1 pads; a repeated item counts once.
            queries: n queries; their histories are the taste.
            k: places looked at, at least 1.

        Returns:
            Float64[n], at least 0; 0.0 where no item of the history has a category; log2(1 / smoothing) where only
            the list has none.

        Raises:
            ConfigError: `k` is below 1.
            DataError: an item is not a row of the catalog.
        """
        top, real = _top(lists, k, len(self.categories))
        listed = Csr(np.concatenate([np.zeros(1, np.int64), np.cumsum(real.sum(axis=1))]), top[real])
        width = _n_categories(self.categories)
        values = np.empty(len(lists))
        step = max(1, _CELLS // max(1, width))
        for start in range(0, len(lists), step):
            rows = np.arange(start, min(start + step, len(lists)), dtype=np.int64)
            p = self._distribution(queries.histories.take(rows), width)
            q = self._distribution(listed.take(rows), width)
            values[rows] = self._divergence(p, q)
        return values

    def _distribution(self, rows: Csr, width: int) -> Float64Array:
        """Float64[n, width], each row summing to 1, or 0 where no item has a category."""
        owners = np.repeat(np.arange(len(rows)), np.diff(rows.offsets))
        offsets, picked = select_rows(self.categories.offsets, rows.values.astype(np.int64))
        sizes = np.diff(offsets)
        cells = np.repeat(owners, sizes) * width + self.categories.values[picked]
        shares = np.repeat(1.0 / np.maximum(sizes, 1), sizes)
        mass = np.bincount(cells, weights=shares, minlength=len(rows) * width).reshape(len(rows), width)
        totals = np.bincount(owners[sizes > 0], minlength=len(rows))[:, None]
        return np.asarray(mass / np.maximum(totals, 1))

    def _divergence(self, p: Float64Array, q: Float64Array) -> Float64Array:
        mixed = (1.0 - self.smoothing) * q + self.smoothing * p
        ratio = np.divide(p, mixed, out=np.ones_like(p), where=p > 0)
        if p.shape[1] == 0:
            return np.zeros(len(p))
        # Left to right, as in the other metrics; rounding must not make a perfect list better than perfect.
        return np.asarray(np.maximum(np.cumsum(p * np.log2(ratio), axis=1)[:, -1], 0.0))


def categories_of(catalog: Catalog, field: str, separator: str | None = None) -> Csr:
    """Read the categories of every item from a field of the catalog.

    Args:
        catalog: all items.
        field: a column. A list column has its values as categories; any other is read as text.
        separator: what stands between categories in a text, such as " "; None: the first of "|", ";" and "," that
            occurs in the column, and if none does, the whole text is one category.

    Returns:
        n_items rows of category numbers, each at most once; none where the field is null or empty.

    Raises:
        ConfigError: there is no such field, or the separator is empty.
    """
    if field not in catalog.columns[1:]:
        raise ConfigError(f"the catalog has no field {field!r}; it has: {', '.join(catalog.columns[1:])}")
    if separator == "":
        raise ConfigError("the separator of categories must not be empty; leave it out where there is none")
    values = catalog.table.column(field).to_pylist()
    if separator is None:
        texts = [value for value in values if isinstance(value, str)]
        separator = next((mark for mark in _SEPARATORS if any(mark in text for text in texts)), None)
    numbers: dict[str, int] = {}
    return Csr.from_lists([[numbers.setdefault(c, len(numbers)) for c in _split(v, separator)] for v in values])


def _split(value: Any, separator: str | None) -> Sequence[str]:
    """Return the distinct categories in one value, in order."""
    if isinstance(value, list):
        parts = [str(part) for part in value if part is not None]
    elif value is None:
        parts = []
    else:
        parts = [str(value)] if separator is None else str(value).split(separator)
    return list(dict.fromkeys(stripped for part in parts if (stripped := part.strip())))


def _n_categories(categories: Csr) -> int:
    return int(categories.values.max(initial=-1)) + 1


def _top(lists: Int32Array, k: int, n_items: int) -> tuple[Int32Array, BoolArray]:
    """Return the first `k` places, and which of them hold an item for the first time."""
    if k < 1:
        raise ConfigError(f"k is the length of the list a metric looks at, so at least 1; got {k}")
    top = lists[:, :k]
    if top.max(initial=-1) >= n_items:
        raise DataError(f"item {int(top.max())} is not a row of a catalog of {n_items} items")
    return top, first_occurrences(top)


def _mean_distance(
    lists: Int32Array, k: int, n_items: int, width: int, distances: Callable[[Int32Array], Float64Array]
) -> Float64Array:
    """Mean of `distances` over pairs of a list's items; block by block, each list for itself."""
    top, real = _top(lists, k, n_items)
    left, right = np.triu_indices(top.shape[1], 1)
    values = np.zeros(len(top))
    if not len(left):
        return values
    step = max(1, _CELLS // max(1, top.shape[1] * max(width, top.shape[1])))
    for start in range(0, len(top), step):
        block, held = np.maximum(top[start : start + step], 0), real[start : start + step]
        pairs = held[:, left] & held[:, right]
        found = np.where(pairs, distances(block)[:, left, right], 0.0)
        values[start : start + step] = np.cumsum(found, axis=1)[:, -1] / np.maximum(pairs.sum(axis=1), 1)
    return values


def _marks(categories: Csr, items: Int32Array) -> BoolArray:
    """Bool[len(items), n_categories]: which categories each item has."""
    rows: Int64Array = items.astype(np.int64)
    offsets, picked = select_rows(categories.offsets, rows)
    marks = np.zeros((len(rows), _n_categories(categories)), dtype=np.bool_)
    marks[np.repeat(np.arange(len(rows)), np.diff(offsets)), categories.values[picked]] = True
    return marks
