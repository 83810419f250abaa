from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from llmrec.build import fit
from llmrec.component import FitContext
from llmrec.config import Config
from llmrec.data import Interactions, leave_last_out
from llmrec.errors import DataError
from llmrec.models.code_decoder import CodeShape
from llmrec.models.sequence_model import new_body
from llmrec.retrieve import SemanticIdConfig
from llmrec.testing.contracts import reload
from llmrec.testing.data import tiny_catalog, tiny_interactions
from llmrec.train import epochs as courses
from llmrec.train import fit_semantic_id, semantic_id, semantic_id_run
from llmrec.train.semantic_id import codes_for
from llmrec.train.semantic_id_run import CodeWeights, next_codes_loss
from llmrec.types import Csr, Item, Queries

N_ITEMS, COLD = 12, 11
NOTHING = np.empty(0, np.int32)


def round_and_round(catalog, n_users=60, seed=0):
    """The rule to learn: after item i comes item i + 1; the last one is of nobody's."""
    rng = np.random.default_rng(seed)
    users, items = [], []
    for user in range(n_users):
        start, length = int(rng.integers(0, COLD)), int(rng.integers(3, 9))
        users += [f"u{user}"] * length
        items += [f"i{(start + step) % COLD}" for step in range(length)]
    return Interactions.from_table({"user_id": users, "item_id": items}, catalog)


def config_of(bert, **given):
    tiny = {"dim": 16, "heads": 2, "layers": 1, "epochs": 8, "batch_size": 8, "learning_rate": 1e-2, "dropout": 0.0}
    return SemanticIdConfig.model_validate(
        {"encoder": str(bert), "item_template": "item/title", "max_length": 5, "levels": 2, "codes": 4, **tiny, **given}
    )


@pytest.fixture(scope="module")
def catalog():
    return tiny_catalog(N_ITEMS)


@pytest.fixture
def fit_one(catalog, bert, tmp_path):
    def make(*, log=None, validation=None, earlier=None, seed=0, progress=lambda _: None, **given):
        log = log or round_and_round(catalog)
        context = FitContext("semantic_id", catalog, log, validation, work=tmp_path, seed=seed)
        context = replace(context, earlier=earlier, progress=progress)
        return fit_semantic_id(context, config_of(bert, **given))

    return make


@pytest.fixture(scope="module")
def model(catalog, bert, tmp_path_factory):
    context = FitContext("semantic_id", catalog, round_and_round(catalog), work=tmp_path_factory.mktemp("work"))
    return fit_semantic_id(context, config_of(bert, epochs=3))


@pytest.fixture
def steps(monkeypatch):
    """Counts steps, and stops the run after so many: `steps.limit`."""

    class Counter:
        taken, limit = 0, 10**9

    honest = semantic_id_run._step

    def counted(run, rows):
        if Counter.taken >= Counter.limit:
            raise KeyboardInterrupt
        Counter.taken += 1
        return honest(run, rows)

    monkeypatch.setattr(semantic_id_run, "_step", counted)
    return Counter


def everything(n=1, width=N_ITEMS):
    return np.tile(np.arange(width, dtype=np.int32), (n, 1))


def same(one, other):
    queries = Queries.from_lists([[1, 2], [5]])
    np.testing.assert_array_equal(one.score(queries, everything(2)), other.score(queries, everything(2)))


@pytest.mark.parametrize("given_", [{}, {"levels": 1, "codes": 2}, {"levels": 3, "id_dropout": 0.0}], ids=str)
def test_the_rule_is_learned(fit_one, given_):
    found = fit_one(**{"epochs": 30, **given_})
    queries = Queries.from_lists([[i, (i + 1) % COLD] for i in range(COLD)])
    assert (found.retrieve(queries, 1).items[:, 0] == (np.arange(COLD) + 2) % COLD).mean() > 0.8


histories = st.lists(st.lists(st.integers(0, N_ITEMS - 1), max_size=8), min_size=1, max_size=6)


@settings(max_examples=40, deadline=None)
@given(histories, st.data())
def test_what_is_found_is_what_scores_best_to_the_last_bit(model, lists, data):
    queries, k = Queries.from_lists(lists), data.draw(st.integers(1, N_ITEMS + 2))
    banned = [data.draw(st.lists(st.integers(0, N_ITEMS - 1), max_size=10)) for _ in lists]
    allow = np.array(data.draw(st.lists(st.booleans(), min_size=N_ITEMS, max_size=N_ITEMS)))
    asked = replace(queries, exclude=Csr.from_lists(banned), allow=allow)
    found = model.retrieve(asked, k)
    scores = model.score(asked, everything(len(lists)))
    for row, out in enumerate(banned):
        may = [i for i in range(N_ITEMS) if lists[row] and allow[i] and i not in out]
        best = sorted(may, key=lambda i: (-scores[row, i], model.tie_order[i]))[:k]
        assert [int(i) for i in found.items[row] if i >= 0] == best
        np.testing.assert_array_equal(found.scores[row][: len(best)], scores[row, best])
        alone = model.retrieve(asked.take(np.array([row])), k)
        np.testing.assert_array_equal(alone.items[0], found.items[row])
        np.testing.assert_array_equal(alone.scores[0], found.scores[row])
        some = np.array([[data.draw(st.integers(0, N_ITEMS - 1))]], dtype=np.int32)
        one = model.score(asked.take(np.array([row])), some)
        np.testing.assert_array_equal(one[0], scores[row, some[0]])


