"""A refit: what it learns from, what the gate lets through, and what is left where it is stopped."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from llmrec.build import fit
from llmrec.bundle import read_manifest
from llmrec.data import Interactions, Users, items_hash
from llmrec.errors import BundleError, ConfigError
from llmrec.pipeline import Recommender
from llmrec.serve.learn import deploy, refit
from llmrec.serve.learn._material import gathered
from llmrec.serve.learn.gate import newest
from llmrec.serve.live import bundle_version
from llmrec.testing.data import tiny_users


def busy(store, n_users=25, seed=1):
    """Users of the shop go on as before: what comes next is the item with the next number."""
    rng = np.random.default_rng(seed)
    rows = []
    for user in rng.permutation(n_users).tolist():
        first = int(rng.integers(0, 12))
        rows += [(f"u{user}", f"i{(first + place) % 12}") for place in range(4)]
    store.add(*(rows[place] for place in np.arange(len(rows)).reshape(-1, 4).T.ravel().tolist()))


@pytest.fixture
def few(monkeypatch):
    """A gate that is content with few cases."""
    monkeypatch.setattr("llmrec.serve.learn.gate.LEAST", 5)


def test_it_is_the_fit_on_log_and_events(shop, bundle, store, whole, tmp_path):
    store.add(("u1", "i9"), ("new", "i3", "like"), ("new", "i4", "dismiss"), ("u1", "i9"), ("u2", "i11", "buy"))
    found = refit(bundle, store, tmp_path / "new", config=shop.learn)
    again = Recommender.load(found.path)
    log = whole([event for event in store.events if event.kind != "dismiss"])
    assert again.about["data"]["interactions"] == again.histories.fingerprint
    assert again.histories.users == log.users
    for name in ("offsets", "items", "times"):
        np.testing.assert_array_equal(getattr(again.histories, name), getattr(log, name))
    assert again.histories.items_hash == items_hash(shop.catalog.items.ids)
    expected = shop.fit(log)
    queries = expected.queries(["u1", "new"])
    np.testing.assert_array_equal(again.recommend(queries, 5).items, expected.recommend(queries, 5).items)
    assert again.about["config"] == shop.config.filled()
    assert (again.about["store_seq"], again.about["refit_of"]) == (5, bundle_version(bundle))
    assert (found.events, found.store_seq, found.n, found.passed, found.forced) == (4, 5, 0, True, False)
    assert "too few" in found.reason
    assert "too few" in again.about["gate"]["reason"]
    assert found.bundle == bundle_version(found.path)
    assert sorted(store.models[found.bundle]) == sorted(log.users.ids)


def test_a_refit_of_a_refit_reads_only_what_came_since(bundle, store, whole, tmp_path):
    store.add(("u1", "i9"), ("u2", "i11"))
    first = refit(bundle, store, tmp_path / "first")
    store.add(("u3", "i1"))
    second = refit(first.path, store, tmp_path / "second")
    assert (second.events, second.store_seq) == (1, 3)
    log = Recommender.load(second.path).histories
    assert log.fingerprint == whole(store.events).fingerprint


def test_who_was_erased_is_gone(shop, fitted, store, whole, tmp_path):
    old = replace(fitted, users=tiny_users(25)).save(tmp_path / "old")
    store.add(("u1", "i9"), ("u2", "i11"))
    for user in ("u1", "u3"):
        store.erase(user)
    store.add(("u3", "i5"))
    found = refit(old, store, tmp_path / "new")
    again = Recommender.load(found.path)
    assert "u1" not in again.histories.users
    assert {"u1", "u3"}.isdisjoint(again.users.users.ids)
    assert "u4" in again.users.users
    mine = again.histories.histories[int(again.histories.users.rows(["u3"])[0])]
    assert again.catalog.items.decode(mine) == ["i5"]  # what came after counts; what the bundle knew does not
    assert "u1" not in store.models[found.bundle]


def test_who_was_erased_before_the_bundle_keeps_what_came_after(shop, bundle, store, tmp_path):
    store.add(("u1", "i9"))
    store.erase("u1")
    store.add(("u1", "i5"))
    first = refit(bundle, store, tmp_path / "first")
    store.add(("u1", "i6"))
    log = Recommender.load(refit(first.path, store, tmp_path / "second").path).histories
    assert shop.catalog.items.decode(log.histories[int(log.users.rows(["u1"])[0])]) == ["i5", "i6"]


def test_the_catalog_is_the_one_of_now(shop, bundle, store, tmp_path):
    store.put("i2", {"title": "another title"})
    store.put("new", {"title": "brand new", "year": 2024})
    store.put("i5", {}, "removed")
    store.put("short", {"title": "came and went"}, "removed")
    store.add(("u1", "new"), ("u2", "short"))
    again = Recommender.load(refit(bundle, store, tmp_path / "new").path)
    titles = dict(zip(again.catalog.items, again.catalog.table.column("title").to_pylist(), strict=True))
    assert (titles["i2"], titles["new"]) == ("another title", "brand new")
    gone = again.catalog.items.rows(["i5", "short"])
    assert again.catalog.active.sum() == 12 + 2 - 2
    assert not again.catalog.active[gone].any()
    assert again.about["item_seq"] == 4
    assert len(again.histories) == len(shop.log) + 2


def test_an_item_that_does_not_fit_is_counted_and_stops_nothing(bundle, store, tmp_path):
    for place in range(5):
        store.put(f"new{place}", {"title": "fits", "year": "no year" if place == 3 else 2000})
    said = []
    found = refit(bundle, store, tmp_path / "new", progress=said.append)
    catalog = Recommender.load(found.path).catalog
    assert found.items_left_out == 1
    assert any("1 stored items do not fit" in message for message in said)
    assert [item for item in catalog.items if item.startswith("new")] == ["new0", "new1", "new2", "new4"]


def test_profiles_put_since_are_learned_from(fitted, store, tmp_path):
    old = replace(fitted, users=tiny_users(25)).save(tmp_path / "old")
    store.add(("u1", "i9"), ("guest", "i3"))
    store.erase("u7")
    store.profiles |= {
        "u1": {"occupation": "cook", "colour": "red"},
        "u2": {"age": "old", "occupation": "cook"},
        "guest": {"age": 33},
        "other": {"colour": "red"},
    }
    found = refit(old, store, tmp_path / "new")
    people = Recommender.load(found.path).users
    assert people.profiles(["u1", "u2", "u3", "guest", "u7", "other"]) == {
        "age": [21, 22, 23, 33, None, None],
        "occupation": ["cook", "cook", "writer", None, None, None],
    }
    assert {"u7", "other"}.isdisjoint(people.users.ids)
    assert found.profiles_left_out == 1
    assert "guest" in store.models[found.bundle]


def test_a_bundle_without_profiles_gets_none(bundle, store, tmp_path):
    store.add(("u1", "i9"))
    store.profiles["u1"] = {"age": 33}
    assert Recommender.load(refit(bundle, store, tmp_path / "new").path).users is None


def test_what_a_holdout_kept_from_the_log_is_told(shop, store, tmp_path):
    """Neither the refit nor a refit of it can pass for one that has seen everything, or that has seen less."""
    measured = fit(shop.config, shop.catalog, shop.log, holdout="last").save(tmp_path / "measured")
    store.add(("u1", "i9"))
    said = []
    first = refit(measured, store, tmp_path / "first", progress=said.append)
    second = refit(first.path, store, tmp_path / "second")
    assert (first.held_out, second.held_out) == ("last", "last")
    assert any("--holdout last" in message for message in said)
    for found in (first, second):
        about = Recommender.load(found.path).about
        assert (about["holdout"], about["log_holdout"]) == ("none", "last")


def test_times_are_those_of_the_log_whatever_it_counts_in(shop, fitted, store, tmp_path):
    old = replace(fitted, histories=replace(shop.log, times=shop.log.times * 1000)).save(tmp_path / "old")
    store.add(("new", "i9"))
    log = Recommender.load(refit(old, store, tmp_path / "new").path).histories
    assert log.times[-1] == store.events[0].time * 1000


def test_fields_that_this_catalog_does_not_have_are_of_another_alias(bundle, store, tmp_path):
    store.put("i2", {"title": "another title", "colour": "red"})
    store.put("i3", {"colour": "red"})
    catalog = Recommender.load(refit(bundle, store, tmp_path / "new").path).catalog
    assert catalog.table.column("title")[2].as_py() == "another title"
    assert "colour" not in catalog.columns


def test_the_log_stays_what_it_was(shop, fitted, store, tmp_path):
    """Kinds, ratings and weights where the log has them; times where it has them."""
    n = len(shop.log)
    kinds = np.arange(n, dtype=np.int8) % 2
    ratings = np.where(kinds > 0, np.float32(4), np.float32(np.nan)).astype(np.float32)
    log = replace(shop.log, kinds=kinds, kind_names=("rent", "view"), ratings=ratings, times=None)
    old = replace(fitted, histories=log).save(tmp_path / "old")
    store.add(("u1", "i9", "buy"), ("u1", "i10", "view"))
    store.events[0] = replace(store.events[0], rating=5.0)
    kinds = {"view": 1.0, "buy": 3.0, "dismiss": 0.0}
    config = shop.learn.model_copy(update={"kinds": kinds})
    again = Recommender.load(refit(old, store, tmp_path / "new", config=config).path).histories
    row = int(again.users.rows(["u1"])[0])
    mine = slice(again.offsets[row + 1] - 2, again.offsets[row + 1])
    assert again.kind_names == ("rent", "view", "buy")
    assert [again.kind_names[kind] for kind in again.kinds[mine]] == ["buy", "view"]
    assert again.weights[mine].tolist() == [3, 1]
    assert again.ratings[mine][0] == 5
    assert np.isnan(again.ratings[mine][1])
    assert again.times is None


def test_neither_has_seen_what_the_gate_asks(shop, fitted, store, few):
    busy(store)
    material = gathered(fitted, store, shop.learn)
    asked = newest(material)
    cut = store.events[80].seq  # of 100
    train, cases = asked.train, asked.cases
    assert len(train) <= len(shop.log) + 80
    assert train.times.max() < next(e.time for e in store.events if e.seq == cut)
    held = [e for e in store.events if e.seq >= cut]
    for user, target, at, history in zip(
        train.users.decode(cases.user_rows), cases.targets, cases.queries.at, cases.queries.histories, strict=True
    ):
        theirs = [e for e in held if e.user_id == user]
        fresh = [e for e in theirs if shop.catalog.items.rows([e.item_id])[0] not in history]
        assert (shop.catalog.items[int(target)], int(at)) == (fresh[0].item_id, fresh[0].time)
        np.testing.assert_array_equal(history, train.histories[int(train.users.rows([user])[0])])


def test_the_gate_says_what_it_measured(shop, bundle, store, few, tmp_path):
    busy(store)
    found = refit(bundle, store, tmp_path / "new")
    assert found.passed
    assert found.n >= 5
    assert found.difference.n == found.n
    assert found.new - found.old == pytest.approx(found.difference.difference)
    assert found.difference.high >= 0
    assert read_manifest(found.path)["structure"]["about"]["gate"]["n"] == found.n


def test_a_refit_that_is_surely_worse_is_not_written(shop, fitted, bundle, store, few, tmp_path, monkeypatch):
    busy(store)
    fit_really = shop.fit

    def fit_badly(_config, catalog, log, **_more):
        """Learns that item i is followed by item i - 1."""
        turned = Interactions.from_table(
            {"user_id": ["a"] * 12, "item_id": [f"i{i}" for i in reversed(range(12))]}, catalog, repeats="fold"
        )
        return replace(fit_really(turned), histories=log)

    monkeypatch.setattr("llmrec.serve.learn.refitting.fit", fit_badly)
    monkeypatch.setattr("llmrec.serve.learn.refitting.judged", _judged_worse)
    found = refit(bundle, store, tmp_path / "new")
    assert (found.passed, found.path, found.bundle) == (False, None, ""), found.reason
    assert "surely worse" in found.reason
    assert not (tmp_path / "new").exists()
    assert store.models == {}
    with pytest.raises(ConfigError, match="nothing to deploy"):
        deploy(store, found, "default")
    forced = refit(bundle, store, tmp_path / "new", force=True)
    assert (forced.passed, forced.forced) == (False, True)
    assert (tmp_path / "new").exists()


def _judged_worse(material, asked, refitted, progress):
    """The gate, with the two in each other's place and the old one as good as can be."""
    from llmrec.serve.learn.gate import judged
    from llmrec.types import Ranking

    class Knows:
        def recommend(self, queries, k):
            items = np.full((len(queries), k), -1, np.int32)
            items[:, 0] = asked.cases.targets[: len(queries)]
            return Ranking(items, np.zeros(items.shape, np.float32))

    return judged(replace(material, old=Knows()), asked, refitted, progress)


