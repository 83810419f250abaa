"""Tuning a language model: it learns what is asked, the best check is kept, interruptions cost nothing, all load it."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from llmrec.data import Catalog, Interactions, leave_last_out
from llmrec.errors import ConfigError, DataError, MissingExtraError, ModelError
from llmrec.models import Message
from llmrec.rerank.language import Reader, YesNo, YesNoConfig
from llmrec.retrieve import EaseConfig, fit_ease
from llmrec.testing.models import tiny_llama
from llmrec.train import LanguageModelConfig, TrainOptions, read_record, train_language_model
from llmrec.train.encoder_mining import Alone
from llmrec.train.language_check import RerankCheck
from llmrec.train.language_examples import draw_examples

pytest.importorskip("trl")

from llmrec.train.language_trainer import LanguageCollator, LanguageTrainer

WORDS = [
    "red",
    "oak",
    "fox",
    "sun",
    "ice",
    "map",
    "cup",
    "hat",
    "jar",
    "key",
    "lamp",
    "moon",
    "nest",
    "owl",
    "pear",
    "rose",
    "salt",
    "tide",
    "vine",
    "wolf",
]
ASKED = (
    "Someone chose these the latest first Would they choose this next Answer Yes or No You know what people like with"
)


@pytest.fixture(scope="module", autouse=True)
def _float32():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LLMREC_DTYPE", "float32")
        yield


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Whatever people begin with, they end with the last two items, in either order."""
    base = tiny_llama(tmp_path_factory.mktemp("base") / "tiny", words=[*WORDS, "Yes", "No"], seed=1)
    catalog = Catalog.from_table({"item_id": [f"i{n}" for n in range(20)], "title": WORDS})
    rng = np.random.default_rng(0)
    rows = [
        (f"u{user}", f"i{item}")
        for user in range(60)
        for item in [*rng.permutation(18)[:3], *(18 + rng.permutation(2))]
    ]
    users, items = zip(*rows, strict=True)
    table = {"user_id": list(users), "item_id": list(items), "timestamp": list(range(len(rows)))}
    split = leave_last_out(Interactions.from_table(table, catalog))
    cases = replace(split.test, queries=replace(split.test.queries, exclude=split.test.queries.histories))
    (base / "short.toml").write_text(SHORT)
    return base, catalog, split.known, cases


SHORT = """
kind = "chat"
version = 1
description = "No word too many."
[fields.title]
scope = "item"
required = true
description = "The item's name."
[parts]
system = ""
entry = "{{ title }}"
user = "{{ history | join(' ') }}"
item = "{{ title }}"
"""


def config_of(base, **settings):
    usual = {
        "cases": 60,
        "per_user": 1,
        "epochs": 6,
        "negatives": 2,
        "negatives_from": "popularity",
        "batch_tokens": 400,
        "max_tokens": 128,
        "template": str(base / "short.toml"),
        "learning_rate": 1e-2,
        "lora_rank": 0,
        "checks": 2,
        "patience": 3,
        "check_users": 20,
        "list_length": 10,
        "minutes": None,
    }
    return LanguageModelConfig(model=str(base), **{**usual, **settings})


def tuned(world, out, told=None, *, checked=False, seed=0, report_to="none", stop_at=None, **settings):
    base, catalog, train, cases = world
    told = [] if told is None else told

    def progress(message):
        told.append(message)
        if stop_at is not None and message.startswith(f"language model: step {stop_at}/"):
            raise StopError

    options = TrainOptions(seed=seed, report_to=report_to, progress=progress)
    config = config_of(base, **settings)
    return train_language_model(config, catalog, train, cases if checked else None, out, options=options)


class StopError(Exception):
    """Somebody pulls the plug."""


@pytest.fixture(scope="module")
def trained(world, tmp_path_factory):
    out, told = tmp_path_factory.mktemp("trained") / "model", []
    return out, tuned(world, out, told, checked=True), told


def weights(folder):
    return load_file(folder / "model.safetensors")


