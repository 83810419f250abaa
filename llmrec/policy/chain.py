"""How policies finish lists one after another, each with as many items as it needs."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from llmrec.policy.base import Policy
from llmrec.retrieve.base import blocks
from llmrec.types import BoolArray, Int64Array, Queries, Ranking

__all__ = ["finish"]

DEEPER = 4
"""Each time a list stays short, the next try looks this many times further down."""


def finish(
    policies: Sequence[Policy], queries: Queries, k: int, n_items: int, lists: Callable[[Int64Array, int], Ranking]
) -> Ranking:
    """Let the policies finish the lists, in their order.

    The last policy is asked for lists of k, the one before it for as many items as the last one wants to see, and so
    on. Where a policy takes out so many items that a list stays short (a cap, an age limit), that list is made again
    from further down, until it is full or the catalog is exhausted. A query's list does not depend on the others in
    the batch.

    Args:
        policies: the rules, in order.
        queries: n queries, as all policies prepared them.
        k: list length.
        n_items: the catalog's size.
        lists: ranks the catalog for some of the queries: row numbers and a width, at most `n_items`, to a Ranking of
            that width, padded only where a query may not be shown more items.

    Returns:
        A Ranking of width min(k, n_items).
    """
    width = min(k, n_items)
    wanted = _wanted(policies, width, n_items)
    everybody = np.arange(len(queries), dtype=np.int64)
    done, short = _attempt(policies, queries, wanted, everybody, lists)
    while short.any() and any(want < n_items for want in wanted[:-1]):
        wanted = [*(min(DEEPER * want, n_items) for want in wanted[:-1]), width]
        rows = np.flatnonzero(short)
        for part in blocks(len(rows), 16 * wanted[0]):
            again, short[rows[part]] = _attempt(policies, queries, wanted, rows[part], lists)
            done = _replaced(done, rows[part], again)
    return done


def _wanted(policies: Sequence[Policy], k: int, n_items: int) -> list[int]:
    """How long the list given to each policy is to be, and at the end how long the finished one is."""
    wanted = [k]
    for policy in reversed(policies):
        wanted.insert(0, min(max(policy.depth(wanted[0]), wanted[0]), n_items))
    return wanted


def _attempt(
    policies: Sequence[Policy],
    queries: Queries,
    wanted: Sequence[int],
    rows: Int64Array,
    lists: Callable[[Int64Array, int], Ranking],
) -> tuple[Ranking, BoolArray]:
    """Finish some lists; and say which stayed short although there is more further down, Bool[len(rows)]."""
    asked = queries if len(rows) == len(queries) else queries.take(rows)
    ranking = lists(rows, wanted[0])
    more = _is_full(ranking)
    for place, (policy, k) in enumerate(zip(policies, wanted[1:], strict=True), start=1):
        ranking = _padded(policy.apply(asked, ranking, k), k)
        if place < len(policies):
            more |= _is_full(ranking)
    return ranking, more & ~_is_full(ranking)


def _is_full(ranking: Ranking) -> BoolArray:
    """Bool[n]: True where a list has no pads."""
    return np.asarray((ranking.items >= 0).all(axis=1))


def _padded(ranking: Ranking, width: int) -> Ranking:
    """The same lists, exactly `width` columns wide."""
    if ranking.items.shape[1] == width:
        return ranking
    pads = ((0, 0), (0, max(0, width - ranking.items.shape[1])))
    shown = ranking.propensities
    return Ranking(
        np.pad(ranking.items, pads, constant_values=-1)[:, :width],
        np.pad(ranking.scores, pads)[:, :width],
        None if shown is None else np.pad(shown, pads)[:, :width],
    )


def _replaced(ranking: Ranking, rows: Int64Array, by: Ranking) -> Ranking:
    """The same lists, some of them replaced."""
    items, scores = ranking.items.copy(), ranking.scores.copy()
    items[rows], scores[rows] = by.items, by.scores
    if ranking.propensities is None or by.propensities is None:
        return Ranking(items, scores)
    shown = ranking.propensities.copy()
    shown[rows] = by.propensities
    return Ranking(items, scores, shown)
