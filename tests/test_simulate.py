from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from llmrec.build import fit
from llmrec.component import Forgets
from llmrec.config import Config
from llmrec.data import Holdout, leave_last_out
from llmrec.fuse import Features
from llmrec.retrieve import Bm25Config, EaseConfig, fit_bm25, fit_ease, fit_popularity
from llmrec.simulate import GROUPS, Columns, Simulation
from llmrec.testing.data import tiny_catalog, tiny_interactions
from llmrec.types import Candidates, Csr, Queries


@pytest.fixture(scope="module")
def split():
    catalog = tiny_catalog(60)
    log = tiny_interactions(5, catalog, n_users=300)
    gone = log.items != 7  # an item that really is new
    from llmrec.data.splits import kept

    return catalog, leave_last_out(kept(log, gone))


@pytest.fixture(scope="module")
def simulation(split):
    catalog, halves = split
    train = halves.train
    retrievers = (
        (fit_popularity(train, catalog), 10),
        (fit_ease(train, catalog, EaseConfig(l2=5.0)), 10),
        (fit_bm25(catalog, Bm25Config(item_template="item/title")), 60),
    )
    cases = halves.validation
    cases = replace(cases, queries=replace(cases.queries, exclude=cases.queries.histories))
    said = []
    return Simulation(Columns(None, retrievers, ()), cases, train, 0, said.append), said


@pytest.fixture(scope="module")
def simulated(simulation):
    return simulation[0](100)


def test_groups_are_disjoint_and_small(simulated, split):
    groups = np.array([part.forgotten for part in simulated])
    assert 1 < len(groups) <= GROUPS
    assert groups.sum(axis=0).max() == 1
    known = np.bincount(split[1].train.items, minlength=60) > 0
    assert not known[7]
    assert (groups.sum(axis=1) == int(known.sum() * 0.1)).all()
    assert not groups[:, ~known].any()


def test_cases_are_those_of_the_tuning(simulated, simulation):
    cases = simulation[0].cases
    assert 0 < sum(len(part.rows) for part in simulated) <= 100
    for part in simulated:
        assert len(np.unique(part.rows)) == len(part.rows)
        np.testing.assert_array_equal(part.cases.targets, cases.targets[part.rows])
        np.testing.assert_array_equal(part.cases.user_rows, cases.user_rows[part.rows])
        np.testing.assert_array_equal(part.is_new, part.forgotten[part.cases.targets])
        assert 0 < part.is_new.sum() <= 100 // (2 * GROUPS)


def test_weights_make_up_for_what_was_sought(simulated, simulation):
    cases = simulation[0].cases
    for part in simulated:
        new = part.forgotten[cases.targets]
        np.testing.assert_allclose(part.weights[part.is_new].sum(), new.sum())
        np.testing.assert_allclose(part.weights[~part.is_new].sum(), (~new).sum())


def test_forgotten_items_are_in_no_history_and_not_excluded(simulated, simulation):
    cases = simulation[0].cases
    for part in simulated:
        queries = part.cases.queries
        assert not part.forgotten[queries.items].any()
        for row, case in enumerate(part.rows):
            before = cases.queries.histories[case]
            np.testing.assert_array_equal(queries.histories[row], before[~part.forgotten[before]])
            np.testing.assert_array_equal(queries.exclude[row], queries.histories[row])


def test_models_have_forgotten(simulated):
    for part in simulated:
        items, columns = part.candidates.items, part.candidates.columns
        forgotten = (items >= 0) & part.forgotten[np.maximum(items, 0)]
        assert forgotten.any()
        assert np.isnan(columns["popularity"][forgotten]).all()
        assert np.isnan(columns["ease"][forgotten]).all()
        assert (~np.isnan(columns["bm25"][forgotten])).any()
        assert (~np.isnan(columns["popularity"][(items >= 0) & ~forgotten])).all()
        assert not (items == 7).any(), "an item that really is new would teach that new items are no targets"


def test_the_same_seed_simulates_the_same(simulation, simulated):
    again, other = simulation[0](100), replace(simulation[0], seed=1)(100)
    for one, two in zip(simulated, again, strict=True):
        np.testing.assert_array_equal(one.rows, two.rows)
        np.testing.assert_array_equal(one.candidates.items, two.candidates.items)
    assert any((one.forgotten != two.forgotten).any() for one, two in zip(simulated, other, strict=False))


