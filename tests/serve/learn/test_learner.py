"""The learner: what it learned is what a fit gives; it starts over where it must, and lives on after errors."""

from __future__ import annotations

import logging
import threading
from dataclasses import replace

import numpy as np
import pytest

from llmrec.build import fit as fit_pipeline
from llmrec.retrieve import fit_item_knn, fit_popularity, fit_transition
from llmrec.serve.learn import Learner
from llmrec.serve.learn.increment import learned_seq, learners
from llmrec.testing.data import new_items
from llmrec.types import Item

FITS = {"popularity": fit_popularity, "item_knn": fit_item_knn, "transition": fit_transition}


def parts(recommender):
    return {retriever.name: retriever for retriever, _ in recommender.stages[0].retrievers}


def check_same(recommender, log, catalog):
    """Every component that learns is as if it had been fitted on this log."""
    found = parts(recommender)
    for name, fit in FITS.items():
        config = getattr(found[name], "config", None)
        expected = fit(log, catalog, config, name=name) if config else fit(log, catalog)
        if name == "popularity":
            np.testing.assert_array_equal(found[name].counts, expected.counts)
        else:
            n, weights = len(catalog), found[name].weights.toarray()
            padded = np.pad(weights, ((0, n - len(weights)), (0, n - len(weights))))
            np.testing.assert_allclose(padded, expected.weights.toarray(), rtol=1e-6)
            np.testing.assert_array_equal(found[name].known, expected.known)


def test_it_learns_what_a_fit_on_everything_would(shop, fitted, store, models, whole, monkeypatch):
    monkeypatch.setattr("llmrec.serve.learn.learner.BATCH", 3)
    learner = Learner(store, models, shop.serve())
    store.add(("u1", "i0"), ("new", "i3"), ("u1", "i9"), ("new", "i4"), ("u2", "i11"), ("new", "i3"), ("u3", "i1"))
    assert learner.lag() == 7
    assert [learner.step() for _ in range(4)] == [3, 3, 1, 0]
    assert learner.lag() == 0
    check_same(models.now["default"], whole(store.events), shop.catalog)
    assert models.now["default"].fallback is parts(models.now["default"])["popularity"]
    assert parts(models.now["default"])["ease"] is parts(fitted)["ease"]
    assert learners(fitted) == ["popularity", "item_knn", "transition"]
    check_same(fitted, shop.log, shop.catalog)  # what is in use elsewhere stays as it is


def test_only_what_counts_is_learned(shop, store, models, whole):
    store.add(("u1", "i0", "dismiss"), ("u1", "i9", "impression"), ("u1", "i3", "restore"), ("u1", "gone"))
    store.add((None, "i5", "click"), ("u4", "i7", "nonsense"))
    learner = Learner(store, models, shop.serve())
    assert learner.step() == 6
    check_same(models.now["default"], shop.log, shop.catalog)
    store.add(("u1", "i9", "like"))
    assert learner.step() == 1
    check_same(models.now["default"], whole(store.events[-1:]), shop.catalog)


def test_kinds_weigh_as_configured(shop, store, models, whole):
    store.add(("u1", "i9", "buy"), ("u1", "i10", "view"))
    Learner(store, models, shop.serve(kinds={"buy": 2.0, "view": 1.0})).step()
    log = whole(store.events)
    weights = np.ones(len(log), np.float32)
    row = log.users.rows(["u1"])[0]
    mine = np.arange(log.offsets[row], log.offsets[row + 1])
    weights[mine[log.items[mine] == 9]] = 2.0
    check_same(models.now["default"], replace(log, weights=weights), shop.catalog)


def test_items_put_since_are_learned_too(shop, fitted, store, models, whole):
    models.now["default"] = fitted.add_items([Item(i.id, i.fields) for i in new_items(2)])
    catalog = models.now["default"].catalog
    store.add(("u1", "new0"), ("u2", "new0"), ("u2", "new1"), ("u3", "i2"))
    Learner(store, models, shop.serve()).step()
    check_same(models.now["default"], whole(store.events, catalog), catalog)
    after = models.now["default"]
    listed = after.decode(after.recommend(after.queries(histories=[["new0"]]), 5))[0]
    assert "new1" in {one.item_id for one in listed}


def test_an_item_that_came_while_it_worked_is_kept(shop, fitted, store, models, whole):
    learner = Learner(store, models, shop.serve())
    learner.step()

    def put():
        models.now["default"] = models.now["default"].add_items(new_items(1))

    store.add(("u1", "i9"))
    models.meanwhile = put
    assert learner.step() == 1
    after = models.now["default"]
    assert "new0" in after.catalog.items
    check_same(after, whole(store.events, after.catalog), after.catalog)


