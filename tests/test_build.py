from dataclasses import replace

import numpy as np
import pytest

from llmrec.build import _some as some
from llmrec.build import describe_fit, fit
from llmrec.component import Component, ComponentConfig
from llmrec.config import Config
from llmrec.data import SPLITS, Catalog, Interactions, leave_last_out, split_by, without_last
from llmrec.errors import ConfigError, DataError, MissingExtraError
from llmrec.fuse import ReciprocalRankFusion
from llmrec.testing.data import new_items, tiny_catalog, tiny_interactions, tiny_users

PLAIN = {"stages": [{"name": "hybrid", "retrievers": {"popularity": {}, "ease": {"l2": 5.0}}}]}


def table(interactions, catalog):
    users = np.repeat(interactions.users.ids, np.diff(interactions.offsets)).tolist()
    items = catalog.items.decode(interactions.items)
    return {"user_id": users, "item_id": items, "timestamp": interactions.times.tolist()}


def with_other_last_items(interactions, catalog, seed):
    """The same log, but every evaluated user took something else in the end."""
    rng = np.random.default_rng(seed)
    columns = table(interactions, catalog)
    for user in range(interactions.n_users):
        start, end = interactions.offsets[user : user + 2]
        if end - start >= 3:
            others = np.setdiff1d(np.arange(len(catalog)), interactions.items[start:end])
            columns["item_id"][end - 1] = catalog.items[int(rng.choice(others))]
    changed = Interactions.from_table(columns, catalog)
    assert changed.users.ids == interactions.users.ids
    return changed


def arrays(recommender):
    from llmrec.pipeline import _components

    parts = {name: c.state() for name, c in _components(recommender).items()}
    parts["histories"] = recommender.histories.state()
    return {(n, key): array.tobytes() for n, s in parts.items() for key, array in s.arrays.items()}, {
        n: s.config for n, s in parts.items()
    }


@pytest.mark.parametrize("seed", range(3))
def test_holding_out_the_last_never_sees_it(hybrid_config, catalog, interactions, queries, seed):
    changed = with_other_last_items(interactions, catalog, seed)
    assert (changed.items != interactions.items).sum() == interactions.n_users - 1
    one, other = (fit(hybrid_config, catalog, log, holdout="last") for log in (interactions, changed))
    assert arrays(one) == arrays(other)
    np.testing.assert_array_equal(one.recommend(queries, 12).scores, other.recommend(queries, 12).scores)


def test_without_a_holdout_the_last_is_learned(hybrid_config, catalog, interactions):
    changed = with_other_last_items(interactions, catalog, 0)
    one, other = (fit(hybrid_config, catalog, log) for log in (interactions, changed))
    assert arrays(one) != arrays(other)


def test_what_is_held_out_is_what_the_split_says(catalog, interactions):
    split = leave_last_out(interactions)
    fitted = fit(Config.from_dict(PLAIN), catalog, interactions, holdout="last")
    counts = np.bincount(split.train.items, minlength=12)
    np.testing.assert_array_equal(fitted.fallback.counts, counts)
    assert fitted.histories.fingerprint == without_last(interactions).fingerprint
    everything = fit(Config.from_dict(PLAIN), catalog, interactions)
    np.testing.assert_array_equal(everything.fallback.counts, np.bincount(interactions.items, minlength=12))
    assert everything.histories.fingerprint == interactions.fingerprint
    assert everything.fallback is everything.stages[0].retrievers[0][0]
    assert (everything.about["holdout"], everything.about["holdout_parameters"]) == ("none", {})
    assert (fitted.about["holdout"], fitted.about["holdout_parameters"]) == ("last", {"min_interactions": 3})
    assert everything.about["data"] == {
        "catalog": catalog.fingerprint,
        "interactions": interactions.fingerprint,
    }


@pytest.fixture(scope="module")
def wide():
    """A catalog and a log with cold items and cold users, and times of all users that overlap."""
    catalog = tiny_catalog(40)
    return catalog, tiny_interactions(1, catalog, n_users=80)


def hidden(name, log, catalog):
    """Bool[nnz]: what a fit with this holdout must not see."""
    split = split_by(name, log, catalog.items)
    owner = np.repeat(np.arange(log.n_users), np.diff(log.offsets))
    newest = np.isin(np.arange(len(log)), log.offsets[1:] - 1) & (np.diff(log.offsets) >= 3)[owner]
    if name == "time":
        return log.times >= split.cuts[1]
    if name == "cold-users":
        return split.cold[owner]
    return newest if name == "last" else newest | split.cold[log.items]


