"""Benchmarks: recommenders and lists of peers on the same cases, with the same things reported."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from llmrec.build import fit
from llmrec.config import Config
from llmrec.data import leave_last_out, without_last
from llmrec.errors import ConfigError, DataError, LeakageError
from llmrec.evaluate import (
    FieldDiversity,
    Wanted,
    benchmark_of,
    benchmark_on,
    compare_pairs,
    history_strata,
    novelty,
    popularity_strata,
    stratify,
)
from llmrec.types import Csr

CONFIG = Config.from_dict({"stages": [{"name": "hybrid", "retrievers": {"popularity": {}, "ease": {"l2": 5.0}}}]})


@pytest.fixture(scope="module")
def held(catalog, interactions):
    return fit(CONFIG, catalog, interactions, holdout="last")


def write_lists(path, recommender, interactions, rows, k=10):
    """Lists of the given users, each from what the recommender stores of them."""
    ids = interactions.users.decode(rows)
    found = recommender.recommend(recommender.queries(ids), k).items
    owners, places = np.nonzero(found >= 0)
    columns = {
        "user_id": [ids[row] for row in owners],
        "rank": places + 1,
        "item_id": recommender.catalog.items.decode(found[owners, places]),
    }
    parquet.write_table(pa.table(columns), path)
    return path


def test_the_cases_are_those_of_the_fit(held, interactions):
    benchmark = benchmark_of(held, interactions, Wanted())
    test = leave_last_out(interactions).test
    assert list(benchmark.trials) == ["last"]
    np.testing.assert_array_equal(benchmark.trials["last"].holdout.targets, test.targets)
    np.testing.assert_array_equal(
        benchmark.popularity, np.bincount(without_last(interactions).items, minlength=len(held.catalog))
    )
    assert benchmark.user_ids("last") == interactions.users.decode(test.user_rows)
    on = benchmark_on("last", held.catalog, interactions, Wanted())
    assert on.trials["last"].card == benchmark.trials["last"].card
    np.testing.assert_array_equal(on.popularity, benchmark.popularity)


def test_lists_of_a_recommender_are_judged_as_the_recommender(held, interactions, tmp_path):
    extra = {"Diversity": FieldDiversity(Csr.from_lists([[i % 3] for i in range(len(held.catalog))]))}
    benchmark = benchmark_of(held, interactions, Wanted((3, 10), extra, strata=True))
    path = write_lists(tmp_path / "mine.parquet", held, interactions, np.arange(interactions.n_users))
    direct, listed = benchmark.measure(held, "last"), benchmark.measure_lists(path, "last")
    assert {**listed.to_dict(), "protocol": None} == {**direct.to_dict(), "protocol": None}
    assert "lists from mine.parquet" in listed.card.note
    assert "Diversity@3" in direct.metrics
    assert compare_pairs(direct, listed).difference == 0.0


def test_strata_and_novelty_are_counted_from_what_may_be_known(held, interactions):
    benchmark = benchmark_of(held, interactions, Wanted(strata=True))
    report, cases = benchmark.measure(held, "last"), benchmark.trials["last"].holdout
    lists = held.recommend(cases.queries, 10).items
    assert report.totals["novelty@10"] == pytest.approx(novelty(lists, benchmark.popularity, 10))
    by_popularity = stratify(report, popularity_strata(cases.targets, benchmark.popularity))
    by_history = stratify(report, history_strata(cases.queries))
    assert sorted(report.strata["popularity"], key=lambda g: g.label) == by_popularity
    assert sorted(report.strata["history"], key=lambda g: g.label) == by_history
    assert benchmark_of(held, interactions, Wanted()).measure(held, "last").strata == {}


def test_missing_users_are_misses_and_said(held, interactions, tmp_path):
    benchmark = benchmark_of(held, interactions, Wanted())
    some = benchmark.trials["last"].holdout.user_rows[:5]
    path = write_lists(tmp_path / "some.parquet", held, interactions, some)
    report, whole = benchmark.measure_lists(path, "last"), benchmark.measure(held, "last")
    n = len(benchmark.trials["last"].holdout)
    assert report.card.note.endswith(f"; {n - 5} users without a list: misses")
    assert report.n_short >= n - 5
    np.testing.assert_array_equal(report.values["NDCG@10"][:5], whole.values["NDCG@10"][:5])
    assert report.values["NDCG@10"][5:].sum() == 0.0


def test_lists_with_histories_are_another_protocol(held, interactions, tmp_path):
    benchmark = benchmark_of(held, interactions, Wanted())
    greedy = replace(held, policies=())
    path = write_lists(tmp_path / "greedy.parquet", greedy, interactions, np.arange(interactions.n_users))
    report = benchmark.measure_lists(path, "last")
    assert not report.card.seen_excluded
    with pytest.raises(DataError, match="seen_excluded: True and False"):
        compare_pairs(benchmark.measure(held, "last"), report)


def test_a_sample_says_so(held, interactions):
    benchmark = benchmark_of(held, interactions, Wanted(users=4))
    n = len(leave_last_out(interactions).test)
    report = benchmark.measure(held, "last")
    assert (report.card.n_users, report.card.note) == (4, f"a fixed random 4 of {n} users")
    assert len(benchmark.user_ids("last")) == 4
    whole = benchmark_of(held, interactions, Wanted(users=n)).measure(held, "last")
    assert (whole.card.n_users, whole.card.note) == (n, "")


@pytest.mark.parametrize("name", ["time", "cold-items", "cold-users"])
def test_every_other_split(catalog, interactions, name):
    recommender = fit(CONFIG, catalog, interactions, holdout=name)
    benchmark = benchmark_of(recommender, interactions, Wanted((5,), strata=True))
    on = benchmark_on(name, catalog, interactions, Wanted((5,)))
    assert list(on.trials) == list(benchmark.trials)
    for test, trial in benchmark.trials.items():
        report = benchmark.measure(recommender, test)
        assert report.card.n_users == len(trial.holdout) > 0
        assert report.card.holdout == name
        assert on.trials[test].card == trial.card
        if name == "cold-items":
            assert [group.label for group in report.strata["popularity"]] == ["cold"]
        if name == "cold-users":
            assert [group.label for group in report.strata["history"]] == [test.removeprefix("history ")]


def test_what_may_have_seen_the_targets_is_refused(held, catalog, interactions):
    benchmark = benchmark_of(held, interactions, Wanted())
    with pytest.raises(LeakageError):
        benchmark.measure(fit(CONFIG, catalog, interactions), "last")
    with pytest.raises(LeakageError):
        benchmark.measure(fit(CONFIG, catalog, interactions, holdout="time"), "last")
    with pytest.raises(LeakageError, match="another log"):
        benchmark.measure(fit(CONFIG, catalog, leave_last_out(interactions).train, holdout="last"), "last")
    with pytest.raises(LeakageError):
        benchmark_of(fit(CONFIG, catalog, interactions), interactions, Wanted())
    with pytest.raises(DataError, match="stores no histories"):
        benchmark_of(replace(held, histories=None), interactions, Wanted())
    with pytest.raises(ConfigError):
        benchmark_on("weekly", catalog, interactions, Wanted())