def test_a_bundle_that_came_while_it_worked_starts_over(shop, fitted, store, models, whole, with_seq):
    store.add(("u1", "i9"), ("u2", "i11"))
    refitted = with_seq(shop.fit(whole(store.events)), 2)
    store.add(("u3", "i1"))
    learner = Learner(store, models, shop.serve())

    def deploy():
        models.now["default"] = refitted

    models.meanwhile = deploy
    learner.step()
    assert models.now["default"] is refitted
    assert learner.lag() == 1
    assert learner.step() == 1
    assert learned_seq(models.now["default"]) == 3
    check_same(models.now["default"], whole(store.events), shop.catalog)


def test_aliases_learn_by_themselves(shop, fitted, store, models, whole, with_seq):
    store.add(("u1", "i9"), ("u2", "i11"))
    models.now["later"] = with_seq(shop.fit(whole(store.events)), 2)
    learner = Learner(store, models, shop.serve())
    assert learner.lag() == 2
    assert learner.step() == 2
    for recommender in models.now.values():
        check_same(recommender, whole(store.events), shop.catalog)


def test_the_bundles_history_of_an_erased_user_is_not_used(shop, store, models, whole):
    store.erase("u1")
    store.add(("u1", "i9"))
    Learner(store, models, shop.serve()).step()
    found, before = (
        parts(models.now["default"])["transition"],
        fit_transition(shop.log, shop.catalog, shop_config(models)),
    )
    assert found.counts.onward.changed == {}  # a first item follows none
    assert parts(models.now["default"])["popularity"].counts[9] == fit_popularity(shop.log, shop.catalog).counts[9] + 1
    assert before.known.sum() <= found.known.sum()


def shop_config(models):
    return parts(models.now["default"])["transition"].config


def test_a_bundle_without_histories_learns_popularity_only(shop, fitted, store, models):
    models.now["default"] = replace(fitted, histories=None)
    store.add(("u1", "i9"))
    Learner(store, models, shop.serve()).step()
    after = parts(models.now["default"])
    assert after["popularity"].counts[9] == parts(fitted)["popularity"].counts[9] + 1
    assert after["item_knn"].weights is parts(fitted)["item_knn"].weights


def test_what_has_learned_no_longer_says_that_anything_was_held_out(shop, store, models):
    """Its histories hold the cases it was tuned on: nothing must measure it on them."""
    measured = fit_pipeline(shop.config, shop.catalog, shop.log, holdout="last")
    models.now["default"] = measured
    store.add(("u1", "i9"))
    Learner(store, models, shop.serve()).step()
    assert models.snapshot().recommender.about["holdout"] == "none"
    assert measured.about["holdout"] == "last"


def test_nothing_is_learned_where_it_is_switched_off(shop, store, models, fitted):
    store.add(("u1", "i9"))
    learner = Learner(store, models, shop.serve(incremental=False))
    learner.start()
    assert (learner.step(), learner.lag()) == (0, 0)
    assert models.now["default"] is fitted
    learner.stop()


def test_one_broken_alias_does_not_keep_others_from_learning(shop, fitted, store, models, monkeypatch):
    models.now = {"broken": replace(fitted, about={"store_seq": "x"}), "default": fitted}
    store.add(("u1", "i9"))
    learner = Learner(store, models, shop.serve())
    with pytest.raises(ValueError, match="invalid literal"):
        learner.step()
    assert learned_seq(models.now["default"]) == 1


def test_the_thread_survives_errors_and_tells_no_ids(shop, store, models, caplog):
    caplog.set_level(logging.WARNING, logger="llmrec")
    failed, learned = threading.Event(), threading.Event()
    read, change = store.events_after, models.change

    def reading(*args, **more):
        if store.failing:
            failed.set()
        return read(*args, **more)

    def changing(alias, by):
        change(alias, by)
        if learned_seq(models.now[alias]) == 1:
            learned.set()

    store.events_after, models.change = reading, changing
    store.failing = True
    store.add(("u7", "i9"))
    learner = Learner(store, models, shop.serve(every_s=0.01))
    learner.start()
    learner.start()  # which does nothing
    try:
        assert failed.wait(60)
        store.failing = False
        learner.wake()
        assert learned.wait(60)
    finally:
        learner.stop()
    assert learner.lag() == 0
    assert "OSError" in caplog.text
    assert "u7" not in caplog.text


def test_it_rests_in_proportion_to_its_work(shop, store, models, monkeypatch):
    learner, waited = Learner(store, models, shop.serve(every_s=0.5)), []
    monkeypatch.setattr(learner._stop, "wait", waited.append)
    monkeypatch.setattr(learner._wake, "wait", waited.append)
    learner._rest(worked=3.0, learned=0, failures=0)
    assert waited == [12.0, 0.5]
    waited.clear()
    learner._rest(worked=3.0, learned=0, failures=3)
    assert waited == [4.0]
    waited.clear()
    learner._rest(worked=3.0, learned=0, failures=30)
    assert waited == [60.0]