def assert_same_weights(one, other):
    ours, theirs = weights(one), weights(other)
    assert ours.keys() == theirs.keys()
    for name, part in ours.items():
        np.testing.assert_allclose(part, theirs[name], rtol=1e-4, atol=1e-6, err_msg=name)


def test_what_comes_next_is_learned(trained):
    out, _, told = trained
    record = read_record(out)
    assert record["best"] > record["before"] + 0.1
    assert len(record["checks"]) == 2
    assert record["cases"] == 60
    losses = [float(line.split("loss ")[1].split(",")[0]) for line in told if "loss " in line]
    assert losses[-1] < 0.5 < losses[0]
    assert any("minutes left" in line for line in told)


def test_the_check_is_the_scorers_own(trained, world):
    base, catalog, train, cases = world
    stage = Alone(fit_ease(train, catalog, EaseConfig()))
    check = RerankCheck.on_sample(config_of(base), catalog, cases, stage, 0)
    assert check.measure(trained[0]) == pytest.approx(read_record(trained[0])["best"], abs=1e-6)
    assert check.measure(base) == pytest.approx(read_record(trained[0])["before"], abs=1e-6)
    perfect = (check.lists == check.cases.targets[:, None]).astype(np.float64)
    assert check.of(perfect) == 1.0
    nobody = replace(cases, targets=cases.queries.items[cases.queries.offsets[:-1]])  # what they took before
    assert RerankCheck.on_sample(config_of(base), catalog, nobody, stage, 0) is None


def test_loads_in_plain_transformers_and_is_the_same(trained, world):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    out, model, _ = trained
    plain = AutoModelForCausalLM.from_pretrained(out)
    tokenizer = AutoTokenizer.from_pretrained(out)
    prompt = model.chat([Message("user", "red oak")])
    chat = tokenizer.apply_chat_template([{"role": "user", "content": "red oak"}], add_generation_prompt=True)
    assert list(chat["input_ids"]) == prompt
    ids = torch.tensor([[*prompt, *model.tokens.text("Yes")]])
    with torch.inference_mode():
        logits = plain(ids).logits[0].log_softmax(-1)
    expected = sum(float(logits[len(prompt) - 1 + n, id_]) for n, id_ in enumerate(ids[0, len(prompt) :]))
    assert model.log_likelihood([prompt], [["Yes"]])[0][0] == pytest.approx(expected, abs=1e-4)
    before, after = weights(world[0]), weights(out)
    assert {name: (part.shape, part.dtype) for name, part in before.items()} == {
        name: (part.shape, part.dtype) for name, part in after.items()
    }
    assert any(not np.array_equal(part, after[name]) for name, part in before.items())


def test_only_the_model_and_its_record_are_left_behind(trained, world):
    out, *_ = trained
    assert not [path for path in out.rglob("*") if path.suffix in {".bin", ".pt", ".pth", ".pkl"}]
    assert {path.name for path in out.iterdir()} == {path.name for path in world[0].iterdir()} - {
        "short.toml",
        "list.toml",
    } | {"training.json"}
    for path in out.glob("*.json"):
        assert str(out.parent) not in path.read_text()
        assert str(world[0]) not in path.read_text().replace(str(world[0] / "short.toml"), "")  # as the user said it
    for name in ("tokenizer.json", "chat_template.jinja"):
        assert (out / name).read_bytes() == (world[0] / name).read_bytes()


def test_a_scorer_uses_it_by_its_folder(trained, world):
    out, (_, catalog, _, cases) = trained[0], world
    settings = YesNoConfig(model=str(out), max_tokens=128, template=str(world[0] / "short.toml"))
    scorer = YesNo("yes_no", settings, Reader.of(settings, catalog))
    queries = cases.queries.take(np.arange(10))
    scores = scorer.score(queries, np.tile(np.arange(20, dtype=np.int32), (10, 1)))
    assert scores[:, 18:].mean() > scores[:, :18].mean() + 0.3


def test_a_finished_training_is_not_done_again(trained, world):
    out, told = trained[0], []
    before = (out / "model.safetensors").stat().st_mtime_ns
    tuned(world, out, told, checked=True)
    assert (out / "model.safetensors").stat().st_mtime_ns == before
    assert "finished already" in told[0]


