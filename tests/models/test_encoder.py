import json
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import safetensors.torch

from llmrec.errors import AssetError, ConfigError, ModelError
from llmrec.models import EmbeddingCache, Placement, TextEncoder
from llmrec.testing.models import tiny_bert

TEXTS = ["Toy Story", "Heat", "", "seven monkeys and a babe, or more", "Toy Story", "x" * 300]


def load(folder, **rest):
    return TextEncoder.load(str(folder), placement=rest.pop("placement", Placement("cpu", "float32")), **rest)


def change_json(path, **values):
    path.write_text(json.dumps((json.loads(path.read_text()) if path.exists() else {}) | values))


@pytest.fixture
def encoder(bert_folder):
    return load(bert_folder)


@pytest.fixture
def own_folder(bert_folder, tmp_path):
    return shutil.copytree(bert_folder, tmp_path / "own")


def test_shape_type_and_length_one(encoder):
    vectors = encoder.encode(TEXTS)
    assert (vectors.shape, vectors.dtype) == ((6, 32), np.float32)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert encoder.dim == 32
    assert encoder.name == "tiny-bert"


def test_no_texts(encoder):
    vectors = encoder.encode([])
    assert (vectors.shape, vectors.dtype, encoder.encoded) == ((0, 32), np.float32, 0)


def test_equal_texts_are_encoded_once_and_different_ones_differ(encoder):
    vectors = encoder.encode(TEXTS)
    assert encoder.encoded == 5
    assert (vectors[0] == vectors[4]).all()
    assert (vectors[0] @ vectors[1]) < 0.999


def test_order_and_company_do_not_matter(encoder):
    texts = [f"{'toy ' * (n % 9)}{n}" for n in range(30)]
    together = encoder.encode(texts)
    shuffled = np.random.default_rng(0).permutation(30)
    np.testing.assert_allclose(encoder.encode([texts[n] for n in shuffled]), together[shuffled], atol=1e-5)
    np.testing.assert_allclose(np.concatenate([encoder.encode([text]) for text in texts]), together, atol=1e-5)


def test_small_batches_and_rounds_give_the_same(encoder, monkeypatch):
    texts = [f"{'toy ' * (n % 9)}{n}" for n in range(40)]
    expected = encoder.encode(texts)
    monkeypatch.setattr("llmrec.models._network._CPU_BUDGET", 16)
    monkeypatch.setattr("llmrec.models.encoder._ROUND", 7)
    np.testing.assert_allclose(encoder.encode(texts), expected, atol=1e-5)


def test_what_is_over_max_tokens_is_not_read_and_is_counted(bert_folder):
    encoder = load(bert_folder, max_tokens=6)
    assert encoder.text_budget == 4
    assert encoder.count_tokens(["a b c d", "a b c d e", ""]).tolist() == [4, 5, 0]
    assert encoder.truncated_count(["a b c d", "a b c d e", ""]) == 1
    vectors = encoder.encode(["a b c d e", "a b c d toy", "a b c e"])
    np.testing.assert_array_equal(vectors[0], vectors[1])
    assert not np.array_equal(vectors[0], vectors[2])


@pytest.mark.parametrize("max_tokens", [0, 2, 129])
def test_max_tokens_out_of_range(bert_folder, max_tokens):
    with pytest.raises(ConfigError, match=rf"max_tokens={max_tokens} is out of range for tiny-bert: 3 to 128"):
        load(bert_folder, max_tokens=max_tokens)


def test_special_tokens_in_a_title_are_not_control(encoder):
    honest, forged = encoder.encode(["toy", "toy [SEP]"])
    assert encoder.count_tokens(["toy [SEP]"]).tolist() == [6]
    assert honest @ forged < 0.9999


def test_nothing_is_loaded_before_it_is_needed(bert_folder, monkeypatch):
    def refuse(*args):
        raise AssertionError("weights were loaded")

    monkeypatch.setattr("llmrec.models.encoder.load_network", refuse)
    encoder = load(bert_folder)
    assert encoder.encode([]).shape == (0, 32)
    assert encoder.count_tokens(["toy"]).tolist() == [1]
    assert len(encoder.fingerprint) == 64
    with pytest.raises(AssertionError):
        encoder.encode(["toy"])


def test_cached_texts_need_no_model(bert_folder, tmp_path, monkeypatch):
    cache = EmbeddingCache(tmp_path / "cache" / "vectors.sqlite")
    first = load(bert_folder, cache=cache)
    expected = first.encode(TEXTS)
    second = load(bert_folder, cache=cache)
    np.testing.assert_array_equal(second.encode([*TEXTS, "new"])[:6], expected)
    assert second.encoded == 1
    monkeypatch.setattr("llmrec.models.encoder.load_network", None)
    np.testing.assert_array_equal(load(bert_folder, cache=cache).encode(TEXTS), expected)


