"""The refusal to measure what has seen the targets."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from llmrec.build import fit
from llmrec.config import Config
from llmrec.data import SPLITS, Catalog, Interactions, leave_last_out, split_by
from llmrec.errors import DataError, LeakageError
from llmrec.evaluate import Case, check_honest, check_unseen, evaluate, judge, leave_last_out_card, parts, split_card
from llmrec.testing.data import tiny_catalog, tiny_interactions

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


@pytest.fixture(scope="module")
def wide():
    """A catalog, a log, and a recommender fitted with each holdout."""
    catalog = tiny_catalog(40)
    log = tiny_interactions(1, catalog, n_users=80)
    return catalog, log, {name: fit(CONFIG, catalog, log, holdout=name) for name in SPLITS}


def measure(recommender, interactions, holdout, **settings):
    card = leave_last_out_card(interactions, holdout, **settings)
    return evaluate(recommender, holdout, n_items=interactions.catalog_size, protocol=card)


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


@pytest.mark.parametrize("fitted_with", SPLITS)
@pytest.mark.parametrize("measured_on", SPLITS)
def test_only_the_own_holdout_is_honest(wide, fitted_with, measured_on):
    catalog, log, fitted = wide
    recommender = fitted[fitted_with]
    check_unseen(recommender, log)
    split = split_by(measured_on, log, catalog.items)
    for tests, cases in split.tests.items():
        card = split_card(split, tests, log)
        if fitted_with == measured_on:
            report = evaluate(recommender, cases, n_items=40, protocol=card)
            assert report.card.holdout == fitted_with
        else:
            with pytest.raises(
                LeakageError, match=rf"fitted with holdout '{fitted_with}'.*measured on '{measured_on}'"
            ):
                evaluate(recommender, cases, n_items=40, protocol=card)


def test_another_min_interactions_is_found_by_the_card(catalog, interactions):
    """Users with 3 or 4 interactions stay whole in training at 5, and are tested at 3."""
    five = fit(CONFIG.model_copy(update={"min_interactions": 5}), catalog, interactions, holdout="last")
    right = leave_last_out(interactions, 5).test
    assert measure(five, interactions, right, min_interactions=5).card.n_users == len(right)
    with pytest.raises(LeakageError, match=r"'last' \(min_interactions 5\).*'last' \(min_interactions 3\)"):
        measure(five, interactions, leave_last_out(interactions, 3).test)


def test_another_min_interactions_is_found_by_the_cases(catalog, interactions):
    """Also where the card is wrong about it, or says nothing."""
    five = fit(CONFIG.model_copy(update={"min_interactions": 5}), catalog, interactions, holdout="last")
    wrong = leave_last_out(interactions, 3).test
    n_short = int((np.diff(interactions.offsets)[wrong.user_rows] < 5).sum())
    message = f"has stored the target of {n_short} of {len(wrong)} users"
    with pytest.raises(LeakageError, match=message):
        measure(five, interactions, wrong, min_interactions=5)
    with pytest.raises(LeakageError, match=message):
        judge(interactions, {"five": Case(five, wrong)})
    silent = replace(leave_last_out_card(interactions, wrong), holdout="", parameters={})
    with pytest.raises(LeakageError, match=message):
        check_honest(five, wrong, silent)


def test_stored_interactions_with_cold_items_or_users_are_found(wide):
    catalog, log, fitted = wide
    for name, message in (
        ("cold-items", "has stored interactions with the cold target of"),
        ("cold-users", "has stored interactions of"),
    ):
        split = split_by(name, log, catalog.items)
        card = split_card(split, next(iter(split.tests)), log)
        check_honest(fitted[name], split.test, card)
        # what a faulty fit would store: all but the very targets
        spoilt = replace(fitted[name], histories=leave_last_out(log).known)
        with pytest.raises(LeakageError, match=message):
            check_honest(spoilt, split.test, card)
        check_honest(replace(fitted[name], histories=None), split.test, card)


def test_cases_of_users_the_recommender_cannot_know_are_refused(held, interactions, holdout):
    strangers = replace(holdout, user_rows=holdout.user_rows + interactions.n_users)
    with pytest.raises(LeakageError, match="outside the log"):
        measure(held, interactions, strangers)


def test_older_bundles_say_less(held, interactions, holdout):
    """Before there were other holdouts, a bundle said "last" and `min_interactions`."""
    about = {key: value for key, value in held.about.items() if key != "holdout_parameters"}
    old = replace(held, about=about)
    check_unseen(old, interactions)
    assert measure(old, interactions, holdout).card.n_users == len(holdout)
    with pytest.raises(LeakageError, match="fitted with holdout 'last'"):
        measure(replace(old, about={**about, "min_interactions": 4}), interactions, holdout)


def test_a_log_over_a_permuted_catalog_is_refused(catalog, interactions, held, greedy, holdout):
    """As many items; the fingerprint of the log, which hashes rows, may even be the same."""
    permuted = Catalog.from_table(catalog.table.take(list(range(11, -1, -1))))
    ids = permuted.items.decode(interactions.items)
    users = np.repeat(interactions.users.ids, np.diff(interactions.offsets)).tolist()
    table = {"user_id": users, "item_id": ids, "timestamp": interactions.times.tolist()}
    other = Interactions.from_table(table, permuted)
    assert other.fingerprint == interactions.fingerprint
    for recommender in (held, greedy, replace(held, about=None)):
        with pytest.raises(DataError, match="not the recommender's first 12"):
            measure(recommender, other, leave_last_out(other).test)
        with pytest.raises(DataError, match="not the recommender's first 12"):
            check_unseen(recommender, other)
    assert measure(held, interactions, holdout).card.items_hash == interactions.items_hash


def test_a_catalog_that_has_grown_is_still_that_catalog(held, interactions):
    from llmrec.testing.data import new_items

    check_unseen(held.add_items(new_items(2)), interactions)


def test_peers_are_taken_at_their_word(interactions, holdout):
    class Peer:
        def recommend(self, queries, k):
            raise AssertionError

    check_honest(Peer(), holdout, leave_last_out_card(interactions, holdout))
