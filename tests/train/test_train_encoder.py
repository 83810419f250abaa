"""Tuning an encoder: it learns, the best check is kept, interruptions cost nothing, and anything can load it."""

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from safetensors.numpy import load_file

from llmrec.data import Catalog, Interactions, leave_last_out
from llmrec.errors import ConfigError, DataError, MissingExtraError, ModelError
from llmrec.models import TextEncoder
from llmrec.testing.models import tiny_bert
from llmrec.train import EncoderConfig, TrainOptions, read_record, train_encoder
from llmrec.train.encoder_check import RetrieverCheck

WORDS = [f"word{n}" for n in range(40)]


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Titles of two words that share nothing, though items follow each other in fixed pairs."""
    base = tiny_bert(tmp_path_factory.mktemp("base"), words=WORDS, seed=1)
    titles = [f"word{2 * n} word{2 * n + 1}" for n in range(20)]
    catalog = Catalog.from_table({"item_id": [f"i{n}" for n in range(20)], "title": titles})
    rng = np.random.default_rng(0)
    rows = []
    for user in range(80):
        for pair in rng.permutation(10)[:4]:
            rows += [(f"u{user}", f"i{2 * pair}"), (f"u{user}", f"i{2 * pair + 1}")]
    users, items = zip(*rows, strict=True)
    table = {"user_id": list(users), "item_id": list(items), "timestamp": list(range(len(rows)))}
    split = leave_last_out(Interactions.from_table(table, catalog))
    cases = split.test  # the last but one is the first of a pair, and the last one the second
    cases = replace(cases, queries=replace(cases.queries, exclude=cases.queries.histories))
    return base, catalog, split.known, cases


def config_of(base, **settings):
    usual = {
        "pairs": 320,
        "batch_size": 32,
        "epochs": 2,
        "learning_rate": 3e-3,
        "decay": 0.1,
        "history": 1,
        "checks": 3,
    }
    return EncoderConfig(encoder=str(base), item_template="item/title", **{**usual, "patience": 3, **settings})


@pytest.fixture(scope="module")
def trained(world, tmp_path_factory):
    base, catalog, train, cases = world
    out, told = tmp_path_factory.mktemp("trained") / "model", []
    encoder = train_encoder(config_of(base), catalog, train, cases, out, options=TrainOptions(progress=told.append))
    return out, encoder, told


def weights(out):
    return load_file(out / "model.safetensors")


def assert_same_weights(one, other):
    ours, theirs = weights(one), weights(other)
    assert ours.keys() == theirs.keys()
    for name, part in ours.items():
        np.testing.assert_allclose(part, theirs[name], rtol=1e-5, atol=1e-7, err_msg=name)


def test_what_follows_what_is_learned(trained):
    out, _, told = trained
    record = read_record(out)
    assert record["before"] < 0.5
    assert record["best"] > record["before"] + 0.05
    assert len(record["checks"]) == 3
    assert record["steps"] == 20
    assert any("minutes left" in line for line in told)
    assert f"validation NDCG@10 {record['checks'][0]:.4f}" in " ".join(told)


def test_the_check_is_the_retrievers_own(trained, world):
    out, *_ = trained
    base, catalog, _, cases = world
    check = RetrieverCheck.on_sample(config_of(base), catalog, cases, 1000, 0)
    assert check.measure(out) == pytest.approx(read_record(out)["best"], abs=1e-6)


def test_loads_in_plain_sentence_transformers_and_is_the_same(trained, world):
    from sentence_transformers import SentenceTransformer

    out, encoder, _ = trained
    texts = [*WORDS[:7], "word1 [SEP] word2", "word3 " * 60]
    plain = SentenceTransformer(str(out), device="cpu", local_files_only=True)
    assert plain.max_seq_length == 128  # the limit of the training is not the model's
    longer = TextEncoder.load(str(out), max_tokens=128)
    np.testing.assert_allclose(longer.encode(texts), plain.encode(texts), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(encoder.encode(texts[:8]), plain.encode(texts[:8]), rtol=1e-4, atol=1e-5)
    assert not np.allclose(encoder.encode(texts), TextEncoder.load(str(world[0])).encode(texts), atol=1e-2)


def test_only_the_model_and_its_record_are_left_behind(trained):
    out, *_ = trained
    assert not [path for path in out.rglob("*") if path.suffix in {".bin", ".pt", ".pth", ".pkl"}]
    assert not (out / "checkpoints").exists()
    assert not [path for path in out.iterdir() if path.name.startswith(".")]
    assert str(out) not in (out / "training.json").read_text()


def test_a_finished_training_is_not_done_again(trained, world):
    out, *_ = trained
    base, catalog, train, cases = world
    before, told = (out / "model.safetensors").stat().st_mtime_ns, []
    again = train_encoder(config_of(base), catalog, train, cases, out, options=TrainOptions(progress=told.append))
    assert (out / "model.safetensors").stat().st_mtime_ns == before
    assert "finished already" in told[0]
    assert again.dim == 32


class StopError(Exception):
    """Somebody pulls the plug."""


def stopping(at):
    def progress(message):
        if message.startswith(f"encoder: step {at}/"):
            raise StopError

    return progress


@pytest.mark.parametrize("stop_at", [9, 16])
def test_an_interrupted_training_ends_as_if_nothing_had_been(trained, world, tmp_path, stop_at):
    base, catalog, train, cases = world
    out, told = tmp_path / "model", []
    with pytest.raises(StopError):
        train_encoder(config_of(base), catalog, train, cases, out, options=TrainOptions(progress=stopping(stop_at)))
    newest = max((out / "checkpoints").glob("checkpoint-*"), key=lambda path: int(path.name.rpartition("-")[2]))
    # as if it had been killed while it wrote the next one
    broken = out / "checkpoints" / "checkpoint-19"
    broken.mkdir()
    (broken / "weights.safetensors").write_bytes(b"half")
    with pytest.raises(ModelError, match="not finished"):
        read_record(out)
    train_encoder(config_of(base), catalog, train, cases, out, options=TrainOptions(progress=told.append))
    assert any(f"going on from step {newest.name.rpartition('-')[2]}" in line for line in told)
    assert not any("measuring it as it is" in line for line in told)
    assert_same_weights(out, trained[0])
    assert read_record(out)["checks"] == pytest.approx(read_record(trained[0])["checks"])


def test_the_model_to_start_from_is_not_written_over(world):
    base, catalog, train, _ = world
    with pytest.raises(ConfigError, match="holds the model that the training starts from"):
        train_encoder(config_of(base), catalog, train, None, base)
    assert (base / "model.safetensors").is_file()


def test_another_training_begins_anew(world, tmp_path):
    base, catalog, train, cases = world
    out, told = tmp_path / "model", []
    with pytest.raises(StopError):
        train_encoder(config_of(base), catalog, train, cases, out, options=TrainOptions(progress=stopping(9)))
    options = TrainOptions(progress=told.append)
    train_encoder(config_of(base, epochs=1, checks=1), catalog, train, cases, out, options=options)
    assert not any("going on" in line for line in told)
    assert read_record(out)["steps"] == 10


def test_the_best_check_is_kept_and_no_progress_ends_it(world, tmp_path, monkeypatch):
    base, catalog, train, cases = world
    scores, seen = iter([0.1, 0.3, 0.2, 0.25, 0.28]), []

    def measure(self, folder):
        seen.append(load_file(folder / "model.safetensors"))
        return next(scores)

    monkeypatch.setattr(RetrieverCheck, "measure", measure)
    out = tmp_path / "model"
    train_encoder(config_of(base, checks=10, patience=2), catalog, train, cases, out)
    record = read_record(out)
    assert (record["before"], record["checks"], record["best"]) == (0.1, [0.3, 0.2, 0.25], 0.3)
    kept = weights(out)
    for name, part in seen[1].items():
        np.testing.assert_array_equal(part, kept[name], err_msg=name)
    assert any(not np.array_equal(part, kept[name]) for name, part in seen[3].items())


def test_a_tuning_that_helps_nobody_leaves_the_model_as_it_was(world, tmp_path, monkeypatch):
    base, catalog, train, cases = world
    scores = iter([0.5, 0.4, 0.3])
    monkeypatch.setattr(RetrieverCheck, "measure", lambda self, folder: next(scores))
    out, told = tmp_path / "model", []
    options = TrainOptions(progress=told.append)
    train_encoder(config_of(base, epochs=1, checks=2), catalog, train, cases, out, options=options)
    assert any("stays as it was" in line for line in told)
    before, after = weights(base), weights(out)
    for name, part in after.items():
        np.testing.assert_array_equal(part, before[name])
    assert read_record(out)["best"] == 0.5


@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning")
def test_adapters_are_merged_and_kept_as_peft_has_them(world, tmp_path):
    import torch
    from peft import PeftModel
    from transformers import AutoModel

    base, catalog, train, cases = world
    out = tmp_path / "model"
    config = config_of(base, lora_rank=4, learning_rate=1e-2, checks=1)
    encoder = train_encoder(config, catalog, train, cases, out)
    assert read_record(out)["best"] > read_record(out)["before"]
    before, after = weights(base), weights(out)
    assert not [name for name in after if "lora" in name]
    moved = {name for name, part in after.items() if not np.array_equal(part, before[name])}
    assert moved
    assert all(name.endswith("weight") and "embeddings" not in name and "LayerNorm" not in name for name in moved)
    adapted = PeftModel.from_pretrained(AutoModel.from_pretrained(base), out / "adapter")
    assert json.loads((out / "adapter" / "adapter_config.json").read_text())["base_model_name_or_path"] == base.name
    ids = torch.arange(5, 25).reshape(2, 10)
    merged = AutoModel.from_pretrained(out)
    with torch.inference_mode():
        expected = adapted.eval()(input_ids=ids).last_hidden_state
        torch.testing.assert_close(merged.eval()(input_ids=ids).last_hidden_state, expected, rtol=1e-4, atol=1e-5)
        united = adapted.merge_and_unload()(input_ids=ids).last_hidden_state
        torch.testing.assert_close(united, expected, rtol=1e-4, atol=1e-5)
    assert encoder.encode(["word1"]).shape == (1, 32)


def test_adapters_of_a_model_that_is_not_kept_are_merged_only(world, tmp_path):
    base, catalog, train, _ = world
    config = config_of(base, lora_rank=2, learning_rate=1e-2, pretrain_epochs=1, epochs=1)
    train_encoder(config, catalog, train, None, tmp_path / "m")
    assert (tmp_path / "m" / "model.safetensors").is_file()
    assert not (tmp_path / "m" / "adapter").exists()
    assert not (tmp_path / "m" / "pretrained").exists()


def test_an_interrupted_training_of_adapters_goes_on(world, tmp_path):
    base, catalog, train, cases = world
    config = config_of(base, lora_rank=2, epochs=1, checks=2)
    options = TrainOptions(progress=stopping(8))
    with pytest.raises(StopError):
        train_encoder(config, catalog, train, cases, tmp_path / "a", options=options)
    for name in ("a", "b"):
        train_encoder(config, catalog, train, cases, tmp_path / name)
    assert_same_weights(tmp_path / "a", tmp_path / "b")


def test_the_seed_decides(world, tmp_path):
    base, catalog, train, _ = world
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        config = config_of(base, epochs=1, pairs=64)
        train_encoder(config, catalog, train, None, tmp_path / name, options=TrainOptions(seed=seed))
    assert_same_weights(tmp_path / "a", tmp_path / "b")
    with pytest.raises(AssertionError):
        assert_same_weights(tmp_path / "a", tmp_path / "c")
    record = read_record(tmp_path / "a")
    assert (record["before"], record["checks"], record["best"]) == (None, [], None)


def test_user_texts_hard_negatives_and_the_cache_train(world, tmp_path):
    base, catalog, train, _ = world
    config = config_of(
        base, user_template="user/recent", negatives=1, negative_depth=15, cached=True, chunk=16, dims=(16,)
    )
    told = []
    options = TrainOptions(progress=told.append)
    train_encoder(config, catalog, train, None, tmp_path / "model", options=options)
    losses = [float(line.split("loss ")[1].split(",")[0]) for line in told if "loss " in line]
    assert len(losses) == 20
    assert np.mean(losses[-5:]) < 0.9 * np.mean(losses[:5])


def test_minutes_end_it(world, tmp_path):
    base, catalog, train, cases = world
    out = tmp_path / "model"
    train_encoder(config_of(base, minutes=0.01, epochs=500, checks=1), catalog, train, cases, out)
    record = read_record(out)
    assert 0 < record["steps"] < 5000
    assert len(record["checks"]) == 1


def test_the_rate_warms_up_and_falls_to_nothing_with_steps_or_time(monkeypatch):
    from llmrec.train.watch import Watch

    watch = Watch("encoder", 100, 5, 2, None, print)
    rates = [watch.rate(step) for step in range(101)]
    assert rates[0] == pytest.approx(0.2)
    assert max(rates) == rates[5] == pytest.approx(1.0)
    assert rates[100] == 0
    assert rates[5:] == sorted(rates[5:], reverse=True)
    watch = Watch("encoder", 100, 5, 2, 1.0, print)
    monkeypatch.setattr(Watch, "spent", lambda self: 45.0)
    assert watch.progress(10) == 0.75
    assert watch.rate(10) == pytest.approx(0.25 / 0.95)


@pytest.mark.parametrize("checked", [False, True])
def test_a_budget_of_time_is_one_budget_however_often_it_is_killed(monkeypatch, checked):
    from llmrec.train import watch as module

    clock, log = [100.0], []
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: clock[0]))

    def begin():
        watch = module.Watch("encoder", 1000, 2, 2, 1.0, print)
        watch.on_train_begin(None, SimpleNamespace(global_step=0, log_history=log), None)
        return watch

    watch, control = begin(), SimpleNamespace(should_save=False, should_evaluate=False, should_training_stop=False)
    clock[0] += 30.0
    args = SimpleNamespace(eval_strategy="steps" if checked else "no")
    watch.on_step_end(args, SimpleNamespace(global_step=1, log_history=log), control)
    assert control.should_save
    if checked:
        log.append({"eval_spent": watch.spent()})  # the evaluator does
    assert len(log) == 1
    clock[0] += 1e6  # killed, and begun again much later
    assert begin().spent() == 30.0


@pytest.mark.parametrize("report_to", ["tensorboard", "wandb"])
def test_a_report_needs_its_package(world, tmp_path, monkeypatch, report_to):
    base, catalog, train, cases = world
    monkeypatch.setattr("llmrec.train.record.find_spec", lambda name: None if name == report_to else object())
    options = TrainOptions(report_to=report_to)
    with pytest.raises(ConfigError, match=f"pip install {report_to}"):
        train_encoder(config_of(base), catalog, train, cases, tmp_path, options=options)


@pytest.mark.parametrize("package", ["sentence_transformers", "peft"])
def test_a_missing_package_is_found_before_any_work(world, tmp_path, monkeypatch, package):
    base, catalog, train, cases = world
    monkeypatch.setattr("llmrec.train.encoder.find_spec", lambda name: None if name == package else object())
    with pytest.raises(MissingExtraError, match=r"llmrec\[train\]"):
        train_encoder(config_of(base, lora_rank=2), catalog, train, cases, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_what_else_is_in_the_folder_is_left_alone(world, tmp_path):
    base, catalog, train, cases = world
    (tmp_path / "thesis.txt").write_text("irreplaceable")
    with pytest.raises(ConfigError, match="holds something else"):
        train_encoder(config_of(base), catalog, train, cases, tmp_path)
    assert (tmp_path / "thesis.txt").read_text() == "irreplaceable"


def test_a_file_is_no_folder(world, tmp_path):
    base, catalog, train, cases = world
    (tmp_path / "file").write_text("irreplaceable")
    with pytest.raises(ConfigError, match="holds something else"):
        train_encoder(config_of(base), catalog, train, cases, tmp_path / "file")


def test_a_kill_in_the_first_moment_leaves_the_folder_usable(world, tmp_path, monkeypatch):
    base, catalog, train, cases = world

    def die(self, target):
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", die)
    with pytest.raises(KeyboardInterrupt):
        train_encoder(config_of(base), catalog, train, cases, tmp_path / "m")
    monkeypatch.undo()
    assert [path.name for path in (tmp_path / "m").iterdir()] == ["training.json.new"]
    with pytest.raises(ConfigError, match="beyond the 32 numbers"):  # it begins, and comes as far as that
        train_encoder(config_of(base, dims=(64,)), catalog, train, None, tmp_path / "m")


def test_settings_that_do_not_fit(world, tmp_path):
    base, catalog, train, cases = world
    with pytest.raises(ConfigError, match="beyond the 32 numbers"):
        train_encoder(config_of(base, dims=(64,)), catalog, train, cases, tmp_path / "a")
    with pytest.raises(ValueError, match="distinct"):
        config_of(base, dims=(8, 8))


def test_nobody_with_two_interactions(world, tmp_path):
    base, catalog, *_ = world
    log = Interactions.from_table({"user_id": ["a", "b"], "item_id": ["i0", "i1"], "timestamp": [1, 2]}, catalog)
    with pytest.raises(DataError, match="use `dense` instead"):
        train_encoder(config_of(base), catalog, log, None, tmp_path / "a")