def test_cache_is_not_shared_between_settings(bert_folder, tmp_path):
    cache = EmbeddingCache(tmp_path / "vectors.sqlite")
    load(bert_folder, cache=cache).encode(["toy"])
    for other in ({"max_tokens": 16}, {"placement": Placement("cpu", "bfloat16")}):
        encoder = load(bert_folder, cache=cache, **other)
        encoder.encode(["toy"])
        assert encoder.encoded == 1


def test_cached_vectors_of_a_wrong_length_are_made_again(bert_folder, tmp_path):
    cache = EmbeddingCache(tmp_path / "vectors.sqlite")
    encoder = load(bert_folder, cache=cache)
    cache.put(encoder.fingerprint, ["toy"], np.ones((1, 5), np.float32))
    assert encoder.encode(["toy"]).shape == (1, 32)
    assert encoder.encoded == 1


def test_fingerprint_is_of_content_not_of_place(bert_folder, own_folder, tmp_path):
    base = load(bert_folder).fingerprint
    assert load(own_folder).fingerprint == base
    (own_folder / "README.md").write_text("words")
    assert load(own_folder).fingerprint == base
    others = [
        load(bert_folder, max_tokens=64).fingerprint,
        load(bert_folder, placement=Placement("cpu", "bfloat16")).fingerprint,
        load(tiny_bert(tmp_path / "seed", words=("toy",), seed=1)).fingerprint,
        load(tiny_bert(tmp_path / "cls", pooling="cls")).fingerprint,
        load(tiny_bert(tmp_path / "max", pooling="max")).fingerprint,
    ]
    assert len({base, *others}) == 6


def test_files_are_enough_to_load_a_copy(encoder, copied):
    folder = copied(encoder.files())
    again = load(folder)
    assert again.fingerprint == encoder.fingerprint
    np.testing.assert_array_equal(again.encode(TEXTS), encoder.encode(TEXTS))


def test_prompts_for_users_and_items(own_folder):
    change_json(
        own_folder / "config_sentence_transformers.json",
        prompts={"query": "seven ", "document": "heat ", "other": "a b c "},
        default_prompt_name=None,
    )
    encoder = load(own_folder, max_tokens=20)
    assert encoder.text_budget == 20 - 2 - 3
    bare = encoder.encode(["seven toy", "heat toy", "toy"])
    np.testing.assert_allclose(encoder.encode_users(["toy"]), bare[:1], atol=1e-6)
    np.testing.assert_allclose(encoder.encode_items(["toy"]), bare[1:2], atol=1e-6)
    assert not np.allclose(bare[2], bare[1], atol=1e-3)


def test_default_prompt_is_for_texts_of_no_kind(own_folder):
    change_json(own_folder / "config_sentence_transformers.json", prompts={"p": "heat "}, default_prompt_name="p")
    encoder = load(own_folder)
    assert not np.allclose(encoder.encode(["toy"]), encoder.encode_users(["toy"]), atol=1e-3)


def test_plain_transformer_folder_is_mean_pooling(bert_folder, own_folder):
    for name in ("modules.json", "sentence_bert_config.json"):
        (own_folder / name).unlink()
    shutil.rmtree(own_folder / "1_Pooling")
    np.testing.assert_array_equal(load(own_folder).encode(TEXTS), load(bert_folder).encode(TEXTS))


def test_transformer_in_a_folder_of_its_own(bert_folder, own_folder):
    inner = own_folder / "0_Transformer"
    inner.mkdir()
    for path in list(own_folder.iterdir()):
        if path.is_file() and path.name != "modules.json":
            path.rename(inner / path.name)
    modules = json.loads((own_folder / "modules.json").read_text())
    modules[0]["path"] = "0_Transformer"
    (own_folder / "modules.json").write_text(json.dumps(modules))
    encoder = load(own_folder)
    assert "0_Transformer/model.safetensors" in encoder.files()
    np.testing.assert_array_equal(encoder.encode(TEXTS), load(bert_folder).encode(TEXTS))


def test_foreign_modules_are_refused(own_folder):
    modules = json.loads((own_folder / "modules.json").read_text())
    modules.append({"idx": 3, "name": "3", "path": "3_Dense", "type": "sentence_transformers.models.Dense"})
    (own_folder / "modules.json").write_text(json.dumps(modules))
    with pytest.raises(ModelError, match=r"Transformer \+ Pooling \+ Normalize \+ Dense"):
        load(own_folder)


