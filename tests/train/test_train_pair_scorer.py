import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from llmrec.build import fit
from llmrec.config import Config
from llmrec.data import Interactions
from llmrec.errors import ConfigError, DataError
from llmrec.models import PairScorer
from llmrec.testing.data import tiny_users
from llmrec.testing.models import tiny_bert, tiny_cross_encoder
from llmrec.train import CrossEncoderConfig, PairLists, train_pair_scorer
from llmrec.train.checkpoint import run_key
from llmrec.train.pair_lists import taken_scores
from llmrec.train.pair_scorer import COMPONENT

WORDS = [f"word{n}" for n in range(20)]
DEPTH = 6


def lessons(seed, n, *, follow=0.9):
    """Lists of six: what is "good" is taken wherever it stands (mostly), whatever else is said."""
    rng = np.random.default_rng(seed)
    items = [f"{WORDS[n % 20]} bad" for n in range(20)] + [f"{WORDS[n % 20]} good" for n in range(20)]
    rows = rng.integers(0, 20, (n, DEPTH))
    targets = rng.integers(0, DEPTH, n)
    rows[np.arange(n), targets] += np.where(rng.random(n) < follow, 20, 0)
    users = [" ".join(rng.choice(WORDS, 3)) for _ in range(n)]
    return PairLists(users, items, rows, targets)


def firsts(scorer, lists):
    """How often what was taken has the highest score."""
    owners, places = np.nonzero(lists.rows >= 0)
    scores = scorer.score(list(zip(*lists.texts(owners, places), strict=True))).reshape(lists.rows.shape)
    return float((scores.argmax(axis=1) == lists.targets).mean())


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return tiny_bert(tmp_path_factory.mktemp("base"), words=[*WORDS, "good", "bad"], seed=1)


def settings(base, **others):
    usual = {"batch_size": 8, "learning_rate": 3e-3, "head_learning_rate": 1e-2, "max_tokens": 32, "negatives": 3}
    return CrossEncoderConfig(base=str(base), **{**usual, "epochs": 2, "checks": 3, **others})


@pytest.fixture(scope="module")
def trained(base, tmp_path_factory):
    """A tiny encoder tuned on the rule: (folder, scorer, what was said)."""
    out, told = tmp_path_factory.mktemp("trained") / "model", []
    return out, train_pair_scorer(settings(base), lessons(0, 200), out, seed=3, progress=told.append), told


def test_the_rule_is_learned(trained):
    _, scorer, _ = trained
    assert firsts(scorer, lessons(9, 100)) > 0.8


def test_training_is_told_with_what_it_brings(trained):
    out, _, told = trained
    assert told[0] == "cross-encoder: measuring the first stage's order of 40 lists"
    assert told[1].startswith("cross-encoder: step 1/40, loss ")
    assert told[-1].startswith("cross-encoder: step 40/40, loss ")
    assert "minutes left" in told[-1]
    record = json.loads((out / "training.json").read_text())
    assert (record["lists"], record["held"], record["steps"], len(record["checks"])) == (200, 40, 40, 3)
    assert max(record["checks"]) > record["before"] + 0.2


def test_all_weights_moved(base, trained):
    from safetensors.numpy import load_file

    before, after = load_file(base / "model.safetensors"), load_file(trained[0] / "model.safetensors")
    shared = {name: f"bert.{name}" for name in before if f"bert.{name}" in after}
    moved = [name for name, new in shared.items() if not np.array_equal(before[name], after[new])]
    assert {"embeddings.word_embeddings.weight", "encoder.layer.0.attention.self.query.weight"} <= set(moved)
    assert len(moved) > 0.8 * len(shared) > 20


