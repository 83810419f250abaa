"""Items added, changed and removed in a recommender, in any order, saved and loaded in between."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from llmrec.component import FitContext, find_component
from llmrec.data import Catalog
from llmrec.errors import DataError, UnknownIdError
from llmrec.pipeline import Recommender
from llmrec.retrieve import fit_dense
from llmrec.testing.data import tiny_users
from llmrec.types import Item, Queries

K = 5
FIELDS = ("title", "year", "genres")


def source(recommender, name):
    return next(r for r, _ in recommender.stages[0].retrievers if r.name == name)


def dense_of(recommender):
    return source(recommender, "dense")


def vectors(dense):
    return dense.state().arrays["vectors"]


def everything(recommender, n=1):
    return np.tile(np.arange(len(recommender.catalog), dtype=np.int32), (n, 1))


def same_state(one, other):
    """Every array and every setting that a bundle of either would hold."""
    states = [[component.state() for component in components(it)] for it in (one, other)]
    for mine, theirs in zip(*states, strict=True):
        assert mine.config == theirs.config
        assert mine.arrays.keys() == theirs.arrays.keys()
        for name, array in mine.arrays.items():
            np.testing.assert_allclose(theirs.arrays[name], array, rtol=0, atol=1e-6)
    assert one.catalog.table.equals(other.catalog.table)
    for name, array in one.catalog.state().arrays.items():
        np.testing.assert_array_equal(other.catalog.state().arrays[name], array)
    np.testing.assert_array_equal(other.catalog.tie_order, one.catalog.tie_order)


def components(recommender):
    found = [*recommender.policies, *(c for stage in recommender.stages for c in stage.components)]
    return sorted(found, key=lambda component: component.name)


# --- one step at a time ---------------------------------------------------------------------------------------------


def test_a_changed_item_is_found_by_its_new_text_and_not_by_its_old(cascade):
    changed = cascade.change_items([Item("i7", {"title": "giant submarine volcano"})])
    top = changed.decode(changed.search(["giant submarine volcano"], 1))[0][0]
    assert (top.item_id, round(top.score, 4)) == ("i7", 1.0)
    old_title = cascade.catalog.records(np.int32([7]))[0]["title"]
    assert cascade.decode(cascade.search([old_title], 1))[0][0].item_id == "i7"
    assert changed.decode(changed.search([old_title], 1))[0][0].score < 0.9999


def test_a_change_costs_one_encoder_call_for_the_changed_and_leaves_the_rest(cascade):
    encoder = dense_of(cascade).encoder
    before = encoder.encoded
    changed = cascade.change_items([Item("i7", {"title": "a new title"}), Item("i2", {"title": "another"})])
    assert encoder.encoded - before == 2
    kept = np.array([row for row in range(12) if row not in (2, 7)])
    old, new = vectors(dense_of(cascade)), vectors(dense_of(changed))
    np.testing.assert_array_equal(new[kept], old[kept])
    assert (np.abs(new[[2, 7]] - old[[2, 7]]).max(axis=1) > 0.01).all()
    cascade.remove_items(["i3"])
    assert encoder.encoded - before == 2


def test_what_was_learned_from_interactions_outlives_a_change_and_a_removal(hybrid, queries):
    item = Item("i7", {"title": "a new title"})
    changed = hybrid.change_items([item]).remove_items(["i7"]).add_items([item])
    rows = everything(hybrid, len(queries))
    for name in ("popularity", "ease"):
        before, after = (source(it, name).score(queries, rows) for it in (hybrid, changed))
        np.testing.assert_array_equal(after, before)


def test_histories_with_a_removed_item_still_count(hybrid):
    gone = hybrid.remove_items(["i1"])
    asked = gone.queries(histories=[["i1"]])
    for name in ("ease", "dense"):
        before, after = (source(it, name).score(asked, everything(hybrid)) for it in (hybrid, gone))
        np.testing.assert_array_equal(after, before)
        assert (~np.isnan(after)).any()


def test_the_old_recommender_stays_as_it_was(cascade, queries):
    before = cascade.recommend(queries, 12)
    grown = cascade.add_items([Item("x", {"title": "x"})]).change_items([Item("i0", {"title": "y"})])
    grown.remove_items(["i1", "i2", "i3"])
    after = cascade.recommend(queries, 12)
    np.testing.assert_array_equal(after.items, before.items)
    np.testing.assert_array_equal(after.scores, before.scores)
    assert len(cascade.catalog) == 12
    assert cascade.catalog.active.all()


@pytest.mark.parametrize(
    ("step", "error", "message"),
    [
        (lambda it: it.add_items([Item("i3", {})]), DataError, "already in the catalog.*'i3'"),
        (lambda it: it.change_items([Item("i99", {"title": "x"})]), UnknownIdError, "nearest known id is 'i9'"),
        (lambda it: it.change_items([Item("i3", {"name": "x"})]), DataError, r"unknown fields \['name'\]"),
        (lambda it: it.remove_items(["i99"]), UnknownIdError, "'i99'"),
        (lambda it: it.remove_items(["i3"]).change_items([Item("i3", {})]), DataError, "add it again"),
    ],
)
def test_what_cannot_be_done_says_so(hybrid, step, error, message):
    with pytest.raises(error, match=message):
        step(hybrid)


def test_a_component_in_two_places_is_changed_once(hybrid):
    grown = hybrid.add_items([Item("x", {"title": "x"})])
    assert grown.fallback is grown.stages[0].retrievers[0][0]


# --- any steps in any order -----------------------------------------------------------------------------------------

words = st.sampled_from(["red", "night", "zoo", "star", "river", "garden"])
titles = st.lists(words, min_size=1, max_size=3).map(" ".join)
given_fields = st.fixed_dictionaries(
    {"title": titles}, optional={"year": st.one_of(st.none(), st.integers(1900, 2030)), "genres": titles}
)


class Living(RuleBasedStateMachine):
    """A recommender beside a model of plain dicts, and a twin that was loaded once and never saved."""

    start: Recommender
    folder: Path
    queries: Queries

    def __init__(self):
        super().__init__()
        self.it = self.start
        self.twin = Recommender.load(self.start.save(self.folder / "start"))
        records = self.start.catalog.records(np.arange(len(self.start.catalog), dtype=np.int32))
        self.fields = {r.pop("item_id"): r for r in records}  # in row order
        self.removed = set()

    def both(self, step):
        self.it, self.twin = step(self.it), step(self.twin)

    @rule(fields=st.lists(given_fields, min_size=1, max_size=2))
    def add(self, fields):
        ids = [f"new{len(self.fields) + place}" for place in range(len(fields))]
        self.both(lambda it: it.add_items([Item(i, f) for i, f in zip(ids, fields, strict=True)]))
        self.fields |= {i: dict.fromkeys(FIELDS) | f for i, f in zip(ids, fields, strict=True)}

    @precondition(lambda self: self.removed)
    @rule(data=st.data(), fields=given_fields)
    def bring_back(self, data, fields):
        an_id = data.draw(st.sampled_from(sorted(self.removed)))
        self.both(lambda it: it.add_items([Item(an_id, fields)]))
        self.fields[an_id] = dict.fromkeys(FIELDS) | fields
        self.removed.discard(an_id)

    @precondition(lambda self: len(self.removed) < len(self.fields))
    @rule(data=st.data(), fields=given_fields, names=st.sets(st.sampled_from(FIELDS)))
    def change(self, data, fields, names):
        an_id = data.draw(st.sampled_from(sorted(self.fields.keys() - self.removed)))
        some = {name: value for name, value in fields.items() if name in names}
        self.both(lambda it: it.change_items([Item(an_id, some)]))
        self.fields[an_id] |= some

    @rule(data=st.data())
    def remove(self, data):
        ids = data.draw(st.lists(st.sampled_from(sorted(self.fields)), max_size=4))
        self.both(lambda it: it.remove_items(ids))
        self.removed |= set(ids)

    @rule()
    def save_and_load(self):
        self.it = Recommender.load(self.it.save(self.folder / "bundle"))

    @invariant()
    def the_catalog_is_what_was_done_to_it(self):
        catalog = self.it.catalog
        assert list(catalog.items.ids) == list(self.fields)
        assert [i for i, on in zip(catalog.items.ids, catalog.active, strict=True) if not on] == [
            i for i in self.fields if i in self.removed
        ]
        records = catalog.records(np.arange(len(catalog), dtype=np.int32))
        assert records == [{"item_id": i, **fields} for i, fields in self.fields.items()]

    @invariant()
    def lists_hold_all_that_may_be_shown_and_nothing_else(self):
        rows = np.flatnonzero(self.it.catalog.active)
        for k in (K, len(self.fields) + 3):
            found = self.it.recommend(self.queries, k)
            for place, items in enumerate(found.items):
                may = set(rows.tolist()) - set(self.queries.histories[place].tolist())
                shown = items[items >= 0].tolist()
                assert len(shown) == len(set(shown)) == min(k, len(may))
                assert set(shown) <= may
        near = [self.it.similar(["i1"], len(rows) + 2), self.it.search(["red zoo"], len(rows) + 2)]
        assert [set(r.items[0]) - {-1} for r in near] == [set(rows.tolist()) - {1}, set(rows.tolist())]

    @invariant()
    def texts_are_those_of_now(self):
        table = [{"item_id": i, **fields} for i, fields in self.fields.items()]
        dense = dense_of(self.it)
        fresh = fit_dense(Catalog.from_table(table), dense.config, dense.encoder)
        np.testing.assert_allclose(vectors(dense), vectors(fresh), rtol=0, atol=1e-5)

    @invariant()
    def saving_in_between_changes_nothing(self):
        same_state(self.it, self.twin)


def test_any_changes_in_any_order(hybrid, queries, tmp_path, monkeypatch):
    monkeypatch.setattr("llmrec.bundle._fsync", lambda _: None)  # no machine fails here
    component = find_component("pin")
    context = FitContext("pin", hybrid.catalog, hybrid.histories)
    pin = component.fit(context, component.config.model_validate({"items": {"i5": 1, "i2": 3}}))
    start = replace(hybrid, users=tiny_users(), policies=(*hybrid.policies, pin))
    quick = settings(
        max_examples=6, stateful_step_count=8, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True
    )
    run_state_machine_as_test(
        type("LivingHere", (Living,), {"start": start, "folder": tmp_path, "queries": queries}), settings=quick
    )
