from dataclasses import replace

import numpy as np
import pytest

from llmrec.data import Catalog
from llmrec.models import TextEncoder
from llmrec.retrieve import DenseConfig, fit_dense
from llmrec.testing.contracts import reload
from llmrec.testing.data import new_items
from llmrec.text import UnknownTokensWarning, load_template, render_items
from llmrec.types import Csr, Item, Queries

NONE = np.empty(0, np.int32)


@pytest.fixture(scope="module")
def dense(catalog, bert):
    config = DenseConfig(encoder=str(bert), item_template="item/title")
    return fit_dense(catalog, config, TextEncoder.load(str(bert)))


def ranked(scores, tie_order, banned=()):
    """Brute force: catalog rows by score, ties by hash."""
    rows = [i for i in range(len(scores)) if i not in banned]
    return sorted(rows, key=lambda i: (-scores[i], tie_order[i]))


def test_vectors_are_those_of_the_item_texts(dense, catalog, bert):
    texts = render_items(load_template("item/title"), catalog)
    np.testing.assert_allclose(dense.vectors, TextEncoder.load(str(bert)).encode_items(texts), atol=1e-6)


def test_a_history_is_the_recency_weighted_mean(dense):
    vectors, usable = dense.query_vectors(Queries.from_lists([[4, 7], []]))
    mean = dense.config.decay * dense.vectors[4] + dense.vectors[7]
    np.testing.assert_allclose(vectors[0], mean / np.linalg.norm(mean), atol=1e-6)
    np.testing.assert_array_equal(usable, [True, False])
    assert (vectors[1] == 0).all()


def test_a_wish_comes_before_the_history(dense):
    wish = dense.encoder.encode_users(["red night"])[0]
    vectors, usable = dense.query_vectors(Queries.from_lists([[4], [], [4]], ["red night", "red night", None]))
    np.testing.assert_allclose(vectors[:2], [wish, wish], atol=1e-6)
    np.testing.assert_allclose(vectors[2], dense.vectors[4], atol=1e-6)
    assert usable.all()


def test_a_user_template_is_encoded_as_a_text(catalog, bert):
    config = DenseConfig(encoder=str(bert), item_template="item/title", user_template="user/recent")
    dense = fit_dense(catalog, config, TextEncoder.load(str(bert)))
    vectors, usable = dense.query_vectors(Queries.from_lists([[4, 7], [7, 4], []]))
    np.testing.assert_array_equal(usable, [True, True, False])
    assert not np.allclose(vectors[0], vectors[1])  # the order of a history is in its text
    np.testing.assert_allclose(np.linalg.norm(vectors[:2], axis=1), 1, atol=1e-6)


def test_faiss_is_brute_force(dense, catalog):
    queries = Queries.from_lists([[0, 1], [5], [11, 3, 2]])
    scores = dense.query_vectors(queries)[0] @ dense.vectors.T
    found = dense.retrieve(queries, 12)
    for row in range(3):
        assert found.items[row].tolist() == ranked(scores[row], catalog.tie_order)
    np.testing.assert_allclose(found.scores, np.take_along_axis(scores, found.items.astype(np.int64), 1), atol=1e-6)


def test_more_is_fetched_where_much_is_excluded(dense, catalog):
    queries = Queries.from_lists([[0], [5], []])
    banned = [[0, 1, 2, 3, 4, 6, 7, 8, 9], [], [1]]
    found = dense.retrieve(replace(queries, exclude=Csr.from_lists(banned)), 3).items
    scores = dense.query_vectors(queries)[0] @ dense.vectors.T
    for row in range(2):
        assert found[row].tolist() == ranked(scores[row], catalog.tie_order, banned[row])[:3]
    assert found[2].tolist() == [-1, -1, -1]


def test_equal_texts_are_ordered_by_hash_however_many(bert):
    """FAISS would keep the first rows of a crowd of equals, and in many catalogs first means popular."""
    n = 300
    table = {"item_id": [f"i{i}" for i in range(n)], "title": ["same" if i % 3 else f"other {i}" for i in range(n)]}
    catalog = Catalog.from_table(table)
    config = DenseConfig(encoder=str(bert), item_template="item/title")
    dense = fit_dense(catalog, config, TextEncoder.load(str(bert)))
    same = [i for i in range(n) if i % 3]
    expected = sorted(same, key=lambda i: catalog.tie_order[i])
    queries = Queries.from_lists([[], [1], [0]], ["same", None, None])
    for k in (1, 5, 150):
        found = dense.retrieve(queries, k)
        assert found.items[0].tolist() == expected[:k]
        assert found.items[1].tolist() == expected[:k]
        np.testing.assert_array_equal(dense.retrieve(queries.take([0]), k).items[0], found.items[0])
    excluded = replace(queries, exclude=Csr.from_lists([expected[:3], [], []]))
    assert dense.retrieve(excluded, 5).items[0].tolist() == expected[3:8]


def test_similar_leaves_the_item_out(dense, catalog):
    found = dense.similar(np.int32([4, 0]), 12)
    scores = dense.vectors[[4, 0]] @ dense.vectors.T
    for row, item in enumerate((4, 0)):
        assert found.items[row].tolist() == [*ranked(scores[row], catalog.tie_order, [item]), -1]


def test_blocks_do_not_change_the_result(dense, monkeypatch, queries):
    before, scores = dense.retrieve(queries, 5), dense.score(queries, np.tile(np.int32([3, 1, -1]), (5, 1)))
    monkeypatch.setattr("llmrec.retrieve.base.BLOCK_CELLS", 1)
    after = dense.retrieve(queries, 5)
    np.testing.assert_array_equal(after.items, before.items)
    np.testing.assert_array_equal(after.scores, before.scores)
    np.testing.assert_array_equal(dense.score(queries, np.tile(np.int32([3, 1, -1]), (5, 1))), scores)