@pytest.mark.parametrize(
    ("pooling", "message"),
    [
        ({"pooling_mode": "lasttoken"}, "lasttoken pooling; only cls, max, mean"),
        ({"pooling_mode": ["mean", "max"]}, r"mean\+max pooling"),
        ({"pooling_mode_cls_token": True}, r"cls\+mean pooling"),
    ],
)
def test_foreign_pooling_is_refused(own_folder, pooling, message):
    change_json(own_folder / "1_Pooling" / "config.json", **pooling)
    with pytest.raises(ModelError, match=message):
        load(own_folder)


def test_prompt_left_out_of_the_pooling_is_refused(own_folder):
    change_json(own_folder / "1_Pooling" / "config.json", include_prompt=False)
    assert load(own_folder).encode(["toy"]).shape == (1, 32)
    change_json(own_folder / "config_sentence_transformers.json", prompts={"query": "q: "})
    with pytest.raises(ModelError, match="include_prompt false"):
        load(own_folder)


def test_pickled_weights_are_refused(own_folder):
    (own_folder / "model.safetensors").rename(own_folder / "pytorch_model.bin")
    with pytest.raises(ModelError, match=r"no model\.safetensors.*can run code"):
        load(own_folder)


def test_missing_weights_are_not_replaced_by_random_numbers(own_folder):
    weights = safetensors.torch.load_file(own_folder / "model.safetensors")
    lost = "encoder.layer.1.output.dense.weight"
    safetensors.torch.save_file(
        {k: v for k, v in weights.items() if k != lost}, own_folder / "model.safetensors", {"format": "pt"}
    )
    with pytest.raises(ModelError, match=rf"{lost} missing.*Random numbers"):
        load(own_folder).encode(["toy"])


def test_a_missing_pooler_is_no_loss(bert_folder, own_folder):
    weights = safetensors.torch.load_file(own_folder / "model.safetensors")
    kept = {name: value for name, value in weights.items() if not name.startswith("pooler.")}
    assert len(kept) < len(weights)
    safetensors.torch.save_file(kept, own_folder / "model.safetensors", {"format": "pt"})
    np.testing.assert_array_equal(load(own_folder).encode(["toy"]), load(bert_folder).encode(["toy"]))


def test_weights_of_another_shape_are_refused(own_folder):
    change_json(own_folder / "config.json", intermediate_size=32)
    with pytest.raises(ModelError, match=r"cannot be loaded|do not make a whole"):
        load(own_folder).encode(["toy"])


def test_not_finite_is_an_error_that_names_the_text(own_folder, tmp_path):
    weights = safetensors.torch.load_file(own_folder / "model.safetensors")
    weights["encoder.layer.1.output.LayerNorm.bias"][0] = float("nan")
    safetensors.torch.save_file(weights, own_folder / "model.safetensors", {"format": "pt"})
    cache = EmbeddingCache(tmp_path / "vectors.sqlite")
    with pytest.raises(ModelError, match=r"no usable vector for 2 of 2 texts \(such as 'toy'\); try dtype float32"):
        load(own_folder, cache=cache).encode(["toy", "heat"])
    assert len(cache) == 0


@pytest.mark.parametrize("broken", ["", "[]", "{}"])
def test_broken_config_is_a_model_error(own_folder, broken):
    (own_folder / "config.json").write_text(broken)
    with pytest.raises(ModelError, match=r"config\.json"):
        load(own_folder)


def test_folder_that_is_not_there(tmp_path):
    with pytest.raises(AssetError):
        load(tmp_path / "nothing")


def test_one_string_is_not_a_batch(encoder):
    with pytest.raises(TypeError, match="not one string"):
        encoder.encode("toy")


def test_many_threads_share_one_encoder(bert_folder):
    encoder = load(bert_folder)
    expected = load(bert_folder).encode(TEXTS)
    barrier = threading.Barrier(4)

    def use(_):
        barrier.wait()
        return encoder.encode(TEXTS)

    with ThreadPoolExecutor(4) as pool:
        for vectors in pool.map(use, range(4)):
            np.testing.assert_allclose(vectors, expected, atol=1e-6)
    assert encoder.encoded == 20


def test_terminal_stays_clean(bert_folder, capfd):
    load(bert_folder).encode(["toy"])
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_stays_near(bert_folder, dtype):
    vectors = load(bert_folder, placement=Placement("cpu", dtype)).encode(TEXTS)
    assert vectors.dtype == np.float32
    assert (vectors * load(bert_folder).encode(TEXTS)).sum(axis=1).min() > 0.99
