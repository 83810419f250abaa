import numpy as np
import pytest

from llmrec.errors import ModelError
from llmrec.fuse import _library
from llmrec.fuse._library import LoadedTrees
from llmrec.testing.fusion import learned_fusion

lightgbm = pytest.importorskip("lightgbm")


@pytest.fixture(scope="module")
def text(catalog, interactions):
    return learned_fusion(catalog, interactions).trees.text


@pytest.fixture
def matrix(text, rng):
    found = (3 * rng.normal(size=(500, lightgbm.Booster(model_str=text).num_feature()))).astype(np.float32)
    found[rng.random(found.shape) < 0.2] = np.nan
    return found


def test_scores_are_those_of_the_package_to_the_last_bit(text, matrix):
    expected = lightgbm.Booster(model_str=text).predict(matrix, raw_score=True)
    assert len(set(expected)) > 50
    trees = LoadedTrees(text)
    for threads in (1, 2):
        np.testing.assert_array_equal(trees.scores(matrix, threads), expected)
    np.testing.assert_array_equal(trees.scores(matrix[::-2], 1), expected[::-2])
    np.testing.assert_array_equal(trees.scores(matrix[:1], 1), expected[:1])
    assert trees.scores(matrix[:0], 1).shape == (0,)


def test_a_library_in_another_place_is_found(text, matrix, tmp_path, monkeypatch):
    expected = LoadedTrees(text).scores(matrix, 1)
    monkeypatch.setattr(_library, "_package", lambda: tmp_path / "lightgbm")
    np.testing.assert_array_equal(LoadedTrees(text).scores(matrix, 1), expected)


def test_what_is_no_model_or_has_other_features_says_so(text, matrix):
    with pytest.raises(ModelError, match="LightGBM refuses"):
        LoadedTrees("tree\n")
    with pytest.raises(ModelError, match=r"number of features in data \(3\)"):
        LoadedTrees(text).scores(matrix[:, :3], 1)
