"""Models inside a saved bundle open with plain sentence-transformers, and say the same."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

import llmrec
from llmrec.bundle import read_bundle
from llmrec.models import PairScorer, Placement, TextEncoder
from llmrec.retrieve import DenseConfig, fit_dense
from llmrec.testing.models import tiny_bert
from llmrec.text import load_template, render_items

sentence_transformers = pytest.importorskip("sentence_transformers")

CPU = Placement("cpu", "float32")


def with_encoder(hybrid, encoder):
    dense = fit_dense(hybrid.catalog, DenseConfig(item_template="item/title"), encoder)
    stage = replace(hybrid.stages[0], retrievers=((hybrid.fallback, 5), (dense, 5)))
    return replace(hybrid, stages=(stage,))


def check_encoder(bundle, atol):
    """Plain SentenceTransformer makes the vectors that the bundle holds."""
    _, parts = read_bundle(bundle)
    folder = bundle / "parts/components/dense/files/encoder"
    model = sentence_transformers.SentenceTransformer(str(folder), device="cpu")
    catalog = llmrec.load(bundle).catalog
    texts = render_items(load_template("item/title"), catalog)
    plain = ["[SEP]" not in text for text in texts]  # to us that is text like any other, to them a control token
    assert sum(plain) > 8
    ours = parts["components/dense"].arrays["vectors"]
    np.testing.assert_allclose(ours[plain], model.encode(texts)[plain], rtol=0, atol=atol)


@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_the_encoder_of_a_bundle(hybrid, tmp_path, pooling):
    encoder = TextEncoder.load(str(tiny_bert(tmp_path / "model", pooling=pooling)), placement=CPU)
    bundle = with_encoder(hybrid, encoder).save(tmp_path / "first")
    shutil.rmtree(tmp_path / "model")
    check_encoder(bundle, 1e-5)
    check_encoder(llmrec.load(bundle).save(tmp_path / "again"), 1e-5)


def test_an_encoder_whose_transformer_has_a_folder_of_its_own(hybrid, bert, tmp_path):
    folder = shutil.copytree(bert, tmp_path / "model")
    (folder / "0_Transformer").mkdir()
    modules = json.loads((folder / "modules.json").read_text())
    modules[0]["path"] = "0_Transformer"
    for path in folder.iterdir():
        if path.is_file() and path.name not in ("modules.json", "config_sentence_transformers.json"):
            path.rename(folder / "0_Transformer" / path.name)
    (folder / "modules.json").write_text(json.dumps(modules))
    it = with_encoder(hybrid, TextEncoder.load(str(folder), placement=CPU))
    bundle = it.save(tmp_path / "bundle")
    shutil.rmtree(folder)
    check_encoder(bundle, 1e-5)


def test_a_cross_encoder_of_a_bundle(cascade, pair_model, tmp_path):
    plain = sentence_transformers.CrossEncoder(str(pair_model), device="cpu", max_length=64)
    plain.save_pretrained(str(tmp_path / "trained"))  # as training does
    scorer = PairScorer.load(str(tmp_path / "trained"), placement=CPU)
    rerank = replace(cascade.stages[1], scorers=(replace(cascade.stages[1].scorers[0], model=scorer),))
    bundle = replace(cascade, stages=(cascade.stages[0], rerank)).save(tmp_path / "bundle")
    shutil.rmtree(tmp_path / "trained")
    folder = bundle / "parts/components/cross_encoder/files/model"
    model = sentence_transformers.CrossEncoder(str(folder), device="cpu", max_length=64)
    pairs = [(a, b) for a in ("red night; zoo", "star") for b in ("garden", "blue river 7")]
    theirs = model.predict(pairs, activation_fn=torch.nn.Identity())
    ours = llmrec.load(bundle).stages[1].scorers[0].model.score(pairs)
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-4)
