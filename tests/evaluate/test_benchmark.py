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
from llmrec.testing.data import tiny_users
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


def test_lists_are_judged_by_the_items_that_are_ranked(catalog, interactions, tmp_path):
    """A peer's lists over all items, asked among cold ones: as if the rest had never been in them."""
    recommender = fit(CONFIG, catalog, interactions, holdout="cold-items")
    benchmark = benchmark_of(recommender, interactions, Wanted())
    path = write_lists(tmp_path / "all.csv.parquet", recommender, interactions, np.arange(interactions.n_users), 12)
    cold = benchmark.trials["among cold"].holdout
    report = benchmark.measure_lists(path, "among cold")
    assert "places with items that are not ranked here left out" in report.card.note
    assert "without a list" not in report.card.note
    assert "not ranked" not in benchmark.measure_lists(path, "among all").card.note
    shown = np.flatnonzero(report.exposure[10])
    assert len(shown)
    assert cold.queries.allow[shown].all()
    full = recommender.recommend(recommender.queries(interactions.users.decode(cold.user_rows)), 12).items
    for value, row, target in zip(report.values["MRR@10"], full, cold.targets, strict=True):
        only = [item for item in row.tolist() if item >= 0 and cold.queries.allow[item]]
        assert value == (1 / (only.index(target) + 1) if target in only else 0.0)


def test_one_list_cannot_answer_for_several_histories(held, catalog, interactions, tmp_path):
    benchmark = benchmark_on("cold-users", catalog, interactions, Wanted())
    path = write_lists(tmp_path / "mine.parquet", held, interactions, np.arange(interactions.n_users))
    with pytest.raises(DataError, match=r"mine\.parquet holds one list a user, but cold users are asked several times"):
        benchmark.measure_lists(path, "history 1")


def test_each_recommender_is_asked_with_the_profiles_it_stores(held, catalog, interactions, monkeypatch):
    """Two bundles on the cases of the first: one knows profiles, the other none."""
    users, asked = tiny_users(), []
    knowing = fit(CONFIG, catalog, interactions, users=users, holdout="last")
    real = type(held).recommend
    monkeypatch.setattr(
        type(held), "recommend", lambda self, queries, k: asked.append(queries) or real(self, queries, k)
    )
    for first, second in ((held, knowing), (knowing, held)):
        benchmark = benchmark_of(first, interactions, Wanted())
        for recommender in (first, second):
            asked.clear()
            benchmark.measure(recommender, "last")
            ids = benchmark.user_ids("last")
            expected = users.profiles(ids) if recommender is knowing else None
            assert [queries.profiles for queries in asked] == [expected]
