"""Learning increment by increment comes to what a fit on everything gives."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from llmrec.component import Learns
from llmrec.data import InteractionColumns, Interactions, Vocab
from llmrec.retrieve import EaseConfig, ItemKnnConfig, TransitionConfig, fit_ease, fit_item_knn, fit_transition
from llmrec.retrieve.popular import COMPONENT, PopularityConfig, fit_popularity
from llmrec.retrieve.row_store import SparseRows, replaced_rows
from llmrec.testing.data import new_items, tiny_catalog
from llmrec.types import State

OLD = tiny_catalog(10)
NOW = OLD.with_items(new_items(2))
DAY = 86_400
# user, item, days, weight; sums of such weights are exact, so that ties are ties in whatever order they were added
EVENTS = st.lists(
    st.tuples(st.integers(0, 4), st.integers(0, 11), st.integers(0, 30), st.sampled_from([0.5, 1.0, 2.0])),
    min_size=1,
    max_size=30,
)


def log_of(rows, catalog, repeats, users=None):
    """A log; `users`: of these only, each of them with whatever there is."""
    chosen = [row for row in rows if users is None or row[0] in users]
    table = {
        "user_id": [f"u{user}" for user, *_ in chosen],
        "item_id": catalog.items.decode([item for _, item, *_ in chosen]),
        "timestamp": [days * DAY for *_, days, _ in chosen],
        "w": [weight for *_, weight in chosen],
    }
    columns = InteractionColumns(time="timestamp", weight="w")
    if not chosen:
        return Interactions.from_table({**table, "w": np.empty(0)}, catalog, columns, repeats)
    return Interactions.from_table(table, catalog, columns, repeats)


def aligned(rows, catalog, repeats, users):
    """The log of some users, in their order, those without interactions included."""
    log, ids = log_of(rows, catalog, repeats, users), [f"u{user}" for user in users]
    rows_of = log.users.get(ids)
    lengths = np.where(rows_of >= 0, np.append(np.diff(log.offsets), 0)[rows_of], 0)
    places = [np.arange(log.offsets[r], log.offsets[r + 1]) for r in rows_of if r >= 0]
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    kept = log.keep(np.concatenate([np.empty(0, np.int64), *places]).astype(np.int64), log.offsets)
    return replace(kept, users=Vocab(ids), offsets=offsets)


def dense(model):
    weights = np.zeros((12, 12), np.float32)
    found = model.weights.toarray()
    weights[: len(found), : len(found)] = found
    return weights


FITS = {
    "item_knn": (fit_item_knn, ItemKnnConfig(neighbours=3, shrinkage=1)),
    "item_knn, all": (fit_item_knn, ItemKnnConfig(neighbours=12)),
    "transition": (fit_transition, TransitionConfig(neighbours=3, window=3, gap_decay=0.5, backward=0.5, popularity=1)),
    "transition, onward": (fit_transition, TransitionConfig(neighbours=4, window=2, gap_decay=0.5, backward=0)),
    "transition, all alike": (fit_transition, TransitionConfig(neighbours=3, gap_decay=0.5, popularity=0)),
    "transition, all": (fit_transition, TransitionConfig(neighbours=12)),
}


@pytest.mark.parametrize("repeats", ["fold", "keep"])
@pytest.mark.parametrize("name", FITS)
@settings(max_examples=25, deadline=None)
@given(base=EVENTS, more=st.lists(EVENTS, min_size=1, max_size=3))
def test_item_item_weights_are_those_of_a_fit_on_everything(name, repeats, base, more):
    fit, config = FITS[name]
    rows = [(user, item % 10, *rest) for user, item, *rest in base]
    first = log_of(rows, OLD, repeats)
    model = fit(first, OLD, config).with_counts(first).with_items(NOW, np.empty(0, np.int32))
    kept = model.weights.copy()
    for events in more:
        users = sorted({user for user, *_ in events})
        before, after = aligned(rows, NOW, repeats, users), aligned([*rows, *events], NOW, repeats, users)
        rows += events
        model = model.learning(before, after)
    whole = fit(log_of(rows, NOW, repeats), NOW, config)
    np.testing.assert_allclose(dense(model), dense(whole), rtol=1e-5, atol=1e-7)
    np.testing.assert_array_equal(model.known, whole.known)
    assert kept.shape == (10, 10)


@pytest.mark.parametrize("repeats", ["fold", "keep"])
@pytest.mark.parametrize("half_life", [None, 2.0])
@settings(max_examples=25, deadline=None)
@given(base=EVENTS, more=st.lists(EVENTS, min_size=1, max_size=3))
def test_popularity_is_that_of_a_fit_on_everything(half_life, repeats, base, more):
    config = PopularityConfig(half_life=half_life)
    rows = [(user, item % 10, *rest) for user, item, *rest in base]
    fitted = fit_popularity(log_of(rows, OLD, repeats), OLD, config)
    model = COMPONENT.load("popularity", fitted.state(), OLD).with_items(NOW, np.empty(0, np.int32))
    for events in more:
        users = sorted({user for user, *_ in events})
        before, after = aligned(rows, NOW, repeats, users), aligned([*rows, *events], NOW, repeats, users)
        rows += events
        model = model.learning(before, after)
    whole = fit_popularity(log_of(rows, NOW, repeats), NOW, config)
    # where an older event takes the place of the newest one, a fit counts ages from what is the newest then
    scale = 1.0 if half_life is None else whole.counts.max() / model.counts.max()
    np.testing.assert_allclose(model.counts * scale, whole.counts, rtol=1e-4, atol=1e-30)
    again = COMPONENT.load("popularity", model.state(), NOW)
    np.testing.assert_array_equal(again.counts, model.counts)


def test_popularity_of_an_old_bundle_counts_what_is_new_as_one():
    """It does not say how it faded, so nothing fades further."""
    old = COMPONENT.load("popularity", State(arrays={"counts": np.float32([0.25] * 10)}), OLD)
    rows = [(0, 3, 9, 1.0)]
    learned = old.learning(aligned([], OLD, "fold", [0]), aligned(rows, OLD, "fold", [0]))
    assert learned.counts[3] == 1.25
    assert (np.delete(learned.counts, 3) == 0.25).all()


def test_without_counts_or_a_way_to_count_a_model_stays_as_it_is():
    log = log_of([(0, 1, 0, 1.0), (0, 2, 1, 1.0), (1, 2, 0, 1.0)], OLD, "fold")
    ease, knn = fit_ease(log, OLD, EaseConfig(l2=1)), fit_item_knn(log, OLD, ItemKnnConfig())
    assert [model.learns for model in (ease, knn)] == [False, True]
    assert all(isinstance(model, Learns) for model in (ease, knn, fit_popularity(log, OLD)))
    more = log_of([(0, 1, 0, 1.0), (0, 2, 1, 1.0), (0, 3, 2, 1.0)], OLD, "fold")
    before = log_of([(0, 1, 0, 1.0), (0, 2, 1, 1.0)], OLD, "fold")
    assert ease.with_counts(log).learning(before, more) is ease.with_counts(log)
    assert knn.learning(before, more) is knn


@pytest.mark.parametrize(("fit", "config"), [FITS["item_knn"], FITS["transition"]])
def test_counts_that_would_not_fit_are_not_made(monkeypatch, fit, config):
    log = log_of([(0, 1, 0, 1.0), (0, 2, 1, 1.0)], OLD, "fold")
    monkeypatch.setattr("llmrec.retrieve.memory.available_memory", lambda: 10)
    assert fit(log, OLD, config).with_counts(log).counts is None


@pytest.mark.parametrize(("fit", "config"), [FITS["item_knn"], FITS["transition"]])
def test_an_event_touches_only_rows_of_items_near_to_it(fit, config):
    """Two groups of users that share no item: what is done in one leaves the rows of the other as they are."""
    rows = [(u, i, i, 1.0) for u in (0, 1) for i in range(4)] + [(u, i, i, 1.0) for u in (2, 3) for i in range(5, 9)]
    log = log_of(rows, OLD, "fold")
    model = fit(log, OLD, config).with_counts(log)
    more = [(0, 4, 20, 1.0)]
    after = model.learning(aligned(rows, OLD, "fold", [0]), aligned(rows + more, OLD, "fold", [0]))
    stores = (after.counts.pairs,) if fit is fit_item_knn else (after.counts.onward, after.counts.back)
    for store in stores:
        assert set(store.changed) <= set(range(5))
        assert store.changed
    assert not (dense(after)[5:] != dense(model)[5:]).any()


def test_rows_are_added_and_replaced(rng):
    base, more = (sp.random(6, 6, 0.4, format="csr", random_state=rng) for _ in range(2))
    grown = sp.csr_matrix((more.data, more.indices, np.append(more.indptr, [more.indptr[-1]] * 2)), shape=(8, 8))
    found = SparseRows(base).adding(grown).take(np.arange(8), 8).toarray()
    expected = np.zeros((8, 8))
    expected[:6, :6] = (base + more).toarray()
    np.testing.assert_allclose(found, expected)
    replaced = replaced_rows(base, np.array([7, 2]), grown[[0, 1]]).toarray()
    expected[:6, :6] = base.toarray()
    expected[[7, 2]] = grown[[0, 1]].toarray()
    np.testing.assert_allclose(replaced, expected)
    gone = SparseRows(base).adding(sp.csr_matrix(-base))
    assert gone.take(np.arange(6), 6).nnz == 0
