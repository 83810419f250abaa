import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmrec.data import Vocab
from llmrec.errors import DataError, UnknownIdError
from llmrec.testing.strategies import item_ids


@settings(deadline=None, max_examples=40)
@given(st.lists(item_ids(), unique=True, max_size=20))
def test_ids_and_rows_are_each_others_inverse(ids):
    vocab = Vocab(tuple(ids))
    rows = vocab.rows(ids)
    assert rows.dtype == np.int32
    assert rows.tolist() == list(range(len(ids)))
    assert vocab.decode(rows) == ids


def test_get_marks_unknown_ids_and_rows_refuses_them():
    vocab = Vocab(("007", "7", "alpha"))
    assert vocab.get(["7", "nope", "007"]).tolist() == [1, -1, 0]
    with pytest.raises(UnknownIdError, match=r"2 of the given ids.*'alpa', '8'.*nearest known id is 'alpha'"):
        vocab.rows(["alpa", "7", "8"])


def test_a_whole_number_is_not_an_id_but_the_message_shows_the_text_one():
    with pytest.raises(UnknownIdError, match=r"among the 2 known ones: 42; the nearest known id is '42'"):
        Vocab(("42", "43")).rows([42])  # type: ignore[list-item]


def test_pads_have_no_id():
    vocab = Vocab(("a", "b"))
    with pytest.raises(IndexError, match="pad"):
        vocab.decode([0, -1])
    with pytest.raises(IndexError):
        vocab[2]


@pytest.mark.parametrize(("ids", "message"), [(("a", "b", "a"), "'a'"), (("a", ""), "row 1 has an empty id")])
def test_repeated_and_empty_ids_are_refused(ids, message):
    with pytest.raises(DataError, match=message):
        Vocab(ids)


def test_extended_keeps_rows_and_refuses_known_ids():
    vocab = Vocab(("a", "b"))
    longer = vocab.extended(["c"])
    assert longer.ids == ("a", "b", "c")
    assert len(vocab) == 2
    assert "c" in longer
    assert "c" not in vocab
    with pytest.raises(DataError, match="'b'"):
        vocab.extended(["b"])


def test_nearest_id_of_a_huge_vocab_is_quick():
    vocab = Vocab(tuple(f"user-{i}" for i in range(300_000)))
    with pytest.raises(UnknownIdError, match="nearest"):
        vocab.rows(["usr-12"])
