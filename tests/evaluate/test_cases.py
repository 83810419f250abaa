"""Parts of a recommender, samples, and the refusal to measure what has seen the targets."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from llmrec.build import fit
from llmrec.config import Config
from llmrec.data import leave_last_out
from llmrec.errors import LeakageError
from llmrec.evaluate import Case, check_unseen, evaluate, judge, leave_last_out_card, novelty, parts, sample_cases

CONFIG = Config.from_dict({"stages": [{"name": "hybrid", "retrievers": {"popularity": {}, "ease": {"l2": 5.0}}}]})


@pytest.fixture(scope="module")
def held(catalog, interactions):
    return fit(CONFIG, catalog, interactions, holdout="last")


@pytest.fixture(scope="module")
def greedy(catalog, interactions):
    """Fitted on every interaction."""
    return fit(CONFIG, catalog, interactions)


@pytest.fixture(scope="module")
def holdout(interactions):
    return leave_last_out(interactions).test


def measure(recommender, interactions, holdout):
    card = leave_last_out_card(interactions, holdout)
    return evaluate(recommender, holdout, n_items=interactions.catalog_size, protocol=card)


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


def test_evaluate_itself_refuses_what_has_seen_the_targets(greedy, held, interactions, holdout):
    for recommender in (greedy, *parts(greedy).values(), replace(greedy, histories=None)):
        with pytest.raises(LeakageError, match=r"LEAKAGE: .*holdout='last'"):
            measure(recommender, interactions, holdout)
    assert measure(held, interactions, holdout).card.n_users == len(holdout)


def test_evaluate_lets_pass_what_was_fitted_on_another_log(catalog, interactions, holdout):
    split = leave_last_out(interactions)
    on_train = fit(CONFIG, catalog, split.train)
    assert measure(on_train, interactions, holdout).card.n_users == len(holdout)
    with pytest.raises(LeakageError, match="another log"):
        check_unseen(on_train, interactions)


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
