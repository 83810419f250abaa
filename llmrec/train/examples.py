"""Training cases from histories: what came before, and what came next; and hard negatives for them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from llmrec.component import Proposes
from llmrec.data import Holdout, Interactions
from llmrec.types import BoolArray, Int32Array, Queries, select_rows

__all__ = ["hard_negatives", "next_item_cases", "popular_negatives"]


def next_item_cases(train: Interactions, n: int, *, seed: int, latest: int = 5) -> Holdout:
    """Draw (history, next item) cases from training histories.

    A case's history is everything before its target, never anything after it. What was disliked, of weight 0 or less,
    is no target.

    Args:
        train: interactions that may be learned from.
        n: how many cases to draw at most; no case is drawn twice.
        seed: for the draw.
        latest: only a user's last so many interactions become targets: tastes are learned as they are now.

    Returns:
        The cases, as holdout cases whose targets lie within `train`.
    """
    lengths = np.diff(train.offsets)
    owners = np.repeat(np.arange(len(lengths)), lengths)
    places = np.arange(len(owners)) - train.offsets[owners]
    wanted = (places >= 1) & (places >= lengths[owners] - latest)
    if train.weights is not None:
        wanted &= train.weights > 0
    possible = np.flatnonzero(wanted)
    chosen = np.sort(np.random.default_rng(seed).permutation(possible)[:n])
    users = owners[chosen].astype(np.int64)
    starts, sizes = train.offsets[users], places[chosen]
    offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(sizes)])
    picked = np.arange(offsets[-1]) - np.repeat(offsets[:-1] - starts, sizes)
    queries = Queries(
        offsets=offsets,
        items=train.items[picked],
        times=None if train.times is None else train.times[picked],
        weights=None if train.weights is None else train.weights[picked],
        kinds=None if train.kinds is None else train.kinds[picked],
        kind_names=train.kind_names,
        ratings=None if train.ratings is None else train.ratings[picked],
        at=None if train.times is None else train.times[chosen],
    )
    return Holdout(user_rows=users, queries=queries, targets=train.items[chosen])


def hard_negatives(
    cases: Holdout, train: Interactions, first_stage: Proposes, *, depth: int, count: int, seed: int
) -> Int32Array:
    """Draw negatives from what the first stage ranks high and the user never took.

    Anything in the user's training history, before or after the target, is a false negative and left out.

    Args:
        cases: training cases.
        train: the interactions the cases come from.
        first_stage: ranks the catalog.
        depth: negatives are drawn from its best so many.
        count: negatives per case.
        seed: for the draw.

    Returns:
        Int32[n, count], catalog rows; -1 where the list had too few.
    """
    proposed = first_stage.recommend(cases.queries, depth).items
    usable = (proposed >= 0) & ~_taken(cases, train, proposed)
    draw = np.where(usable, np.random.default_rng(seed).random(proposed.shape), 2.0)
    return _first_of(proposed, usable, draw, count)


def popular_negatives(cases: Holdout, train: Interactions, *, count: int, seed: int) -> Int32Array:
    """Draw negatives that the user never took, each item as often as it was taken.

    Args:
        cases: training cases.
        train: the interactions the cases come from.
        count: negatives per case.
        seed: for the draw.

    Returns:
        Int32[n, count], catalog rows, distinct in a row; -1 where a user took almost everything.
    """
    rng, counts = np.random.default_rng(seed), np.bincount(train.items, minlength=train.catalog_size)
    shares = counts / max(1, counts.sum())
    drawn = rng.choice(len(counts), size=(len(cases), 4 * count + 16), p=shares).astype(np.int32)
    usable = ~_taken(cases, train, drawn)
    # of what was drawn twice, the first counts
    order = np.argsort(drawn, axis=1, kind="stable")
    rising = np.take_along_axis(drawn, order, axis=1)
    again = np.zeros(drawn.shape, dtype=np.bool_)
    np.put_along_axis(again, order[:, 1:], rising[:, 1:] == rising[:, :-1], axis=1)
    usable &= ~again
    return _first_of(drawn, usable, np.where(usable, np.arange(drawn.shape[1]), drawn.shape[1]), count)


def _first_of(items: Int32Array, usable: BoolArray, order: NDArray[Any], count: int) -> Int32Array:
    """Int32[n, count]: usable items of each row, the lowest in the order first; -1 where there are no more."""
    chosen = np.argsort(order, axis=1, kind="stable")[:, :count]
    there = np.take_along_axis(usable, chosen, axis=1)
    found = np.where(there, np.take_along_axis(items, chosen, axis=1), -1)
    return np.pad(found, ((0, 0), (0, count - found.shape[1])), constant_values=-1).astype(np.int32)


def _taken(cases: Holdout, train: Interactions, items: Int32Array) -> BoolArray:
    """Bool[n, k]: True where an item is anywhere in the training history of the case's user."""
    offsets, picked = select_rows(train.offsets, cases.user_rows)
    owners = np.repeat(np.arange(len(cases.targets), dtype=np.int64), np.diff(offsets))
    taken = (owners << 32) + train.items[picked]
    return np.isin((np.arange(len(items), dtype=np.int64)[:, None] << 32) + items, taken)
