"""BERT by our own code gives the numbers of transformers, without importing it, on any number of threads."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from llmrec.models import Placement, TextEncoder
from llmrec.models import _network as network
from llmrec.models._bert import attend, bert_forward
from llmrec.models._tokens import Framed
from llmrec.models._transformer import load_network, transformers_forward
from llmrec.testing.models import tiny_bert, tiny_cross_encoder

CPU = Placement("cpu", "float32")
OUTPUTS = ("mean", "cls", "max", "logits")


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    place = tmp_path_factory.mktemp("bert")
    cross = tiny_cross_encoder(place / "cross", layers=3)
    return {output: cross if output == "logits" else tiny_bert(place / output, layers=3) for output in OUTPUTS}


def batch(rng, rows=5, length=9):
    return rng.integers(5, 60, (rows, length)), rng.integers(0, 2, (rows, length))


@pytest.mark.parametrize("output", OUTPUTS)
def test_numbers_are_those_of_transformers(folders, output, rng):
    for length in (1, 2, 9, 128):
        ids, types = batch(rng, length=length)
        ours = bert_forward(folders[output], output, CPU)(ids, types)
        np.testing.assert_allclose(
            ours, transformers_forward(folders[output], output, CPU)(ids, types), rtol=1e-4, atol=1e-5
        )
        near = bert_forward(folders[output], output, Placement("cpu", "bfloat16"))(ids, types)
        assert near.dtype == ours.dtype == np.float32
        np.testing.assert_allclose(near, ours, atol=0.1 * np.abs(ours).max())


@pytest.mark.parametrize("length", [1, 5, 33])
def test_attention_in_bfloat16_is_torchs_within_its_rounding(length):
    torch.manual_seed(length)
    query, key, value = torch.randn(3, 4, 2, length, 8)
    expected = torch.nn.functional.scaled_dot_product_attention(query, key, value, scale=1.0)
    found = attend(query.bfloat16(), key.bfloat16(), value.bfloat16())
    assert (found.float() - expected).abs().max() < 0.05
    torch.testing.assert_close(attend(query, key, value), expected)


@pytest.mark.parametrize("shift", [100.0, -100.0])
def test_attention_beyond_the_range_of_exponentials_is_done_again_for_that_sequence_alone(shift):
    torch.manual_seed(0)
    query, key, value = torch.randn(3, 3, 2, 6, 8).bfloat16()
    usual = attend(query, key, value)
    query[1, 0, 2] = 0
    query[1, 0, 2, 0] = shift  # this token's logits are about 100 times the first numbers of the keys
    key[1, 0, :, 0] = torch.tensor([1.0, 1.0, 1.0, 1.0, 1.0, 1.25])
    found = attend(query, key, value)
    expected = torch.nn.functional.scaled_dot_product_attention(query, key, value, scale=1.0)
    torch.testing.assert_close(found[1], expected[1])
    torch.testing.assert_close(found[[0, 2]], usual[[0, 2]], rtol=0, atol=0)
    heaviest = value[1, 0, 5] if shift > 0 else value[1, 0, :5].float().mean(dim=0).bfloat16()
    torch.testing.assert_close(found[1, 0, 2], heaviest, rtol=0.02, atol=0.02)


def test_old_names_of_weights_are_known(folders, tmp_path, rng):
    for file in folders["mean"].iterdir():
        if file.is_file():
            (tmp_path / file.name).write_bytes(file.read_bytes())
    weights = load_file(tmp_path / "model.safetensors")
    old = {
        f"bert.{n}".replace("Norm.weight", "Norm.gamma").replace("Norm.bias", "Norm.beta"): w
        for n, w in weights.items()
    }
    save_file(old, tmp_path / "model.safetensors", {"format": "pt"})
    inputs = batch(rng)
    expected = bert_forward(folders["mean"], "mean", CPU)(*inputs)
    np.testing.assert_array_equal(bert_forward(tmp_path, "mean", CPU)(*inputs), expected)


@pytest.mark.parametrize(
    "change",
    [
        {"model_type": "roberta"},
        {"hidden_act": "relu"},
        {"position_embedding_type": "relative_key"},
        {"is_decoder": True},
        {"vocab_size": 7},
        {"num_hidden_layers": 4},
    ],
)
def test_what_is_not_plain_is_left_to_transformers(tmp_path, change):
    folder = tiny_bert(tmp_path / "m", layers=3)
    assert bert_forward(folder, "mean", CPU) is not None
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **change}))
    assert bert_forward(folder, "mean", CPU) is None


@pytest.mark.parametrize("placement", [Placement("cuda", "float32"), Placement("cpu", "float16")])
def test_other_devices_and_formats_are_left_to_transformers(folders, placement):
    assert bert_forward(folders["mean"], "mean", placement) is None


def test_another_architecture_runs_through_transformers(tmp_path, rng):
    from transformers import DistilBertConfig, DistilBertModel

    torch.manual_seed(0)
    sizes = DistilBertConfig(vocab_size=80, dim=32, n_layers=1, n_heads=2, hidden_dim=64, max_position_embeddings=40)
    model = DistilBertModel(sizes).eval()
    model.save_pretrained(tmp_path)
    ids, types = batch(rng)
    found = load_network(tmp_path, "mean", CPU).forward(ids, types)
    with torch.inference_mode():
        hidden = model(input_ids=torch.from_numpy(ids)).last_hidden_state.mean(dim=1)
    expected = torch.nn.functional.normalize(hidden, dim=1).numpy()
    np.testing.assert_allclose(found, expected, atol=1e-6)


def framed(rng, n=60):
    lengths = rng.integers(1, 30, n)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    return Framed(
        offsets, rng.integers(5, 60, offsets[-1]).astype(np.int32), np.zeros(offsets[-1], np.int32), 0 * offsets[1:]
    )


@pytest.mark.parametrize("output", OUTPUTS)
def test_threads_change_nothing_and_keep_to_themselves(folders, output, rng, monkeypatch):
    model, sequences = load_network(folders[output], output, CPU), framed(rng)
    monkeypatch.setattr(network, "set_threads", lambda: 1)
    alone = model.run(sequences)
    torch.set_num_threads(2)
    monkeypatch.setattr(network, "set_threads", lambda: 3)
    monkeypatch.setattr(network, "_LEAST", 16)
    np.testing.assert_allclose(model.run(sequences), alone, atol=1e-6)
    assert torch.get_num_threads() == 2


def test_few_sequences_are_still_shared_out(folders, monkeypatch, rng):
    rows = []
    model = load_network(folders["mean"], "mean", CPU)
    counting = network.Network(lambda ids, types: (rows.append(len(ids)), model.forward(ids, types))[1], CPU, 0)
    monkeypatch.setattr(network, "set_threads", lambda: 2)
    monkeypatch.setattr(network, "_LEAST", 16)
    same = Framed(
        np.arange(0, 81, 8), rng.integers(5, 60, 80).astype(np.int32), np.zeros(80, np.int32), np.zeros(10, np.int64)
    )
    counting.run(same)
    assert rows == [5, 5]


CODE = """
import sys
from llmrec.models import PairScorer, Placement, TextEncoder
cpu = Placement("cpu", "float32")
TextEncoder.load(sys.argv[1], placement=cpu).encode(["toy story", "heat"])
PairScorer.load(sys.argv[2], placement=cpu).score([("toy story", "heat")])
sys.exit(" ".join(sorted({"transformers", "sentence_transformers"} & set(sys.modules))) or None)
"""


def test_inference_imports_no_transformers(folders):
    command = [sys.executable, "-c", CODE, str(folders["mean"]), str(folders["logits"])]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (found.returncode, found.stderr) == (0, "")


@pytest.mark.e2e
def test_real_weights_run_by_our_own_code():
    from llmrec.assets import find_asset
    from llmrec.models._folder import read_layout

    folder = read_layout(find_asset("minilm")).transformer
    assert bert_forward(folder, "mean", CPU) is not None
    texts = ["Toy Story (1995)", "Heat", "seven monkeys " * 40]
    theirs = transformers_forward(folder, "mean", CPU)
    encoder = TextEncoder.load("minilm", placement=CPU)
    tokens = encoder._tokenizer.singles(encoder._tokenizer.tokens(texts), 128)
    expected = np.concatenate([theirs(*tokens.stacked(np.array([row]), 0)) for row in range(3)])
    np.testing.assert_allclose(encoder.encode(texts), expected, atol=1e-5)
