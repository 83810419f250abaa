"""Encoders in 8-bit integers: made once, kept, copied, the same in any batch, refused with a reason."""

import subprocess
import sys

import numpy as np
import pytest

from llmrec.errors import ConfigError, MissingExtraError, ModelError
from llmrec.models import (
    EmbeddingCache,
    PairScorer,
    Placement,
    QuantisationWarning,
    TextEncoder,
    _int8,
    best_placement,
)

INT8 = Placement("cpu", "int8")
WORDS = ("toy", "story", "heat", "babe", "seven", "monkeys", "and", "the")


@pytest.fixture(scope="module")
def texts():
    rng = np.random.default_rng(5)
    return [" ".join(rng.choice(WORDS, rng.integers(1, 12))) for _ in range(120)]


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LLMREC_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture
def encoder(bert_folder, texts, cache):
    pytest.importorskip("openvino")
    return TextEncoder.load(str(bert_folder), placement=INT8).calibrated(texts)


def test_vectors_are_near_those_in_float32(encoder, bert_folder, texts):
    exact = TextEncoder.load(str(bert_folder), placement=Placement("cpu", "float32")).encode(texts)
    found = encoder.encode(texts)
    assert found.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-3)
    cosines = (found * exact).sum(axis=1)
    assert 0.9 < cosines.min() < cosines.max() <= 1.001
    assert not np.array_equal(found, exact)


def test_vectors_do_not_depend_on_the_batch(encoder, texts, rng):
    together = encoder.encode(texts)
    order = rng.permutation(len(texts))
    parts = [encoder.encode([texts[row] for row in order[at : at + 7]]) for at in range(0, len(order), 7)]
    np.testing.assert_array_equal(np.concatenate(parts), together[order])


def test_the_8_bit_form_is_made_once(encoder, bert_folder, texts, monkeypatch):
    monkeypatch.setattr(_int8, "quantise", None)
    again = TextEncoder.load(str(bert_folder), placement=INT8).calibrated(list(reversed(texts)))
    assert again.fingerprint == encoder.fingerprint
    assert again.calibrated(["other texts"]) is again
    np.testing.assert_array_equal(again.encode(texts[:3]), encoder.encode(texts[:3]))


def test_other_texts_make_another_form_and_another_fingerprint(encoder, bert_folder):
    other = TextEncoder.load(str(bert_folder), placement=INT8).calibrated(["heat", "babe"])
    assert other.fingerprint != encoder.fingerprint


def test_a_copy_runs_in_int8_by_itself_and_in_floating_point_if_asked(encoder, copied, texts, monkeypatch):
    folder = copied(encoder.files())
    monkeypatch.delenv("LLMREC_DTYPE", raising=False)
    copy = TextEncoder.load(str(folder))
    assert copy.placement == INT8
    np.testing.assert_array_equal(copy.encode(texts[:5]), encoder.encode(texts[:5]))
    monkeypatch.setenv("LLMREC_DTYPE", "float32")
    plain = TextEncoder.load(str(folder))
    assert plain.placement.dtype == "float32"
    assert "int8/model.xml" not in plain.files()
    assert plain.fingerprint != copy.fingerprint


def test_where_openvino_is_missing_a_copy_says_so_and_runs_in_floating_point(encoder, copied, monkeypatch):
    folder = copied(encoder.files())
    monkeypatch.delenv("LLMREC_DTYPE", raising=False)
    monkeypatch.setattr("llmrec.models.device.find_spec", lambda name: None)
    with pytest.warns(QuantisationWarning, match=r"no OpenVINO to run it: pip install 'llmrec\[int8\]'; going on in"):
        assert TextEncoder.load(str(folder)).placement.dtype != "int8"
    with pytest.raises(MissingExtraError, match=r"llmrec\[int8\]"):
        best_placement("cpu", "int8")


def test_the_cache_of_vectors_keeps_formats_apart(bert_folder, texts, cache, tmp_path):
    pytest.importorskip("openvino")
    vectors = EmbeddingCache(tmp_path / "vectors.sqlite")
    encoder = TextEncoder.load(str(bert_folder), placement=INT8, cache=vectors).calibrated(texts)
    encoder.encode(texts[:4])
    plain = encoder.in_dtype("float32")
    plain.encode(texts[:4])
    assert plain.encoded == 4
    assert encoder.in_dtype("float32").placement.dtype == "float32"


def test_without_calibration_it_says_what_to_do(bert_folder):
    encoder = TextEncoder.load(str(bert_folder), placement=INT8)
    for ask in (lambda: encoder.encode(["toy"]), lambda: encoder.fingerprint):
        with pytest.raises(ModelError, match=r"not calibrated for int8; use what TextEncoder.calibrated\(texts\)"):
            ask()


def test_other_formats_need_no_calibration(bert_folder):
    encoder = TextEncoder.load(str(bert_folder), placement=Placement("cpu", "float32"))
    assert encoder.calibrated(["toy"]) is encoder


def test_int8_is_for_the_cpu():
    with pytest.raises(ConfigError, match="dtype int8 is for the CPU, not for cuda"):
        Placement("cuda", "int8")


def test_a_failure_tells_the_reason_and_leaves_nothing(bert_folder, texts, tmp_path, monkeypatch):
    monkeypatch.setenv("LLMREC_CACHE", str(tmp_path))
    code = "import sys; sys.exit('no module named nncf')"
    real = subprocess.run
    monkeypatch.setattr(_int8.subprocess, "run", lambda command, **how: real([sys.executable, "-c", code], **how))
    with pytest.raises(ModelError, match=r"8-bit form of tiny-bert could not be made: no module named nncf\. Is the"):
        TextEncoder.load(str(bert_folder), placement=INT8).calibrated(texts)
    assert not [path for path in (tmp_path / "int8").iterdir() if path.is_dir()]


def test_pairs_are_scored_in_floating_point(cross_folder):
    scorer = PairScorer.load(str(cross_folder), placement=INT8)
    assert scorer.placement == INT8.floating
    assert INT8.floating.dtype in ("float32", "bfloat16")
    assert scorer.score([("toy", "heat")]).shape == (1,)


CODE = """
import sys
from llmrec.models import Placement, QuantisationWarning, TextEncoder
TextEncoder.load(sys.argv[1], placement=Placement("cpu", "int8")).encode(["toy story", "heat"])
sys.exit(" ".join(sorted({"transformers", "nncf", "sklearn"} & set(sys.modules))) or None)
"""


def test_running_it_imports_only_the_runtime(encoder, copied):
    command = [sys.executable, "-c", CODE, str(copied(encoder.files()))]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (found.returncode, found.stderr) == (0, "")
