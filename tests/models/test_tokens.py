import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer

from llmrec.errors import ModelError
from llmrec.models._tokens import Framed, Tokenizer, length_batches, pair_limits
from llmrec.testing.models import tiny_bert

TEXTS = st.lists(st.text(alphabet="abc toy[]SEP.,-\n", max_size=60), max_size=8)


@pytest.fixture(scope="module")
def tokenizer(bert_folder):
    return Tokenizer.load(bert_folder)


@pytest.fixture(scope="module")
def reference(bert_folder):
    return AutoTokenizer.from_pretrained(bert_folder, local_files_only=True, split_special_tokens=True)


def rows_of(framed: Framed):
    return [framed.ids[a:b].tolist() for a, b in zip(framed.offsets, framed.offsets[1:], strict=False)]


@settings(max_examples=60, deadline=None)
@given(texts=TEXTS, max_tokens=st.integers(3, 40))
def test_singles_are_what_transformers_makes(tokenizer, reference, texts, max_tokens):
    framed = tokenizer.singles(tokenizer.tokens(texts), max_tokens)
    expected = [reference(text, truncation=True, max_length=max_tokens)["input_ids"] for text in texts]
    assert rows_of(framed) == expected


@settings(max_examples=80, deadline=None)
@given(left=TEXTS, right=TEXTS, max_tokens=st.integers(5, 60))
def test_pairs_are_what_transformers_makes(tokenizer, reference, left, right, max_tokens):
    n = min(len(left), len(right))
    framed = tokenizer.pairs(tokenizer.tokens(left[:n]), tokenizer.tokens(right[:n]), max_tokens)
    # As a batch: a single pair with an empty right text is not taken for a pair.
    pairs = list(zip(left, right, strict=False))
    expected = reference(pairs, truncation="longest_first", max_length=max_tokens) if pairs else {"input_ids": []}
    assert rows_of(framed) == expected["input_ids"]
    assert framed.types.tolist() == [kind for row in expected.get("token_type_ids", []) for kind in row]


@given(st.integers(0, 50), st.integers(0, 50), st.integers(2, 60))
def test_pair_limits_waste_no_room(left, right, room):
    (a,), (b,) = pair_limits(np.array([left]), np.array([right]), room)
    assert a <= left
    assert b <= right
    assert a + b == min(left + right, room)


def test_special_tokens_in_data_are_text(tokenizer, reference):
    ids = tokenizer.tokens(["toy [SEP] story [PAD]"]).ids.tolist()
    assert not set(ids) & set(reference.all_special_ids)
    assert tokenizer.count(["toy [SEP] story"]).tolist() == [7]


def test_truncation_and_padding_stored_in_the_file_are_overruled(tmp_path):
    folder = tiny_bert(tmp_path / "model")
    stored = AutoTokenizer.from_pretrained(folder, local_files_only=True).backend_tokenizer
    stored.enable_truncation(4)
    stored.enable_padding(length=9)
    stored.save(str(folder / "tokenizer.json"))
    assert Tokenizer.load(folder).count(["a b c d e f g h", "a"]).tolist() == [8, 1]


def test_count_has_no_special_tokens_and_the_contracted_type(tokenizer):
    counts = tokenizer.count(["toy story", "", "heat"])
    assert (counts.tolist(), counts.dtype) == ([2, 0, 1], np.int32)
    assert tokenizer.count([]).shape == (0,)


def test_many_chunks_are_one_result(tokenizer, monkeypatch):
    texts = [f"toy {'a ' * (n % 7)}" for n in range(50)]
    whole = tokenizer.tokens(texts)
    monkeypatch.setattr("llmrec.models._tokens._CHUNK", 7)
    parts = tokenizer.tokens(texts)
    assert (parts.offsets == whole.offsets).all()
    assert (parts.ids == whole.ids).all()


def test_lowercase_is_for_models_whose_tokenizer_does_not(bert_folder):
    loud = Tokenizer.load(bert_folder, lowercase=True)
    assert loud.tokens(["TOY"]).ids.tolist() == loud.tokens(["toy"]).ids.tolist()


def test_one_string_is_not_a_batch(tokenizer):
    with pytest.raises(TypeError, match="not one string"):
        tokenizer.tokens("toy")


def test_vocabulary_without_tokenizer_json_is_converted(tmp_path, tokenizer, bert_folder):
    folder = tmp_path / "old"
    folder.mkdir()
    (folder / "config.json").write_bytes((bert_folder / "config.json").read_bytes())
    vocabulary = AutoTokenizer.from_pretrained(bert_folder, local_files_only=True).get_vocab()
    (folder / "vocab.txt").write_text("\n".join(sorted(vocabulary, key=vocabulary.get)))
    assert (
        Tokenizer.load(folder).tokens(["Toy [SEP] story"]).ids.tolist()
        == tokenizer.tokens(["Toy [SEP] story"]).ids.tolist()
    )


def test_damaged_tokenizer_says_what_it_needs(tmp_path):
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(ModelError, match=r"cannot be read .*needs a tokenizer\.json"):
        Tokenizer.load(tmp_path)


@given(st.lists(st.integers(0, 40), max_size=40), st.integers(1, 100))
def test_batches_hold_every_row_once_within_the_budget_longest_first(lengths, budget):
    lengths = np.array(lengths, np.int64)
    batches = list(length_batches(lengths, budget))
    assert sorted(row for batch in batches for row in batch) == list(range(len(lengths)))
    assert all(len(b) == 1 or len(b) * lengths[b].max() <= budget for b in batches if lengths[b].max())
    assert all(len(set(lengths[b])) == 1 for b in batches)
    longest = [lengths[batch].max() for batch in batches]
    assert longest == sorted(longest, reverse=True)


def test_sequences_of_one_length_are_stacked(tokenizer):
    framed = tokenizer.pairs(tokenizer.tokens(["toy", "toy story", "heat"]), tokenizer.tokens(["heat"] * 3), 20)
    ids, types = framed.stacked(np.array([2, 0]), pad_id=0)
    assert ids.tolist() == [framed.ids[framed.offsets[row] : framed.offsets[row + 1]].tolist() for row in (2, 0)]
    assert types.tolist() == [[0, 0, 0, 1, 1]] * 2


def test_a_sequence_of_nothing_is_one_pad():
    nothing = Framed(np.zeros(3, np.int64), np.zeros(0, np.int32), np.zeros(0, np.int32), np.zeros(2, np.int64))
    ids, types = nothing.stacked(np.array([0, 1]), pad_id=7)
    assert (ids.tolist(), types.tolist()) == ([[7], [7]], [[0], [0]])
