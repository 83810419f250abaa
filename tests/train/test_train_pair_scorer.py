from dataclasses import replace

import numpy as np
import pytest

from llmrec.build import fit
from llmrec.config import Config
from llmrec.data import Interactions
from llmrec.errors import ConfigError, DataError
from llmrec.models import PairScorer
from llmrec.testing.data import tiny_users
from llmrec.testing.models import tiny_bert
from llmrec.train import CrossEncoderConfig, PairExamples, train_pair_scorer
from llmrec.train.pair_scorer import COMPONENT

WORDS = [f"word{n}" for n in range(20)]


def examples(seed, n):
    """The rule to learn: items with "good" are liked, whatever else is said; one in four is."""
    rng = np.random.default_rng(seed)
    labels = (np.arange(n) % 4 == 0).astype(float)
    pairs = [
        (" ".join(rng.choice(WORDS, 4)), f"{rng.choice(WORDS)} {'good' if liked else 'bad'} {rng.choice(WORDS)}")
        for liked in labels
    ]
    return PairExamples(pairs, labels.tolist())


def auc(scores, labels):
    liked, rest = scores[np.array(labels) == 1], scores[np.array(labels) == 0]
    return float((liked[:, None] > rest[None]).mean())


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A tiny encoder fine-tuned on the rule: (folder, scorer, what was said, what came to stdout)."""
    base = tiny_bert(tmp_path_factory.mktemp("base"), words=[*WORDS, "good", "bad"], seed=1)
    config = CrossEncoderConfig(base=str(base), batch_size=16, learning_rate=3e-3, max_tokens=32, epochs=2)
    out, told = tmp_path_factory.mktemp("trained"), []
    return base, out, train_pair_scorer(config, examples(0, 320), out, seed=3, progress=told.append), told


def test_the_rule_is_learned(trained):
    _, _, scorer, _ = trained
    fresh = examples(9, 200)
    assert auc(scorer.score(fresh.pairs), fresh.labels) > 0.95


def test_the_loss_falls_and_is_told(trained):
    *_, told = trained
    losses = [float(message.rsplit(" ", 1)[1]) for message in told]
    assert len(losses) == 4
    assert losses[-1] < 0.8 * losses[0]
    assert told[0].startswith("cross-encoder: step 10/40, loss ")


def test_all_weights_moved(trained):
    from safetensors.numpy import load_file

    base, out, *_ = trained
    before, after = load_file(base / "model.safetensors"), load_file(out / "model.safetensors")
    shared = {name: f"bert.{name}" for name in before if f"bert.{name}" in after}
    moved = [name for name, new in shared.items() if not np.array_equal(before[name], after[new])]
    assert {"embeddings.word_embeddings.weight", "encoder.layer.0.attention.self.query.weight"} <= set(moved)
    assert len(moved) > 0.8 * len(shared) > 20


def test_the_result_loads_in_plain_sentence_transformers(trained):
    from sentence_transformers import CrossEncoder
    from torch.nn import Identity

    _, out, scorer, _ = trained
    pairs = examples(5, 20).pairs
    plain = CrossEncoder(str(out), max_length=32, device="cpu", local_files_only=True)
    logits = plain.predict(pairs, activation_fn=Identity(), show_progress_bar=False)
    np.testing.assert_allclose(scorer.score(pairs), logits, rtol=1e-4, atol=1e-5)


def test_only_the_model_is_left_behind(trained):
    _, out, *_ = trained
    assert not list(out.rglob("*.bin"))
    assert not [p for p in out.rglob("*") if p.suffix in {".pt", ".pkl"}]


def config_of(bert, **settings):
    dense = {"encoder": str(bert), "item_template": "item/title"}
    scorer = {"base": str(bert), "cases": 30, "hard_negatives": 1, "hard_depth": 8, "random_negatives": 2, **settings}
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

    def spy(config, pairs, out, *, seed, progress):
        seen.append(pairs)
        return PairScorer.load(str(pair_model), max_tokens=config.max_tokens)

    monkeypatch.setattr("llmrec.train.pair_scorer.train_pair_scorer", spy)
    return seen


def test_training_pairs_never_hold_what_is_held_out(spied, bert, catalog, interactions):
    """Whatever each user took last, the pairs are the same."""
    items = interactions.items.copy()
    for user in range(interactions.n_users):
        start, end = interactions.offsets[user : user + 2]
        if end - start >= 3:
            items[end - 1] = np.setdiff1d(np.arange(12), items[start:end])[user % 3]
    changed = replace(interactions, items=items)
    assert isinstance(changed, Interactions)
    for log in (interactions, changed):
        fit(config_of(bert), catalog, log, holdout="last")
    assert spied[0] == spied[1]
    fit(config_of(bert), catalog, changed)
    assert spied[2] != spied[1]


def test_pairs_are_positives_hard_and_random_negatives(spied, bert, catalog, interactions):
    fit(config_of(bert), catalog, interactions, holdout="last")
    [pairs] = spied
    assert pairs.labels.count(1.0) == 30
    assert 0 < pairs.labels.count(0.5) <= 30
    assert 0 < pairs.labels.count(0.0) <= 60
    assert set(pairs.labels) == {1.0, 0.5, 0.0}
    asked = {user for (user, _), label in zip(pairs.pairs, pairs.labels, strict=True) if label == 1}
    assert {user for user, _ in pairs.pairs} == asked
    assert pairs.labels != sorted(pairs.labels, reverse=True)  # mixed, not one kind after the other


def test_a_cross_encoder_needs_a_stage_before_it(bert, catalog, interactions):
    stage = {
        "name": "only",
        "retrievers": {"popularity": {}},
        "scorers": {"cross_encoder": {"base": str(bert)}},
    }
    with pytest.raises(ConfigError, match="put it in a second stage"):
        fit(Config.from_dict({"stages": [stage]}), catalog, interactions)


def test_a_cross_encoder_needs_two_interactions_of_someone(bert, catalog):
    log = Interactions.from_table({"user_id": ["a", "b"], "item_id": ["i0", "i1"], "timestamp": [1, 2]}, catalog)
    with pytest.raises(DataError, match="no user has two interactions"):
        fit(config_of(bert), catalog, log)


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
    fitted = fit(config_of(bert, cases=8, batch_size=8), catalog, interactions, work=tmp_path, progress=told.append)
    assert COMPONENT.role == "scorer"
    assert fitted.stages[1].scorers[0].model.scored > 0
    assert (tmp_path / "cross_encoder" / "model.safetensors").is_file()
    assert any("mining hard negatives for 8 cases" in message for message in told)
    assert np.isfinite(fitted.recommend(queries, 5).scores).all()
    assert capsys.readouterr().out == ""


def test_pairs_show_profiles_as_serving_will(spied, bert, catalog, interactions):
    config = config_of(bert, template="pair/profile")
    fit(config, catalog, interactions, users=tiny_users(), holdout="last")
    fit(config, catalog, interactions, holdout="last")
    told, untold = ([user for user, _ in pairs.pairs] for pairs in spied)
    assert any("Occupation: student." in text for text in told)
    assert not any("Occupation:" in text for text in untold)
