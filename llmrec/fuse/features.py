"""What a learned fusion looks at: every candidate of a query as a row of numbers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from llmrec.data import Interactions
from llmrec.fuse.base import column_ranks
from llmrec.retrieve.base import blocks
from llmrec.retrieve.era import EraConfig, places_in_time
from llmrec.types import BoolArray, Candidates, Float32Array, Int32Array, Int64Array, Queries

__all__ = ["Features"]

DAY = 86_400
"""Seconds."""
LATE = 3
"""So many of the newest interactions of a user are late ones."""
BELIEF = 10.0
"""Interactions that an item needs until half of what they say of how late it is taken is believed."""


@dataclass(frozen=True, slots=True, eq=False)
class Features:
    """Turns candidates into rows of numbers that do not depend on places, on other queries, or on pads.

    Of every score column: the score, its distance to the query's best, its place between the query's worst (0) and
    best (1), and its rank; the same of what weighted RRF makes of them. Of the lists: how many retrievers proposed the
    item. Of the item: how often it was taken, lately taken, and since when it is known; and from the order of histories
    alone, how late in them it is taken, and its place in time. Of the history: how long it is, and how popular its
    items are. NaN where there is nothing to say.

    Attributes:
        columns: the score columns, in order.
        sources: the retrievers whose ranks are counted.
        popularity: Float32[n_items], log(1 + interactions in training).
        recent: Float32[n_items], the same with every interaction halved in weight by each tenth of the log's time span
            that lies after it; or None without times.
        since: Float32[n_items], time of the item's first interaction in training, NaN without any; or None.
        late: Float32[n_items], logarithm of how much oftener than others the item is among a user's newest three; NaN
            without interactions; None in bundles from before there was this.
        era: Float32[n_items], its place in time, see `fit_era`; likewise.
    """

    columns: tuple[str, ...]
    sources: tuple[str, ...]
    popularity: Float32Array
    recent: Float32Array | None = None
    since: NDArray[np.float64] | None = None
    late: Float32Array | None = None
    era: Float32Array | None = None

    @classmethod
    def of(cls, candidates: Candidates, train: Interactions) -> Self:
        """Look at these columns, and at what items are in these interactions."""
        n = train.catalog_size
        popularity = np.log1p(np.bincount(train.items, minlength=n)).astype(np.float32)
        names = tuple(candidates.columns), tuple(candidates.source_ranks)
        order = _late(train), places_in_time(train, EraConfig().shrinkage)
        if train.times is None or len(train) == 0:
            return cls(*names, popularity, None, None, *order)
        since = np.full(n, np.inf)
        np.minimum.at(since, train.items, train.times.astype(np.float64))
        newest, span = int(train.times.max()), max(1, int(np.ptp(train.times)))
        faded = np.bincount(train.items, np.exp2((train.times - newest) / (span / 10)), minlength=n)
        since[np.isinf(since)] = np.nan
        return cls(*names, popularity, np.log1p(faded).astype(np.float32), since, *order)

    @property
    def names(self) -> tuple[str, ...]:
        """What each number is, in order; "column:kind" for those of a score column."""
        kinds = ("score", "gap", "share", "rank")
        own = [f"{column}:{kind}" for column in (*self.columns, "weighted RRF") for kind in kinds]
        timed = [] if self.since is None else ["item recent popularity", "item age"]
        timed += [] if self.late is None else ["item lateness", "item era"]
        of_query = ["history length", "history popularity", "last item popularity"]
        return (*own, "sources", "item popularity", *timed, *of_query)

    def matrices(
        self, queries: Queries, candidates: Candidates, fused: Float32Array, wanted: BoolArray
    ) -> Iterator[tuple[Int64Array, Float32Array]]:
        """Describe some of the candidates, as they stand among all of them, in bounded memory.

        Args:
            queries: n queries.
            candidates: their candidates, [n, k].
            fused: Float32[n, k], what weighted RRF makes of them.
            wanted: Bool[n, k], which ones; no pads.

        Yields:
            Row numbers of some queries, in order, and Float32[m, len(names)], one row per wanted candidate of them.
        """
        for rows in blocks(len(queries), candidates.items.shape[1] * len(self.names)):
            part = candidates.take(rows)
            columns = [part.columns.get(name, np.full(part.items.shape, np.nan, np.float32)) for name in self.columns]
            columns.append(np.where(part.items >= 0, fused[rows], np.float32(np.nan)))
            yield rows, self._matrix(queries.take(rows), part, columns, wanted[rows])

    def _matrix(
        self, queries: Queries, candidates: Candidates, columns: Sequence[Float32Array], wanted: BoolArray
    ) -> Float32Array:
        cells = np.flatnonzero(wanted)
        owners = np.repeat(np.arange(len(wanted)), np.count_nonzero(wanted, axis=1))
        found: list[NDArray[Any]] = []
        for scores in columns:
            found += _of_column(scores, cells, owners)
        ranks = [candidates.source_ranks[name] for name in self.sources if name in candidates.source_ranks]
        found.append(np.sum([rank.ravel()[cells] > 0 for rank in ranks], axis=0) if ranks else np.zeros(len(cells)))
        found += self._of_items(queries, candidates.items.ravel()[cells], owners)
        found += [values[owners] for values in self._of_histories(queries)]
        return np.stack([np.asarray(values, dtype=np.float32) for values in found], axis=1)

    def state(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        """Return JSON values and arrays."""
        arrays = {"popularity": self.popularity, "recent": self.recent, "since": self.since}
        arrays |= {"late": self.late, "era": self.era}
        config = {"columns": list(self.columns), "sources": list(self.sources)}
        return config, {name: array for name, array in arrays.items() if array is not None}

    @classmethod
    def from_state(cls, config: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> Self:
        """Rebuild what `state` returned."""
        names = tuple(config["columns"]), tuple(config["sources"])
        return cls(*names, arrays["popularity"], *(arrays.get(name) for name in ("recent", "since", "late", "era")))

    def forgetting(self, items: BoolArray) -> Self:
        """Return the same as it would be if nobody had taken some items, Bool[n_items]."""
        nothing = {"popularity": 0, "recent": 0, "since": np.nan, "late": np.nan, "era": np.nan}
        known = {name: array for name in nothing if (array := getattr(self, name)) is not None}
        return replace(
            self, **{name: np.where(items, array.dtype.type(nothing[name]), array) for name, array in known.items()}
        )

    def is_known(self, items: Int32Array) -> BoolArray:
        """Bool[n, k]: True for an item with an interaction in training; False for new ones, and at pads."""
        known = self.popularity > 0
        inside = (items >= 0) & (items < len(known))
        return inside & known[np.where(inside, items, 0)] if len(known) else inside

    def _of_items(self, queries: Queries, items: Int32Array, owners: Int64Array) -> list[NDArray[Any]]:
        """Numbers of items, Int32[m], each a candidate of the query that owns it, Int64[m]."""
        found: list[NDArray[Any]] = [_look_up(self.popularity, items, 0)]
        if self.since is not None and self.recent is not None:
            found.append(_look_up(self.recent, items, 0))
            asked = np.full(len(queries), np.nan) if queries.at is None else queries.at.astype(np.float64)
            found.append((asked[owners] - _look_up(self.since, items, np.nan)) / DAY)
        if self.late is not None and self.era is not None:
            found += [_look_up(self.late, items, np.nan), _look_up(self.era, items, np.nan)]
        return found

    def _of_histories(self, queries: Queries) -> list[NDArray[Any]]:
        lengths = np.diff(queries.offsets)
        popularity = _look_up(self.popularity, queries.items, 0).astype(np.float64)
        owner = np.repeat(np.arange(len(queries)), lengths)
        total = np.bincount(owner, popularity, minlength=len(queries))
        mean = np.divide(total, lengths, out=np.full(len(queries), np.nan), where=lengths > 0)
        last = np.full(len(queries), np.nan)
        last[lengths > 0] = popularity[queries.offsets[1:][lengths > 0] - 1]
        return [lengths, mean, last]


def _late(train: Interactions) -> Float32Array:
    """Float32[n_items], how late items are taken; see `Features.late`."""
    lengths, n = np.diff(train.offsets), train.catalog_size
    late = np.repeat(train.offsets[1:], lengths) - np.arange(len(train)) <= LATE
    counts, usual = np.bincount(train.items, minlength=n), late.mean() if len(train) else 1.0
    share = (np.bincount(train.items[late], minlength=n) + BELIEF * usual) / (counts + BELIEF)
    return np.where(counts > 0, np.log(share / usual), np.nan).astype(np.float32)


def _of_column(scores: Float32Array, cells: Int64Array, owners: Int64Array) -> list[Float32Array]:
    """Score, distance to the best, place between worst and best, rank: of some cells of a column, and their rows.

    Only minima and maxima: sums would depend, in the last digit, on the order of the candidates.
    """
    nothing = np.float32(np.nan)
    best = np.fmax.reduce(scores, axis=1, initial=nothing)  # of what is not NaN
    worst = np.fmin.reduce(scores, axis=1, initial=nothing)
    spread = np.where(best > worst, best - worst, np.float32(1))
    found, ranks = scores.ravel()[cells], column_ranks(scores).ravel()[cells]
    return [
        found,
        found - best[owners],
        (found - worst[owners]) / spread[owners],
        np.where(np.isnan(found), nothing, ranks).astype(np.float32),
    ]


def _look_up(values: NDArray[Any], rows: Int32Array, missing: float) -> NDArray[Any]:
    """The value of each item; `missing` for items that came later, and for pads."""
    if len(values) == 0:
        return np.full(rows.shape, missing, dtype=values.dtype)
    inside = (rows >= 0) & (rows < len(values))
    return np.asarray(np.where(inside, values[np.where(inside, rows, 0)], missing))
