"""The runner: hand-worked cases, batch and order invariance, memory, and full-catalog ranks."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from llmrec.data import Holdout
from llmrec.errors import ConfigError, DataError
from llmrec.evaluate import (
    ACCURACY,
    ProtocolCard,
    Report,
    evaluate,
    evaluate_lists,
    find_hits,
    rank_targets,
    rank_values,
)
from llmrec.types import Csr, Queries, Ranking

METRICS = ("NDCG", "Recall", "HitRate", "MRR", "Precision", "F1", "MAP", "Accuracy")


def card(n_users: int, n_items: int, **changes) -> ProtocolCard:
    return ProtocolCard("LOO", "last", "file order", n_users, n_items, 0, "hash", **changes)


def holdout(histories: list[list[int]], targets: list[int]) -> Holdout:
    rows = np.arange(len(targets), dtype=np.int64)
    return Holdout(rows, Queries.from_lists(histories), np.array(targets, dtype=np.int32))


class Fixed:
    """Recommends the list it was given for each history's last item; remembers what it was asked."""

    def __init__(self, lists: dict[int, list[int]]) -> None:
        self.lists = lists
        self.asked: list[tuple[int, int]] = []

    def recommend(self, queries: Queries, k: int) -> Ranking:
        self.asked.append((len(queries), k))
        items = np.full((len(queries), k), -1, dtype=np.int32)
        for row in range(len(queries)):
            found = self.lists[int(queries.histories[row][-1])][:k]
            items[row, : len(found)] = found
        return Ranking(items, np.zeros(items.shape, dtype=np.float32))


class Hashed:
    """Recommends a pseudo-random list that depends on the query alone, sometimes short."""

    def __init__(self, n_items: int) -> None:
        self.n_items = n_items

    def recommend(self, queries: Queries, k: int) -> Ranking:
        items = np.full((len(queries), k), -1, dtype=np.int32)
        for row in range(len(queries)):
            history = queries.histories[row]
            order = np.random.default_rng(history.tolist()).permutation(self.n_items)
            found = order[~np.isin(order, history)][: k - len(history) % 3]
            items[row, : len(found)] = found
        return Ranking(items, np.zeros(items.shape, dtype=np.float32))


def random_holdout(seed: int, n: int, n_items: int) -> Holdout:
    rng = np.random.default_rng(seed)
    picks = [rng.choice(n_items, size=rng.integers(2, 6), replace=False) for _ in range(n)]
    return holdout([p[:-1].tolist() for p in picks], [int(p[-1]) for p in picks])


def test_by_hand():
    # Targets at place 1, at place 3, absent.
    model = Fixed({0: [5, 4, 3], 1: [3, 2, 6], 2: [1, 3, 4]})
    report = evaluate(
        model, holdout([[0], [1], [2]], [5, 6, 7]), k=(3, 1), n_items=10, batch_size=2, protocol=card(3, 10)
    )
    np.testing.assert_array_equal(report.values["NDCG@3"], [1.0, 0.5, 0.0])
    np.testing.assert_array_equal(report.values["MRR@3"], [1.0, 1 / 3, 0.0])
    np.testing.assert_array_equal(report.values["Recall@1"], [1.0, 0.0, 0.0])
    assert report.metrics["NDCG@3"].mean == 0.5
    assert report.metrics["HitRate@3"].mean == pytest.approx(2 / 3)
    assert list(report.metrics) == [f"{m}@{k}" for k in (1, 3) for m in METRICS]
    assert report.totals["coverage@3"] == pytest.approx(6 / 10)
    assert report.totals["coverage@1"] == pytest.approx(3 / 10)
    np.testing.assert_array_equal(report.exposure[3], [0, 1, 1, 3, 2, 1, 1, 0, 0, 0])
    np.testing.assert_array_equal(report.user_rows, [0, 1, 2])
    assert report.n_short == 0
    assert model.asked == [(2, 3), (1, 3)]