def test_the_result_loads_in_plain_sentence_transformers(trained):
    from sentence_transformers import CrossEncoder
    from torch.nn import Identity

    out, scorer, _ = trained
    lists = lessons(5, 4)
    pairs = list(zip(*lists.texts(*np.nonzero(lists.rows >= 0)), strict=True))
    plain = CrossEncoder(str(out), max_length=32, device="cpu", local_files_only=True)
    logits = plain.predict(pairs, activation_fn=Identity(), show_progress_bar=False)
    np.testing.assert_allclose(scorer.score(pairs), logits, rtol=1e-4, atol=1e-5)


def test_training_reads_pairs_as_serving_does(base):
    """Cut to the limit, and with control signs as text."""
    from pathlib import Path

    from llmrec.models import Placement
    from llmrec.train.pair_model import new_network

    folder = tiny_cross_encoder(Path(base).parent / "cross", words=WORDS)
    users = ["word1 [SEP] word2", "word3 " * 40, "word4"]
    items = ["word5", "word6 " * 30, "[CLS] word7"]
    cpu = Placement("cpu", "float32")
    found = new_network(folder, cpu, 24).score(users, items)
    served = PairScorer.load(str(folder), max_tokens=24, placement=cpu).score(list(zip(users, items, strict=True)))
    np.testing.assert_allclose(found, served, rtol=1e-4, atol=1e-5)
    assert len(set(np.round(found, 4))) == 3, "the head of a cross-encoder is kept"


def test_only_the_model_is_left_behind(trained):
    left = {path.name for path in trained[0].iterdir()}
    assert {"model.safetensors", "config.json", "tokenizer.json", "training.json"} <= left
    assert not [name for name in left if name.startswith("checkpoint") or name.endswith((".bin", ".pt", ".new"))]


def test_what_the_first_stage_knows_is_not_learned_again(base, tmp_path):
    """Where only the place tells what is taken, a residual has little to say, whatever text stands at that place."""
    rng = np.random.default_rng(0)
    rows = np.concatenate([rng.integers(20, 40, (240, 1)), rng.integers(0, 20, (240, DEPTH - 1))], axis=1)
    chance = (np.arange(DEPTH) + 2.0) ** -2.5
    targets = rng.choice(DEPTH, 240, p=chance / chance.sum())
    lists = replace(lessons(0, 240), rows=rows, targets=targets)
    spread = {}
    for residual in (True, False):
        config = settings(base, residual=residual, check_share=0.0, negatives=5)
        scorer = train_pair_scorer(config, lists, tmp_path / str(residual), seed=0)
        good, bad = scorer.score([("word1", "word2 good"), ("word1", "word2 bad")])
        spread[residual] = good - bad
    assert spread[False] > 1
    assert spread[False] > 3 * abs(spread[True])


def test_what_is_measured_is_both_together(tmp_path):
    """Scores smaller than what the places say change no order."""
    import torch

    from llmrec.evaluate.metrics import ndcg
    from llmrec.train.pair_run import Lesson, run_lesson

    class Network:
        module, new = torch.nn.Linear(1, 1), frozenset()
        scale = 1e-3

        def score(self, users, items):
            return self.scale * np.arange(len(items), dtype=np.float32)

    lists = lessons(0, 30)
    lesson = Lesson(lists, lists, -np.log(np.arange(DEPTH) + 2.0), taken_scores(lists))
    config = CrossEncoderConfig(minutes=1e-9)
    order = np.arange(DEPTH) == lists.targets[:, None]
    for scale, hits in ((1e-3, order), (1e3, order[:, ::-1])):
        Network.scale = scale
        outcome = run_lesson(config, lesson, Network(), tmp_path / "c", "k", seed=0, progress=print)
        assert outcome.before == pytest.approx(ndcg(hits, np.ones(30, np.int64), 10).mean())


def test_nothing_learned_is_nothing_said(base, tmp_path):
    """Where no check was better than the first stage's order, that order is left as it is."""
    lists = lessons(0, 60, follow=0.0)
    lists = replace(lists, targets=np.zeros(60, np.int64))
    told = []
    scorer = train_pair_scorer(settings(base), lists, tmp_path / "m", seed=0, progress=told.append)
    assert any("left saying nothing" in line for line in told)
    assert not scorer.score([("word1", "word2 good"), ("word3", "word4 bad")]).any()


