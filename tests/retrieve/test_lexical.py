from dataclasses import replace

import bm25s
import numpy as np
import pytest

from llmrec.data import Catalog
from llmrec.errors import DataError
from llmrec.retrieve import Bm25Config, fit_bm25
from llmrec.retrieve.words import split_words
from llmrec.testing.contracts import reload
from llmrec.types import Item, Queries

NONE = np.empty(0, np.int32)
TITLES = [
    "Night Train",
    "Night Night Owl",
    "The Long Train to the Coast",
    "Owl",
    "",
    "Coast of Night, and Owl, and Train",
]


def titled(titles):
    return Catalog.from_table({"item_id": [f"i{i}" for i in range(len(titles))], "title": titles})


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    """Settings with a template of the title alone, which may be empty."""
    path = tmp_path_factory.mktemp("template") / "plain.toml"
    path.write_text(
        'kind = "item"\nversion = 1\ndescription = "Bare."\n[fields.title]\nrequired = false\ndescription = "Name."\n'
        '[parts]\ntext = "{{ title }}"\n'
    )
    return Bm25Config(item_template=str(path), decay=0.5, history=2)


@pytest.fixture(scope="module")
def bm25(config):
    return fit_bm25(titled(TITLES), config)


def by_bm25s(titles, text, config):
    """What bm25s itself finds: Float32[n], 0 without a shared word."""
    words = [split_words(title) for title in titles]
    ranker = bm25s.BM25(k1=config.k1, b=config.b, method="lucene", backend="numpy")
    ranker.index(words, show_progress=False)
    known = {word for title in words for word in title}
    asked = [word for word in split_words(text) if word in known]
    return ranker.get_scores(asked) if asked else np.zeros(len(titles), np.float32)


def everything(model, queries):
    n = len(model.catalog)
    return model.score(queries, np.tile(np.arange(n, dtype=np.int32), (len(queries), 1)))


@pytest.mark.parametrize("text", ["night train", "owl owl", "a coast", "unheard of", "nothing"])
def test_a_wish_scores_as_bm25s_scores(bm25, config, text):
    expected = by_bm25s(TITLES, text, config)
    found = everything(bm25, Queries.from_lists([[3]], [text]))[0]
    np.testing.assert_allclose(np.nan_to_num(found), expected, rtol=1e-5)
    np.testing.assert_array_equal(np.isnan(found), expected == 0)


def test_a_history_asks_with_the_words_of_its_newest_items(bm25, config):
    older, newer = by_bm25s(TITLES, TITLES[3], config), by_bm25s(TITLES, TITLES[1], config)
    found = everything(bm25, Queries.from_lists([[2, 3, 1], [4], []]))
    np.testing.assert_allclose(np.nan_to_num(found[0]), 0.5 * older + newer, rtol=1e-5)
    assert np.isnan(found[1:]).all()


def test_weights_of_a_history_count(bm25):
    plain = everything(bm25, Queries.from_lists([[0]]))
    weighed = Queries(np.array([0, 3]), np.int32([5, 2, 0]), weights=np.float32([9, 0, -2]))
    np.testing.assert_allclose(everything(bm25, weighed), -2 * plain, rtol=1e-6)


def test_lists_hold_only_what_shares_a_word(bm25):
    found = bm25.retrieve(Queries.from_lists([[], [3]], ["long train", None]), 6)
    assert found.items[0].tolist()[0] == 2
    assert set(found.items[0].tolist()) == {0, 2, 5, -1}
    assert set(found.items[1].tolist()) == {1, 3, 5, -1}


def test_similar_leaves_the_item_out(bm25):
    found = bm25.similar(np.int32([3, 0]), 6).items
    assert set(found[0].tolist()) == {1, 5, -1}
    assert set(found[1].tolist()) == {1, 2, 5, -1}


def test_new_items_weigh_what_they_would_have_weighed(bm25, config):
    """An item that comes later has the scores of an old item with its text; words of its own are found too."""
    fields = [Item("same", {"title": TITLES[5]}), Item("new", {"title": "Zzyzx night"})]
    grown = bm25.with_items(bm25.catalog.with_items(fields), NONE)
    queries = Queries.from_lists([[], [], [7]], ["night coast", "zzyzx", None])
    scores = everything(grown, queries)
    np.testing.assert_array_equal(scores[:2, :6], everything(bm25, queries.take([0, 1])))
    np.testing.assert_allclose(scores[:, 6], scores[:, 5], rtol=1e-6)
    assert np.flatnonzero(~np.isnan(scores[1])).tolist() == [7]
    assert scores[2, 7] > scores[2, 1]


def test_changed_and_removed_items(bm25):
    changed = titled(["Night Train", "Night Night Owl", "Snow", "Owl", "Long Snow", TITLES[5]]).without_items(["i3"])
    before = everything(bm25, Queries.from_lists([[], [2]], ["long", None]))
    now = bm25.with_items(changed, np.int32([2, 4]))
    queries = Queries.from_lists([[], [], [2]], ["long", "owl", None])
    assert now.retrieve(queries, 6).items[:, :3].tolist() == [[4, -1, -1], [1, 5, -1], [2, 4, -1]]
    again = now.with_items(changed.with_items([Item("x", {"title": "snow"})]), np.int32([4]))
    equals = sorted([2, 6], key=lambda i: again.catalog.tie_order[i])
    assert again.retrieve(queries, 6).items[:, :3].tolist() == [[4, -1, -1], [1, 5, -1], [*equals, 4]]
    np.testing.assert_array_equal(everything(bm25, Queries.from_lists([[], [2]], ["long", None])), before)


@pytest.mark.parametrize("limit", [0, 2, 1024])
def test_the_tail_is_only_a_place_to_wait(bm25, monkeypatch, tmp_path, limit):
    monkeypatch.setattr("llmrec.retrieve.lexical.TAIL", limit)
    monkeypatch.setattr("llmrec.retrieve.lexical.TAIL_SHARE", 0.0)
    model = bm25
    for i in range(4):
        title = {"title": f"train number {i}"}
        model = model.with_items(model.catalog.with_items([Item(f"new{i}", title)]), NONE)
    assert len(model.tail_rows) == {0: 0, 2: 1, 1024: 4}[limit]
    model = model.with_items(model.catalog, np.int32([1, 7]))
    queries = Queries.from_lists([[7, 9], [], []], [None, "number", "night owl"])
    whole = reload(model, model.catalog, tmp_path)
    assert len(whole.tail_rows) == 0
    np.testing.assert_array_equal(everything(whole, queries), everything(model, queries))
    assert set(whole.retrieve(queries, 9).items[1].tolist()) == {6, 7, 8, 9, -1}


def test_a_catalog_without_words_is_refused(config):
    with pytest.raises(DataError, match="no item text"):
        fit_bm25(titled(["!", "--"]), config)


def test_blocks_do_not_change_the_result(bm25, monkeypatch):
    queries = Queries.from_lists([[0], [1, 2], []], [None, None, "owl"])
    before = bm25.retrieve(queries, 4)
    monkeypatch.setattr("llmrec.retrieve.base.BLOCK_CELLS", 1)
    after = bm25.retrieve(replace(queries), 4)
    np.testing.assert_array_equal(after.items, before.items)
    np.testing.assert_array_equal(after.scores, before.scores)