def test_scores_are_the_chances_of_whole_ids(model):
    """Over all ids that could be written they sum to one, so over the items' to no more."""
    scores = model.score(Queries.from_lists([[1, 2, 3]]), everything())
    chances = np.exp(scores[0])
    assert (chances > 0).all()
    assert chances.sum() <= 1 + 1e-5


def test_the_loss_is_what_the_scores_say():
    torch.manual_seed(0)
    shape = CodeShape((3, 2), 8, 2, 2, 0.0, max_length=4)
    body = new_body(shape.body).eval()
    weights = CodeWeights(body, torch.nn.Parameter(torch.randn(shape.vocabulary, 8)))
    tokens, items = np.array([[0, 0], [0, 1], [2, 0]]), np.array([[0, 1, 2], [2, 0, -1]])
    loss = float(next_codes_loss(weights, shape, items, tokens).detach())
    decoder, found = weights.decoder(shape), []
    for row, count in zip(items, (3, 2), strict=True):
        for place in range(1, count):
            past, here = decoder.read((tokens[row[:place]] + shape.starts).ravel())
            first, second = tokens[row[place]]
            chance = decoder.chances(here, 0)[0, first]
            found.append(chance + decoder.chances(decoder.follow(past, here, np.array([first])), 1)[0, second])
    assert loss == pytest.approx(-np.mean(found), rel=1e-4)


def test_the_same_seed_gives_the_same_and_nobody_elses_draws_are_used(fit_one, tmp_path):
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    one = fit_one(epochs=2, dropout=0.2)
    assert torch.rand(1) == expected
    for file in tmp_path.rglob("*.safetensors"):
        file.unlink()
    same(fit_one(epochs=2, dropout=0.2), one)
    other = fit_one(epochs=2, dropout=0.2, seed=1)
    assert abs(other.decoder.codes[:4] - one.decoder.codes[:4]).max() > 1e-3


@pytest.mark.parametrize("stop", [1, 9])
def test_a_killed_run_goes_on_and_ends_as_if_it_had_not_been(fit_one, steps, stop, tmp_path):
    given_ = {"epochs": 2, "dropout": 0.2, "checkpoint_minutes": 0.0}
    steps.limit = stop
    with pytest.raises(KeyboardInterrupt):
        fit_one(**given_)
    steps.limit, told = 10**9, []
    resumed = fit_one(**given_, progress=told.append)
    assert any(f"semantic_id: going on after step {stop}" in message for message in told)
    assert told[-1].startswith("semantic_id: epoch 2/2, loss ")
    assert told[-1].endswith(" s left")
    total = steps.taken
    for file in tmp_path.rglob("*.safetensors"):
        file.unlink()
    steps.taken = 0
    same(fit_one(**given_), resumed)
    assert steps.taken == total
    same(fit_one(**given_), resumed)
    assert steps.taken == total  # a finished run is not trained again


def test_the_best_epoch_is_kept_and_a_refit_trains_as_long(fit_one, catalog, monkeypatch):
    split, left = leave_last_out(round_and_round(catalog), 3), iter([0.1, 0.3, 0.2, 0.25])
    monkeypatch.setattr(courses.Judged, "ndcg", lambda *_: next(left))
    best = fit_one(log=split.train, validation=split.validation, patience=2)
    assert best.epochs == 2
    again = fit_one(log=split.train, earlier=best, patience=2)
    assert again.epochs == 2
    same(again, best)


def test_epochs_are_judged_by_what_is_asked(fit_one, catalog):
    split, told = leave_last_out(round_and_round(catalog), 3), []
    fit_one(log=split.train, validation=split.validation, patience=30, epochs=30, progress=told.append)
    figures = [float(message.split("NDCG@10 ")[1].split(",")[0]) for message in told]
    assert len(figures) == 30
    assert figures[-1] > 0.5  # the rule is easy


def test_a_pipeline_fits_it(bert, catalog):
    table = config_of(bert, patience=1, epochs=2).model_dump()
    config = Config.from_dict({"stages": [{"name": "first", "retrievers": {"popularity": {}, "semantic_id": table}}]})
    recommender = fit(config, catalog, tiny_interactions(0, catalog))
    assert (recommender.recommend(Queries.from_lists([[1, 2]]), 3).items >= 0).all()


def twin_of(catalog, row, name="twin"):
    return Item(name, {field: catalog.records(np.array([row]))[0][field] for field in catalog.columns[1:]})


