"""Training a cross-encoder that reads a history once for all its candidates."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from llmrec.errors import ConfigError
from llmrec.models import PairScorer, Placement
from llmrec.testing.models import tiny_bert, tiny_cross_encoder
from llmrec.train import CrossEncoderConfig, PairLists, train_pair_scorer
from llmrec.train.pair_model import new_network, share_history
from llmrec.train.pair_packed import pack

WORDS = [f"word{n}" for n in range(10)]
CPU = Placement("cpu", "float32")
DEPTH = 6


def lessons(seed, n):
    """Lists of which the word that the history holds is taken: neither side says it alone."""
    rng = np.random.default_rng(seed)
    chosen = rng.integers(0, len(WORDS), n)
    users = [WORDS[row] for row in chosen]
    rows = np.array(
        [rng.permutation(np.append(row, (row + rng.permutation(np.arange(1, 10))[:5]) % 10)) for row in chosen]
    )
    return PairLists(users, WORDS, rows, (rows == chosen[:, None]).argmax(axis=1).astype(np.int64))


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return tiny_bert(tmp_path_factory.mktemp("base"), layers=2, words=WORDS, seed=1)


def settings(base, **others):
    usual = {"shared_history": True, "residual": False, "learning_rate": 2e-3, "head_learning_rate": 1e-2}
    return CrossEncoderConfig(base=str(base), **{**usual, "max_tokens": 32, "check_share": 0.0, **others})


def test_training_reads_pairs_as_serving_does(tmp_path):
    """Packed, cut to the limit, histories in turn; and the model says how it is to be read."""
    folder = tiny_cross_encoder(tmp_path / "cross", layers=3, words=WORDS)
    users = ["word1 word2", "word1 word2", "word3 " * 40, "word1 word2", "", "word3 " * 40]
    items = ["word5", "word6 [SEP] word7", "word6 " * 30, "", "word4", "word8"]
    network = new_network(folder, CPU, 24, shared_history=True)
    network.save(tmp_path / "saved")
    served = PairScorer.load(str(tmp_path / "saved"), max_tokens=24, placement=CPU)
    expected = served.score(list(zip(users, items, strict=True)))
    np.testing.assert_allclose(network.score(users, items), expected, rtol=1e-4, atol=1e-5)
    whole = PairScorer.load(str(folder), max_tokens=24, placement=CPU).score(list(zip(users, items, strict=True)))
    assert np.abs(whole - expected).max() > 1e-3
    assert json.loads((tmp_path / "saved" / "config.json").read_text())["shared_history"] is True


def test_neighbours_of_one_history_are_one_sequence():
    packed = pack(
        [[2, 7, 8, 3, 5, 3], [2, 7, 8, 3, 6, 6, 3], [2, 9, 3, 5, 3]],
        [[0, 0, 0, 0, 1, 1], [0, 0, 0, 0, 1, 1, 1], [0, 0, 0, 1, 1]],
    )
    assert packed.ids[0].tolist() == [7, 8, 3, 2, 5, 3, 2, 6, 6, 3]
    assert packed.positions[0].tolist() == [1, 2, 3, 0, 4, 5, 0, 4, 5, 6]
    assert packed.types[0].tolist() == [0, 0, 0, 0, 1, 1, 0, 1, 1, 1]
    assert packed.parts[0].tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2, 2]
    assert packed.parts[1].tolist() == [0, 0, 1, 1, 1, -1, -1, -1, -1, -1]
    assert (packed.rows.tolist(), packed.places.tolist()) == ([0, 0, 1], [3, 6, 2])
    looks = packed.allowed()[:, 0]
    assert looks[0, 1].tolist() == [True] * 3 + [False] * 7, "a history looks at itself"
    assert looks[0, 4].tolist() == [True] * 6 + [False] * 4, "a candidate at the history and itself"
    assert looks[1].any(dim=1).all(), "nothing looks at nothing"


def test_what_needs_both_sides_is_learned(base, tmp_path):
    scorer = train_pair_scorer(settings(base, epochs=6, negatives=5), lessons(0, 300), tmp_path / "m", seed=0)
    asked = lessons(1, 100)
    owners, places = np.nonzero(asked.rows >= 0)
    scores = scorer.score(list(zip(*asked.texts(owners, places), strict=True))).reshape(-1, DEPTH)
    assert (scores.argmax(axis=1) == asked.targets).mean() > 0.35, "one in six by chance"


def test_it_is_a_run_of_its_own(base, tmp_path):
    lists = lessons(0, 8)
    for shared in (True, False, True):
        train_pair_scorer(settings(base, shared_history=shared, epochs=1), lists, tmp_path / "m")
        assert ("shared_history" in json.loads((tmp_path / "m" / "config.json").read_text())) == shared


def test_a_base_that_cannot_is_an_error():
    from transformers import AutoConfig

    module = SimpleNamespace(config=AutoConfig.for_model("roberta"))
    tokenizer = SimpleNamespace(model_input_names=["input_ids", "attention_mask"])
    with pytest.raises(ConfigError, match="shared_history needs a BERT, and the base model is of type roberta"):
        share_history(module, tokenizer)
    assert not hasattr(module.config, "shared_history")


def test_gradients_reach_the_history(base):
    network = new_network(base, CPU, 32, shared_history=True)
    torch.nn.init.ones_(network.module.classifier.weight)
    network.module.eval()
    network.logits(["word1"], ["word2"]).sum().backward()
    moved = network.module.bert.embeddings.word_embeddings.weight.grad.abs().sum(dim=1) > 0
    ids = network.tokenizer.convert_tokens_to_ids(["word1", "word2", "word3"])
    assert moved[ids].tolist() == [True, True, False]
