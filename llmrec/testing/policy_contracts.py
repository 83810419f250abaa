"""The contract suite of policies, ours or yours; see `llmrec.testing.contracts` for how to run it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from llmrec.component import HoldsItems
from llmrec.data import Catalog
from llmrec.policy import Inserts
from llmrec.testing.contracts import check_ranking
from llmrec.types import Csr, Int32Array, Int64Array, Item, Queries, Ranking

__all__ = ["POLICY_CHECKS"]

Check = Callable[[Any, Catalog, Queries], None]
K = 5


def policies_return_well_formed_lists(policy: Any, catalog: Catalog, queries: Queries) -> None:
    """At most k items, unique, pads on the right, falling scores; also of empty lists and for an empty batch."""
    prepared = policy.prepare(queries)
    assert len(prepared) == len(queries)
    lists = _lists(prepared, catalog)
    empty = Ranking(np.full_like(lists.items, -1), np.zeros_like(lists.scores))
    for ranking in (lists, empty, Ranking(lists.items[:, :2], lists.scores[:, :2])):
        for k in (1, 3, ranking.items.shape[1]):
            done = policy.apply(prepared, ranking, k)
            assert done.items.shape[1] <= k, "longer than was asked for"
            check_ranking(done, len(queries), len(catalog))
    nobody = np.empty(0, dtype=np.int64)
    assert len(policy.apply(policy.prepare(queries.take(nobody)), _rows(lists, nobody), 3)) == 0


def policies_add_only_what_they_declare(policy: Any, catalog: Catalog, queries: Queries) -> None:
    """An item that was not in the list is one of those `inserted`, and one that the query may be shown."""
    declared = _inserted(policy, queries)
    for asked in (queries, _excluding(queries, sorted(declared)), _allowing(queries, len(catalog), declared)):
        prepared = policy.prepare(asked)
        lists = _lists(prepared, catalog)
        done = policy.apply(prepared, lists, K)
        for row, (before, after) in enumerate(zip(lists.items, done.items, strict=True)):
            added = set(after[after >= 0].tolist()) - set(before.tolist())
            own = {item for item in policy.inserted(prepared)[row].tolist() if item >= 0} if declared else set()
            assert added <= own, "an item from nowhere"
            assert added <= set(_allowed(prepared, row, catalog).tolist()), "an item that may not be shown"


def policies_never_widen(policy: Any, catalog: Catalog, queries: Queries) -> None:
    """Preparing keeps what was excluded excluded, and what was not allowed not allowed."""
    allow = np.arange(len(catalog)) % 2 == 0
    prepared = policy.prepare(replace(queries, exclude=Csr.from_lists([[0]] * len(queries)), allow=allow))
    assert prepared.exclude is not None
    assert all(0 in prepared.exclude[row] for row in range(len(queries)))
    assert prepared.allow is not None
    assert not (prepared.allow & ~allow).any()


def policies_do_not_mix_queries(policy: Any, catalog: Catalog, queries: Queries) -> None:
    """One query's list is the same alone, in a batch, and again."""
    prepared = policy.prepare(queries)
    lists = _lists(prepared, catalog)
    together = policy.apply(prepared, lists, K)
    np.testing.assert_array_equal(policy.apply(prepared, lists, K).items, together.items)
    for row in range(len(queries)):
        picked = np.array([row])
        alone = policy.prepare(queries.take(picked))
        np.testing.assert_array_equal(_allowed(alone, 0, catalog), _allowed(prepared, row, catalog))
        done = policy.apply(alone, _rows(lists, picked), K)
        np.testing.assert_array_equal(done.items[0], together.items[row])
        np.testing.assert_array_equal(done.scores[0], together.scores[row])


def policies_pass_propensities_on(policy: Any, catalog: Catalog, queries: Queries) -> None:
    """Lists with propensities come back with propensities: above 0 and at most 1 at items, 0 at pads."""
    prepared = policy.prepare(queries)
    lists = _lists(prepared, catalog)
    shown = np.where(lists.items >= 0, np.float32(0.5), np.float32(0))
    done = policy.apply(prepared, replace(lists, propensities=shown), K)
    assert done.propensities is not None, "propensities were lost"
    assert done.propensities.shape == done.items.shape
    assert done.propensities.dtype == np.float32
    assert ((done.propensities > 0) == (done.items >= 0)).all()
    assert (done.propensities <= 1).all()


