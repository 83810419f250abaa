from dataclasses import replace

import numpy as np
import pytest
import torch

from llmrec.build import fit
from llmrec.component import FitContext
from llmrec.config import Config
from llmrec.data import Interactions, leave_last_out
from llmrec.errors import DataError
from llmrec.retrieve import SequenceConfig
from llmrec.testing.contracts import reload
from llmrec.testing.data import tiny_catalog, tiny_interactions
from llmrec.train import epochs, fit_sequence, sequence_run
from llmrec.types import Item, Queries

N_ITEMS, COLD = 12, 11


def round_and_round(catalog, n_users=40, seed=0):
    """The rule to learn: after item i comes item i + 1; the last one is of nobody's."""
    rng = np.random.default_rng(seed)
    users, items = [], []
    for user in range(n_users):
        start, length = int(rng.integers(0, COLD)), int(rng.integers(3, 9))
        users += [f"u{user}"] * length
        items += [f"i{(start + step) % COLD}" for step in range(length)]
    return Interactions.from_table({"user_id": users, "item_id": items}, catalog)


def config_of(bert, **settings):
    tiny = {"dim": 16, "layers": 1, "epochs": 8, "batch_size": 8, "learning_rate": 1e-2, "dropout": 0.0}
    return SequenceConfig.model_validate(
        {"encoder": str(bert), "item_template": "item/title", "max_length": 5, **tiny, **settings}
    )


@pytest.fixture
def catalog():
    return tiny_catalog(N_ITEMS)


@pytest.fixture
def fit_one(catalog, bert, tmp_path):
    def make(*, log=None, validation=None, earlier=None, seed=0, progress=lambda _: None, **settings):
        context = FitContext("sequence", catalog, log or round_and_round(catalog), validation, work=tmp_path, seed=seed)
        context = replace(context, earlier=earlier, progress=progress)
        return fit_sequence(context, config_of(bert, **settings))

    return make


@pytest.fixture
def steps(monkeypatch):
    """Counts steps, and stops the run after so many: `steps.limit`."""

    class Counter:
        taken, limit = 0, 10**9

    honest = sequence_run._step

    def counted(run, rows):
        if Counter.taken >= Counter.limit:
            raise KeyboardInterrupt
        Counter.taken += 1
        return honest(run, rows)

    monkeypatch.setattr(sequence_run, "_step", counted)
    return Counter


def everything(n=1):
    return np.tile(np.arange(N_ITEMS, dtype=np.int32), (n, 1))


def same(one, other):
    queries = Queries.from_lists([[1, 2], [5]])
    np.testing.assert_array_equal(one.score(queries, everything(2)), other.score(queries, everything(2)))


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"items": "text"},
        {"items": "id"},
        {"architecture": "gru"},
        {"loss": "sampled", "negatives": 4},
        {"loss": "gbce", "negatives": 6},
    ],
    ids=str,
)
def test_the_rule_is_learned(fit_one, settings):
    model = fit_one(**settings, epochs=14)
    queries = Queries.from_lists([[i, (i + 1) % COLD] for i in range(COLD)])
    best = model.retrieve(queries, 1).items[:, 0]
    assert (best == (np.arange(COLD) + 2) % COLD).mean() > 0.8


def test_the_same_seed_gives_the_same_and_nobody_elses_draws_are_used(fit_one, tmp_path, bert):
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    one = fit_one(epochs=2, dropout=0.2)
    assert torch.rand(1) == expected
    for file in tmp_path.rglob("*.safetensors"):
        file.unlink()
    same(fit_one(epochs=2, dropout=0.2), one)
    other = fit_one(epochs=2, dropout=0.2, seed=1)
    assert abs(other.items.learned - one.items.learned).max() > 1e-3


