"""Contract suites: what every retriever, scorer and fusion must do, ours or yours; policies: `policy_contracts`.

Each check takes a ready component and raises AssertionError where the contract is broken. With pytest::

    @pytest.mark.parametrize("check", RETRIEVER_CHECKS, ids=lambda c: c.__name__)
    def test_my_retriever(check):
        check(my_retriever, catalog, queries)

The queries should hold an empty history and at least three others; the catalog at least ten items.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from llmrec.bundle import read_bundle, write_bundle
from llmrec.component import Compares, Forgets, HoldsItems, find_component
from llmrec.data import Catalog
from llmrec.retrieve.reading import ReadsOnce
from llmrec.types import Candidates, Csr, Int32Array, Item, Queries, Ranking

__all__ = ["FUSION_CHECKS", "RETRIEVER_CHECKS", "SCORER_CHECKS", "check_ranking", "reload"]

Check = Callable[[Any, Catalog, Queries], None]
K = 5


def check_ranking(ranking: Ranking, n: int, n_items: int) -> None:
    """Assert that a ranking is well formed: dtypes, unique rows, pads on the right, finite falling scores."""
    assert ranking.items.dtype == np.int32
    assert ranking.scores.dtype == np.float32
    assert len(ranking) == n
    assert np.isfinite(ranking.scores).all(), "scores must be finite"
    for items, scores in zip(ranking.items, ranking.scores, strict=True):
        count = int((items >= 0).sum())
        assert (items[:count] >= 0).all(), "pads stand on the right"
        assert (items[count:] == -1).all(), "pads are -1"
        assert len(set(items[:count].tolist())) == count, "items are unique within a row"
        assert (items < n_items).all(), "items are catalog rows"
        assert (np.diff(scores[:count]) <= 0).all(), "scores never increase along a row"


def reload(component: Any, catalog: Catalog, folder: Path) -> Any:
    """Bring a component back from a bundle on disk, as a fresh process would.

    Args:
        component: anything registered.
        catalog: what it was fitted on.
        folder: an empty folder that outlives the result; models may be read from it late.
    """
    path = write_bundle(folder / "bundle", {}, {"it": component.state()})
    _, parts = read_bundle(path)
    return find_component(component.component).load(component.name, parts["it"], catalog)


def _everything(queries: Queries, catalog: Catalog) -> Int32Array:
    return np.tile(np.arange(len(catalog), dtype=np.int32), (len(queries), 1))


def _fields(catalog: Catalog, row: int) -> dict[str, Any]:
    record = catalog.records(np.array([row], dtype=np.int32))[0]
    return {name: record[name] for name in catalog.columns[1:]}


def lists_are_well_formed(retriever: Any, catalog: Catalog, queries: Queries) -> None:
    """Width is min(k, items), for k below, at and above the catalog's size."""
    for k in (1, K, len(catalog), len(catalog) + 7):
        ranking = retriever.retrieve(queries, k)
        assert ranking.items.shape == (len(queries), min(k, len(catalog)))
        check_ranking(ranking, len(queries), len(catalog))


def proposes_for_some_query(retriever: Any, catalog: Catalog, queries: Queries) -> None:
    """A retriever that never proposes anything passes all other checks; not this one."""
    assert (retriever.retrieve(queries, K).items >= 0).any()


def excluded_items_stay_out(retriever: Any, catalog: Catalog, queries: Queries) -> None:
    """What a query excludes never comes back, what is left keeps its order, and a short list is still filled."""
    full = retriever.retrieve(queries, len(catalog)).items
    banned = [row[row >= 0][:3].tolist() for row in full]
    kept = retriever.retrieve(replace(queries, exclude=Csr.from_lists(banned)), len(catalog)).items
    for before, after, out in zip(full, kept, banned, strict=True):
        np.testing.assert_array_equal(after[after >= 0], [i for i in before if i >= 0 and i not in out])
    short = retriever.retrieve(replace(queries, exclude=Csr.from_lists(banned)), K).items
    np.testing.assert_array_equal(short, kept[:, :K])


def only_allowed_items_come_back(retriever: Any, catalog: Catalog, queries: Queries) -> None:
    """A filter is pushed down: the allowed items come back in their order, none is lost to depth."""
    allow = np.arange(len(catalog)) % 3 == 0
    full = retriever.retrieve(queries, len(catalog)).items
    kept = retriever.retrieve(replace(queries, allow=allow), len(catalog)).items
    for before, after in zip(full, kept, strict=True):
        np.testing.assert_array_equal(after[after >= 0], [i for i in before if i >= 0 and allow[i]])


