"""Tokenizers without weights, and what of a text they do not know."""

import json

import numpy as np
import pytest
from tokenizers import Tokenizer as Backend
from tokenizers import models, pre_tokenizers

from llmrec.errors import ConfigError
from llmrec.models import PairScorer, TextEncoder, TextReader
from llmrec.models._tokens import Tokenizer
from llmrec.text import UnknownTokensWarning, warn_unknown

TEXTS = ["Toy Story", "电影 heat", "", "[UNK] [SEP]", "Babe" * 100]


def test_an_encoder_and_its_reader_agree(bert_folder):
    encoder, reader = (
        TextEncoder.load(str(bert_folder), max_tokens=20),
        TextReader.load(str(bert_folder), max_tokens=20),
    )
    assert (reader.name, reader.max_tokens, reader.text_budget) == (encoder.name, 20, encoder.text_budget)
    for count in ("count_tokens", "count_unknown"):
        assert getattr(reader, count)(TEXTS).tolist() == getattr(encoder, count)(TEXTS).tolist()
    assert [len(pieces) for pieces in reader.pieces(TEXTS)] == reader.count_tokens(TEXTS).tolist()


def test_a_pair_scorer_and_its_reader_agree(cross_folder):
    scorer, reader = PairScorer.load(str(cross_folder)), TextReader.load_pair(str(cross_folder))
    assert (reader.name, reader.max_tokens, reader.text_budget) == (scorer.name, 64, scorer.text_budget)
    assert reader.count_unknown(TEXTS).tolist() == scorer.count_unknown(TEXTS).tolist()


def test_a_pair_reader_opens_the_encoder_a_cross_encoder_starts_from(bert_folder):
    assert TextReader.load_pair(str(bert_folder), max_tokens=30).text_budget == 27


def test_no_weight_is_read(bert_folder, copied):
    folder = copied(TextEncoder.load(str(bert_folder)).files())
    (folder / "model.safetensors").write_bytes(b"")
    assert TextReader.load(str(folder)).pieces(["Toy Story!"]) == [["toy", "story", "!"]]


def test_limits_are_checked(bert_folder):
    with pytest.raises(ConfigError, match="max_tokens=500 is out of range"):
        TextReader.load(str(bert_folder), max_tokens=500)
    with pytest.raises(ConfigError, match="out of range"):
        TextReader.load_pair(str(bert_folder), max_tokens=4)


def test_unknown_signs_are_counted_and_the_word_unk_in_data_is_not_one(bert_folder):
    reader = TextReader.load(str(bert_folder))
    # The last is one word, too long for a word-piece tokenizer.
    assert reader.count_unknown(TEXTS).tolist() == [0, 2, 0, 0, 1]
    assert reader.count_unknown(TEXTS).dtype == np.int32
    assert reader.count_unknown([]).tolist() == []
    assert reader.pieces(["电 heat"]) == [["[UNK]", "heat"]]


def test_catalogs_an_encoder_cannot_read_are_warned_of(bert_folder):
    encoder = TextEncoder.load(str(bert_folder))
    warn_unknown(["Toy Story", "Misérables, Les"], encoder)
    with pytest.warns(UnknownTokensWarning, match="67% of the tokens of 2 texts"):
        warn_unknown(["电影", "heat"], encoder)


def backend(model):
    made = Backend(model)
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    return Tokenizer(made)


def byte_level():
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    made = Backend(models.BPE({sign: place for place, sign in enumerate(alphabet)}, []))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    return Tokenizer(made)


VOCABULARY = {"<unk>": 0, "a": 1, "b": 2}


@pytest.mark.parametrize(
    ("tokenizer", "unknown"),
    [
        (lambda: backend(models.WordLevel(VOCABULARY, unk_token="<unk>")), 1),
        (lambda: backend(models.WordPiece(VOCABULARY, unk_token="<unk>")), 1),
        (lambda: backend(models.BPE(VOCABULARY, [], unk_token="<unk>")), 1),
        (lambda: backend(models.Unigram([("<unk>", 0.0), ("a", -1.0), ("b", -1.0)], unk_id=0)), 1),
        (lambda: backend(models.Unigram([("a", 0.0), ("b", -1.0), ("<unk>", -1.0)], unk_id=2)), 1),
        (byte_level, 0),
    ],
    ids=["words", "pieces", "merges", "unigram", "unigram elsewhere", "bytes"],
)
def test_every_kind_of_tokenizer_tells_what_it_does_not_know(tokenizer, unknown):
    made = tokenizer()
    assert made.count_unknown(["a b", "a 中", "b", "!"]).tolist() == [0, unknown, 0, unknown]
    assert made.pieces(["a"]) == [["a"]]


def test_lower_case_is_seen_in_the_pieces(bert_folder, copied):
    folder = copied(TextEncoder.load(str(bert_folder)).files())
    settings = {"max_seq_length": 128, "do_lower_case": True}
    (folder / "sentence_bert_config.json").write_text(json.dumps(settings))
    made = json.loads((folder / "tokenizer.json").read_text())
    made["normalizer"] = None
    (folder / "tokenizer.json").write_text(json.dumps(made))
    reader = TextReader.load(str(folder))
    assert reader.pieces(["HEAT"]) == [["heat"]]
    assert reader.count_unknown(["HEAT"]).tolist() == [0]
