"""Weights are read late, so a folder may have been replaced meanwhile: never another model's numbers."""

import shutil

import pytest

from llmrec.errors import ModelError
from llmrec.models import PairScorer, Placement, TextEncoder
from llmrec.testing.models import tiny_bert, tiny_cross_encoder

PLACE = Placement("cpu", "float32")
KINDS = {
    "encoder": (tiny_bert, TextEncoder, lambda model: model.encode(["toy"])),
    "pair": (tiny_cross_encoder, PairScorer, lambda model: model.score([("heat", "toy")])),
}


@pytest.fixture(params=KINDS)
def opened(request, tmp_path):
    """How to write a model, its folder, the model opened but not used, and a use of it."""
    make, kind, use = KINDS[request.param]
    folder = make(tmp_path / "model")
    return make, folder, kind.load(str(folder), placement=PLACE), use


def test_a_replaced_folder_is_an_error(opened):
    make, folder, model, use = opened
    shutil.rmtree(folder)
    make(folder, seed=1)
    for act in (use, lambda model: model.fingerprint, lambda model: model.files()):
        with pytest.raises(ModelError, match=r"changed since it was opened; load it again .* is another file now"):
            act(model)


def test_a_removed_folder_is_an_error(opened):
    _, folder, model, use = opened
    shutil.rmtree(folder)
    with pytest.raises(ModelError, match=r"changed since it was opened; load it again .* is gone"):
        use(model)


def test_once_loaded_the_folder_is_not_needed(opened):
    _, folder, model, use = opened
    before = use(model)
    shutil.rmtree(folder)
    assert (use(model) == before).all()


def test_the_same_files_saved_in_place_are_the_same_model(opened, tmp_path):
    _, folder, model, use = opened
    for name, path in model.files().items():
        target = tmp_path / "saved" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
    shutil.rmtree(folder)
    (tmp_path / "saved").rename(folder)
    assert use(model).size
