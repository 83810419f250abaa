"""What policies do to finished lists: cut, take out, put in another order. Propensities stay with their items."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from llmrec.retrieve.base import blocks, is_excluded
from llmrec.retrieve.merge import complete
from llmrec.types import BoolArray, Int64Array, Queries, Ranking

__all__ = ["anything_left", "first", "may_be_shown", "moved_up", "reordered", "without"]


def first(ranking: Ranking, k: int) -> Ranking:
    """Return the first k of each list."""
    shown = ranking.propensities
    return Ranking(ranking.items[:, :k], ranking.scores[:, :k], None if shown is None else shown[:, :k])


def reordered(ranking: Ranking, order: Int64Array, kept: BoolArray, k: int) -> Ranking:
    """Put every list in another order, leave items out, and cut.

    A score stays its item's own, but where an item stands above one of a higher score, it is raised to that one's:
    scores order one list, and must fall along it.

    Args:
        ranking: n lists of m columns.
        order: Int64[n, m'], places in the old list, best first, no place twice.
        kept: Bool[n, m'], in the new order; False for what is left out. Pads are left out anyway.
        k: how many to keep at most.

    Returns:
        A Ranking of width min(k, m'), scores falling strictly from place to place.
    """
    items = np.take_along_axis(ranking.items, order, axis=1)
    kept = kept & (items >= 0)
    close_up = np.argsort(~kept, axis=1, kind="stable")[:, :k]
    order, kept = np.take_along_axis(order, close_up, axis=1), np.take_along_axis(kept, close_up, axis=1)
    items = np.where(kept, np.take_along_axis(ranking.items, order, axis=1), -1).astype(np.int32)
    scores = np.where(kept, np.take_along_axis(ranking.scores, order, axis=1), np.float32(-np.inf))
    raised = np.maximum.accumulate(scores[:, ::-1], axis=1)[:, ::-1]
    done = complete([Ranking(items, np.where(kept, raised, np.float32(0)).astype(np.float32))], k)
    if ranking.propensities is None:
        return done
    shown = np.where(kept, np.take_along_axis(ranking.propensities, order, axis=1), np.float32(0))
    return replace(done, propensities=shown.astype(np.float32))


def moved_up(ranking: Ranking, places: NDArray[np.floating], k: int) -> Ranking:
    """Move items up or down by a number of places.

    An item that moves up by p places passes the p items before it, but for those that move as far or farther
    themselves; items that move alike keep their order. Fractions are rounded to whole places.

    Args:
        ranking: n lists of m columns.
        places: Float[n, m], finite; > 0 up, < 0 down, 0 stays.
        k: how many to keep at most.
    """
    rank = np.arange(ranking.items.shape[1], dtype=np.float64)
    # half a place more: where it lands on the place of one that stays, it has passed that one
    keys = rank - places - np.sign(np.round(places)) * 0.5
    order = np.argsort(np.where(ranking.items >= 0, keys, np.inf), axis=1, kind="stable").astype(np.int64)
    return reordered(ranking, order, np.ones(order.shape, dtype=np.bool_), k)


def without(ranking: Ranking, dropped: BoolArray, k: int) -> Ranking:
    """Leave out items, Bool[n, m]; the others close up. Keep k at most."""
    order = np.tile(np.arange(ranking.items.shape[1], dtype=np.int64), (len(ranking), 1))
    return reordered(ranking, order, ~dropped, k)


def may_be_shown(items: NDArray[np.integer], queries: Queries, active: BoolArray) -> BoolArray:
    """Bool[n, m]: whether each item is there, is not excluded by its query, and is allowed."""
    allowed = active if queries.allow is None else active & queries.allow
    there: BoolArray = (items >= 0) & ~is_excluded(items, queries, len(active))
    if len(allowed) == 0:
        return np.zeros(items.shape, dtype=np.bool_)
    there &= allowed[np.maximum(items, 0)]
    return there


def anything_left(
    ranking: Ranking, queries: Queries, active: BoolArray, fitting: Callable[[Int64Array], BoolArray]
) -> BoolArray:
    """Bool[n]: whether any item that a query may be shown and its list does not hold would fit into the list.

    Args:
        ranking: n lists.
        queries: n queries.
        active: Bool[n_items], False for deleted items.
        fitting: rows of the lists, Int64[m], to Bool[m, n_items]: which items fit, whether or not they are there.
    """
    everything = np.arange(len(active), dtype=np.int32)[None]
    left = np.zeros(len(ranking), dtype=np.bool_)
    for rows in blocks(len(ranking), len(active)):
        fits = fitting(rows) & may_be_shown(
            np.broadcast_to(everything, (len(rows), len(active))), queries.take(rows), active
        )
        owners, places = np.nonzero(ranking.items[rows] >= 0)
        fits[owners, ranking.items[rows[owners], places]] = False
        left[rows] = fits.any(axis=1)
    return left
