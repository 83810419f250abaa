"""Dense retrieval with an encoder that is tuned when it is fitted: in a pipeline, once, on what may be seen."""

from dataclasses import replace

import numpy as np
import pytest

import llmrec
from llmrec.build import fit
from llmrec.component import FitContext, find_component
from llmrec.config import Config
from llmrec.data import hold_out_items, is_cold
from llmrec.errors import ConfigError
from llmrec.models import TextEncoder
from llmrec.retrieve import Dense
from llmrec.testing.data import tiny_catalog, tiny_interactions
from llmrec.train import EncoderConfig, tuned_encoder
from llmrec.train import tuned_dense as module


def config_of(bert, **settings):
    usual = {"encoder": str(bert), "item_template": "item/title", "batch_size": 16, "learning_rate": 1e-3, "checks": 1}
    tuned = {"type": "tuned_dense", **usual, **settings}
    retrievers = {"popularity": {}, "dense": {"encoder": str(bert), "item_template": "item/title"}, "tuned": tuned}
    return Config.from_dict({"stages": [{"name": "hybrid", "retrievers": retrievers}]})


@pytest.fixture(scope="module")
def told():
    return []


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    return tmp_path_factory.mktemp("work")


@pytest.fixture(scope="module")
def fitted(bert, catalog, interactions, work, told):
    return fit(config_of(bert), catalog, interactions, holdout="last", work=work, progress=told.append)


def part(recommender, name):
    return next(r for r, _ in recommender.stages[0].retrievers if r.name == name)


def test_its_vectors_are_the_tuned_encoders(fitted, work):
    tuned, plain = part(fitted, "tuned"), part(fitted, "dense")
    assert isinstance(tuned, Dense)
    assert tuned.encoder.fingerprint != plain.encoder.fingerprint
    [folder] = (work / "encoders").iterdir()
    encoder = TextEncoder.load(str(folder), max_tokens=32)
    title = fitted.catalog.records(np.array([3], dtype=np.int32))[0]["title"]
    np.testing.assert_allclose(tuned.item_vectors(np.array([3], np.int32)), encoder.encode_items([title]), atol=1e-6)


def test_a_bundle_holds_it_and_says_how_it_was_made(fitted, queries, tmp_path):
    fitted.save(tmp_path / "bundle")
    loaded = llmrec.load(tmp_path / "bundle")
    np.testing.assert_array_equal(loaded.recommend(queries, 5).items, fitted.recommend(queries, 5).items)
    settings = loaded.about["config"]["stages"][0]["retrievers"]["tuned"]
    assert (settings["type"], settings["learning_rate"], settings["pairs"]) == ("tuned_dense", 1e-3, 20_000)


def test_fitting_again_in_the_same_folder_trains_nothing(fitted, bert, catalog, interactions, work):
    said = []
    again = fit(config_of(bert), catalog, interactions, holdout="last", work=work, progress=said.append)
    assert "tuned: fitted before" in " ".join(said)
    assert not any("loss" in line for line in said)
    assert part(again, "tuned").encoder.fingerprint == part(fitted, "tuned").encoder.fingerprint


def test_whoever_asks_with_the_same_settings_gets_the_same_encoder(fitted, bert, catalog, interactions, work):
    split = llmrec.leave_last_out(interactions)
    context = FitContext("other", catalog, split.train, validation=None, work=work)
    config = EncoderConfig(encoder=str(bert), item_template="item/title", pairs=30, batch_size=16)
    one, two = tuned_encoder(context, config), tuned_encoder(replace(context, name="another"), config)
    assert one.fingerprint == two.fingerprint
    other = tuned_encoder(context, config.model_copy(update={"pairs": 20}))
    assert other.fingerprint != one.fingerprint


def test_the_refit_keeps_the_encoder_and_knows_every_item(bert, catalog, interactions, work):
    said = []
    whole = fit(config_of(bert), catalog, interactions, work=work, progress=said.append)
    assert sum("stays as it is" in line for line in said) == 1
    assert sum("before the tuning" in line for line in said) == 1
    assert np.isfinite(part(whole, "tuned").score(whole.queries(["u1"]), np.arange(12, dtype=np.int32)[None])).all()


@pytest.fixture
def spied(monkeypatch, bert):
    """What the encoder would be trained on, without training it."""
    seen = []

    def spy(config, catalog, train, validation, out, *, options):
        seen.append((train, validation))
        return TextEncoder.load(str(bert), max_tokens=config.max_tokens)

    class Loads:
        @staticmethod
        def load(path, *, max_tokens, cache=None):
            return TextEncoder.load(str(bert), max_tokens=max_tokens)

    monkeypatch.setattr(module, "train_encoder", spy)
    monkeypatch.setattr(module, "TextEncoder", Loads)
    return seen


def test_what_is_held_out_is_not_trained_on(spied, bert, catalog, interactions):
    fit(config_of(bert), catalog, interactions, holdout="last")
    [(train, validation)] = spied
    split = llmrec.leave_last_out(interactions)
    np.testing.assert_array_equal(train.items, split.train.items)
    np.testing.assert_array_equal(validation.targets, split.validation.targets)
    for row, user in enumerate(validation.user_rows.tolist()):  # asked as served: what was seen is left out
        assert set(train.histories[user].tolist()) <= set(validation.queries.exclude[row].tolist())


def test_cold_items_are_not_trained_on_and_are_found(bert):
    catalog = tiny_catalog(60)
    log = tiny_interactions(0, catalog, 80)
    cold = is_cold(catalog.items.ids)
    split = hold_out_items(log, catalog.items)
    fitted = fit(config_of(bert, pairs=100), catalog, log, holdout="cold-items")
    tuned = part(fitted, "tuned")
    among = replace(split.tests["among cold"].queries, exclude=None)
    lists = tuned.retrieve(among, 3).items
    asked = np.diff(among.offsets) > 0
    assert asked.any()
    assert cold[lists[asked]].all()


def test_pairs_hold_no_cold_item(spied, bert):
    catalog = tiny_catalog(60)
    fit(config_of(bert), catalog, tiny_interactions(0, catalog, 80), holdout="cold-items")
    [(train, validation)] = spied
    cold = is_cold(catalog.items.ids)
    assert cold.any()
    assert not cold[train.items].any()
    assert not cold[validation.targets].any()


def test_settings_are_checked_with_the_configuration(bert):
    with pytest.raises(ConfigError, match="did you mean 'pairs'"):
        config_of(bert, pair=3)
    with pytest.raises(ConfigError, match="mined_by"):
        config_of(bert, mined_by="nobody")
    assert find_component("tuned_dense").extra == "train"
