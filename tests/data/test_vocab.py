import subprocess
import sys
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmrec.data import Catalog, Vocab
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


def test_ids_of_one_hash_are_told_apart():
    """Those of CRC-32 are known for it; the first of a pair stands before and after the other."""
    assert zlib.crc32(b"plumless") == zlib.crc32(b"buckeroo")
    for ids in (["plumless", "a", "buckeroo"], ["buckeroo", "plumless"]):
        vocab = Vocab(ids)
        assert vocab.rows(ids[::-1]).tolist() == list(range(len(ids)))[::-1]
        assert Vocab(ids[:1]).get(ids).tolist() == [0, *[-1] * (len(ids) - 1)]
        assert Vocab(ids[:1]).extended(ids[1:]).get(ids).tolist() == list(range(len(ids)))


def test_what_is_no_text_is_no_id():
    assert Vocab(["0", "a"]).get([0, None, "\ud800", "a"]).tolist() == [-1, -1, -1, 1]  # type: ignore[list-item]


@settings(deadline=None, max_examples=30)
@given(st.lists(st.lists(item_ids(), max_size=6), max_size=4), st.integers(0, 3))
def test_extending_is_making_one_of_all(parts, later):
    """However many may wait beside the order by hash."""
    distinct = list(dict.fromkeys(an_id for part in parts for an_id in part))
    left, grown = list(distinct), Vocab([])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("llmrec.data.vocab._LATER", later)
        while left:
            grown, left = grown.extended(left[:2]), left[2:]
            assert grown.rows(distinct[: len(grown)]).tolist() == list(range(len(grown)))
    assert grown == Vocab(distinct)
    assert list(grown) == distinct
    assert (grown.get(["no such id", *distinct]) == np.arange(-1, len(distinct))).all()


def test_a_catalog_and_its_vocab_hold_one_copy_of_the_ids():
    catalog = Catalog.from_table({"item_id": ["a", "b"], "title": ["x", "y"]})
    column = catalog.table.column("item_id").chunk(0)
    assert catalog.items.column.buffers()[2].address == column.buffers()[2].address


def test_nothing_of_it_imports_pandas():
    """It takes a quarter of a second, and Arrow does it for many a call."""
    code = (
        "import sys; from llmrec.data.vocab import Vocab; vocab = Vocab(['a', 'b']).extended(['c']); vocab.rows(['c']);"
        "vocab.decode([2, 0]); list(vocab); vocab == Vocab.of_column(vocab.column); sys.exit('pandas' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_nearest_id_of_a_huge_vocab_is_quick():
    vocab = Vocab(tuple(f"user-{i}" for i in range(300_000)))
    with pytest.raises(UnknownIdError, match="nearest"):
        vocab.rows(["usr-12"])