def test_repeats_and_pads_never_count_twice():
    model = Fixed({0: [5, 5, 5, 5], 1: [2, -1, -1, -1]})
    report = evaluate(model, holdout([[0], [1]], [5, 6]), k=(4,), n_items=10, protocol=card(2, 10))
    for name in ("NDCG@4", "Recall@4", "HitRate@4", "MRR@4"):
        np.testing.assert_array_equal(report.values[name], [1.0, 0.0])
    assert report.exposure[4].sum() == 2
    assert report.n_short == 2


def test_short_lists_are_counted_against_the_largest_cut_off():
    model = Fixed({0: [5], 1: [2, 3, 4], 2: []})
    report = evaluate(model, holdout([[0], [1], [2]], [5, 6, 7]), k=(1, 3), n_items=10, protocol=card(3, 10))
    assert report.n_short == 2


def lengths(lists: np.ndarray, queries: Queries, k: int) -> np.ndarray:
    return (lists[:, :k] >= 0).sum(axis=1) + len(queries.histories[0]) * 100.0


def test_extra_metrics_of_lists():
    model = Fixed({0: [5, 4, 3], 1: [3, -1, -1]})
    data = holdout([[0], [1]], [5, 6])
    report = evaluate(model, data, k=(1, 3), n_items=10, batch_size=1, extra={"Length": lengths}, protocol=card(2, 10))
    np.testing.assert_array_equal(report.values["Length@3"], [103, 101])
    np.testing.assert_array_equal(report.values["Length@1"], [101, 101])
    assert report.metrics["Length@3"].mean == 102
    assert list(report.metrics)[-1] == "Length@3"
    with pytest.raises(ConfigError, match="not NDCG"):
        evaluate(model, data, k=(3,), n_items=10, extra={"NDCG": lengths}, protocol=card(2, 10))


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 60))
def test_lists_made_elsewhere_are_judged_alike(seed, n):
    data, model = random_holdout(seed, n, 30), Hashed(30)
    lists = model.recommend(data.queries, 10).items
    found = evaluate_lists(lists, data, k=(3, 10), n_items=30, protocol=card(n, 30))
    same(evaluate(model, data, k=(3, 10), n_items=30, protocol=card(n, 30)), found, np.arange(n))


def test_lists_that_do_not_fit_are_refused():
    data = holdout([[0], [1]], [5, 6])
    with pytest.raises(DataError, match="1 lists, 2 cases"):
        evaluate_lists(np.zeros((1, 3), np.int32), data, n_items=10, protocol=card(2, 10))
    with pytest.raises(DataError, match="holdout row 1 was recommended item 1 of its own history"):
        evaluate_lists(np.array([[2], [1]], np.int32), data, n_items=10, protocol=card(2, 10))


def test_a_recommender_may_return_shorter_arrays():
    class Narrow:
        def recommend(self, queries: Queries, k: int) -> Ranking:
            return Ranking(np.full((len(queries), 1), 3, np.int32), np.zeros((len(queries), 1), np.float32))

    report = evaluate(Narrow(), holdout([[0], [1]], [3, 2]), k=(10,), n_items=4, protocol=card(2, 4))
    np.testing.assert_array_equal(report.values["NDCG@10"], [1.0, 0.0])
    assert report.n_short == 2


def same(a: Report, b: Report, order: np.ndarray) -> None:
    assert a.metrics == b.metrics
    assert a.totals == b.totals
    assert a.n_short == b.n_short
    for name in a.values:
        np.testing.assert_array_equal(a.values[name][order], b.values[name])
    for k in a.exposure:
        np.testing.assert_array_equal(a.exposure[k], b.exposure[k])


@settings(max_examples=12, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 60))
def test_batch_size_and_user_order_do_not_matter(seed, n):
    data, model = random_holdout(seed, n, 30), Hashed(30)
    whole = evaluate(model, data, k=(3, 10), n_items=30, protocol=card(n, 30))
    for batch_size in (1, 7, 1024):
        again = evaluate(model, data, k=(3, 10), n_items=30, batch_size=batch_size, protocol=card(n, 30))
        same(whole, again, np.arange(n))
    order = np.random.default_rng(seed).permutation(n)
    shuffled = Holdout(data.user_rows[order], data.queries.take(order), data.targets[order])
    same(whole, evaluate(model, shuffled, k=(3, 10), n_items=30, protocol=card(n, 30)), order)


