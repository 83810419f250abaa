"""Putting lists of items together: the union of what retrievers propose, and one list out of several."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from llmrec.types import Candidates, Float32Array, Int32Array, Int64Array, Ranking

__all__ = ["align", "complete", "merge_candidates", "stack_candidates"]

Number = TypeVar("Number", np.float32, np.int32)

LAST = np.iinfo(np.int32).max
SCORE_STEP = np.float32(1e-7)
"""Two neighbours of a completed list differ by at least this much, so that sorting by score keeps the order."""


def merge_candidates(lists: Mapping[str, Int32Array], n: int, incoming: Candidates | None = None) -> Candidates:
    """Unite what several retrievers propose, and what came from the stage before.

    Args:
        lists: Int32[n, k] per retriever, best first, -1 pads.
        n: number of queries.
        incoming: candidates whose columns are kept; NaN and 0 for items they do not hold.

    Returns:
        Candidates in catalog order, with `source_ranks` of every retriever.
    """
    parts = [*lists.values(), *([] if incoming is None else [incoming.items])]
    proposed = np.concatenate(parts, axis=1) if parts else np.empty((n, 0), np.int32)
    items, places = _united(proposed)
    spread = _spreads(parts, items.shape, places)
    ranks = {
        name: one(np.arange(1, one.items.shape[1] + 1, dtype=np.int32), np.int32(0))
        for name, one in zip(lists, spread, strict=False)
    }
    if incoming is None:
        return Candidates(items, {}, ranks)
    columns = {c: spread[-1](v, np.float32(np.nan)) for c, v in incoming.columns.items()}
    earlier = {c: spread[-1](v, np.int32(0)) for c, v in incoming.source_ranks.items()}
    return Candidates(items, columns, {**earlier, **ranks})


@dataclass(frozen=True, slots=True)
class _Spread:
    """Lays values of one list, Int32[n, m] with -1 pads, out over a union of `shape`, at Int64[n, m] places in it."""

    shape: tuple[int, int]
    items: Int32Array
    places: Int64Array

    def __call__(self, values: NDArray[Number], fill: Number) -> NDArray[Number]:
        """[n, m] values, or [m] alike for all rows, to [n, width]; `fill` for what the list does not hold."""
        out = np.full(self.shape, fill, dtype=values.dtype)
        there = self.items >= 0
        out.ravel()[self.places[there]] = np.broadcast_to(values, self.items.shape)[there]
        return out


def _spreads(parts: Sequence[Int32Array], shape: tuple[int, int], places: Int64Array) -> list[_Spread]:
    ends = np.cumsum([0, *(part.shape[1] for part in parts)])
    return [_Spread(shape, part, places[:, end : end + part.shape[1]]) for part, end in zip(parts, ends, strict=False)]


def _united(proposed: Int32Array) -> tuple[Int32Array, Int64Array]:
    """Unite each row, Int32[n, m] with -1 pads.

    Returns:
        Int32[n, width], the different items of each row, rising, -1 pads on the right; Int64[n, m], the cell of that
        at which each of the given ones stands, of no meaning at pads.
    """
    n, m = proposed.shape
    keys = (np.where(proposed < 0, LAST, proposed).astype(np.int64) << 32) | np.arange(m)
    keys.sort(axis=1)
    ordered, columns = keys >> 32, keys & 0xFFFFFFFF
    ranks = np.zeros((n, m), dtype=np.int64)
    np.cumsum(ordered[:, 1:] != ordered[:, :-1], axis=1, out=ranks[:, 1:])
    there = ordered < LAST
    width = int(ranks.max(initial=-1, where=there)) + 1
    cells = ranks + np.arange(n)[:, None] * width
    items = np.full((n, width), -1, dtype=np.int32)
    items.ravel()[cells[there]] = ordered[there]
    places = np.empty((n, m), dtype=np.int64)
    places.ravel()[columns + np.arange(n)[:, None] * m] = cells
    return items, places


def stack_candidates(parts: Sequence[Candidates]) -> Candidates:
    """Put the candidates of consecutive blocks of queries together, at least one, padded to the widest."""
    first = parts[0]
    if len(parts) == 1:
        return first
    columns = {name: _stacked([part.columns[name] for part in parts], np.nan) for name in first.columns}
    ranks = {name: _stacked([part.source_ranks[name] for part in parts], 0) for name in first.source_ranks}
    return Candidates(_stacked([part.items for part in parts], -1), columns, ranks)


def _stacked(parts: Sequence[NDArray[Any]], fill: float) -> NDArray[Any]:
    shape = sum(len(part) for part in parts), max(part.shape[1] for part in parts)
    out = np.full(shape, fill, dtype=parts[0].dtype)
    start = 0
    for part in parts:
        out[start : start + len(part), : part.shape[1]] = part
        start += len(part)
    return out


def align(items: Int32Array, other: Int32Array, values: NDArray[Number], fill: Number) -> NDArray[Number]:
    """Look values up by item, row by row.

    Args:
        items: Int32[n, k], -1 pads; where values are wanted.
        other: Int32[n, m], unique within a row but for -1 pads; where values are known.
        values: [n, m].
        fill: for items that `other` does not hold, and for pads.

    Returns:
        The values, [n, k].
    """
    out = np.full(items.shape, fill, dtype=values.dtype)
    if other.size == 0 or items.size == 0:
        return out
    row = np.arange(len(items), dtype=np.int64)[:, None] << 32
    known, wanted = (row + other).ravel(), (row + items).ravel()
    known = np.where(other.ravel() >= 0, known, -1)
    order = np.argsort(known, kind="stable")
    place = np.minimum(np.searchsorted(known, wanted, sorter=order), len(known) - 1)
    source = order[place]
    found = (known[source] == wanted) & (items.ravel() >= 0)
    out.ravel()[found] = values.ravel()[source[found]]
    return out


def complete(segments: Sequence[Ranking], k: int) -> Ranking:
    """Append lists, keep each item's first place, cut at k; scores fall strictly from place to place.

    Args:
        segments: rankings of the same queries; every item of an earlier one ranks above all of a later one.
        k: list length.

    Returns:
        A Ranking of width <= k.
    """
    # beyond this, nothing of a list can be among the first k of all: at most k - 1 of each earlier one are repeated
    cut = [place * k for place in range(1, len(segments) + 1)]
    items = np.concatenate([s.items[:, :end] for s, end in zip(segments, cut, strict=True)], axis=1)
    scores = np.concatenate([s.scores[:, :end] for s, end in zip(segments, cut, strict=True)], axis=1)
    dropped = (items < 0) | _repeats(items)
    order = np.argsort(dropped, axis=1, kind="stable")[:, :k]
    kept = ~np.take_along_axis(dropped, order, axis=1)
    scores = _falling(np.take_along_axis(scores, order, axis=1))
    items = np.where(kept, np.take_along_axis(items, order, axis=1), -1)
    return Ranking(items.astype(np.int32), np.where(kept, scores, np.float32(0)))


def _falling(scores: Float32Array) -> Float32Array:
    """Lower scores as little as makes each strictly smaller than the one before it, in float32 of any size."""
    falling = scores.astype(np.float32)
    for place in range(1, falling.shape[1]):
        before = falling[:, place - 1]
        step = np.maximum(np.spacing(np.abs(before)), SCORE_STEP)
        falling[:, place] = np.minimum(falling[:, place], before - step)
    return falling


def _repeats(items: Int32Array) -> NDArray[np.bool_]:
    """Bool[n, m]: True where the same item stands further left in the row."""
    order = np.argsort(items, axis=1, kind="stable")
    ordered = np.take_along_axis(items, order, axis=1)
    repeat = np.zeros(items.shape, dtype=np.bool_)
    repeat[:, 1:] = ordered[:, 1:] == ordered[:, :-1]
    out = np.empty_like(repeat)
    np.put_along_axis(out, order, repeat, axis=1)
    return out