def test_new_items_cost_one_text_each(dense, catalog):
    before = dense.encoder.encoded
    grown = dense.with_items(catalog.with_items(new_items(2)), NONE)
    assert dense.encoder.encoded == before + 2
    assert len(grown.vectors) == 14
    assert len(dense.vectors) == 12
    assert grown.with_items(grown.catalog.without_items(["i3"]), NONE).encoder.encoded == before + 2


def retitled(catalog, row, title):
    """The same catalog with another title in one row."""
    column = catalog.table.column("title").to_pylist()
    column[row] = title
    return replace(catalog, table=catalog.table.set_column(1, "title", [column]))


def test_a_changed_item_is_read_again(dense, catalog):
    changed = retitled(catalog, 3, "red night")
    before = dense.encoder.encoded
    now = dense.with_items(changed.with_items([Item("new", {"title": "red night"})]), np.int32([3]))
    assert dense.encoder.encoded == before + 1  # two equal texts
    np.testing.assert_array_equal(now.item_vectors(np.int32([3])), now.item_vectors(np.int32([12])))
    wish = Queries.from_lists([[]], ["red night"])
    assert set(now.retrieve(wish, 2).items[0].tolist()) == {3, 12}
    assert now.retrieve(wish, 1).scores[0, 0] == pytest.approx(1, abs=1e-5)
    assert dense.retrieve(wish, 1).scores[0, 0] < 0.99
    rows = np.setdiff1d(np.arange(12), [3])
    np.testing.assert_array_equal(now.vectors[rows], dense.vectors[rows])


@pytest.mark.parametrize("kind", ["exact", "hnsw"])
def test_a_grown_retriever_is_the_same_when_saved_and_loaded(catalog, bert, tmp_path, kind):
    config = DenseConfig(encoder=str(bert), item_template="item/title", index=kind)
    dense = fit_dense(catalog, config, TextEncoder.load(str(bert)))
    grown = dense.with_items(retitled(catalog, 3, "red").with_items(new_items(2)), np.int32([3]))
    assert len(grown.nearest.vectors.tail) == 3
    again = reload(grown, grown.catalog, tmp_path)
    assert len(again.nearest.vectors.tail) == 0
    queries = Queries.from_lists([[0, 3], [13], [2]], [None, None, "brand new"])
    for k in (3, 14):
        now, then = grown.retrieve(queries, k), again.retrieve(queries, k)
        np.testing.assert_array_equal(then.items, now.items)
        np.testing.assert_array_equal(then.scores, now.scores)


@pytest.mark.parametrize("storage", ["float16", "int8"])
def test_items_that_come_are_stored_as_if_they_had_been_there(catalog, bert, tmp_path, storage):
    """Cold and warm: the same bits, in vectors, lists and scores, and after loading."""
    config = DenseConfig(encoder=str(bert), item_template="item/title", storage=storage)
    longer = retitled(catalog, 3, "red").with_items(new_items(2))
    grown = fit_dense(catalog, config, TextEncoder.load(str(bert))).with_items(longer, np.int32([3]))
    fitted = fit_dense(longer, config, TextEncoder.load(str(bert)))
    again = reload(grown, longer, tmp_path)
    assert again.nearest.vectors.base.storage == storage
    queries = Queries.from_lists([[0, 3], [13], [2]], [None, None, "brand new"])
    expected = fitted.retrieve(queries, 14)
    for one in (grown, again):
        np.testing.assert_array_equal(one.vectors, fitted.vectors)
        found = one.retrieve(queries, 14)
        np.testing.assert_array_equal(found.items, expected.items)
        np.testing.assert_array_equal(found.scores, expected.scores)
        np.testing.assert_array_equal(one.score(queries, expected.items), expected.scores)


def test_the_index_and_its_recall_are_told(catalog, interactions, bert, tmp_path):
    said = []
    config = DenseConfig(encoder=str(bert), index="hnsw", min_recall=0.9)
    encoder = TextEncoder.load(str(bert))
    dense = fit_dense(catalog, config, encoder, train=interactions, progress=said.append)
    told = dense.state().config["index"]
    assert (told["kind"], told["asked"], told["recall_at"], told["items"]) == ("hnsw", "hnsw", 12, 12)
    assert told["queries"] == interactions.n_users
    assert told["recall"] >= 0.9
    assert any("finds" in line for line in said)
    assert reload(dense, catalog, tmp_path).state().config["index"] == told


def test_a_bundle_from_before_there_was_a_choice_opens(dense, catalog, queries, tmp_path):
    from llmrec.retrieve.dense import COMPONENT

    state = dense.state()
    old = {name: value for name, value in state.config.items() if name != "index"}
    old["settings"] = {n: v for n, v in old["settings"].items() if n not in ("index", "min_recall")}
    again = COMPONENT.load("dense", replace(state, config=old), catalog)
    np.testing.assert_array_equal(again.retrieve(queries, 5).items, dense.retrieve(queries, 5).items)


def test_texts_that_the_encoder_cannot_read_are_told(bert, dense):
    """When the catalog is fitted, and when an item comes."""
    config, encoder = dense.config, TextEncoder.load(str(bert))
    strange = {"title": "\u2603 \u2604 \u2605"}
    table = {"item_id": ["a", "b"], "title": [strange["title"], "\u2606 \u2607"]}
    with pytest.warns(UnknownTokensWarning):
        fit_dense(Catalog.from_table(table), config, encoder)
    with pytest.warns(UnknownTokensWarning):
        dense.with_items(dense.catalog.with_items([Item("c", strange)]), NONE)