def test_memory_does_not_grow_with_users_times_items():
    n, n_items = 4000, 20_000

    class Constant:
        def recommend(self, queries: Queries, k: int) -> Ranking:
            items = np.tile(np.arange(k, dtype=np.int32), (len(queries), 1))
            return Ranking(items, np.zeros(items.shape, dtype=np.float32))

    data = holdout([[50]] * n, [3] * n)
    tracemalloc.start()
    evaluate(Constant(), data, k=(10,), n_items=n_items, batch_size=256, protocol=card(n, n_items))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < n * n_items / 8  # not even a bit per user and item


def test_history_items_are_refused_when_the_card_excludes_them():
    model, data = Fixed({0: [1, 2], 3: [2, 0]}), holdout([[0], [0, 3]], [2, 2])
    with pytest.raises(DataError, match="holdout row 1 was recommended item 0 of its own history"):
        evaluate(model, data, k=(2,), n_items=4, batch_size=1, protocol=card(2, 4))
    report = evaluate(model, data, k=(2,), n_items=4, protocol=card(2, 4, seen_excluded=False))
    np.testing.assert_array_equal(report.values["MRR@2"], [0.5, 1.0])


def test_settings_out_of_range_are_refused():
    model, data = Fixed({0: [1]}), holdout([[0]], [1])
    for wrong, message in (
        ({"k": ()}, "cut-off"),
        ({"k": (0, 10)}, "cut-off"),
        ({"batch_size": 0}, "batch_size"),
    ):
        with pytest.raises(ConfigError, match=message):
            evaluate(model, data, n_items=4, protocol=card(1, 4), **wrong)


def test_data_that_does_not_fit_is_refused():
    model, data = Fixed({0: [1, 9]}), holdout([[0]], [1])
    with pytest.raises(DataError, match="no user"):
        evaluate(model, holdout([], []), n_items=4, protocol=card(0, 4))
    with pytest.raises(DataError, match="target is not a row"):
        evaluate(model, data, n_items=1, protocol=card(1, 1))
    for wrong in (card(2, 4), card(1, 5)):
        with pytest.raises(DataError, match="protocol card says"):
            evaluate(model, data, n_items=4, protocol=wrong)
    with pytest.raises(DataError, match="item 9 is not a row"):
        evaluate(model, data, n_items=4, protocol=card(1, 4))

    class Wrong:
        def recommend(self, queries: Queries, k: int) -> Ranking:
            return Ranking(np.zeros((3, k), np.int32), np.zeros((3, k), np.float32))

    with pytest.raises(DataError, match="for 1 queries"):
        evaluate(Wrong(), data, n_items=4, protocol=card(1, 4))


# Full-catalog ranks.


def test_ranks_by_hand():
    nan, inf = np.nan, np.inf
    scores = np.array(
        [
            [3, 2, 1, 0],  # target 1: one above
            [2, 2, 2, 0],  # target 1: two tied
            [nan, 1, -inf, 2],  # target 1: one above, no-scores do not compete with it
            [nan, nan, 1, -inf],  # target 1 has no score: last
            [inf, 1, inf, 1],  # target 1: two above, one tied
            [-inf, -inf, 1, -inf],  # target 1 has no score: last, not tied
        ],
        dtype=np.float32,
    )
    targets = np.ones(6, dtype=np.int32)
    np.testing.assert_array_equal(rank_targets(scores, targets, None), [2, 2, 2, 4, 3.5, 4])
    dropped = Csr.from_lists([[0], [0], [3, 3], [0], [], []])
    np.testing.assert_array_equal(rank_targets(scores, targets, dropped), [1, 1.5, 1, 3, 3.5, 4])


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 12), st.integers(1, 5))
def test_ranks_like_scipy_rankdata(seed, n_items, levels):
    rng = np.random.default_rng(seed)
    scores = rng.integers(0, levels, (6, n_items)).astype(np.float32)
    targets = rng.integers(0, n_items, 6).astype(np.int32)
    expected = stats.rankdata(-scores, method="average", axis=1)[np.arange(6), targets]
    np.testing.assert_array_equal(rank_targets(scores, targets, None), expected)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(12, 40))