def with_others(log, places, cold, seed):
    """Other items at these places; a user still has each once, and what is cold stays cold."""
    rng, items = np.random.default_rng(seed), log.items.copy()
    for place in places.tolist():
        user = int(np.searchsorted(log.offsets, place, side="right")) - 1
        taken = items[log.offsets[user] : log.offsets[user + 1]]
        free = np.setdiff1d(np.arange(log.catalog_size), taken)
        free = free if cold is None else free[cold[free] == cold[items[place]]]
        items[place] = rng.choice(free) if len(free) else items[place]
    return replace(log, items=items)


@pytest.mark.parametrize("name", SPLITS)
def test_what_is_held_out_changes_nothing(wide, name):
    catalog, log = wide
    unseen = hidden(name, log, catalog)
    cold = split_by(name, log, catalog.items).cold if name == "cold-items" else None
    assert 0 < unseen.sum() < len(log)
    config = Config.from_dict(PLAIN)
    one = fit(config, catalog, log, holdout=name)
    for seed in range(2):
        changed = with_others(log, np.flatnonzero(unseen), cold, seed)
        assert (changed.items != log.items).sum() > 0.8 * unseen.sum()
        assert arrays(one) == arrays(fit(config, catalog, changed, holdout=name))
    changed = with_others(log, np.flatnonzero(~unseen)[:1], cold, 0)
    assert arrays(one) != arrays(fit(config, catalog, changed, holdout=name))


@pytest.mark.parametrize("name", SPLITS)
def test_a_fit_sees_what_the_split_says(wide, name, monkeypatch):
    from llmrec.fuse import rrf

    tuned = []
    monkeypatch.setattr(
        rrf, "fit_rrf", lambda c, t, config, *, name: tuned.append(t.tolist()) or _alike(c, config, name)
    )
    catalog, log = wide
    split = split_by(name, log, catalog.items, 4)
    fitted = fit(Config.from_dict({**PLAIN, "min_interactions": 4}), catalog, log, holdout=name)
    np.testing.assert_array_equal(fitted.fallback.counts, np.bincount(split.train.items, minlength=40))
    assert fitted.histories.fingerprint == split.known.fingerprint
    assert tuned == [split.validation.targets.tolist()]
    assert fitted.about["holdout"] == name
    assert fitted.about["holdout_parameters"] == dict(split.parameters)


@pytest.mark.parametrize("holdout", ["none", "last"])
def test_profiles_of_users_are_known_when_tuning_and_later(catalog, interactions, monkeypatch, holdout):
    from llmrec import build

    users, asked = tiny_users(), []
    monkeypatch.setattr(build, "_some", lambda cases, *rest: asked.append(cases) or some(cases, *rest))
    config = Config.from_dict(PLAIN)
    fitted = fit(config, catalog, interactions, users=users, holdout=holdout)
    assert fitted.users is users
    assert fitted.about["data"]["users"] == users.fingerprint
    [cases] = asked
    ids = interactions.users.decode(cases.user_rows)
    assert cases.queries.profiles == users.profiles(ids)
    assert cases.queries.profiles["age"][0] == 21
    assert fit(config, catalog, interactions).users is None
    assert "users" not in fit(config, catalog, interactions).about["data"]
    assert describe_fit(config, catalog, interactions, holdout, users) == fitted.about


def test_fusions_are_tuned_on_what_users_may_still_get(catalog, interactions, monkeypatch):
    """Items of the history never compete with the target at serving time; nor may they while tuning."""
    from llmrec.fuse import rrf

    asked = []

    def spy(candidates, targets, config, *, name):
        asked.append((candidates, targets))
        return ReciprocalRankFusion(name, config, dict.fromkeys(candidates.columns, 1.0))

    monkeypatch.setattr(rrf, "fit_rrf", spy)
    fit(Config.from_dict(PLAIN), catalog, interactions, holdout="last")
    split = leave_last_out(interactions)
    [(candidates, targets)] = asked
    np.testing.assert_array_equal(targets, split.validation.targets)
    for row, items in enumerate(candidates.items):
        history = split.validation.queries.histories[row]
        assert not set(items.tolist()) & set(history.tolist())
        assert set(items[items >= 0].tolist()) | set(history.tolist()) == set(range(12))
    seen = Config.from_dict({**PLAIN, "policies": {}})
    fit(seen, catalog, interactions, holdout="last")
    assert (asked[1][0].items >= 0).all()


def test_tuning_users_are_drawn_by_seed(catalog, interactions, monkeypatch):
    from llmrec.fuse import rrf

    drawn = []
    monkeypatch.setattr(
        rrf, "fit_rrf", lambda c, t, config, *, name: drawn.append(t.tolist()) or _alike(c, config, name)
    )
    for seed in (1, 1, 2):
        stage = {**PLAIN["stages"][0], "tuning_users": 5}
        fit(Config.from_dict({"seed": seed, "stages": [stage]}), catalog, interactions)
    assert drawn[0] == drawn[1] != drawn[2]
    assert len(drawn[0]) == 5