@pytest.mark.parametrize("moment", ["fitting", "writing"])
def test_a_refit_that_is_stopped_leaves_no_half_bundle(bundle, store, tmp_path, monkeypatch, moment):
    store.add(("u1", "i9"))
    before = bundle_version(bundle)
    place = "llmrec.serve.learn.refitting.fit" if moment == "fitting" else "llmrec.bundle._write_manifest"

    def stopped(*_args, **_more):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(place, stopped)
        for out in (tmp_path / "new", bundle):
            with pytest.raises(KeyboardInterrupt):
                refit(bundle, store, out)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["old"]
    assert bundle_version(bundle) == before
    assert refit(bundle, store, bundle).path == bundle


def test_what_cannot_be_fitted_again_is_refused(fitted, store, tmp_path):
    unknown = replace(fitted, about={}).save(tmp_path / "unknown")
    with pytest.raises(ConfigError, match="does not say with which configuration"):
        refit(unknown, store, tmp_path / "new")
    bare = replace(fitted, histories=None).save(tmp_path / "bare")
    with pytest.raises(ConfigError, match="stores no histories"):
        refit(bare, store, tmp_path / "new")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").write_text("mine")
    for taken in (tmp_path / "full", tmp_path / "full" / "file"):
        with pytest.raises(BundleError, match="not a bundle"):
            refit(bare, store, taken)


def test_profiles_are_asked_with(fitted, store, few, tmp_path, shop):
    busy(store)
    users = Users.from_table({"user_id": ["u1", "u2"], "age": [30, 40]})
    asked = newest(gathered(replace(fitted, users=users), store, shop.learn))
    ages = dict(zip(asked.train.users.decode(asked.cases.user_rows), asked.cases.queries.profiles["age"], strict=True))
    assert {ages.get("u1", 30), ages.get("u2", 40)} == {30, 40}


def test_a_deployment_says_why(bundle, store, tmp_path):
    found = refit(bundle, store, tmp_path / "new")
    done = deploy(store, found, "default", now=7.0)
    assert (done.alias, done.path, done.bundle, done.why) == ("default", str(found.path), found.bundle, "refit")
    assert (done.time, store.deployments) == (7.0, [done])
