import json
import threading
import time

import numpy as np
import pytest

from llmrec.errors import BundleError
from llmrec.pipeline import Recommender
from llmrec.serve.live import Models, bundle_version
from llmrec.serve.problems import Conflict, NotFound, Unavailable, Unprocessable


def shown(recommender, wish="brand new kettle", k=20):
    ranking = recommender.recommend(recommender.queries(histories=[["i1"]], wishes=[wish]), k)
    return [one.item_id for one in recommender.decode(ranking)[0]]


def found(recommender, text):
    return recommender.decode(recommender.search([text], 1))[0][0]


@pytest.fixture
def other_bundle(hybrid, tmp_path):
    return hybrid.with_notes(store_seq=7).save(tmp_path / "other")


def test_it_loads_what_the_configuration_names_and_records_it(models, store, hybrid_bundle):
    snapshot = models.snapshot()
    assert (snapshot.alias, snapshot.path) == ("default", str(hybrid_bundle))
    assert snapshot.bundle == bundle_version(hybrid_bundle)
    assert (snapshot.item_seq, snapshot.event_seq) == (0, 0)
    assert [(one.why, one.bundle) for one in store.deployments()] == [("start", snapshot.bundle)]
    assert models.aliases() == ["default"]
    with pytest.raises(NotFound, match="no alias 'x'; there are: default"):
        models.snapshot("x")


def test_a_start_without_a_bundle_says_so(store, config_of, tmp_path):
    with pytest.raises(BundleError):
        Models(store, config_of(tmp_path / "nothing")).start()


def test_items_are_live_and_durable_when_put_returns(models, store):
    before = models.snapshot()
    seq = models.put_items([("kettle", {"title": "brand new kettle"}, "active"), ("i3", {}, "removed")])
    after = models.snapshot()
    assert after.item_seq == seq == store.last_item_seq()
    assert after.version > before.version
    assert found(after.recommender, "brand new kettle").item_id == "kettle"
    assert "kettle" in shown(after.recommender)
    assert "i3" not in shown(after.recommender)
    assert "kettle" not in before.recommender.catalog.items  # who reads the old one goes on reading it
    assert "i3" in shown(before.recommender)


def test_items_survive_a_restart_and_a_swap(models, store, hybrid_bundle, config_of, other_bundle):
    models.put_items([("kettle", {"title": "brand new kettle"}, "active"), ("i3", {}, "removed")])
    models.put_items([("i2", {"title": "giant submarine volcano", "year": 1999}, "active")])
    models.put_items([("kettle", {"year": 2020}, "active")])
    live = models.snapshot().recommender
    again = Models(store, config_of(hybrid_bundle))
    again.start()
    swapped = models.deploy("default", other_bundle)
    for recommender in (again.snapshot().recommender, swapped.recommender):
        assert recommender.catalog.table.equals(live.catalog.table)
        np.testing.assert_array_equal(recommender.catalog.active, live.catalog.active)
        assert shown(recommender) == shown(live)
        assert found(recommender, "giant submarine volcano").item_id == "i2"


def test_a_removed_item_comes_back_as_it_was_but_for_what_is_given(models, store, hybrid_bundle, config_of):
    before = models.snapshot().recommender.catalog.records(np.int32([3]))[0]
    models.put_items([("i3", {}, "removed")])
    models.put_items([("i3", {"year": 2001}, "active")])
    again = Models(store, config_of(hybrid_bundle))
    again.start()
    for one in (models, again):
        assert one.snapshot().recommender.catalog.records(np.int32([3]))[0] == {**before, "year": 2001}
        assert one.snapshot().recommender.catalog.active[3]


def test_what_does_not_differ_costs_nothing(models):
    encoder = next(r for r, _ in models.snapshot().recommender.stages[0].retrievers if r.name == "dense").encoder
    models.put_items([("i2", {"title": "a new title"}, "active")])
    before = encoder.encoded
    models.put_items([("i2", {"title": "a new title"}, "active")])
    assert encoder.encoded == before


@pytest.mark.parametrize(
    ("items", "message"),
    [
        (
            [("a", {"title": "x"}, "active"), ("b", {"colour": "secret"}, "active")],
            r"items\[1\]: unknown fields \['colour'\]",
        ),
        ([("a", {"year": "secret"}, "active")], r"items\[0\], alias 'default': field 'year' must be of type"),
        ([("a", {}, "removed")], r"items\[0\]: there is no such item"),
        ([("", {}, "active")], r"items\[0\]: an item's id"),
    ],
)
def test_items_that_do_not_fit_are_refused_and_nothing_changes(models, store, items, message):
    before = models.snapshot()
    with pytest.raises(Unprocessable, match=message) as caught:
        models.put_items(items)
    assert "secret" not in caught.value.detail
    assert models.snapshot() is before
    assert store.last_item_seq() == 0


def test_a_store_that_does_not_answer_changes_nothing(models, store, other_bundle):
    before = models.snapshot()
    store.fails = Unavailable("no database")
    with pytest.raises(Unavailable):
        models.put_items([("kettle", {"title": "x"}, "active")])
    with pytest.raises(Unavailable):
        models.deploy("default", other_bundle)
    assert models.snapshot() is before