def policies_know_their_depth(policy: Any, catalog: Catalog, queries: Queries) -> None:
    """A policy wants to see at least as many items as it is asked for, and no fewer for a longer list."""
    wanted = [policy.depth(k) for k in range(1, 50)]
    assert all(isinstance(depth, int) and depth >= k for k, depth in enumerate(wanted, start=1))
    assert wanted == sorted(wanted)


def policies_leave_their_input_alone(policy: Any, catalog: Catalog, queries: Queries) -> None:
    """Neither the queries nor the lists that a policy is given are changed in place."""
    history, prepared = queries.items.copy(), policy.prepare(queries)
    lists = _lists(prepared, catalog)
    lists = replace(lists, propensities=np.full_like(lists.scores, 0.5))
    before = [a.copy() for a in (lists.items, lists.scores, lists.propensities) if a is not None]
    policy.apply(prepared, lists, K)
    np.testing.assert_array_equal(queries.items, history)
    for old, now in zip(before, (lists.items, lists.scores, lists.propensities), strict=True):
        np.testing.assert_array_equal(now, old)


def policies_keep_deleted_items_out(policy: Any, catalog: Catalog, queries: Queries) -> None:
    """After an item was deleted and the catalog has grown, a policy still works and does not bring the item back."""
    holds = isinstance(policy, HoldsItems)
    if not holds:
        return
    gone = min(_inserted(policy, queries), default=1)
    fields = {k: v for k, v in catalog.records(np.array([gone], dtype=np.int32))[0].items() if k in catalog.columns[1:]}
    grown = catalog.without_items([catalog.items[gone]]).with_items([Item("brand-new", fields)])
    later: Any = policy.with_items(grown, np.empty(0, dtype=np.int32))
    prepared = later.prepare(replace(queries, allow=None))  # it would be of the old catalog's size
    done = later.apply(prepared, _lists(prepared, grown), K)
    check_ranking(done, len(queries), len(grown))
    assert not (done.items == gone).any(), "a deleted item came back"


def _inserted(policy: Any, queries: Queries) -> set[int]:
    """What a policy puts into the list of any of the queries."""
    prepared = policy.prepare(queries)
    return set(policy.inserted(prepared).ravel().tolist()) - {-1} if isinstance(policy, Inserts) else set()


def _allowed(queries: Queries, row: int, catalog: Catalog) -> Int32Array:
    """Int32[m]: what one query may be shown."""
    allow = catalog.active.copy() if queries.allow is None else catalog.active & queries.allow
    if queries.exclude is not None:
        allow[queries.exclude[row]] = False
    return np.flatnonzero(allow).astype(np.int32)


def _lists(queries: Queries, catalog: Catalog) -> Ranking:
    """Lists in any order of what each query may be shown, some of them short, as the stages would hand them over."""
    width = len(catalog) - 2
    items = np.full((len(queries), width), -1, dtype=np.int32)
    for row in range(len(queries)):
        allowed = np.random.default_rng(row).permutation(_allowed(queries, row, catalog))[: width - row % 3]
        items[row, : len(allowed)] = allowed
    scores = np.where(items >= 0, 1 / (60 + np.arange(width)), 0).astype(np.float32)
    below = (np.arange(width) >= 4) & (items >= 0)
    return Ranking(items, np.where(below, -1 - np.arange(width), scores).astype(np.float32))


def _rows(ranking: Ranking, rows: Int64Array) -> Ranking:
    return Ranking(ranking.items[rows], ranking.scores[rows])


def _excluding(queries: Queries, items: list[int]) -> Queries:
    return replace(queries, exclude=Csr.from_lists([items] * len(queries)))


def _allowing(queries: Queries, n_items: int, not_these: set[int]) -> Queries:
    return replace(queries, allow=np.array([item not in not_these for item in range(n_items)], dtype=np.bool_))


POLICY_CHECKS: tuple[Check, ...] = (
    policies_return_well_formed_lists,
    policies_add_only_what_they_declare,
    policies_never_widen,
    policies_do_not_mix_queries,
    policies_pass_propensities_on,
    policies_know_their_depth,
    policies_leave_their_input_alone,
    policies_keep_deleted_items_out,
)
