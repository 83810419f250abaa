"""The same numbers as plain sentence-transformers, from the same folders."""

import numpy as np
import pytest
import torch

from llmrec.assets import find_asset
from llmrec.models import PairScorer, Placement, TextEncoder
from llmrec.testing.models import tiny_bert, tiny_cross_encoder

sentence_transformers = pytest.importorskip("sentence_transformers")

TEXTS = ["Toy Story (1995)", "Heat", "", "Misérables, Les; drama", "seven monkeys " * 40]
PAIRS = [(a, b) for a in TEXTS for b in TEXTS]


@pytest.mark.parametrize("pooling", ["mean", "cls", "max"])
def test_encoder_is_sentence_transformer(tmp_path, pooling):
    folder = tiny_bert(tmp_path / "model", pooling=pooling)
    theirs = sentence_transformers.SentenceTransformer(str(folder), device="cpu").encode(TEXTS)
    ours = TextEncoder.load(str(folder), placement=Placement("cpu", "float32")).encode(TEXTS)
    np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_what_sentence_transformer_saves_is_read_and_what_is_copied_is_read_back(tmp_path, copied):
    model = sentence_transformers.SentenceTransformer(str(tiny_bert(tmp_path / "model")), device="cpu")
    model.save_pretrained(str(tmp_path / "saved"))
    encoder = TextEncoder.load(str(tmp_path / "saved"), placement=Placement("cpu", "float32"))
    np.testing.assert_allclose(encoder.encode(TEXTS), model.encode(TEXTS), atol=1e-5)
    back = sentence_transformers.SentenceTransformer(str(copied(encoder.files())), device="cpu")
    np.testing.assert_allclose(back.encode(TEXTS), model.encode(TEXTS), atol=1e-6)


def test_pair_scorer_is_cross_encoder(tmp_path, copied):
    folder = tiny_cross_encoder(tmp_path / "model")
    model = sentence_transformers.CrossEncoder(str(folder), device="cpu", max_length=64)
    theirs = model.predict(PAIRS, activation_fn=torch.nn.Identity())
    model.save_pretrained(str(tmp_path / "saved"))
    for place in (folder, tmp_path / "saved"):
        scorer = PairScorer.load(str(place), placement=Placement("cpu", "float32"))
        np.testing.assert_allclose(scorer.score(PAIRS), theirs, atol=1e-4)
    back = sentence_transformers.CrossEncoder(str(copied(scorer.files())), device="cpu", max_length=64)
    np.testing.assert_allclose(back.predict(PAIRS, activation_fn=torch.nn.Identity()), theirs, atol=1e-5)


@pytest.mark.e2e
@pytest.mark.parametrize(("dtype", "least"), [("float32", 0.99999), ("bfloat16", 0.999)])
def test_real_weights(dtype, least):
    folder = find_asset("minilm")
    theirs = sentence_transformers.SentenceTransformer(str(folder), device="cpu").encode(TEXTS)
    ours = TextEncoder.load("minilm", max_tokens=256, placement=Placement("cpu", dtype)).encode(TEXTS)
    assert (ours * theirs).sum(axis=1).min() > least