@pytest.mark.parametrize("stop", [1, 7, 12])
def test_a_killed_run_goes_on_and_ends_as_if_it_had_not_been(fit_one, steps, stop, tmp_path):
    settings = {"epochs": 3, "dropout": 0.2, "checkpoint_minutes": 0.0, "architecture": "gru", "loss": "sampled"}
    steps.limit = stop
    with pytest.raises(KeyboardInterrupt):
        fit_one(**settings)
    assert steps.taken == stop
    steps.limit, told = 10**9, []
    resumed = fit_one(**settings, progress=told.append)
    assert any(f"going on after step {stop}" in message for message in told)
    total = steps.taken
    for file in tmp_path.rglob("*.safetensors"):
        file.unlink()
    steps.taken = 0
    straight = fit_one(**settings)
    assert steps.taken == total  # none was taken twice, none was left out
    same(resumed, straight)


def test_a_finished_run_is_not_trained_again_but_another_one_is(fit_one, steps):
    one = fit_one(epochs=2)
    steps.taken = 0
    same(fit_one(epochs=2), one)
    assert steps.taken == 0
    fit_one(epochs=2, dim=8)
    assert steps.taken > 0


def test_it_says_how_long_it_will_take(fit_one):
    told = []
    fit_one(epochs=2, progress=told.append)
    assert len(told) == 2
    assert told[0].startswith("sequence: epoch 1/2, loss ")
    assert told[0].endswith(" s left")


@pytest.fixture
def scripted(monkeypatch):
    """Epochs are judged by a list of figures."""

    def judge_by(figures):
        left = iter(figures)
        monkeypatch.setattr("llmrec.train.sequence._judge", lambda *_: lambda trained: next(left))

    return judge_by


@pytest.fixture
def split(catalog):
    return leave_last_out(round_and_round(catalog), 3)


def test_the_best_epoch_is_kept_and_patience_ends(fit_one, split, scripted, steps):
    scripted([0.1, 0.3, 0.2, 0.25])
    best = fit_one(log=split.train, validation=split.validation, patience=2, epochs=8, dropout=0.2)
    per_epoch = steps.taken // 4
    assert best.epochs == 2
    steps.taken = 0
    again = fit_one(log=split.train, earlier=best, patience=2, epochs=8, dropout=0.2)
    assert steps.taken == 2 * per_epoch  # a refit trains as long as was best, and the same way
    assert again.epochs == 2
    same(again, best)