def test_an_item_of_another_bundle_does_not_keep_a_bundle_from_being_served(models, hybrid, store, tmp_path, caplog):
    models.put_items([("kettle", {"title": "kettle", "year": 1999}, "active"), ("pot", {"title": "pot"}, "active")])
    import pyarrow as pa

    table = hybrid.catalog.table
    texts = pa.array([None if y is None else f"in {y}" for y in table.column("year").to_pylist()])
    from dataclasses import replace

    other = replace(hybrid.catalog, table=table.set_column(2, "year", texts))
    path = hybrid._over(other, ()).save(tmp_path / "texts")
    recommender = models.deploy("default", path).recommender
    assert "pot" in recommender.catalog.items
    assert "kettle" not in recommender.catalog.items
    assert "1 stored items do not fit" in caplog.text
    assert "kettle" not in caplog.text


def test_an_item_that_came_and_went_is_known_again_after_a_reload(models):
    models.put_items([("short", {"title": "came and went"}, "active")])
    models.put_items([("short", {}, "removed")])
    catalog = models.deploy("default").recommender.catalog
    (row,) = catalog.items.get(["short"])
    assert row >= 0  # what people did with it stays in their histories
    assert not catalog.active[row]


def test_a_failed_load_leaves_what_is_in_force(models, other_bundle):
    before = models.snapshot()
    manifest = other_bundle / "manifest.json"
    manifest.write_text(json.dumps({**json.loads(manifest.read_text()), "format": 99, "min_reader": 99}))
    with pytest.raises(Unprocessable, match="what was in force stays so"):
        models.deploy("default", other_bundle)
    assert models.snapshot() is before


def test_deploy_and_rollback(models, store, hybrid_bundle, other_bundle, tmp_path, hybrid):
    first = models.snapshot()
    third_bundle = hybrid.with_notes(store_seq=9).save(tmp_path / "third")
    second = models.deploy("default", other_bundle, "refit")
    assert (second.path, second.event_seq) == (str(other_bundle), 7)
    assert models.deploy("default", third_bundle).event_seq == 9
    models.put_items([("kettle", {"title": "brand new kettle"}, "active")])
    back = models.rollback("default")
    assert (back.bundle, back.path) == (second.bundle, second.path)
    assert "kettle" in shown(back.recommender)  # what came meanwhile is in it
    again = models.rollback("default")
    assert again.bundle == first.bundle
    assert again.version > back.version
    with pytest.raises(Conflict, match="nothing else before"):
        models.rollback("default")
    whys = [one.why for one in reversed(store.deployments())]
    assert whys == ["start", "refit", "reload", "rollback", "rollback"]


def test_a_reload_sees_what_was_put_in_the_folders_place_and_rollback_the_old(models, hybrid, hybrid_bundle, tmp_path):
    folder = hybrid.save(tmp_path / "mine")
    one = models.deploy("default", folder)
    hybrid.with_notes(store_seq=3).save(folder)
    two = models.deploy("default")
    assert two.bundle != one.bundle
    assert two.path == one.path
    assert models.rollback("default").bundle == one.bundle  # it is still at hand, if not in the folder


def test_a_reload_takes_what_another_process_deployed(models, store, other_bundle, hybrid_bundle):
    version = bundle_version(other_bundle)
    store.add_deployment("default", str(other_bundle), version, now=1.0, why="refit")  # llmrec refit --deploy
    assert models.snapshot().path == str(hybrid_bundle)
    assert models.deploy("default").bundle == version
    assert models.rollback("default").path == str(hybrid_bundle)


def test_after_a_restart_the_last_deployment_counts(models, store, hybrid_bundle, config_of, other_bundle, tmp_path):
    models.deploy("default", other_bundle)
    again = Models(store, config_of(hybrid_bundle))
    again.start()
    assert again.snapshot().path == str(other_bundle)
    named = Recommender.load(hybrid_bundle).save(tmp_path / "named")
    changed = Models(store, config_of(named))
    changed.start()
    assert changed.snapshot().path == str(named)  # who names another folder means that one
    (other_bundle / "manifest.json").unlink()
    assert _started(store, config_of(hybrid_bundle)).snapshot().path == str(hybrid_bundle)


def _started(store, config):
    models = Models(store, config)
    models.start()
    return models


def test_a_lesson_is_redone_on_what_came_meanwhile(models):
    calls = []

    def learn(recommender):
        calls.append(recommender)
        if len(calls) == 1:
            models.put_items([("kettle", {"title": "brand new kettle"}, "active")])
        return recommender.with_notes(learned=len(calls))

    models.change("default", learn)
    now = models.snapshot().recommender
    assert now.about["learned"] == 2
    assert "kettle" in now.catalog.items


def test_readers_see_one_version_at_a_time(models, other_bundle):
    """Whoever reads gets recommenders whose catalog and components fit, while items come and bundles change."""
    wrong, stop = [], threading.Event()

    def read():
        last = 0
        while not stop.is_set():
            snapshot = models.snapshot()
            if snapshot.version < last:
                wrong.append((last, snapshot.version))
            last = snapshot.version
            recommender = snapshot.recommender
            shown(recommender, k=3)
            if ("kettle" in recommender.catalog.items) != (snapshot.item_seq > 0):
                wrong.append(snapshot.item_seq)

    threads = [threading.Thread(target=read) for _ in range(2)]
    for thread in threads:
        thread.start()
    models.put_items([("kettle", {"title": "kettle"}, "active")])
    for _ in range(2):
        models.deploy("default", other_bundle)
        models.rollback("default")
    stop.set()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_other_processes_items_come_with_refresh(models, store):
    store.put_items([("kettle", {"title": "kettle"}, "active")])
    before = models.snapshot()
    models.refresh()
    assert "kettle" in models.snapshot().recommender.catalog.items
    now = models.snapshot()
    models.refresh()
    assert models.snapshot() is now
    assert now.loaded <= time.time()
    assert before.version < now.version