def test_without_ties_ranks_and_lists_agree(seed, n_items):
    rng = np.random.default_rng(seed)
    scores = rng.permuted(np.tile(np.arange(n_items, dtype=np.float32), (9, 1)), axis=1)
    targets = rng.integers(0, n_items, 9).astype(np.int32)
    by_rank = rank_values(rank_targets(scores, targets, None), k=(5, 10))
    hits = find_hits(np.argsort(-scores, axis=1).astype(np.int32), Csr.from_lists(targets[:, None].tolist()))
    for k in (5, 10):
        for name, metric in ACCURACY.items():
            np.testing.assert_allclose(by_rank[f"{name}@{k}"], metric(hits, np.ones(9, np.int64), k), atol=1e-15)
    assert list(by_rank) == [f"{m}@{k}" for k in (5, 10) for m in METRICS]


def test_ranks_do_not_depend_on_blocks(monkeypatch):
    rng = np.random.default_rng(0)
    scores = rng.integers(0, 9, (50, 40)).astype(np.float32)
    targets = rng.integers(0, 40, 50).astype(np.int32)
    exclude = Csr.from_lists([[(int(t) + 1 + j) % 40 for j in range(i % 4)] for i, t in enumerate(targets)])
    whole = rank_targets(scores, targets, exclude)
    monkeypatch.setattr("llmrec.evaluate.runner._CELLS", 120)
    np.testing.assert_array_equal(rank_targets(scores, targets, exclude), whole)


def test_ranks_refuse_nonsense():
    scores, targets = np.zeros((2, 3), np.float32), np.array([0, 1], np.int32)
    with pytest.raises(DataError, match="n targets"):
        rank_targets(scores, targets[:1], None)
    with pytest.raises(DataError, match="1 rows"):
        rank_targets(scores, targets, Csr.from_lists([[0]]))
    with pytest.raises(DataError, match="not a row"):
        rank_targets(scores, np.array([0, 3], np.int32), None)
    with pytest.raises(DataError, match="row 1: the target 1 is excluded"):
        rank_targets(scores, targets, Csr.from_lists([[], [1]]))
    with pytest.raises(DataError, match="start at 1"):
        rank_values(np.array([0.5]))
    with pytest.raises(ConfigError):
        rank_values(np.array([1.0]), k=(0,))


def test_card_and_report_stay_together():
    report = evaluate(Fixed({0: [1]}), holdout([[0]], [1]), n_items=2, protocol=card(1, 2, note="sample"))
    assert report.card == replace(card(1, 2), note="sample")


def test_where_some_items_are_ranked_only_these_count():
    """Two of ten items are ranked, and both are shown: all there is to cover, evenly."""
    cases = holdout([[], []], [1, 2])
    allow = np.zeros(10, dtype=np.bool_)
    allow[[1, 2]] = True
    cases = replace(cases, queries=replace(cases.queries, allow=allow))
    lists = np.array([[1, -1], [2, -1]], dtype=np.int32)
    report = evaluate_lists(lists, cases, k=(2,), n_items=10, protocol=card(2, 10, n_ranked=2))
    assert (report.totals["coverage@2"], report.totals["gini@2"]) == (1.0, 0.0)
    lists[1, 1] = 7
    with pytest.raises(DataError, match=r"only 2 items are ranked .*, but holdout row 1 was recommended item 7"):
        evaluate_lists(lists, cases, k=(2,), n_items=10, protocol=card(2, 10, n_ranked=2))
    lists[1, 1] = 70
    with pytest.raises(DataError, match="item 70 is not a row of a catalog of 10 items"):
        evaluate_lists(lists, cases, k=(2,), n_items=10, protocol=card(2, 10, n_ranked=2))