def test_an_interrupted_training_ends_as_if_nothing_had_been(trained, world, tmp_path):
    out, told = tmp_path / "model", []
    reached = [line.split("/")[0].split()[-1] for line in trained[2] if "loss " in line]
    with pytest.raises(StopError):
        tuned(world, out, checked=True, stop_at=reached[-2])
    with pytest.raises(ModelError, match="not finished"):
        read_record(out)
    tuned(world, out, told, checked=True)
    assert any("going on from step" in line for line in told)
    assert not any("measuring it as it is" in line for line in told)
    assert_same_weights(out, trained[0])
    assert read_record(out)["checks"] == pytest.approx(read_record(trained[0])["checks"])


def test_a_tuning_that_helps_nobody_leaves_the_model_as_it_was(world, tmp_path, monkeypatch):
    scores, told = iter([0.5, 0.4, 0.3]), []
    monkeypatch.setattr(RerankCheck, "measure", lambda self, folder: next(scores))
    tuned(world, tmp_path / "m", told, checked=True, epochs=1)
    assert any("stays as it was" in line for line in told)
    before, after = weights(world[0]), weights(tmp_path / "m")
    for name, part in before.items():
        np.testing.assert_array_equal(part, after[name])
    assert read_record(tmp_path / "m")["best"] == 0.5


@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning")
def test_adapters_are_merged_and_kept_as_peft_has_them(world, tmp_path):
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    out, base = tmp_path / "model", world[0]
    tuned(world, out, lora_rank=4, epochs=2)
    before, after = weights(base), weights(out)
    assert before.keys() == after.keys()
    moved = {name for name, part in after.items() if not np.array_equal(part, before[name])}
    assert moved
    assert all("proj" in name for name in moved)
    told = json.loads((out / "adapter" / "adapter_config.json").read_text())
    assert told["base_model_name_or_path"] == base.name
    adapted = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), out / "adapter").eval()
    merged = AutoModelForCausalLM.from_pretrained(out)
    ids = torch.arange(5, 25).reshape(2, 10)
    with torch.inference_mode():
        torch.testing.assert_close(merged(ids).logits, adapted(ids).logits, rtol=1e-4, atol=1e-4)


def test_a_tuned_model_is_tuned_further_and_for_another_task(trained, world, tmp_path):
    _, catalog, train, cases = world
    out, told = tmp_path / "model", []
    short = str(world[0] / "short.toml")
    further = (trained[0], catalog, train, cases)
    tuned(further, out, told, task="next_title", template=short, checked=True, per_user=4, cases=200, epochs=2)
    record = read_record(out)
    assert record["best"] > record["before"]
    losses = [float(line.split("loss ")[1].split(",")[0]) for line in told if "loss " in line]
    assert losses[-1] < losses[0]


def test_lists_are_put_in_order(world, tmp_path):
    out, told = tmp_path / "model", []
    short = world[0] / "list.toml"
    short.write_text(SHORT)
    tuned(
        world, out, told, task="listwise", template=str(short), window=4, negatives=3, max_tokens=200, item_tokens=8,
        list_length=4, check_users=6, checked=True,
    )  # fmt: skip
    assert len(read_record(out)["checks"]) == 2
    losses = [float(line.split("loss ")[1].split(",")[0]) for line in told if "loss " in line]
    assert losses[-1] < losses[0]


def test_the_seed_decides(world, tmp_path):
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        tuned(world, tmp_path / name, seed=seed, epochs=1, cases=20)
    assert_same_weights(tmp_path / "a", tmp_path / "b")
    with pytest.raises(AssertionError):
        assert_same_weights(tmp_path / "a", tmp_path / "c")
    record = read_record(tmp_path / "a")
    assert (record["before"], record["checks"], record["best"]) == (None, [], None)


def test_minutes_end_it(world, tmp_path):
    tuned(world, tmp_path / "m", minutes=0.02, epochs=500, checks=1)
    assert 0 < read_record(tmp_path / "m")["steps"] < 1000


