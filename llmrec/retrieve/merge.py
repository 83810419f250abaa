"""Putting lists of items together: the union of what retrievers propose, and one list out of several."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from llmrec.types import Candidates, Float32Array, Int32Array, Ranking

__all__ = ["align", "complete", "merge_candidates"]

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
    items = _unique_rows(np.concatenate(parts, axis=1) if parts else np.empty((n, 0), np.int32))
    places = {name: np.broadcast_to(np.arange(1, a.shape[1] + 1, dtype=np.int32), a.shape) for name, a in lists.items()}
    ranks = {name: align(items, proposed, places[name], np.int32(0)) for name, proposed in lists.items()}
    if incoming is None:
        return Candidates(items, {}, ranks)
    columns = {c: align(items, incoming.items, v, np.float32(np.nan)) for c, v in incoming.columns.items()}
    earlier = {c: align(items, incoming.items, v, np.int32(0)) for c, v in incoming.source_ranks.items()}
    return Candidates(items, columns, {**earlier, **ranks})


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
    items = np.concatenate([s.items for s in segments], axis=1)
    scores = np.concatenate([s.scores for s in segments], axis=1)
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


def _unique_rows(items: Int32Array) -> Int32Array:
    """Sort each row, drop repeats and pads, pad again on the right to the longest row."""
    ordered = np.sort(np.where(items < 0, LAST, items), axis=1)
    ordered[:, 1:][ordered[:, 1:] == ordered[:, :-1]] = LAST
    ordered.sort(axis=1)
    width = int((ordered < LAST).sum(axis=1).max(initial=0))
    ordered = ordered[:, :width]
    return np.where(ordered == LAST, -1, ordered).astype(np.int32)
