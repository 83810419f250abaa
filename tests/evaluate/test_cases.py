"""Parts of a recommender, samples, and the cases of the holdout it was fitted with."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from llmrec.build import fit
from llmrec.config import Config
from llmrec.data import SPLITS, leave_last_out, split_by
from llmrec.errors import LeakageError
from llmrec.evaluate import Case, cases_of, check_unseen, judge, novelty, parts, sample_cases, split_card
from llmrec.testing.data import tiny_catalog, tiny_interactions, tiny_users
from llmrec.types import Item

CONFIG = Config.from_dict({"stages": [{"name": "hybrid", "retrievers": {"popularity": {}, "ease": {"l2": 5.0}}}]})


@pytest.fixture(scope="module")
def held(catalog, interactions):
    return fit(CONFIG, catalog, interactions, holdout="last")


@pytest.fixture(scope="module")
def holdout(interactions):
    return leave_last_out(interactions).test


def test_parts_are_the_retrievers_then_the_stages(held, interactions, holdout):
    found = parts(held)
    assert list(found) == ["popularity", "ease", "hybrid"]
    queries = holdout.queries
    np.testing.assert_array_equal(found["hybrid"].recommend(queries, 3).items, held.recommend(queries, 3).items)
    assert [r.name for r, _ in found["ease"].stages[0].retrievers] == ["ease"]
    assert not np.array_equal(
        found["ease"].recommend(queries, 3).items, found["popularity"].recommend(queries, 3).items
    )
    check_unseen(found["ease"], interactions)


@pytest.fixture(scope="module")
def wide():
    catalog = tiny_catalog(40)
    return catalog, tiny_interactions(1, catalog, n_users=80)


@pytest.mark.parametrize("name", SPLITS)
def test_cases_are_those_of_the_holdout_it_was_fitted_with(wide, name):
    catalog, log = wide
    users = tiny_users(80)
    fitted = fit(replace_bar(CONFIG, 4), catalog, log, users=users, holdout=name)
    split = split_by(name, log, catalog.items, 4)
    found = cases_of(fitted, log)
    assert list(found) == list(split.tests)
    for tests, case in found.items():
        assert case.recommender is fitted
        np.testing.assert_array_equal(case.holdout.targets, split.tests[tests].targets)
        np.testing.assert_array_equal(case.holdout.queries.items, split.tests[tests].queries.items)
        assert case.holdout.queries.profiles == users.profiles(log.users.decode(case.holdout.user_rows))
        assert case.card == split_card(split, tests, log)
    bare = cases_of(replace(fitted, users=None), log)
    assert all(case.holdout.queries.profiles is None for case in bare.values())
    reports = judge(log, {**found, "few": replace(case, holdout=sample_cases(case.holdout, 2), note="two")})
    assert (reports["few"].card.n_users, reports["few"].card.note) == (2, "two")
    assert all(reports[tests].card == case.card for tests, case in found.items())


def replace_bar(config, min_interactions):
    return config.model_copy(update={"min_interactions": min_interactions})


def test_among_cold_items_only_these_are_ranked(wide):
    catalog, log = wide
    fitted = fit(CONFIG, catalog, log, holdout="cold-items")
    found = cases_of(fitted, log)
    cold = split_by("cold-items", log, catalog.items).cold
    lists = fitted.recommend(found["among cold"].holdout.queries, 10).items
    assert cold[lists[lists >= 0]].all()
    assert not cold[fitted.recommend(found["among all"].holdout.queries, 3).items].all()
    # no model knows anything of a cold item but, maybe, its text: these have none
    report = judge(log, {"all": found["among all"]})["all"]
    assert report.metrics["Recall@10"].mean == 0.0


def test_there_are_no_cases_of_what_has_seen_everything(catalog, interactions):
    with pytest.raises(LeakageError, match="has seen every interaction"):
        cases_of(fit(CONFIG, catalog, interactions), interactions)


def test_the_card_says_whether_histories_are_excluded(wide):
    catalog, log = wide
    free = Config.from_dict({"stages": CONFIG.model_dump()["stages"], "policies": {}})
    fitted = fit(free, catalog, log, holdout="time")
    report = judge(log, cases_of(fitted, log))["time"]
    assert not report.card.seen_excluded
    fitted = fit(replace_bar(CONFIG, 5), catalog, log, holdout="last")
    card = judge(log, {"x": Case(fitted, leave_last_out(log, 5).test)})["x"].card
    assert (card.seen_excluded, card.parameters) == (True, {"min_interactions": 5})


def test_judge_passes_on_what_to_measure(held, interactions, holdout):
    found = judge(
        interactions, {"x": Case(held, holdout)}, k=(3, 5), extra={"One": lambda items, q, k: np.ones(len(q))}
    )
    assert {"NDCG@3", "NDCG@5", "One@5"} <= set(found["x"].metrics)
    assert "NDCG@10" not in found["x"].metrics


def test_judge_adds_novelty_from_the_stored_histories(held, interactions, holdout):
    queries = held.recommend(holdout.queries, 10)
    counts = np.bincount(held.histories.items, minlength=len(held.catalog))
    found = judge(
        interactions, {"all": Case(held, holdout, "a note"), "none": Case(replace(held, histories=None), holdout)}
    )
    assert found["all"].totals["novelty@10"] == pytest.approx(novelty(queries.items, counts, 10))
    assert found["all"].card.note == "a note"
    assert "novelty@10" not in found["none"].totals


def test_a_sample_is_fixed_and_aligned(holdout):
    some = sample_cases(holdout, 3)
    again = sample_cases(holdout, 3)
    assert len(some) == 3
    np.testing.assert_array_equal(some.user_rows, again.user_rows)
    for row, user in enumerate(some.user_rows):
        whole = int(np.flatnonzero(holdout.user_rows == user)[0])
        assert some.targets[row] == holdout.targets[whole]
        np.testing.assert_array_equal(some.queries.histories[row], holdout.queries.histories[whole])
    assert len(sample_cases(holdout, 10_000)) == len(holdout)
    assert not np.array_equal(some.user_rows, sample_cases(holdout, 3, seed=1).user_rows)


@pytest.mark.parametrize("name", SPLITS)
def test_a_catalog_that_has_grown_is_ranked_whole(wide, name):
    catalog, log = wide
    grown = fit(CONFIG, catalog, log, holdout=name).add_items([Item("new", {"title": "New"})])
    found = cases_of(grown, log)
    for tests, report in judge(log, found).items():
        assert report.card.n_items == 41
        assert report.card.n_ranked == (3 if tests == "among cold" else None)
        allow = found[tests].holdout.queries.allow
        assert allow is None or (len(allow) == 41 and not allow[40])
