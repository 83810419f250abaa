"""Experiments as they are kept: one at a time, created atomically, the same for every process."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from llmrec.serve.experiments import Experiment, Experiments
from llmrec.serve.problems import Conflict, NotFound, Unprocessable

TWO = {"old": "default", "new": "tuned"}


def test_it_runs_until_it_is_stopped(store):
    experiments = Experiments(store, lambda: ["default", "tuned"], clock=lambda: 7.0)
    assert experiments.assign("ann") is None
    made = experiments.create("titles", TWO, weights={"new": 1, "old": 3})
    assert (made.state, made.created, dict(made.weights)) == ("running", 7.0, {"old": 0.75, "new": 0.25})
    given = experiments.assign("ann")
    assert given.experiment == "titles"
    assert given.aliases == (TWO[given.variant],)
    assert given.variants == (given.variant,)
    stopped = experiments.stop("titles")
    assert (stopped.state, stopped.stopped) == ("stopped", 7.0)
    assert experiments.assign("ann") is None
    assert experiments.stop("titles") == stopped
    assert experiments.get("titles") == stopped
    experiments.create("more", TWO)
    assert [(one.name, one.state) for one in experiments.list()] == [("titles", "stopped"), ("more", "running")]


def test_another_process_finds_and_assigns_the_same(store):
    here, there = Experiments(store, refresh_s=0.0), Experiments(store, refresh_s=0.0)
    assert there.assign("u") is None
    here.create("titles", TWO)
    units = [f"u{number}" for number in range(50)]
    assert [here.assign(unit) for unit in units] == [there.assign(unit) for unit in units]
    there.stop("titles")
    assert here.assign("u") is None


def test_the_store_is_read_once_in_a_while_only(store):
    experiments = Experiments(store, refresh_s=float("inf"))
    experiments.create("titles", TWO)
    reads = store.reads
    assert all(experiments.assign(f"u{number}") for number in range(100))
    assert store.reads == reads


def test_a_store_that_is_away_changes_nothing(store):
    experiments = Experiments(store, refresh_s=0.0)
    experiments.create("titles", TWO)
    before = experiments.assign("ann")
    store.down = True
    assert before is not None
    assert experiments.assign("ann") == before


def test_who_cannot_be_told_from_others_is_not_in_it(store):
    experiments = Experiments(store)
    experiments.create("titles", TWO)
    assert experiments.assign(None) is None
    assert experiments.assign("") is None


def test_nobody_is_in_it_while_an_alias_is_missing(store):
    served = ["default", "tuned"]
    experiments = Experiments(store, lambda: served)
    experiments.create("titles", TWO)
    units = [f"u{number}" for number in range(20)]
    assert all(experiments.assign(unit) for unit in units)
    served.remove("tuned")
    assert not any(experiments.assign(unit) for unit in units)


@pytest.mark.parametrize("names", [["a"] * 8, [f"e{number}" for number in range(8)]], ids=["one name", "many names"])
def test_of_those_created_at_once_one_is_made(store, names):
    """All have read that nothing runs before any of them writes."""
    store.gate = threading.Barrier(len(names))

    def create(name):
        try:
            return Experiments(store).create(name, TWO)
        except Conflict:
            return None

    with ThreadPoolExecutor(len(names)) as pool:
        made = [one for one in pool.map(create, names) if one is not None]
    assert len(made) == 1
    assert Experiments(store).list() == made


def test_names_are_used_once_and_one_runs(store):
    experiments = Experiments(store)
    experiments.create("titles", TWO)
    with pytest.raises(Conflict, match="already"):
        experiments.create("titles", TWO)
    with pytest.raises(Conflict, match="'titles' is running"):
        experiments.create("other", TWO)
    experiments.stop("titles")
    with pytest.raises(Conflict, match="already"):
        experiments.create("titles", TWO)
    for what in (experiments.stop, experiments.get, experiments.report):
        with pytest.raises(NotFound, match="'none'"):
            what("none")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"name": "a b"}, "no name"),
        ({"name": ""}, "no name"),
        ({"variants": {"x/y": "default", "new": "tuned"}}, "no name"),
        ({"variants": {"old": "default"}}, "at least two"),
        ({"variants": {**TWO, "third": "default"}, "kind": "interleave"}, "two variants"),
        ({"variants": {"a": "tuned", "b": "tuned"}, "kind": "interleave"}, "itself"),
        ({"variants": {"old": "default", "new": "gone"}}, "no alias 'gone'"),
        ({"kind": "bandit"}, "kind"),
        ({"weights": {"old": 1.0}}, "every variant"),
        ({"weights": {"old": 1.0, "new": 0.0}}, "above 0"),
        ({"weights": {"old": 2.0, "new": -1.0}}, "above 0"),
        ({"weights": {"old": 1.0, "new": float("nan")}}, "above 0"),
        ({"weights": {"old": 0.9, "new": 0.1}, "kind": "interleave"}, "half and half"),
    ],
)
def test_what_does_not_fit_is_refused(store, given, said):
    experiments = Experiments(store, lambda: ["default", "tuned"])
    with pytest.raises(Unprocessable, match=said):
        experiments.create(**{"name": "titles", "variants": TWO, **given})
    assert experiments.list() == []


def test_values_come_back():
    one = Experiment("e", {"b": "x", "a": "y"}, {"b": 0.25, "a": 0.75}, "salt", "ab", "stopped", 1.5, 2.5)
    again = Experiment.from_dict(one.to_dict())
    assert again == one
    assert list(again.variants) == ["b", "a"]


def test_interleaving_serves_both(store):
    experiments = Experiments(store)
    experiments.create("titles", TWO, kind="interleave")
    given = experiments.assign("ann")
    assert (given.variant, given.variants, given.aliases) == (None, ("old", "new"), ("default", "tuned"))
    items, sources = experiments.interleave(["a", "b"], ["c", "d"], 4, seed=1)
    assert sorted(items) == ["a", "b", "c", "d"]
    assert sorted(sources) == ["new", "new", "old", "old"]
    named = experiments.interleave(["a", "b"], ["c", "d"], 4, seed=1, names=given.variants)
    assert named == (items, sources)
    experiments.stop("titles")
    assert set(experiments.interleave(["a"], ["c"], 2, seed=1)[1]) == {"a", "b"}
