"""A history that is read once: the numbers are those of transformers under a mask, in any company."""

import json
import shutil

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from llmrec.errors import ModelError
from llmrec.models import PairScorer, Placement
from llmrec.models import _shared_history as shared
from llmrec.models._tokens import Framed
from llmrec.testing.models import tiny_cross_encoder

WORDS = ("toy", "story", "heat", "babe", "seven", "monkeys")
CPU = Placement("cpu", "float32")
LOW = Placement("cpu", "bfloat16")
USERS = ["heat; toy story; babe", "seven", "", "monkeys seven " * 40]
ITEMS = ["babe", "toy story heat", "", "seven [SEP] babe", "babe " * 12, "heat " * 90]
PAIRS = [(user, item) for user in USERS for item in ITEMS]


def sharing(folder, **config):
    """Let a model say that it reads histories once."""
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"shared_history": True} | config))
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return sharing(tiny_cross_encoder(tmp_path_factory.mktemp("shared") / "model", layers=3, words=WORDS))


def load(folder, placement=CPU, max_tokens=64):
    return PairScorer.load(str(folder), max_tokens=max_tokens, placement=placement)


def masked(folder, pairs, max_tokens):
    """Logits of transformers' BERT, where a history may not look at what is not history."""
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    module = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder, split_special_tokens=True)
    found = []
    for user, item in pairs:
        read = tokenizer([user], [item], truncation="longest_first", max_length=max_tokens, return_tensors="pt")
        kinds = read["token_type_ids"][0]
        history = (kinds == 0) & (torch.arange(len(kinds)) > 0)
        allowed = ~history[:, None] | history[None, :]
        with torch.no_grad():
            found.append(module(**{**read, "attention_mask": allowed[None, None]}).logits.item())
    return np.array(found)


@pytest.mark.parametrize("max_tokens", [64, 16])
def test_numbers_are_those_of_transformers_under_a_mask(folder, max_tokens):
    scores = load(folder, max_tokens=max_tokens).score(PAIRS)
    expected = masked(folder, PAIRS, max_tokens)
    np.testing.assert_allclose(scores, expected, rtol=1e-4, atol=1e-5)
    near = load(folder, LOW, max_tokens).score(PAIRS)
    np.testing.assert_allclose(near, expected, atol=0.1 * np.abs(expected).max())


def test_it_is_another_reading_than_that_of_the_whole_pair(folder, tmp_path):
    plain = shutil.copytree(folder, tmp_path / "plain")
    (plain / "config.json").write_text(
        json.dumps(json.loads((plain / "config.json").read_text()) | {"shared_history": False})
    )
    assert np.abs(load(plain).score(PAIRS) - load(folder).score(PAIRS)).max() > 1e-3
    assert load(plain).fingerprint != load(folder).fingerprint


def test_with_one_layer_it_is_the_same_reading(tmp_path):
    one = tiny_cross_encoder(tmp_path / "one", layers=1, words=WORDS)
    plain = load(one).score(PAIRS)
    np.testing.assert_allclose(load(sharing(one)).score(PAIRS), plain, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("placement", [CPU, LOW])
def test_company_and_order_do_not_matter(folder, placement, monkeypatch):
    scorer = load(folder, placement)
    pairs = [(user, f"{'heat ' * (n % 11)}{n}") for user in USERS for n in range(12)]
    together = scorer.score(pairs)
    order = np.random.default_rng(0).permutation(len(pairs))
    near = {"rtol": 0, "atol": 1e-5 if placement is CPU else 0.02 * float(np.abs(together).max())}
    np.testing.assert_allclose(scorer.score([pairs[n] for n in order]), together[order], **near)
    np.testing.assert_allclose([scorer.score([pair])[0] for pair in pairs[:9]], together[:9], **near)
    monkeypatch.setattr("llmrec.models.pair_scorer._ROUND", 7)
    monkeypatch.setattr("llmrec.models._network._CPU_BUDGET", 20)
    np.testing.assert_allclose(scorer.score(pairs), together, **near)


def test_a_history_is_read_once(folder, monkeypatch):
    tokens = []
    first = shared._first_tokens
    monkeypatch.setattr(
        shared, "_first_tokens", lambda bert, part, device: (tokens.append(len(part.ids)), first(bert, part, device))[1]
    )
    load(folder).score([("toy story heat babe", "seven")] * 20)
    assert tokens == [4 + 1 + 20 * 3], "history and separator, then first token, candidate, separator"


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(2, 6), st.integers(1, 20)), min_size=1, max_size=30),
    st.integers(1, 60),
)
def test_every_pair_is_in_one_part_with_its_history(pairs, budget):
    owners, borders, after = (np.array(column, np.int64) for column in zip(*pairs, strict=True))
    lengths = borders + after
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    ids = np.arange(offsets[-1], dtype=np.int32)
    parts = list(shared.shared_parts(Framed(offsets, ids, ids, borders), owners, budget))
    assert sorted(np.concatenate([part.rows for part in parts]).tolist()) == list(range(len(pairs)))
    for part in parts:
        assert len({(owners[row], borders[row]) for row in part.rows}) == 1
        history = ids[offsets[part.rows[0]] + 1 : offsets[part.rows[0]] + borders[part.rows[0]]]
        np.testing.assert_array_equal(part.ids[: part.history], history)
        assert part.history == len(history)
        read = [
            part.ids[places[real]]
            for block in part.blocks
            for places, real in zip(block.places, block.real, strict=True)
        ]
        assert len(read) == len(part.rows)
        for row, tokens in zip(part.rows, read, strict=True):
            whole = ids[offsets[row] : offsets[row + 1]]
            np.testing.assert_array_equal(tokens, np.concatenate([whole[:1], whole[borders[row] :]]))
        assert sum(map(len, read)) < budget + after.max() + 1


@pytest.mark.parametrize("shift", [0.0, 100.0, -100.0])
def test_attention_is_that_of_torch_whatever_the_range(shift):
    torch.manual_seed(0)
    query, *own = torch.randn(3, 2, 5, 8, 16)
    history = torch.randn(2, 2, 11, 16)
    query[..., 0], own[0][:, 1, :, 0], history[0, ..., 0] = 1.0, shift, shift
    real = torch.arange(8) < torch.tensor([8, 3, 1, 8, 5])[:, None]
    keys, values = (
        torch.cat([near, far[:, None].expand(-1, 5, -1, -1)], dim=2) for near, far in zip(own, history, strict=True)
    )
    mask = torch.cat([real, torch.ones(5, 11, dtype=torch.bool)], dim=1)[:, None]
    expected = torch.nn.functional.scaled_dot_product_attention(query, keys, values, mask, scale=1.0)
    expected = expected.permute(1, 2, 0, 3).flatten(2)
    found = shared.attend_both(query, torch.stack(own), real, history)
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)
    near = shared.attend_both(query.bfloat16(), torch.stack(own).bfloat16(), real, history.bfloat16())
    assert (near.float() - expected)[real].abs().max() < (0.05 if shift == 0 else 0.6)


def test_what_is_no_bert_is_an_error(folder, tmp_path):
    other = sharing(shutil.copytree(folder, tmp_path / "other"), model_type="roberta")
    with pytest.raises(ModelError, match="says shared_history, which a plain BERT with one output can do only"):
        load(other).score(PAIRS)