@pytest.mark.parametrize("into", [0, 1])
def test_a_killed_run_remembers_the_best_epoch(fit_one, split, scripted, steps, into):
    """Killed in its third epoch, before the first step or after: the second has been judged, and only once."""
    settings = {"log": split.train, "validation": split.validation, "patience": 3, "dropout": 0.2}
    scripted([0.1, 0.3, 0.2])
    straight = fit_one(**settings, epochs=3)
    steps.taken, steps.limit = 0, 2 * (steps.taken // 3) + into
    scripted([0.1, 0.3])
    with pytest.raises(KeyboardInterrupt):
        fit_one(**settings, epochs=3, checkpoint_minutes=0.0, heads=1)
    steps.limit = 10**9
    scripted([0.2])
    assert fit_one(**settings, epochs=3, checkpoint_minutes=0.0, heads=1).epochs == straight.epochs == 2


def test_a_run_killed_when_its_patience_was_over_does_not_go_on(fit_one, split, scripted, steps, monkeypatch):
    scripted([0.3, 0.1])
    settings = {"log": split.train, "validation": split.validation, "patience": 1, "checkpoint_minutes": 0.0}
    honest = epochs.Saver.save
    monkeypatch.setattr(
        epochs.Saver, "save", lambda self, run, *, finished: finished or honest(self, run, finished=False)
    )
    fit_one(**settings)
    steps.taken = 0
    assert fit_one(**settings).epochs == 1
    assert steps.taken == 0


def test_other_cases_are_another_run(fit_one, split, steps):
    settings = {"log": split.train, "patience": 3, "epochs": 3}
    half = np.arange(len(split.validation) // 2)
    cases = replace(
        split.validation,
        user_rows=split.validation.user_rows[half],
        queries=split.validation.queries.take(half),
        targets=split.validation.targets[half],
    )
    fit_one(**settings, validation=split.validation)
    for judges, trained in ((split.validation, False), (cases, True), (cases, False), (split.validation, False)):
        steps.taken = 0
        fit_one(**settings, validation=judges)
        assert (steps.taken > 0) == trained
    nothing_left_out = replace(cases.queries, exclude=Queries.from_lists([[]] * len(half)).histories)
    steps.taken = 0
    fit_one(**settings, validation=replace(cases, queries=nothing_left_out))
    assert steps.taken > 0


def test_epochs_are_judged_by_what_is_asked(fit_one, split):
    told = []
    fit_one(log=split.train, validation=split.validation, patience=3, epochs=3, progress=told.append)
    figures = [float(message.split("NDCG@10 ")[1].split(",")[0]) for message in told]
    assert len(figures) == 3
    assert figures[-1] > 0.5  # the rule is easy


def test_a_pipeline_refits_for_as_long_as_was_best(bert, catalog, monkeypatch):
    seen = []
    honest = sequence_run.train_sequence

    def spy(config, lesson, folder, **rest):
        seen.append((rest["epochs"], rest["judge"] is not None))
        return replace(honest(config, lesson, folder, **rest), epochs=3)

    monkeypatch.setattr("llmrec.train.sequence.train_sequence", spy)
    table = config_of(bert, patience=1, epochs=4).model_dump()
    config = Config.from_dict({"stages": [{"name": "first", "retrievers": {"popularity": {}, "sequence": table}}]})
    fit(config, catalog, tiny_interactions(0, catalog))
    assert seen == [(None, True), (3, False)]


@pytest.mark.parametrize("items", ["text", "both"])
def test_a_new_item_is_scored_by_its_text_at_once(fit_one, catalog, items):
    model = fit_one(items=items)
    fields = {name: catalog.records(np.array([3]))[0][name] for name in catalog.columns[1:]}
    grown = model.with_items(catalog.with_items([Item("twin", fields)]), np.empty(0, np.int32))
    np.testing.assert_allclose(grown.items.read[N_ITEMS], model.items.read[3], rtol=1e-5, atol=1e-6)
    assert (grown.items.learned[N_ITEMS] == 0).all()
    queries = Queries.from_lists([[1, 2], [N_ITEMS]])
    scores = grown.score(queries, np.array([[3, N_ITEMS]] * 2, dtype=np.int32))
    assert np.isfinite(scores).all()
    if items == "text":  # beside the bias, a twin is what its brother is
        np.testing.assert_allclose(
            scores[:, 1] - model.text.adaptor.bias, scores[:, 0] - model.items.bias[3], rtol=1e-4, atol=1e-5
        )


def test_an_item_without_interactions_is_as_one_that_came_later(fit_one, catalog, bert, tmp_path):
    model = fit_one()
    smaller = tiny_catalog(COLD)
    context = FitContext("sequence", smaller, round_and_round(smaller), work=tmp_path / "other")
    later = fit_sequence(context, config_of(bert)).with_items(catalog, np.empty(0, np.int32))
    queries = Queries.from_lists([[1, 2], [COLD]])
    np.testing.assert_allclose(
        model.score(queries, everything(2)), later.score(queries, everything(2)), rtol=1e-4, atol=1e-5
    )


def test_without_texts_nothing_is_known_of_new_items(fit_one, catalog):
    model = fit_one(items="id")
    queries = Queries.from_lists([[1, COLD, 2], [1, 2], [COLD]])
    scores = model.score(queries, everything(3))
    np.testing.assert_array_equal(np.isnan(scores), [[False] * COLD + [True]] * 2 + [[True] * N_ITEMS])
    np.testing.assert_array_equal(scores[0], scores[1])  # it is left out of histories too
    assert (model.retrieve(queries, N_ITEMS).items[:2, :COLD] >= 0).all()
    assert (model.retrieve(queries, N_ITEMS).items[:2, COLD:] == -1).all()
    grown = model.with_items(catalog.with_items([Item("new", {"title": "red"})]), np.array([2], np.int32))
    assert np.isnan(grown.score(queries, np.full((3, 1), N_ITEMS, np.int32))).all()


def test_the_own_seed_is_added_to_the_pipelines(catalog, bert, tmp_path):
    context = FitContext("sequence", catalog, round_and_round(catalog), work=tmp_path)
    one = fit_sequence(replace(context, seed=3), config_of(bert, epochs=1))
    other = fit_sequence(replace(context, seed=1, work=tmp_path / "other"), config_of(bert, epochs=1, seed=2))
    same(one, other)


def test_a_changed_item_keeps_what_was_learned_of_it(fit_one, catalog):
    model = fit_one()
    changed = model.with_items(catalog.with_changes([Item("i3", {"title": "zoo zoo"})]), np.array([3], np.int32))
    np.testing.assert_array_equal(changed.items.learned, model.items.learned)
    np.testing.assert_array_equal(changed.items.bias, model.items.bias)
    moved = (changed.items.read != model.items.read).any(axis=1)
    assert moved.nonzero()[0].tolist() == [3]


def test_no_history_no_evidence(fit_one):
    model = fit_one(epochs=1)
    queries = Queries.from_lists([[], [1]], ["red night", None])
    assert np.isnan(model.score(queries, everything(2))).all(axis=1).tolist() == [True, False]
    assert (model.retrieve(queries, 3).items >= 0).all(axis=1).tolist() == [False, True]


def test_an_item_treated_as_new_now_and_then_teaches_the_adaptor(fit_one):
    """With ids dropped always, ids learn nothing and all is in the texts."""
    kept, dropped = fit_one(id_dropout=0.0), fit_one(id_dropout=0.999)
    assert abs(kept.items.learned[:COLD]).mean() > 3 * abs(dropped.items.learned[:COLD]).mean()
    assert (kept.items.bias[:COLD] != 0).any()
    assert kept.text.adaptor.bias == 0
    assert dropped.text.adaptor.bias != 0


def test_it_survives_a_bundle_without_its_folders(fit_one, catalog, tmp_path):
    model = fit_one()
    grown = catalog.with_items([Item("new", {"title": "blue river"})])
    later = model.with_items(grown, np.empty(0, np.int32))
    again = reload(later, grown, tmp_path / "reloaded")
    queries = Queries.from_lists([[1, 2], [N_ITEMS]])
    items = np.tile(np.arange(N_ITEMS + 1, dtype=np.int32), (2, 1))
    np.testing.assert_array_equal(again.score(queries, items), later.score(queries, items))
    assert again.epochs == model.epochs


def test_nothing_to_learn_from_is_said(fit_one, catalog):
    log = Interactions.from_table({"user_id": ["a", "b"], "item_id": ["i1", "i2"]}, catalog)
    with pytest.raises(DataError, match="two interactions"):
        fit_one(log=log)


def test_settings_are_checked():
    with pytest.raises(ValueError, match="heads must divide dim"):
        SequenceConfig(dim=10, heads=4)


def test_large_catalogs_are_sampled(fit_one, monkeypatch):
    seen = []
    honest = sequence_run.draw_columns
    monkeypatch.setattr(sequence_run, "draw_columns", lambda *args: seen.append(args) or honest(*args))
    fit_one(epochs=1)
    assert not seen
    monkeypatch.setattr(sequence_run, "SOFTMAX_ITEMS", COLD - 1)
    fit_one(epochs=1, negatives=3)
    assert seen
    assert {args[2:4] for args in seen} == {(3, "sampled")}
