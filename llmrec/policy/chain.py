"""How policies finish lists one after another, each with as many items as it needs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from llmrec.errors import ConfigError
from llmrec.policy.base import Inserts, Policy, TakesOut
from llmrec.policy.lists import without
from llmrec.retrieve.base import blocks, stack
from llmrec.retrieve.merge import align, complete
from llmrec.types import BoolArray, Int32Array, Int64Array, Queries, Ranking

__all__ = ["check_order", "finish"]

Lists = Callable[[Int64Array, int], Ranking]

MOVES = frozenset({"boost", "caps", "diversity", "freshness"})
"""Components that move items or take them out, so that a propensity given before is not that of the final place."""

DEEPER = 4
"""Each time a list stays short, the next try looks this many times further down."""

SHARE = 64
"""Once a try has looked at this part of the catalog, policies are asked whether another one is of any use."""


def check_order(policies: Mapping[str, str]) -> None:
    """Check that no policy makes the propensities of an earlier one wrong.

    Args:
        policies: name to component, in their order.

    Raises:
        ConfigError: items are moved or taken out after exploration, or it comes twice.
    """
    explored = ""
    for name, component in policies.items():
        if explored and component == "exploration":
            raise ConfigError(
                f"policies: {explored!r} and {name!r} both explore, and neither knows of the other; keep one"
            )
        if explored and component in MOVES:
            raise ConfigError(
                f"policies: {name!r} comes after {explored!r} and would move items from the places that its "
                f"propensities are for; put {name!r} before it"
            )
        explored = name if component == "exploration" else explored


def finish(policies: Sequence[Policy], queries: Queries, k: int, n_items: int, lists: Lists) -> Ranking:
    """Let the policies finish the lists, in their order.

    The last policy is asked for lists of k, the one before it for as many items as the last one wants to see, and so
    on. Where a policy takes out so many items that a list stays short (a cap, an age limit), that list is made again
    from further down, until it is full, the policy says that nothing else could stand in it, or the catalog is
    exhausted. What a policy inserts comes from nowhere else, see `Inserts`. A query's list does not depend on the
    others in the batch.

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
    inserted = [policy.inserted(queries) for policy in policies if isinstance(policy, Inserts)]
    nothing = np.empty((len(queries), 0), dtype=np.int32)
    work = _Work(policies, queries, n_items, lists, np.concatenate([nothing, *inserted], axis=1), _counted(policies))
    wanted = work.wanted(width)
    done, short = work.attempts(wanted, np.arange(len(queries), dtype=np.int64))
    while short.any() and any(want < n_items for want in wanted[:-1]):
        wanted = [*(min(DEEPER * want, n_items) for want in wanted[:-1]), width]
        rows = np.flatnonzero(short)
        again, short[rows] = work.attempts(wanted, rows)
        done = _replaced(done, rows, again)
    return done


def _counted(policies: Sequence[Policy]) -> int:
    """How many of the policies, from the first, see in front of the lists what will be inserted."""
    first_insert = next((place for place, policy in enumerate(policies) if isinstance(policy, Inserts)), 0)
    taking_out = [place for place in range(first_insert) if isinstance(policies[place], TakesOut)]
    return taking_out[-1] + 1 if taking_out else 0


@dataclass(frozen=True, slots=True)
class _Work:
    """One call of `finish`."""

    policies: Sequence[Policy]
    queries: Queries
    n_items: int
    lists: Lists
    inserted: Int32Array
    counted: int

    def wanted(self, k: int) -> list[int]:
        """How long the list given to each policy is to be, and at the end how long the finished one is."""
        wanted = [k]
        for place in reversed(range(len(self.policies))):
            more = self.inserted.shape[1] if place == self.counted else 0
            depth = max(self.policies[place].depth(wanted[0]), wanted[0]) + more
            wanted.insert(0, min(depth, self.n_items))
        return wanted

    def attempts(self, wanted: Sequence[int], rows: Int64Array) -> tuple[Ranking, BoolArray]:
        """Finish some lists, in bounded memory; and say which are short although there may be more further down."""
        done, short = [], np.zeros(len(rows), dtype=np.bool_)
        for part in blocks(len(rows), 16 * wanted[0]):
            ranking, short[part] = self._attempt(wanted, rows[part])
            done.append(ranking)
        return stack(done, wanted[-1]), short

    def _attempt(self, wanted: Sequence[int], rows: Int64Array) -> tuple[Ranking, BoolArray]:
        asked = self.queries if len(rows) == len(self.queries) else self.queries.take(rows)
        ranking = self.lists(rows, wanted[0])
        more = _is_full(ranking)
        inserted = self.inserted[rows]
        if self.counted:
            ranking = _in_front(inserted, ranking, wanted[0])
        taken_out: list[tuple[TakesOut, Ranking]] = []
        for place, (policy, k) in enumerate(zip(self.policies, wanted[1:], strict=True)):
            if place == self.counted:
                ranking = _left_out(inserted, ranking)
            ranking = _padded(policy.apply(asked, ranking, k), k)
            if place < len(self.policies) - 1:
                more |= _is_full(ranking)
            if isinstance(policy, TakesOut) and wanted[0] * SHARE >= self.n_items:
                taken_out.append((policy, ranking))
        short = more & ~_is_full(ranking)
        for taker, left in taken_out:
            still = np.flatnonzero(short & ~_is_full(left))
            if len(still):
                short[still] = taker.may_grow(asked.take(still), Ranking(left.items[still], left.scores[still]))
        return ranking, short


def _in_front(items: Int32Array, ranking: Ranking, width: int) -> Ranking:
    """Lists that begin with some items, wherever these stood."""
    above = ranking.scores.max(axis=1, keepdims=True, initial=0) + np.ones(items.shape, np.float32)
    return complete([Ranking(items, np.where(items >= 0, above, np.float32(0))), ranking], width)


def _left_out(items: Int32Array, ranking: Ranking) -> Ranking:
    """The same lists without some items, -1 for none."""
    dropped = align(ranking.items, items, np.ones_like(items), np.int32(0)) > 0
    return without(ranking, dropped, ranking.items.shape[1]) if dropped.any() else ranking


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
