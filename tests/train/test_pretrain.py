"""Masked language modelling on item texts: the loss falls, only the transformer changes, anything can load it."""

import numpy as np
import pytest
from safetensors.numpy import load_file

from llmrec.data import Catalog
from llmrec.errors import ModelError
from llmrec.models import TextEncoder
from llmrec.testing.models import tiny_bert
from llmrec.train import EncoderConfig, PretrainConfig, TrainOptions, pretrain_encoder, train_encoder

WORDS = [f"word{n}" for n in range(12)]


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return tiny_bert(tmp_path_factory.mktemp("base"), words=WORDS, seed=2)


@pytest.fixture(scope="module")
def texts():
    """The third word always follows from the first two."""
    rng = np.random.default_rng(0)
    titles = [f"word{a} word{b} word{(a + b) % 12} {n}" for n, (a, b) in enumerate(rng.integers(0, 12, (200, 2)))]
    return Catalog.from_table({"item_id": [str(n) for n in range(200)], "title": titles})


def config_of(base, **settings):
    usual = {"epochs": 4, "batch_size": 20, "learning_rate": 2e-3, "item_template": "item/title"}
    return PretrainConfig(encoder=str(base), **{**usual, **settings})


def test_masked_words_are_learned(base, texts, tmp_path):
    from sentence_transformers import SentenceTransformer

    told, out = [], tmp_path / "model"
    encoder = pretrain_encoder(config_of(base), texts, out, options=TrainOptions(progress=told.append))
    losses = [float(line.rpartition(" ")[2]) for line in told]
    assert told[-1].startswith("pretraining: step 40/40, loss ")
    assert losses[-1] < losses[0]
    before, after = load_file(base / "model.safetensors"), load_file(out / "model.safetensors")
    assert before.keys() == after.keys()
    assert not np.array_equal(
        before["encoder.layer.0.output.dense.weight"], after["encoder.layer.0.output.dense.weight"]
    )
    plain = SentenceTransformer(str(out), device="cpu", local_files_only=True)
    np.testing.assert_allclose(encoder.encode(WORDS), plain.encode(WORDS), rtol=1e-4, atol=1e-5)
    assert not np.allclose(encoder.encode(WORDS), TextEncoder.load(str(base)).encode(WORDS), atol=1e-2)


def test_the_seed_decides(base, texts, tmp_path):
    found = []
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        options = TrainOptions(seed=seed)
        found.append(pretrain_encoder(config_of(base, epochs=1), texts, tmp_path / name, options=options).encode(WORDS))
    np.testing.assert_array_equal(found[0], found[1])
    assert not np.allclose(found[0], found[2])


def test_a_model_that_cannot_guess(base, texts, tmp_path, monkeypatch):
    from transformers import AutoModelForMaskedLM

    monkeypatch.setattr(AutoModelForMaskedLM, "_model_mapping", {})
    with pytest.raises(ModelError, match="cannot guess masked words"):
        pretrain_encoder(config_of(base), texts, tmp_path / "model")


def test_tuning_may_begin_with_it(base, catalog, interactions, tmp_path):
    told, out = [], tmp_path / "model"
    config = EncoderConfig(
        encoder=str(base), item_template="item/title", pretrain_epochs=1, pairs=32, batch_size=16, learning_rate=1e-3
    )
    train_encoder(config, catalog, interactions, None, out, options=TrainOptions(progress=told.append))
    assert told[0].startswith("pretraining: step 1/1")
    assert not (out / "pretrained").exists()