def test_memory_can_be_saved_and_half_floats_trained_beside(world, tmp_path, monkeypatch):
    monkeypatch.setenv("LLMREC_DTYPE", "bfloat16")
    told = []
    tuned(world, tmp_path / "m", told, save_memory=True, lora_rank=2, epochs=1)
    losses = [float(line.split("loss ")[1].split(",")[0]) for line in told if "loss " in line]
    assert losses[-1] < losses[0]
    assert weights(tmp_path / "m")["model.norm.weight"].dtype == np.float32


@pytest.mark.parametrize("shared", [True, False])
def test_what_is_shared_changes_no_loss_and_no_slope(world, shared):
    from transformers import AutoModelForCausalLM

    base, catalog, train, _ = world
    examples = draw_examples(config_of(base, cases=6), catalog, train, None, seed=0)
    module = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float64)
    batch = LanguageCollator(examples, shared, 2)([{"cases": [0, 1]}, {"cases": [4]}])
    trainer = LanguageTrainer.__new__(LanguageTrainer)
    loss = trainer.compute_loss(module, dict(batch))
    loss.backward()
    slopes = {name: part.grad.clone() for name, part in module.named_parameters()}
    module.zero_grad()
    asked = [one for case in (0, 1, 4) for one in examples.case(case)]
    plain, count = torch.zeros((), dtype=torch.float64), 0
    for one in asked:
        logits = module(torch.tensor([one.read])).logits[0, len(one.prompt) - 1 :]
        plain = plain + torch.nn.functional.cross_entropy(logits, torch.tensor(one.continuation), reduction="sum")
        count += len(one.continuation)
    (plain / count).backward()
    assert float(loss.detach()) == pytest.approx(float(plain.detach()) / count, rel=1e-6)
    for name, part in module.named_parameters():
        torch.testing.assert_close(slopes[name], part.grad, rtol=1e-4, atol=1e-6, msg=name)
    read = int(batch["attention_mask"].sum()) if not shared else None
    assert read is None or read == sum(len(one.read) for one in asked)


@pytest.mark.parametrize("package", ["trl", "peft"])
def test_a_missing_package_is_found_before_any_work(world, tmp_path, monkeypatch, package):
    monkeypatch.setattr("llmrec.train.language_model.find_spec", lambda name: None if name == package else object())
    with pytest.raises(MissingExtraError, match=rf"{package}.*llmrec\[llm\]"):
        tuned(world, tmp_path / "m", lora_rank=2)
    assert not (tmp_path / "m").exists()


def test_four_bits_take_a_gpu(world, tmp_path):
    with pytest.raises(ConfigError, match="takes an NVIDIA GPU"):
        tuned(world, tmp_path / "m", quantised=True, lora_rank=2)
    with pytest.raises(ValueError, match="lora_rank"):
        config_of(world[0], quantised=True, lora_rank=0)


def test_a_folder_of_something_else_is_left_alone(world, tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(ConfigError, match="holds something else"):
        tuned(world, tmp_path)
    assert (tmp_path / "mine.txt").read_text() == "mine"


def test_the_model_to_start_from_is_not_written_over(world, tmp_path):
    for out in (world[0], world[0].parent):
        with pytest.raises(ConfigError, match="holds the model that the training starts from"):
            tuned(world, out)
    assert (world[0] / "model.safetensors").is_file()


def test_too_little_room_is_found_before_any_work(world, tmp_path):
    with pytest.raises(ConfigError, match="max_tokens=256 leaves no room for a user"):
        tuned(world, tmp_path / "m", task="listwise", template=None, max_tokens=256)
    assert not (tmp_path / "m").exists()


def test_nobody_with_two_interactions(world, tmp_path):
    base, catalog, *_ = world
    log = Interactions.from_table({"user_id": ["a", "b"], "item_id": ["i0", "i1"]}, catalog)
    with pytest.raises(DataError, match="no user has two interactions"):
        train_language_model(config_of(base), catalog, log, None, tmp_path / "m")
