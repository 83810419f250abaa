"""scripts/bench/speed.py on tiny models: both sides agree, and the page holds what it says."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from llmrec.testing.models import tiny_bert, tiny_cross_encoder

BENCH = Path(__file__).resolve().parents[2] / "scripts" / "bench"


@pytest.fixture(scope="module")
def command(tmp_path_factory):
    """The command on 600 items and 20 users, with random weights."""
    pytest.importorskip("openvino")
    pytest.importorskip("sentence_transformers")
    place, rng = tmp_path_factory.mktemp("speed"), np.random.default_rng(0)
    words = ["red", "blue", "night", "day", "river", "city", "king", "lost"]
    titles = [f"{' '.join(rng.choice(words, rng.integers(1, 5)))} {n}" for n in range(600)]
    (place / "data").mkdir()
    items = pa.table({"item_id": [f"i{n}" for n in range(600)], "title": titles})
    parquet.write_table(items, place / "data" / "items.parquet")
    rows = [(f"u{user}", f"i{item}") for user in range(20) for item in rng.permutation(600)[:13]]
    log = pa.table({"user_id": [u for u, _ in rows], "item_id": [i for _, i in rows]})
    parquet.write_table(log, place / "data" / "interactions.parquet")
    models = [tiny_bert(place / "bert", words=words)]
    models += [tiny_cross_encoder(place / name, words=words) for name in ("cross", "shared")]
    for model in models:  # their positions end at 128: pairs are longer
        config = json.loads((model / "config.json").read_text())
        assert config["max_position_embeddings"] == 128
    (models[2] / "config.json").write_text(json.dumps(config | {"shared_history": True}))
    command = [
        sys.executable,
        str(BENCH / "speed.py"),
        "tiny",
        "--data",
        str(place / "data"),
        "--rounds",
        "1",
        "--lists",
        "2",
    ]
    names = ("--encoder", "--cross-encoder", "--shared")
    return [*command, "--texts", "40", *(part for pair in zip(names, map(str, models), strict=True) for part in pair)]


def test_both_sides_agree_and_everything_is_there(command, monkeypatch):
    monkeypatch.setenv("LLMREC_DTYPE", "float32")
    done = subprocess.run([*command, "--json", "--pair-tokens", "128"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert set(found["ratios"]) == {"encode", "rerank", "retrieve", "recommend"}
    assert all(ratio > 0 for ratio in found["ratios"].values())
    assert found["items"] == 600
    assert found["retrieve"]["overlap"] > 0.93  # 8 bits are rounder where the processor has no VNNI: .96; by chance .83
    overlaps = {"ours": 1.0, "ours, pairs whole": 1.0, "plain": 1.0, "plain bfloat16": pytest.approx(1, abs=0.5)}
    assert found["rerank"]["top_10_overlap"] == overlaps
    assert found["encode"]["quality"]["int8"]["cosine_mean"] > 0.9
    assert abs(found["encode"]["quality"]["bfloat16"]["loss"]) < 0.2
    assert found["encode"]["share_of_matrix_product"]["plain"] > 0
    assert min(found["memory"].values()) > 1e8


def test_useful_work_of_a_bert():
    sys.path.insert(0, str(BENCH))
    try:
        from speed import flops
    finally:
        sys.path.remove(str(BENCH))
    config = {"hidden_size": 2, "intermediate_size": 3, "num_hidden_layers": 5}
    products = 2 * (4 * 2 * 2 + 2 * 2 * 3)  # of one token in one layer
    assert flops(np.array([1, 7]), config) == 5 * (8 * products + 4 * 2 * (1 + 49))


def test_the_page_is_made_of_what_is_there(tmp_path):
    ratio = {"median": 5.0, "least": 4.0, "most": 6.5}
    pair = {"ours": 0.5, "plain": 2.5, "plain bfloat16": 1.25, "ours, pairs whole": 1.0}
    quality = {name: {"ndcg": 0.0284, "loss": 0.002, "cosine_mean": 0.998} for name in ("int8", "bfloat16")}
    speeds = {"ours int8": 2000.0, "ours bfloat16": 1200.0, "plain": 300.0, "plain bfloat16": 600.0}
    found = {
        "ratios": dict.fromkeys(("encode", "rerank", "retrieve", "recommend"), 5.0),
        "threads": 2,
        "items": 600,
        "memory": {"ours": 1e9, "plain": 1.5e9},
        "encode": {
            "ratio": ratio,
            "ratio_bfloat16": ratio,
            "texts_per_second": speeds,
            "tokens_per_text": 12.1,
            "matrix_product_flops": 4e11,
            "share_of_matrix_product": {"ours int8": 1.2, "plain": 0.2},
            "quality": {"cases": 9, "plain": 0.0285, **quality},
        },
        "rerank": {
            "ratio": ratio,
            "ratio_whole": ratio,
            "seconds": pair,
            "candidates": 100,
            "tokens_per_pair": 119.0,
            "top_10_lists": 30,
            "top_10_overlap": {"ours": 0.97, "ours, pairs whole": 0.96, "plain bfloat16": 0.98},
        },
        "retrieve": {"ratio": ratio, "milliseconds": {"ours": 2.0, "plain": 2.5}},
        "recommend": {"ratio": ratio, "seconds": pair, "p50_milliseconds": 400.0, "p95_milliseconds": 500.0},
    }
    (tmp_path / "speed-tiny.json").write_text(json.dumps(found))
    command = [sys.executable, str(BENCH / "speed_page.py"), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "speed.md").read_text()
    assert "| encode, texts/s | 2,000 | 300 | 600 | 5.0 (4.0 to 6.5) |" in page
    assert "python scripts/bench/speed.py tiny --json" in page
    assert "startup.py" not in page