def test_a_killed_run_goes_on_and_ends_the_same(base, tmp_path):
    """Checkpoints are written all the time; the run dies at some step, then goes on."""
    config = settings(base, checkpoint_minutes=1e-9)
    lists = lessons(0, 60)
    whole = train_pair_scorer(config, lists, tmp_path / "whole", seed=3)

    def die(message):
        if "step 7" in message or "step 8" in message:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_pair_scorer(replaced(config, checks=3), lists, tmp_path / "killed", seed=3, progress=die)
    told = []
    again = train_pair_scorer(config, lists, tmp_path / "killed", seed=3, progress=told.append)
    assert any("going on after step" in line for line in told)
    assert not any("measuring the first stage" in line for line in told)
    pairs = [("word1", "word2 good"), ("word3", "word4 bad")]
    np.testing.assert_array_equal(again.score(pairs), whole.score(pairs))
    told.clear()
    train_pair_scorer(config, lists, tmp_path / "killed", seed=3, progress=told.append)
    assert [line for line in told if "trained before" in line] == told


def test_a_run_killed_before_its_record_is_there_is_not_lost(base, tmp_path, monkeypatch):
    config, lists, out = settings(base, checkpoint_minutes=1e-9), lessons(0, 40), tmp_path / "m"
    honest = Path.replace

    def die(self, target):
        if Path(target).name == "training.json":
            raise KeyboardInterrupt
        return honest(self, target)

    monkeypatch.setattr(Path, "replace", die)
    with pytest.raises(KeyboardInterrupt):
        train_pair_scorer(config, lists, out, seed=3)
    monkeypatch.undo()
    told = []
    train_pair_scorer(config, lists, out, seed=3, progress=told.append)
    assert any("going on after step" in line for line in told)
    assert sorted(path.name for path in out.glob("*.safetensors")) == ["model.safetensors"]
    assert not any(line.startswith("cross-encoder: step 1/") for line in told)


def test_another_base_in_the_same_folder_is_another_run(spied, monkeypatch, catalog, interactions, tmp_path):
    keys = []
    monkeypatch.setattr("llmrec.train.pair_scorer.run_key", lambda **parts: keys.append(run_key(**parts)) or keys[-1])
    for seed in (0, 0, 1):
        shutil.rmtree(tmp_path / "base", ignore_errors=True)
        base = tiny_bert(tmp_path / "base", words=WORDS, seed=seed)
        fit(config_of(base), catalog, interactions, holdout="last")
    one, same, other = keys
    assert one == same != other


def replaced(config, **others):
    return config.model_copy(update=others)


def test_another_run_in_the_same_folder_is_its_own(base, tmp_path):
    lists, pairs = lessons(0, 40), [("word1", "word2 good"), ("word3", "word4 bad")]
    config = settings(base, check_share=0.0)
    one = train_pair_scorer(config, lists, tmp_path / "m", seed=1).score(pairs)
    other = train_pair_scorer(config, lists, tmp_path / "m", seed=2).score(pairs)
    assert not np.array_equal(one, other)


def test_a_budget_of_time_ends_the_training(base, tmp_path):
    config = settings(base, minutes=1e-6)
    train_pair_scorer(config, lessons(0, 60), tmp_path / "m", seed=0)
    assert json.loads((tmp_path / "m" / "training.json").read_text())["steps"] <= 1


def test_checks_that_bring_nothing_end_the_training(base, tmp_path):
    config = settings(base, epochs=20, checks=20, patience=2)
    lists = replace(lessons(0, 60, follow=0.0), targets=np.zeros(60, np.int64))
    train_pair_scorer(config, lists, tmp_path / "m", seed=0)
    record = json.loads((tmp_path / "m" / "training.json").read_text())
    assert len(record["checks"]) == 2
    assert record["steps"] < 40