def _alike(candidates, config, name):
    return ReciprocalRankFusion(name, config, dict.fromkeys(candidates.columns, 1.0))


def short(catalog):
    """Nobody has more than two interactions."""
    rows = {"user_id": ["a", "a", "b"], "item_id": ["i0", "i1", "i0"], "timestamp": [1, 2, 3]}
    return Interactions.from_table(rows, catalog)


def test_too_few_interactions_to_tune_on_still_work(catalog, queries, hybrid_config):
    told = []
    fitted = fit(hybrid_config, catalog, short(catalog), progress=told.append)
    assert fitted.stages[0].fusion.weights == {"popularity": 1.0, "ease": 1.0, "dense": 1.0}
    assert any("no user has 3 interactions" in message for message in told)
    assert (fitted.recommend(queries, 5).items >= 0).all()
    with pytest.raises(DataError, match="none of the 2 users has 3 interactions"):
        fit(hybrid_config, catalog, short(catalog), holdout="last")


def test_a_config_may_stand_for_any_number_of_stages(catalog, interactions, queries):
    stages = [*PLAIN["stages"], {"name": "again", "keep": 3}]
    fitted = fit(Config.from_dict({"stages": stages}), catalog, interactions)
    one = fit(Config.from_dict(PLAIN), catalog, interactions)
    np.testing.assert_array_equal(fitted.recommend(queries, 6).items, one.recommend(queries, 6).items)


def test_nothing_to_learn_from_is_an_error(catalog, interactions):
    nothing = replace(
        interactions,
        offsets=np.zeros_like(interactions.offsets),
        items=interactions.items[:0],
        times=interactions.times[:0],
    )
    with pytest.raises(DataError, match="no interactions"):
        fit(Config.from_dict(PLAIN), catalog, nothing)


def test_interactions_of_another_catalog_are_an_error(catalog, interactions):
    with pytest.raises(DataError, match=r"catalog of 12 items, this one has 14"):
        fit(Config.from_dict(PLAIN), catalog.with_items(new_items(2)), interactions)


def test_interactions_of_a_permuted_catalog_are_an_error(catalog, interactions):
    """As many items, all of them known, but the rows mean others."""
    permuted = Catalog.from_table(catalog.table.take(list(range(11, -1, -1))))
    with pytest.raises(DataError, match="over another catalog of 12 items, or over this one in another order"):
        fit(Config.from_dict(PLAIN), permuted, interactions)


def test_fitting_twice_gives_the_same(hybrid_config, catalog, interactions):
    one, other = (fit(hybrid_config, catalog, interactions) for _ in range(2))
    assert arrays(one) == arrays(other)


def test_untimed_logs_work(catalog, queries):
    fitted = fit(Config.from_dict(PLAIN), catalog, tiny_interactions(1, catalog, timed=False), holdout="last")
    assert (fitted.recommend(queries, 5).items >= 0).all()


def test_weights_for_an_unknown_column_are_found_before_fitting():
    stage = {**PLAIN["stages"][0], "fusion": {"weights": {"eas": 1.0}}}
    with pytest.raises(ConfigError, match=r"weights names 'eas'.*known: popularity, ease"):
        Config.from_dict({"stages": [stage]})


def test_a_misspelt_holdout_never_trains_on_everything(hybrid_config, catalog, interactions):
    with pytest.raises(ConfigError, match=r"one of 'none', 'last', 'time', 'cold-items', 'cold-users', got 'Last'"):
        fit(hybrid_config, catalog, interactions, holdout="Last")


def test_a_missing_package_is_found_before_any_work(bert, catalog, interactions, monkeypatch):
    retrievers = {"popularity": {}, "tuned_dense": {"encoder": str(bert)}}
    monkeypatch.setattr("llmrec.build.find_spec", lambda name: None if name == "datasets" else object())
    told = []
    with pytest.raises(MissingExtraError, match=r"datasets is not installed.*llmrec\[train\]"):
        fit(
            Config.from_dict({"stages": [{"name": "first", "retrievers": retrievers}]}),
            catalog,
            interactions,
            progress=told.append,
        )
    assert told == []


def test_only_scorers_have_cases_of_their_own():
    parts = {"config": ComponentConfig, "fit": fit, "load": fit, "takes_cases": True}
    assert Component("scorer", **parts).takes_cases
    for role in ("retriever", "fusion", "policy"):
        with pytest.raises(ValueError, match="only a scorer"):
            Component(role, **parts)