def test_nothing_where_nothing_can_be_simulated(simulation):
    simulate, said = simulation
    assert simulate(0) == ()
    nobody = np.empty(0, np.int64)
    none = Holdout(nobody, simulate.cases.queries.take(nobody), np.empty(0, np.int32))
    assert replace(simulate, cases=none)(100) == ()
    assert replace(simulate, columns=Columns(None, (), ()))(100) == ()
    stubborn = SimpleNamespace(name="stubborn")
    assert not isinstance(stubborn, Forgets)
    assert replace(simulate, columns=Columns(None, ((stubborn, 5),), ()))(100) == ()
    assert said == ["new items are not simulated: 'stubborn' cannot forget an item"]


def test_without_items_by_hand():
    queries = Queries(
        offsets=np.int64([0, 3, 3, 5]),
        items=np.int32([4, 2, 4, 1, 4]),
        times=np.int64([1, 2, 3, 4, 5]),
        weights=np.float32([1, 2, 3, 4, 5]),
        kinds=np.int8([0, 1, 0, 1, 0]),
        kind_names=("view", "buy"),
        ratings=np.float32([5, 4, 3, 2, 1]),
        exclude=Csr.from_lists([[4, 0], [4], []]),
    )
    found = queries.without_items(np.arange(6) == 4)
    assert [list(row) for row in (found.histories[i] for i in range(3))] == [[2], [], [1]]
    assert [list(found.exclude[i]) for i in range(3)] == [[0], [], []]
    np.testing.assert_array_equal(found.times, [2, 4])
    np.testing.assert_array_equal(found.weights, [2, 4])
    np.testing.assert_array_equal(found.kinds, [1, 1])
    np.testing.assert_array_equal(found.ratings, [4, 2])
    bare = Queries.from_lists([[4, 1]]).without_items(np.arange(6) == 4)
    assert (bare.exclude, bare.times, bare.weights, bare.items.tolist()) == (None, None, None, [1])


def test_features_forget(interactions):
    items = np.arange(12) % 5 == 0
    columns = {"ease": np.zeros((1, 12), np.float32)}
    features = Features.of(Candidates(np.arange(12, dtype=np.int32)[None], columns), interactions)
    forgetting = features.forgetting(items)
    assert not forgetting.is_known(np.flatnonzero(items)[None].astype(np.int32)).any()
    for name, nothing in (("popularity", 0), ("recent", 0), ("since", np.nan)):
        found, before = getattr(forgetting, name), getattr(features, name)
        np.testing.assert_array_equal(found[items], np.full(items.sum(), nothing))
        np.testing.assert_array_equal(found[~items], before[~items])
    untimed = replace(features, recent=None, since=None).forgetting(items)
    assert untimed.since is None
    assert not untimed.popularity[items].any()


def test_stages_before_forget_too(split, bert, monkeypatch):
    """A second stage with retrievers is asked with what the first one says when it has forgotten."""
    catalog, halves = split
    stages = [
        {"name": "one", "retrievers": {"popularity": {"depth": 20}, "bm25": {"depth": 20}}, "keep": 20},
        {"name": "two", "retrievers": {"ease": {"depth": 5}}},
    ]
    seen = []
    from llmrec import build

    fit_one = build._fit_one

    def spy(settings, context, *rest):
        if settings.name == "two_fusion":
            seen.append(context.simulate(200))
        return fit_one(settings, context, *rest)

    monkeypatch.setattr(build, "_fit_one", spy)
    fit(Config.from_dict({"stages": stages}), catalog, halves.known, holdout="last")
    assert seen[0]
    for part in seen[0]:
        assert list(part.candidates.columns) == ["ease", "one"]
        items = part.candidates.items
        forgotten = (items >= 0) & part.forgotten[np.maximum(items, 0)]
        assert np.isnan(part.candidates.columns["ease"][forgotten]).all()
        assert (part.candidates.source_ranks["popularity"][forgotten] == 0).all(), "the stage before has not forgotten"
        assert (part.candidates.source_ranks["popularity"] > 0).any()