def short_lists_are_prefixes(retriever: Any, catalog: Catalog, queries: Queries) -> None:
    """The best k are the first k of the best k + more, ties included."""
    long = retriever.retrieve(queries, len(catalog)).items
    np.testing.assert_array_equal(retriever.retrieve(queries, K).items, long[:, :K])


def batches_do_not_matter(retriever: Any, catalog: Catalog, queries: Queries) -> None:
    """One query's list is the same alone, in a batch, and again."""
    together = retriever.retrieve(queries, K)
    for row in range(len(queries)):
        alone = retriever.retrieve(queries.take(np.array([row])), K)
        np.testing.assert_array_equal(alone.items[0], together.items[row])
        np.testing.assert_allclose(alone.scores[0], together.scores[row], rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(retriever.retrieve(queries, K).items, together.items)


def retrieving_and_scoring_agree(retriever: Any, catalog: Catalog, queries: Queries) -> None:
    """Scoring what was retrieved gives the retrieved scores, wherever there is evidence."""
    ranking = retriever.retrieve(queries, K)
    scores = retriever.score(queries, ranking.items)
    known = ~np.isnan(scores)
    assert not (known & (ranking.items < 0)).any()
    np.testing.assert_allclose(scores[known], ranking.scores[known], rtol=1e-5, atol=1e-6)


def reading_once_is_the_same(retriever: Any, catalog: Catalog, queries: Queries) -> None:
    """A retriever that reads once gives, for any of the queries it has read, what it gives when asked twice."""
    if not isinstance(retriever, ReadsOnce):
        return
    read, everything = retriever.read(queries), _everything(queries, catalog)
    assert (read.n_queries, read.n_items) == (len(queries), len(catalog))
    found, scores = retriever.retrieve(queries, K), retriever.score(queries, everything)
    for rows in (np.arange(len(queries)), np.arange(len(queries))[::-2], np.arange(1), np.empty(0, np.int64)):
        some = read.some(rows)
        best = some.best(K)
        np.testing.assert_array_equal(best.items, found.items[rows])
        np.testing.assert_array_equal(best.scores, found.scores[rows])
        np.testing.assert_array_equal(some.score(everything[rows]), scores[rows])


def nothing_in_nothing_out(component: Any, catalog: Catalog, queries: Queries) -> None:
    """An empty batch gives an empty result, not an error."""
    none = queries.take(np.empty(0, dtype=np.int64))
    assert component.score(none, np.empty((0, K), np.int32)).shape == (0, K)
    if hasattr(component, "retrieve"):
        assert component.retrieve(none, K).items.shape == (0, min(K, len(catalog)))


def scores_are_columns(scorer: Any, catalog: Catalog, queries: Queries) -> None:
    """Float32 of the items' shape; NaN at pads; some evidence somewhere; no infinities."""
    items = _everything(queries, catalog)
    items[:, -2:] = -1
    scores = scorer.score(queries, items)
    assert scores.dtype == np.float32
    assert scores.shape == items.shape
    assert np.isnan(scores[:, -2:]).all(), "pads have no score"
    assert not np.isinf(scores).any()
    assert (~np.isnan(scores)).any(), "a scorer that never has evidence is no scorer"


def places_do_not_matter(scorer: Any, catalog: Catalog, queries: Queries) -> None:
    """An item's score does not depend on where it stands, nor on what stands beside it; but for what compares lists."""
    if isinstance(scorer, Compares):
        return
    items = _everything(queries, catalog)
    order = np.random.default_rng(0).permutation(len(catalog))
    whole = scorer.score(queries, items)
    np.testing.assert_allclose(scorer.score(queries, items[:, order]), whole[:, order], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(scorer.score(queries, items[:, :1]), whole[:, :1], rtol=1e-4, atol=1e-5)


def lists_decide_alone(scorer: Any, catalog: Catalog, queries: Queries) -> None:
    """What compares lists gives a list the same scores, to the bit, alone, in a batch and with more pads behind it."""
    if not isinstance(scorer, Compares):
        return
    comparing: Any = scorer
    items = _everything(queries, catalog)[:, ::-1][:, :K]
    whole = comparing.score(queries, items)
    wider = np.pad(items, ((0, 0), (0, 3)), constant_values=-1)
    np.testing.assert_array_equal(comparing.score(queries, wider)[:, :K], whole)
    for row in range(len(queries)):
        alone = comparing.score(queries.take(np.array([row])), items[row : row + 1])
        np.testing.assert_array_equal(alone[0], whole[row])


def queries_do_not_mix(scorer: Any, catalog: Catalog, queries: Queries) -> None:
    """One query's scores are the same alone and in a batch."""
    items = _everything(queries, catalog)
    whole = scorer.score(queries, items)
    for row in range(len(queries)):
        alone = scorer.score(queries.take(np.array([row])), items[row : row + 1])
        np.testing.assert_allclose(alone[0], whole[row], rtol=1e-4, atol=1e-5)


def new_items_are_scored_or_nan(scorer: Any, catalog: Catalog, queries: Queries) -> None:
    """After the catalog grows, old scores stay, new items have a score or NaN, deleted ones never come back."""
    holds = isinstance(scorer, HoldsItems)  # apart: mypy would forget that `scorer` can score
    if not holds:
        return
    grown = catalog.with_items([Item("brand-new", _fields(catalog, 0))])
    gone = grown.items[1]
    bigger: Any = scorer.with_items(grown.without_items([gone]), np.empty(0, np.int32))
    items = _everything(queries, grown)
    before, after = scorer.score(queries, items[:, :-1]), bigger.score(queries, items)
    compares = isinstance(scorer, Compares)
    old = bigger.score(queries, items[:, :-1]) if compares else after[:, :-1]
    np.testing.assert_allclose(old, before, rtol=1e-4, atol=1e-5)
    assert not np.isinf(after).any()
    if hasattr(bigger, "retrieve"):
        ranking = bigger.retrieve(queries, len(grown))
        check_ranking(ranking, len(queries), len(grown))
        assert not (ranking.items == 1).any(), "a deleted item came back"


def changed_items_are_read_again(scorer: Any, catalog: Catalog, queries: Queries) -> None:
    """A changed item is read again; a removed one can come back; the old scorer stays.

    Where fields alone decide an item's score, a changed item is scored as a new one with its fields is. Where
    something was learned of the item too (it is not scored as its newborn twin is), the fields still count: the score
    is not what it was. Where lists are compared, no two items need be scored alike.
    """
    holds = isinstance(scorer, HoldsItems) and not isinstance(scorer, Compares)
    if not holds:
        return
    before = scorer.score(queries, _everything(queries, catalog))
    fields = _fields(catalog, 2)
    changed = catalog.with_items([Item("brand-new", fields)]).with_changes([Item(catalog.items[0], fields)])
    it: Any = scorer.with_items(changed, np.array([0], dtype=np.int32))
    both = np.tile(np.array([0, len(catalog)], dtype=np.int32), (len(queries), 1))
    pair, twins = it.score(queries, both), scorer.with_items(_with_twin(catalog), np.empty(0, np.int32))
    scored, old = ~np.isnan(pair[:, 1]), twins.score(queries, both)
    if np.allclose(old[:, 0], old[:, 1], rtol=1e-4, atol=1e-5, equal_nan=True):
        np.testing.assert_allclose(pair[scored, 0], pair[scored, 1], rtol=1e-4, atol=1e-5)
    elif not np.allclose(old[scored, 1], pair[scored, 1], rtol=1e-4, atol=1e-5):
        assert not np.allclose(pair[scored, 0], before[scored, 0], rtol=1e-4, atol=1e-5), "a change had no effect"
    if hasattr(it, "retrieve"):
        gone = changed.without_items([changed.items[1]])
        back = gone.with_items([Item(changed.items[1], _fields(changed, 1))])
        again = it.with_items(gone, np.empty(0, np.int32)).with_items(back, np.array([1], dtype=np.int32))
        proposed, returned = (np.sort(c.retrieve(queries, len(back)).items, axis=1) for c in (it, again))
        np.testing.assert_array_equal(returned, proposed, "an item that came back is not proposed")
    np.testing.assert_array_equal(scorer.score(queries, _everything(queries, catalog)), before)


def _with_twin(catalog: Catalog) -> Catalog:
    """The catalog and a new item with the fields of the first one."""
    return catalog.with_items([Item("brand-new", _fields(catalog, 0))])


def forgotten_items_are_as_new(scorer: Any, catalog: Catalog, queries: Queries) -> None:
    """What can forget knows of a forgotten item what it knows of a new one with its fields; the old scorer stays."""
    forgets = isinstance(scorer, Forgets) and isinstance(scorer, HoldsItems) and not isinstance(scorer, Compares)
    if not forgets:
        return
    row, twin = 2, len(catalog)
    grown = catalog.with_items([Item("brand-new", _fields(catalog, row))])
    nothing, before = np.empty(0, np.int32), scorer.score(queries, _everything(queries, catalog))
    it: Any = scorer.forgetting(np.arange(len(catalog)) == row).with_items(grown, nothing)
    items = _everything(queries, grown)
    scores = it.score(queries, items)
    np.testing.assert_allclose(scores[:, row], scores[:, twin], rtol=1e-4, atol=1e-5)
    moved = replace(queries, items=np.where(queries.items == row, twin, queries.items).astype(np.int32))
    np.testing.assert_allclose(it.score(moved, items), scores, rtol=1e-4, atol=1e-5)
    reads = np.array([row in queries.histories[i] for i in range(len(queries))])
    others = np.arange(len(catalog)) != row
    np.testing.assert_allclose(scores[~reads][:, :-1][:, others], before[~reads][:, others], rtol=1e-4, atol=1e-5)
    if hasattr(it, "retrieve"):
        ranking = it.retrieve(queries, len(grown)).items
        np.testing.assert_array_equal((ranking == row).any(axis=1), (ranking == twin).any(axis=1))
    np.testing.assert_array_equal(scorer.score(queries, _everything(queries, catalog)), before)


def inputs_stay_untouched(scorer: Any, catalog: Catalog, queries: Queries) -> None:
    """Scoring changes neither the items nor the queries it is given."""
    items = _everything(queries, catalog)
    history = queries.items.copy()
    scorer.score(queries, items)
    np.testing.assert_array_equal(items, _everything(queries, catalog))
    np.testing.assert_array_equal(queries.items, history)


def fused_scores_are_finite(fusion: Any, candidates: Candidates, queries: Queries) -> None:
    """Finite scores of the right shape, also where whole columns, or all of them, have no evidence."""
    for missing in ([], list(candidates.columns)[:1], list(candidates.columns)):
        columns = {n: np.full_like(c, np.nan) if n in missing else c for n, c in candidates.columns.items()}
        fused = fusion.fuse(queries, replace(candidates, columns=columns))
        assert fused.shape == candidates.items.shape
        assert fused.dtype == np.float32
        assert np.isfinite(fused[candidates.items >= 0]).all()


def fusion_follows_unanimity(fusion: Any, candidates: Candidates, queries: Queries) -> None:
    """A candidate that is strictly first in every column is first in the fusion."""
    first = {n: np.where(np.arange(c.shape[1]) == 1, np.float32(1e6), c) for n, c in candidates.columns.items()}
    fused = fusion.fuse(queries, replace(candidates, columns={n: c.astype(np.float32) for n, c in first.items()}))
    np.testing.assert_array_equal(fused.argmax(axis=1), 1)


def fusion_ignores_places(fusion: Any, candidates: Candidates, queries: Queries) -> None:
    """Reordering the candidates reorders the scores and changes nothing else."""
    width = candidates.items.shape[1]
    order = np.tile(np.random.default_rng(0).permutation(width), (len(candidates), 1)).astype(np.int64)
    fused = fusion.fuse(queries, candidates)
    moved = fusion.fuse(queries, candidates.pick(order))
    np.testing.assert_allclose(moved, np.take_along_axis(fused, order, axis=1), rtol=1e-6)


def ignored_columns_do_not_matter(fusion: Any, candidates: Candidates, queries: Queries) -> None:
    """Leaving out the columns that the fusion says it ignores changes nothing."""
    ignored = fusion.ignores(queries, candidates)
    kept = {n: c for n, c in candidates.columns.items() if n not in ignored}
    without = fusion.fuse(queries, replace(candidates, columns=kept))
    np.testing.assert_array_equal(without, fusion.fuse(queries, candidates))


SCORER_CHECKS: tuple[Check, ...] = (
    scores_are_columns,
    places_do_not_matter,
    lists_decide_alone,
    queries_do_not_mix,
    nothing_in_nothing_out,
    new_items_are_scored_or_nan,
    changed_items_are_read_again,
    forgotten_items_are_as_new,
    inputs_stay_untouched,
)
"""For every scorer, retrievers included."""

RETRIEVER_CHECKS: tuple[Check, ...] = (
    *SCORER_CHECKS,
    lists_are_well_formed,
    proposes_for_some_query,
    excluded_items_stay_out,
    only_allowed_items_come_back,
    short_lists_are_prefixes,
    batches_do_not_matter,
    retrieving_and_scoring_agree,
    reading_once_is_the_same,
)

FUSION_CHECKS: tuple[Callable[[Any, Candidates, Queries], None], ...] = (
    fused_scores_are_finite,
    fusion_follows_unanimity,
    fusion_ignores_places,
    ignored_columns_do_not_matter,
)