def test_a_new_item_is_placed_at_once_and_no_other_moves(model, catalog):
    grown_catalog = catalog.with_items([twin_of(catalog, 3), twin_of(catalog, 3, "another")])
    grown = model.with_items(grown_catalog, NOTHING)
    np.testing.assert_array_equal(grown.ids.codes[:N_ITEMS], model.ids.codes)
    np.testing.assert_array_equal(grown.ids.codes[N_ITEMS:, :-1], model.ids.codes[[3, 3], :-1])
    assert len(np.unique(grown.ids.codes, axis=0)) == N_ITEMS + 2
    queries = Queries.from_lists([[1, 2], [N_ITEMS]])
    scores = grown.score(queries, everything(2, N_ITEMS + 2))
    assert np.isfinite(scores).all()
    np.testing.assert_array_equal(scores[:, N_ITEMS], scores[:, N_ITEMS + 1])  # nothing tells them apart
    np.testing.assert_array_equal(scores[0, :N_ITEMS], model.score(queries.take(np.array([0])), everything())[0])
    found = grown.retrieve(queries, N_ITEMS + 2).items
    assert all(sorted(row) == list(range(N_ITEMS + 2)) for row in found.tolist())


def test_an_item_without_interactions_is_as_one_that_came_later(fit_one, catalog, bert, tmp_path):
    whole = fit_one()
    smaller = tiny_catalog(COLD)
    context = FitContext("semantic_id", smaller, round_and_round(smaller), work=tmp_path / "other")
    later = fit_semantic_id(context, config_of(bert)).with_items(catalog, NOTHING)
    queries = Queries.from_lists([[1, 2], [COLD]])
    np.testing.assert_allclose(
        whole.score(queries, everything(2)), later.score(queries, everything(2)), rtol=1e-4, atol=1e-5
    )


def test_a_changed_item_is_as_new_only_where_its_codes_change(model, catalog):
    kept = model.with_items(catalog.with_changes([twin_of(catalog, 3, "i3")]), np.array([3], np.int32))
    np.testing.assert_array_equal(kept.tokens, model.tokens)
    other = int(np.flatnonzero((model.ids.codes[:, :-1] != model.ids.codes[3, :-1]).any(axis=1))[0])
    moved = model.with_items(catalog.with_changes([twin_of(catalog, other, "i3")]), np.array([3], np.int32))
    assert not moved.ids.learned[3]
    np.testing.assert_array_equal(moved.ids.codes[3, :-1], model.ids.codes[other, :-1])
    assert (moved.tokens != model.tokens).any(axis=1).nonzero()[0].tolist() == [3]


def test_items_are_treated_as_new_now_and_then(fit_one):
    """The sign of a new item is what is dropped so often."""
    never, often = fit_one(id_dropout=0.0), fit_one(id_dropout=0.5)
    sign = never.decoder.shape.vocabulary - 1
    assert abs(often.decoder.codes[sign] - never.decoder.codes[sign]).max() > 0.05
    queries, bucket = Queries.from_lists([[1, 2]]), np.array([[3]], dtype=np.int32)
    known = [m.score(queries, bucket) for m in (never, often)]
    new = [m.forgetting(np.arange(N_ITEMS) == 3).score(queries, bucket) for m in (never, often)]
    assert new[1] - known[1] > new[0] - known[0]


def test_no_history_no_evidence(model):
    queries = Queries.from_lists([[], [1]], ["red night", None])
    assert np.isnan(model.score(queries, everything(2))).all(axis=1).tolist() == [True, False]
    assert (model.retrieve(queries, 3).items >= 0).all(axis=1).tolist() == [False, True]


def test_it_survives_a_bundle_without_its_folders(model, catalog, tmp_path):
    grown_catalog = catalog.with_items([Item("new", {"title": "blue river"})])
    later = model.with_items(grown_catalog, NOTHING)
    again = reload(later, grown_catalog, tmp_path / "reloaded")
    queries = Queries.from_lists([[1, 2], [N_ITEMS]])
    items = everything(2, N_ITEMS + 1)
    np.testing.assert_array_equal(again.score(queries, items), later.score(queries, items))
    more = grown_catalog.with_items([Item("newer", {"title": "blue river"})])
    np.testing.assert_array_equal(again.with_items(more, NOTHING).ids.codes, later.with_items(more, NOTHING).ids.codes)
    assert again.epochs == model.epochs


def test_nothing_to_learn_from_is_said(fit_one, catalog):
    log = Interactions.from_table({"user_id": ["a", "b"], "item_id": ["i1", "i2"]}, catalog)
    with pytest.raises(DataError, match="two interactions"):
        fit_one(log=log)


def test_settings_are_checked():
    with pytest.raises(ValueError, match="heads must divide dim"):
        SemanticIdConfig(dim=10, heads=4)


def test_larger_catalogs_have_more_codes(fit_one, monkeypatch):
    assert codes_for(10) < codes_for(10_000) < codes_for(10**6)
    monkeypatch.setattr(semantic_id, "CODES", ((100, 3),))
    assert fit_one(codes=None, epochs=1).decoder.shape.sizes[:2] == (3, 3)
    assert fit_one(codes=99, epochs=1).decoder.shape.sizes[:2] == (COLD, COLD)  # no more than there are items
