"""The real encoder in 8 bits on real titles."""

import pytest

import llmrec
from llmrec.data import leave_last_out
from llmrec.models import Placement, TextEncoder
from llmrec.retrieve import quantised
from llmrec.text import load_template, render_items

pytestmark = pytest.mark.e2e


def test_minilm_in_int8_stays_near_floating_point(monkeypatch):
    pytest.importorskip("openvino")
    monkeypatch.setattr(quantised, "MAX_LOSS", 0.1)  # 943 users: a few per cent are chance
    data = llmrec.load_dataset("ml-100k")
    texts = render_items(load_template("item/title"), data.catalog)
    encoder = TextEncoder.load("minilm", placement=Placement("cpu", "int8"))
    found = quantised.embed_items(encoder, texts, leave_last_out(data.interactions).train)
    assert found.encoder.placement.dtype == "int8"
    assert found.quantised["cosine_mean"] > 0.995
    assert found.quantised["cosine_min"] > 0.95
    assert found.quantised["cases"] == 943
