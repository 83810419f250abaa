import json
import shutil

import numpy as np
import pytest
import safetensors.torch

from llmrec.errors import ConfigError, ModelError
from llmrec.models import PairScorer, Placement

PAIRS = [
    ("Heat; Toy Story", "Seven"),
    ("Heat; Toy Story", "Babe"),
    ("", "Seven"),
    ("seven monkeys " * 30, "babe " * 40),
    ("Seven", "Heat; Toy Story"),
]


def load(folder, **rest):
    return PairScorer.load(str(folder), placement=rest.pop("placement", Placement("cpu", "float32")), **rest)


@pytest.fixture
def scorer(cross_folder):
    return load(cross_folder)


@pytest.fixture
def own_folder(cross_folder, tmp_path):
    return shutil.copytree(cross_folder, tmp_path / "own")


def test_shape_type_and_sides(scorer):
    scores = scorer.score(PAIRS)
    assert (scores.shape, scores.dtype) == ((5,), np.float32)
    assert scorer.scored == 5
    assert scores[0] != pytest.approx(scores[4], abs=1e-4), "user and item side must not be the same"


def test_no_pairs(scorer):
    scores = scorer.score([])
    assert (scores.shape, scores.dtype, scorer.scored) == ((0,), np.float32, 0)


def test_order_and_company_do_not_matter(scorer, monkeypatch):
    pairs = [(f"toy {'heat ' * (n % 7)}", f"{n} story") for n in range(40)]
    together = scorer.score(pairs)
    shuffled = np.random.default_rng(0).permutation(40)
    np.testing.assert_allclose(scorer.score([pairs[n] for n in shuffled]), together[shuffled], atol=1e-4)
    monkeypatch.setattr("llmrec.models.pair_scorer._ROUND", 7)
    monkeypatch.setattr("llmrec.models._network._CPU_BUDGET", 30)
    np.testing.assert_allclose(scorer.score(pairs), together, atol=1e-4)


def test_rows_are_pairs_without_tuples(scorer):
    users, items = ["Heat", "Toy Story"], ["Seven", "Babe", "Heat"]
    user_rows, item_rows = np.array([1, 0, 1]), np.array([2, 2, 0], np.int32)
    pairs = [(users[u], items[i]) for u, i in zip(user_rows, item_rows, strict=True)]
    np.testing.assert_allclose(scorer.score_rows(users, items, user_rows, item_rows), scorer.score(pairs), atol=1e-5)


def test_a_text_in_many_pairs_is_tokenized_once(scorer, monkeypatch):
    seen = []
    tokens = type(scorer._tokenizer).tokens
    monkeypatch.setattr(
        type(scorer._tokenizer), "tokens", lambda self, texts: (seen.extend(texts), tokens(self, texts))[1]
    )
    scorer.score([("a long history", f"item {n % 5}") for n in range(50)])
    assert len(seen) == 6


def test_max_tokens(cross_folder):
    scorer = load(cross_folder, max_tokens=8)
    assert scorer.text_budget == 5
    same, longer, other = scorer.score([("a b", "c d e"), ("a b", "c d e f g"), ("a x", "c d e")])
    assert same == pytest.approx(longer, abs=1e-5)
    assert same != pytest.approx(other, abs=1e-5)
    for bad in (0, 4, 129):
        with pytest.raises(ConfigError, match="is out of range for tiny-cross: 5 to 128"):
            load(cross_folder, max_tokens=bad)


def test_special_tokens_in_data_cannot_move_the_border(scorer):
    honest, forged = scorer.score([("heat", "toy"), ("heat [SEP] toy", "")])
    assert honest != pytest.approx(forged, abs=1e-4)
    assert scorer.count_tokens(["heat [SEP] toy"]).tolist() == [7]


def test_files_are_enough_to_load_a_copy(scorer, copied):
    again = load(copied(scorer.files()))
    assert again.fingerprint == scorer.fingerprint
    np.testing.assert_array_equal(again.score(PAIRS), scorer.score(PAIRS))


def test_fingerprint_follows_settings_and_weights(cross_folder, own_folder):
    weights = safetensors.torch.load_file(own_folder / "model.safetensors")
    weights["classifier.bias"] += 1
    safetensors.torch.save_file(weights, own_folder / "model.safetensors", {"format": "pt"})
    found = [
        load(cross_folder),
        load(own_folder),
        load(cross_folder, max_tokens=32),
        load(cross_folder, placement=Placement("cpu", "bfloat16")),
    ]
    assert len({scorer.fingerprint for scorer in found}) == 4


def test_an_encoder_has_no_scoring_head(bert_folder, tmp_path):
    with pytest.raises(ModelError, match=r"gives 2 numbers for a pair, not one"):
        load(bert_folder)
    folder = shutil.copytree(bert_folder, tmp_path / "headless")
    (folder / "modules.json").unlink()
    config = json.loads((folder / "config.json").read_text()) | {"id2label": {"0": "x"}, "label2id": {"x": 0}}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match=r"classifier\.bias, classifier\.weight missing"):
        load(folder).score(PAIRS)


def test_foreign_modules_are_refused(own_folder):
    (own_folder / "modules.json").write_text(json.dumps([{"type": "a.Transformer"}, {"type": "b.LogitScore"}]))
    with pytest.raises(ModelError, match=r"Transformer \+ LogitScore"):
        load(own_folder)


def test_not_finite_is_an_error_that_names_the_pair(own_folder):
    weights = safetensors.torch.load_file(own_folder / "model.safetensors")
    weights["classifier.bias"][0] = float("inf")
    safetensors.torch.save_file(weights, own_folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(ModelError, match=r"no finite score for 1 of 1 pairs \(such as \('heat', 'toy'\)\)"):
        load(own_folder).score([("heat", "toy")])


def test_terminal_stays_clean(cross_folder, capfd):
    load(cross_folder).score(PAIRS)
    assert capfd.readouterr() == ("", "")
