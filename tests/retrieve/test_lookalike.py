from dataclasses import replace

import numpy as np
import pytest

from llmrec.component import FitContext
from llmrec.models import TextEncoder
from llmrec.retrieve import LookalikeConfig, TransitionConfig, fit_lookalike, fit_transition
from llmrec.retrieve.lookalike import COMPONENT
from llmrec.testing.contracts import reload
from llmrec.testing.data import new_items
from llmrec.text import load_template, render_items
from llmrec.types import Item, Queries

NONE = np.empty(0, np.int32)
HISTORIES = Queries.from_lists([[4, 7], [3], [9, 5, 4, 8]])


def _fit(catalog, log, bert, **settings):
    config = LookalikeConfig(encoder=str(bert), item_template="item/title", **settings)
    return fit_lookalike(FitContext("lookalike", catalog, log), config, TextEncoder.load(str(bert)))


def _everything(model, queries):
    n = len(model.catalog)
    return np.nan_to_num(model.score(queries, np.tile(np.arange(n, dtype=np.int32), (len(queries), 1))))


def _vectors(catalog, bert, mean=None):
    """The embeddings of the titles less their mean, of length one; the mean."""
    embedded = TextEncoder.load(str(bert)).encode_items(render_items(load_template("item/title"), catalog))
    mean = embedded.mean(axis=0) if mean is None else mean
    rest = embedded - mean
    return rest / np.linalg.norm(rest, axis=1, keepdims=True), mean


def slow(vectors, known, transitions, neighbours, power):
    """The formula, item by item: from the scores of transitions, [n, m], to [n, len(vectors)]."""
    scores = np.zeros((len(transitions), len(vectors)))
    for item, vector in enumerate(vectors):
        likeness = {other: float(vector @ vectors[other]) for other in np.flatnonzero(known) if other != item}
        near = sorted(likeness, key=lambda other: -likeness[other])[:neighbours]
        shares = {other: likeness[other] ** power for other in near if likeness[other] > 0}
        for other, share in shares.items():
            scores[:, item] += share / sum(shares.values()) * transitions[:, other]
    return scores


def _transitions(catalog, log, queries=HISTORIES, forgotten=()):
    model = fit_transition(log, catalog, TransitionConfig())
    weights, decay = model.weights.toarray(), model.config.decay
    rows = [queries.histories[i][::-1] for i in range(len(queries))]
    return np.stack(
        [sum(decay**age * weights[item] for age, item in enumerate(row) if item not in forgotten) for row in rows]
    )


@pytest.mark.parametrize(("neighbours", "power"), [(2, 2.0), (3, 0.5), (4, 0.0), (100, 1.0)])
def test_an_item_scores_what_those_that_read_like_it_score(catalog, interactions, bert, neighbours, power):
    log = _without(interactions, 5, 8)
    model = _fit(catalog, log, bert, neighbours=neighbours, power=power)
    known = np.bincount(log.items, minlength=12) > 0
    assert known.sum() == 10
    expected = slow(_vectors(catalog, bert)[0], known, _transitions(catalog, log), neighbours, power)
    np.testing.assert_allclose(_everything(model, HISTORIES), expected, rtol=1e-4, atol=1e-7)
    assert (expected[:, [5, 8]] > 0).any(axis=0).all()


def _without(log, *items):
    keep = ~np.isin(log.items, items)
    counts = np.concatenate([[0], np.cumsum(keep)])
    return replace(log, offsets=counts[log.offsets], items=log.items[keep], times=log.times[keep])


def test_a_new_item_borrows_at_once_and_old_ones_do_not_move(catalog, interactions, bert):
    model = _fit(catalog, interactions, bert, neighbours=3)
    grown = catalog.with_items(new_items(2))
    bigger = model.with_items(grown, NONE)
    vectors, _ = _vectors(grown, bert, _vectors(catalog, bert)[1])
    known = np.arange(14) < 12  # a new item lends nothing to the next one
    expected = slow(vectors, known, _transitions(catalog, interactions), 3, 2.0)
    np.testing.assert_allclose(_everything(bigger, HISTORIES), expected, rtol=1e-4, atol=1e-7)
    assert (expected[:, 12:] > 0).any(axis=0).all()
    # an item that brings no transitions, in a history, is no history
    assert np.isnan(bigger.score(Queries.from_lists([[13]]), np.int32([[0, 13]]))).all()


def test_a_changed_item_is_read_anew_and_lends_what_it_did(catalog, interactions, bert):
    model = _fit(catalog, interactions, bert, neighbours=2)
    title = catalog.records(np.int32([7]))[0]["title"]
    changed = catalog.with_changes([Item(catalog.items[3], {"title": title})])
    before, after = model.shares.toarray(), model.with_items(changed, np.int32([3])).shares.toarray()
    assert after[7, 3] > after[:, 3].sum() / 2  # what reads alike lends most
    others = np.arange(12) != 3
    np.testing.assert_array_equal(after[:, others], before[:, others])


def test_forgotten_items_borrow_from_known_ones_only_and_lend_what_they_did(catalog, interactions, bert):
    model, forgotten = _fit(catalog, interactions, bert, neighbours=4), np.isin(np.arange(12), [4, 6, 10])
    it = model.forgetting(np.arange(12) == 4).forgetting(np.isin(np.arange(12), [6, 10]))
    transitions = _transitions(catalog, interactions, forgotten=[4, 6, 10])
    vectors, _ = _vectors(catalog, bert)
    as_new = slow(vectors, ~forgotten, transitions, 4, 2.0)
    as_was = slow(vectors, np.ones(12, np.bool_), transitions, 4, 2.0)
    expected = np.where(forgotten, as_new, as_was)
    np.testing.assert_allclose(_everything(it, HISTORIES), expected, rtol=1e-4, atol=1e-7)
    assert not np.allclose(as_new[:, forgotten], as_was[:, forgotten])


def test_without_a_transition_there_is_no_evidence(catalog, interactions, bert):
    model = _fit(catalog, interactions, bert)
    assert np.isnan(model.score(Queries.from_lists([[]]), np.arange(12, dtype=np.int32)[None])).all()
    assert (model.retrieve(Queries.from_lists([[]]), 3).items == -1).all()


def test_removed_items_lend_and_do_not_come_back(catalog, interactions, bert):
    model = _fit(catalog, interactions, bert, neighbours=3)
    fewer = catalog.without_items([catalog.items[1]])
    it = model.with_items(fewer, np.int32([2]))  # as if item 2 had to be read again
    np.testing.assert_allclose(it.shares.toarray(), model.shares.toarray(), rtol=1e-5)
    assert not (it.retrieve(HISTORIES, 12).items == 1).any()


def test_it_comes_back_with_its_settings(catalog, interactions, bert, tmp_path):
    given = TransitionConfig(window=2, decay=0.5, neighbours=4)
    model = _fit(catalog, interactions, bert, neighbours=3, power=1.0, transition=given)
    again = reload(model, catalog, tmp_path)
    assert again.config == model.config
    assert again.taken.config == given
    np.testing.assert_array_equal(again.shares.toarray(), model.shares.toarray())
    for one in (model, again):
        grown = one.with_items(catalog.with_items(new_items(1)), NONE)
        np.testing.assert_allclose(grown.shares[:, 12].sum(), 1, rtol=1e-5)
    assert COMPONENT.config.model_validate({"transition": {"window": 2}}).transition.window == 2