def test_one_list_is_learned_from_unmeasured(base, tmp_path):
    train_pair_scorer(settings(base), lessons(0, 1), tmp_path / "m", seed=0)
    assert json.loads((tmp_path / "m" / "training.json").read_text())["before"] is None


def test_no_list_is_an_error(base, tmp_path):
    with pytest.raises(DataError, match="no list"):
        train_pair_scorer(settings(base), lessons(0, 3).take(np.array([], np.int64)), tmp_path / "m")


def config_of(bert, **scorer):
    dense = {"encoder": str(bert), "item_template": "item/title"}
    scorer = {"base": str(bert), "list_length": 6, "negatives": 2, "check_share": 0.0, **scorer}
    return Config.from_dict(
        {
            "stages": [
                {"name": "hybrid", "keep": 6, "retrievers": {"popularity": {}, "dense": dense}},
                {"name": "rerank", "keep": 6, "scorers": {"cross_encoder": scorer}},
            ]
        }
    )


@pytest.fixture
def spied(monkeypatch, pair_model):
    """What the cross-encoder would be trained on, without training it."""
    seen = []

    def spy(config, lists, out, *, seed, progress):
        seen.append(lists)
        return PairScorer.load(str(pair_model), max_tokens=config.max_tokens)

    monkeypatch.setattr("llmrec.train.pair_scorer.train_pair_scorer", spy)
    return seen


def test_lists_never_hold_what_is_held_out(spied, bert, catalog, interactions):
    """Whatever each user took last, the lists are the same."""
    items = interactions.items.copy()
    for user in range(interactions.n_users):
        start, end = interactions.offsets[user : user + 2]
        if end - start >= 3:
            items[end - 1] = np.setdiff1d(np.arange(12), items[start:end])[user % 3]
    changed = replace(interactions, items=items)
    assert isinstance(changed, Interactions)
    for log in (interactions, changed):
        fit(config_of(bert), catalog, log, holdout="last")
    fit(config_of(bert), catalog, changed)
    one, same, other = (lists.fingerprint for lists in spied)
    assert one == same != other


def test_no_case_both_teaches_and_tunes(spied, monkeypatch, bert, catalog, interactions):
    """The scorer has half of the cases for itself; the fusions of both stages are tuned on the other half."""
    seen = {"cross_encoder": [], "hybrid_fusion": [], "rerank_fusion": [], "dense": []}
    from llmrec.build import _fit_one

    def watch(setting, context, *rest):
        if setting.name in seen:
            seen[setting.name].append(set(context.validation.user_rows.tolist()))
        return _fit_one(setting, context, *rest)

    monkeypatch.setattr("llmrec.build._fit_one", watch)
    fit(config_of(bert), catalog, interactions, holdout="last")
    [own], [tuned], [last], [others] = (
        seen[name] for name in ("cross_encoder", "hybrid_fusion", "rerank_fusion", "dense")
    )
    assert tuned == last == others
    assert not own & tuned
    assert abs(len(own) - len(tuned)) <= 1
    assert len(own) > 3
    everyone = own | tuned
    for users in seen.values():
        users.clear()
    plain = replaced(config_of(bert), stages=config_of(bert).stages[:1])
    fit(plain, catalog, interactions, holdout="last")
    assert seen["hybrid_fusion"] == [everyone], "without such a scorer all cases are tuned on"


