"""What a saved bundle costs to open, what its answers are made of, and what may happen to it meanwhile."""

import mmap
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

import llmrec
from llmrec.build import fit
from llmrec.bundle import read_bundle
from llmrec.config import Config
from llmrec.errors import BundleError
from llmrec.testing.data import new_items
from llmrec.testing.fusion import learned_fusion

HEAVY = {"torch", "transformers", "sentence_transformers", "lightgbm", "sklearn", "pandas", "datasets", "matplotlib"}

ANSWER = """
import sys
import llmrec
recommender = llmrec.load(sys.argv[1])
known = recommender.recommend(recommender.queries([recommender.histories.users[0]]), 5)
typed = recommender.recommend(recommender.queries(histories=[list(recommender.catalog.items.ids[:2])]), 5)
assert (known.items >= 0).all() and (typed.items >= 0).all()
recommender.decode(known), recommender.catalog.records(known.items[0])
print(*sorted({name.partition(".")[0] for name in sys.modules}))
"""


def same(one, other):
    np.testing.assert_array_equal(one.items, other.items)
    np.testing.assert_array_equal(one.scores, other.scores)


@pytest.fixture(scope="module")
def many(bert, catalog, interactions, tmp_path_factory):
    """Every kind of array: words, sparse and dense weights, vectors with an index, a network, and trees."""
    pytest.importorskip("lightgbm")
    text = {"encoder": str(bert), "item_template": "item/title"}
    retrievers = {
        "popularity": {},
        "ease": {"l2": 5.0},
        "transition": {},
        "bm25": {"item_template": "item/title"},
        "dense": text,
        "lookalike": {**text, "neighbours": 3},
        "sequence": {**text, "dim": 8, "epochs": 1, "max_length": 4},
        "semantic_id": {**text, "dim": 8, "epochs": 1, "max_length": 4, "codes": 3},
    }
    config = Config.from_dict({"stages": [{"name": "hybrid", "retrievers": retrievers}]})
    fitted = fit(config, catalog, interactions, work=tmp_path_factory.mktemp("work"))
    stage = replace(fitted.stages[0], fusion=learned_fusion(catalog, interactions))
    return replace(fitted, stages=(stage,))


@pytest.fixture
def all_mapped(monkeypatch):
    """Map files of any size."""
    monkeypatch.setattr("llmrec.mapped.SMALL", 0)


@pytest.mark.usefixtures("all_mapped")
def test_a_loaded_recommender_says_the_same_from_read_only_maps(many, queries, tmp_path):
    path = many.save(tmp_path / "bundle")
    same(llmrec.load(path).recommend(queries, 12), many.recommend(queries, 12))
    arrays = [array for part in read_bundle(path)[1].values() for array in part.arrays.values()]
    assert len(arrays) > 40
    assert not any(array.flags.writeable for array in arrays)
    assert all(isinstance(array.base, mmap.mmap) for array in arrays)


@pytest.mark.usefixtures("all_mapped")
def test_saving_over_the_bundle_it_was_loaded_from(many, queries, tmp_path):
    path = many.save(tmp_path / "bundle")
    before = many.recommend(queries, 12)
    loaded = llmrec.load(path)
    grown = loaded.add_items(new_items(3))
    expected = grown.recommend(queries, 12)
    assert grown.save(path) == path
    assert [p.name for p in path.parent.iterdir()] == ["bundle"]
    same(loaded.recommend(queries, 12), before)
    same(grown.recommend(queries, 12), expected)
    again = llmrec.load(path)
    same(again.recommend(queries, 12), expected)
    again.save(path)
    same(llmrec.load(path).recommend(queries, 12), expected)


@pytest.mark.usefixtures("all_mapped")
def test_a_bundle_that_another_takes_the_place_of_stays_as_it_was_loaded(many, hybrid, queries, tmp_path):
    path = many.save(tmp_path / "bundle")
    loaded = llmrec.load(path)
    hybrid.save(path)
    without_wish = replace(queries, texts=None)  # a text encoder that was not needed until now is gone, and says so
    same(loaded.recommend(without_wish, 12), many.recommend(without_wish, 12))


def test_a_changed_file_is_noticed_before_anything_is_made_of_it(many, tmp_path, monkeypatch):
    path = many.save(tmp_path / "bundle")
    file = path / "parts/components/transition/arrays.safetensors"
    content = file.read_bytes()
    file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))

    def used(*_):
        raise AssertionError("an array was used before it was verified")

    monkeypatch.setattr("llmrec.bundle.arrays_of", used)
    with pytest.raises(BundleError, match="changed since"):
        llmrec.load(path)


def loaded_by(code, *arguments):
    """The top-level modules that a fresh interpreter has after it ran some code."""
    command = [sys.executable, "-W", "ignore", "-c", code, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


def test_an_answer_takes_no_library_that_takes_seconds_to_import(many, tmp_path):
    assert not loaded_by(ANSWER, many.save(tmp_path / "bundle")) & HEAVY


def test_an_answer_with_a_cross_encoder_takes_no_sentence_transformers(cascade, tmp_path):
    assert "sentence_transformers" not in loaded_by(ANSWER, cascade.save(tmp_path / "bundle"))