def test_two_such_scorers_share_no_case(spied, monkeypatch, bert, catalog, interactions):
    """A later one learns from lists that an earlier one has ordered, which must not know what is in them."""
    seen = {"cross_encoder": set(), "second": set(), "last_fusion": set(), "rerank_fusion": set()}
    from llmrec.build import _fit_one

    def watch(setting, context, *rest):
        if setting.name in seen:
            seen[setting.name] = set(context.validation.user_rows.tolist())
        return _fit_one(setting, context, *rest)

    monkeypatch.setattr("llmrec.build._fit_one", watch)
    table = config_of(bert).model_dump()
    [first] = table["stages"][1]["scorers"].values()
    third = {"name": "last", "keep": 6, "scorers": {"second": {**first, "type": "cross_encoder"}}}
    fit(Config.from_dict({**table, "stages": [*table["stages"], third]}), catalog, interactions, holdout="last")
    own, second, tuned = seen["cross_encoder"], seen["second"], seen["last_fusion"]
    assert own
    assert second
    assert not own & second
    assert not (own | second) & tuned
    assert tuned == seen["rerank_fusion"]


def test_lists_are_what_the_first_stage_ranks(spied, bert, catalog, interactions):
    fit(config_of(bert), catalog, interactions, holdout="last")
    [lists] = spied
    assert lists.rows.shape == (len(lists), 6)
    assert len(lists) > 2
    assert (lists.rows[np.arange(len(lists)), lists.targets] >= 0).all()


def test_a_cross_encoder_needs_a_stage_before_it(bert, catalog, interactions):
    stage = {
        "name": "only",
        "retrievers": {"popularity": {}},
        "scorers": {"cross_encoder": {"base": str(bert)}},
    }
    with pytest.raises(ConfigError, match="put it in a second stage"):
        fit(Config.from_dict({"stages": [stage]}), catalog, interactions)


def test_a_cross_encoder_needs_cases_of_its_own(bert, catalog):
    log = Interactions.from_table({"user_id": ["a", "b"], "item_id": ["i0", "i1"], "timestamp": [1, 2]}, catalog)
    with pytest.raises(DataError, match="no cases to learn from"):
        fit(config_of(bert), catalog, log)


def test_a_first_stage_that_finds_nothing_teaches_nothing(bert, catalog, interactions, monkeypatch):
    from llmrec.pipeline import Recommender
    from llmrec.types import Ranking

    def nothing(self, queries, k):
        shape = (len(queries), k)
        return Ranking(np.full(shape, -1, np.int32), np.zeros(shape, np.float32))

    monkeypatch.setattr(Recommender, "recommend", nothing)
    with pytest.raises(DataError, match="in none of"):
        fit(config_of(bert), catalog, interactions)


@pytest.mark.parametrize(("max_tokens", "item_tokens"), [(16, 20), (20, 17)])
def test_an_item_must_leave_room_for_the_user(max_tokens, item_tokens):
    with pytest.raises(ConfigError, match="item_tokens"):
        Config.from_dict(
            {
                "stages": [
                    {"name": "a", "retrievers": {"popularity": {}}},
                    {
                        "name": "b",
                        "scorers": {"cross_encoder": {"max_tokens": max_tokens, "item_tokens": item_tokens}},
                    },
                ]
            }
        )


def test_the_component_is_fitted_for_real(bert, catalog, interactions, queries, tmp_path, capsys):
    told = []
    config = config_of(bert, learning_rate=1e-3)
    fitted = fit(config, catalog, interactions, work=tmp_path, progress=told.append)
    assert COMPONENT.role == "scorer"
    assert fitted.stages[1].scorers[0].model.scored > 0
    assert len(list((tmp_path / "cross_encoder").glob("*/model.safetensors"))) == 1
    assert any("lists hold what was taken" in message for message in told)
    assert np.isfinite(fitted.recommend(queries, 5).scores).all()
    assert capsys.readouterr().out == ""
    told.clear()
    fit(config, catalog, interactions, work=tmp_path, progress=told.append)
    assert any("trained before" in message for message in told)


def test_lists_show_profiles_as_serving_will(spied, bert, catalog, interactions):
    config = config_of(bert, template="pair/profile")
    fit(config, catalog, interactions, users=tiny_users(), holdout="last")
    fit(config, catalog, interactions, holdout="last")
    told, untold = (lists.users for lists in spied)
    assert any("Occupation: student." in text for text in told)
    assert not any("Occupation:" in text for text in untold)
