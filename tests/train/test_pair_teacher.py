"""A smaller cross-encoder: fewer layers, taught by a deeper one."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file

from llmrec.build import fit
from llmrec.config import Config
from llmrec.errors import AssetError, ConfigError, ModelError
from llmrec.models import PairScorer, Placement
from llmrec.testing.models import tiny_bert, tiny_cross_encoder
from llmrec.train import CrossEncoderConfig, PairLists, pair_teacher, train_pair_scorer
from llmrec.train.pair_lists import taken_scores
from llmrec.train.pair_model import keep_layers
from llmrec.train.pair_run import Lesson, _cross_entropy, run_lesson
from llmrec.train.pair_teacher import teacher_scores

WORDS = [f"word{n}" for n in range(10)]
GRADES = ["worst", "bad", "fair", "good", "best"]
DEPTH = 6
CPU = Placement("cpu", "float32")
PAIRS = [("word1 word2", "word3 good"), ("word4", "word5 bad"), ("word1", "word2 [SEP] best")]


def graded(seed, n, *, follow):
    """Lists whose best grade is taken, as often as `follow` says; else anything."""
    rng = np.random.default_rng(seed)
    items = [f"{word} {grade}" for grade in GRADES for word in WORDS]
    rows = rng.integers(0, len(items), (n, DEPTH))
    rows[1::3, -1] = -1
    targets = np.where(rng.random(n) < follow, rows.argmax(axis=1), rng.integers(0, DEPTH - 1, n))
    return PairLists([" ".join(rng.choice(WORDS, 3)) for _ in range(n)], items, rows, targets)


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return tiny_bert(tmp_path_factory.mktemp("base"), layers=4, words=[*WORDS, *GRADES], seed=1)


def settings(base, **others):
    usual = {"batch_size": 8, "learning_rate": 3e-3, "head_learning_rate": 1e-2, "max_tokens": 32, "check_share": 0.0}
    return CrossEncoderConfig(base=str(base), **{**usual, **others})


@pytest.fixture(scope="module")
def teacher(base, tmp_path_factory):
    out = tmp_path_factory.mktemp("teacher") / "model"
    train_pair_scorer(settings(base, epochs=3), graded(0, 160, follow=1.0), out, seed=0)
    return out


def test_fewer_layers_load_in_all_ways(base, tmp_path, monkeypatch):
    from sentence_transformers import CrossEncoder

    from llmrec.models._bert import bert_forward
    from llmrec.models._transformer import transformers_forward

    out = tmp_path / "m"
    train_pair_scorer(settings(base, layers=2, epochs=1, learning_rate=1e-9), graded(0, 8, follow=1.0), out)
    assert json.loads((out / "config.json").read_text())["num_hidden_layers"] == 2
    before, after = load_file(base / "model.safetensors"), load_file(out / "model.safetensors")
    assert {name.split(".")[3] for name in after if name.startswith("bert.encoder.layer.")} == {"0", "1"}
    for new, old in ((0, 1), (1, 3)):  # the second and the last
        name = "encoder.layer.{}.intermediate.dense.weight"
        torch.testing.assert_close(after[f"bert.{name.format(new)}"], before[name.format(old)])
    ids = np.array([[2, 10, 11, 3, 12, 3]])
    ours = bert_forward(out, "logits", CPU)
    assert ours is not None
    types = np.array([[0, 0, 0, 0, 1, 1]])
    np.testing.assert_allclose(ours(ids, types), transformers_forward(out, "logits", CPU)(ids, types), atol=1e-5)
    found = PairScorer.load(str(out), max_tokens=32, placement=CPU).score(PAIRS[:2])
    plain = CrossEncoder(str(out), max_length=32, device="cpu", local_files_only=True)
    logits = plain.predict(PAIRS[:2], activation_fn=torch.nn.Identity(), show_progress_bar=False)
    np.testing.assert_allclose(found, logits, rtol=1e-4, atol=1e-6)
    assert np.ptp(found) > 0


def pile_of(deep):
    """A model of so many layers, as far as `keep_layers` looks; layer n is `Linear(1, n)`."""
    from transformers import BertConfig

    pile = torch.nn.ModuleList([torch.nn.Linear(1, place + 1) for place in range(deep)])
    base = SimpleNamespace(encoder=SimpleNamespace(layer=pile))
    return SimpleNamespace(config=BertConfig(num_hidden_layers=deep), base_model=base)


@given(st.data())
def test_layers_that_stay_are_evenly_spaced_and_end_with_the_last(data):
    deep = data.draw(st.integers(1, 24))
    count = data.draw(st.integers(1, deep))
    model = pile_of(deep)
    keep_layers(model, count)
    places = [layer.out_features for layer in model.base_model.encoder.layer]
    steps = np.diff([0, *places])
    assert len(places) == count == model.config.num_hidden_layers
    assert places[-1] == deep
    assert steps.min() >= 1
    assert np.ptp(steps) <= 1


SIZES = {"hidden_size": 16, "num_hidden_layers": 4, "num_attention_heads": 2, "intermediate_size": 16, "vocab_size": 40}
KINDS = {
    "roberta": SIZES,
    "electra": {**SIZES, "embedding_size": 16},
    "mpnet": SIZES,
    "distilbert": {"dim": 16, "n_layers": 4, "n_heads": 2, "hidden_dim": 16, "vocab_size": 40},
}


def tiny(kind, sizes):
    from transformers import AutoConfig, AutoModelForSequenceClassification

    torch.manual_seed(0)
    config = AutoConfig.for_model(kind, num_labels=1, pad_token_id=1, **sizes)
    return AutoModelForSequenceClassification.from_config(config).eval()


@pytest.mark.parametrize("kind", KINDS)
def test_layers_of_models_like_bert_are_taken_out(kind, tmp_path):
    from transformers import AutoModelForSequenceClassification

    model, ids = tiny(kind, KINDS[kind]), torch.tensor([[5, 6, 7, 8]])
    with torch.no_grad():
        whole = model(input_ids=ids).logits
        keep_layers(model, 2)
        model.save_pretrained(tmp_path)
        back, info = AutoModelForSequenceClassification.from_pretrained(tmp_path, output_loading_info=True)
        assert back.config.num_hidden_layers == 2
        assert not info["missing_keys"]
        assert not info["unexpected_keys"]
        torch.testing.assert_close(back.eval()(input_ids=ids).logits, model(input_ids=ids).logits)
        assert not torch.equal(whole, model(input_ids=ids).logits)


@pytest.mark.parametrize(
    ("kind", "sizes"),
    [
        ("albert", {**SIZES, "embedding_size": 16}),  # one layer, shared
        ("modernbert", SIZES),  # every third looks further than the others
        ("longformer", {**SIZES, "attention_window": [4] * 4}),  # each its own window
    ],
)
def test_layers_that_are_not_alike_are_an_error(kind, sizes):
    model = tiny(kind, sizes)
    with pytest.raises(
        ConfigError, match=rf"layers = 2: a base model of type {kind} has no plain pile .* leave layers"
    ):
        keep_layers(model, 2)
    keep_layers(model, 4)  # all of them: nothing to take out


def test_more_layers_than_there_are_is_an_error(base, tmp_path):
    with pytest.raises(ConfigError, match="layers = 5, but the base model has only 4; choose 1 to 4"):
        train_pair_scorer(settings(base, layers=5), graded(0, 4, follow=1.0), tmp_path / "m")


def test_no_layer_is_an_error():
    stages = [
        {"name": "a", "retrievers": {"popularity": {}}},
        {"name": "b", "scorers": {"cross_encoder": {"layers": 0}}},
    ]
    with pytest.raises(ConfigError, match=r"layers.*greater than or equal to 1"):
        Config.from_dict({"stages": stages})


def test_the_loss_of_what_was_taken_is_the_plain_one():
    """Its gradients bit for bit."""
    torch.manual_seed(0)
    scores = torch.randn(7, 5)
    scores[2, 3:] = -torch.inf
    wanted = torch.zeros(7, 5)
    wanted[:, 0] = 1.0
    results = []
    for loss in (
        lambda x: _cross_entropy(x, wanted),
        lambda x: torch.nn.functional.cross_entropy(x, torch.zeros(7, dtype=torch.long)),
    ):
        x = scores.clone().requires_grad_()
        found = loss(x)
        found.backward()
        results.append((found.detach(), x.grad))
    torch.testing.assert_close(results[0][0], results[1][0])
    assert torch.equal(results[0][1], results[1][1])
    assert torch.isfinite(results[0][1]).all()


def test_nothing_is_left_to_learn_at_the_teachers_own_scores():
    torch.manual_seed(1)
    scores = torch.randn(4, 5)
    scores[1, 2:] = -torch.inf
    x = (scores + 3.0).requires_grad_()
    _cross_entropy(x, scores.softmax(dim=1)).backward()
    assert x.grad.abs().max() < 1e-6


class Table:
    """A network that has one number for each item, whose text is its row."""

    new = frozenset()

    def __init__(self):
        self.module = torch.nn.Embedding(DEPTH, 1)
        torch.nn.init.zeros_(self.module.weight)

    def logits(self, users, items):
        return self.module(torch.tensor([int(item) for item in items]))[:, 0]


@pytest.mark.parametrize("negatives", [2, 5])
def test_what_is_learned_of_a_teacher_is_its_scores(negatives, tmp_path):
    """Whatever the places say, and however few are drawn."""
    rows = np.tile(np.arange(DEPTH), (40, 1))  # an item always stands at the same place
    lists = PairLists(["u"] * 40, [str(n) for n in range(DEPTH)], rows, np.arange(40) % DEPTH)
    wanted = np.array([0.5, -1.0, 2.0, 0.0, 1.5, -0.5], np.float32)
    prior = -2.0 * np.log(np.arange(DEPTH) + 2.0)
    lesson = Lesson(lists, lists.take(np.array([], np.int64)), prior, np.tile(wanted, (40, 1)))
    config = CrossEncoderConfig(epochs=40, negatives=negatives, learning_rate=0.1, weight_decay=0.0, minutes=None)
    network = Table()
    run_lesson(config, lesson, network, tmp_path / "c", "key", seed=0, progress=print)
    learned = network.module.weight.detach().numpy()[:, 0]
    np.testing.assert_allclose(learned - learned.mean(), wanted - wanted.mean(), atol=0.02)


def test_what_was_taken_is_a_distribution():
    lists = graded(3, 9, follow=0.5)
    shares = torch.from_numpy(taken_scores(lists)).softmax(dim=1).numpy()
    np.testing.assert_array_equal(shares, np.arange(DEPTH) == lists.targets[:, None])


def agreement(student, teacher):
    """Correlation with the teacher's scores, both less their list's mean, in lists that nobody has seen."""
    lists = graded(99, 60, follow=1.0)
    lists = lists.take(np.flatnonzero((lists.rows >= 0).all(axis=1)))
    found = [scores_of(model, lists) for model in (student, teacher)]
    return np.corrcoef(*((scores - scores.mean(axis=1, keepdims=True)).ravel() for scores in found))[0, 1]


def scores_of(model, lists):
    scores = np.full(lists.rows.shape, -np.inf, np.float32)
    owners, places = np.nonzero(lists.rows >= 0)
    scores[owners, places] = model.score(list(zip(*lists.texts(owners, places), strict=True)))
    return scores


@pytest.mark.parametrize("residual", [True, False])
def test_a_student_learns_the_order_of_its_teacher(base, teacher, tmp_path, residual):
    """From lists in which what was taken says little, and the teacher all."""
    lists, config = graded(5, 80, follow=0.3), settings(base, layers=1, residual=residual, epochs=5, negatives=5)
    known = PairScorer.load(str(teacher), max_tokens=32)
    alone = train_pair_scorer(config, lists, tmp_path / "alone", seed=0)
    taught = train_pair_scorer(config.model_copy(update={"teacher": str(teacher)}), lists, tmp_path / "taught", seed=0)
    assert agreement(taught, known) > 0.75
    assert agreement(taught, known) > agreement(alone, known) + 0.3


def test_the_teacher_scores_every_candidate(teacher, tmp_path):
    model, lists = PairScorer.load(str(teacher), max_tokens=32, placement=CPU), graded(6, 150, follow=0.5)
    found = teacher_scores(model, lists, tmp_path / "t", "key", checkpoint_minutes=5, progress=print)
    np.testing.assert_allclose(found, scores_of(model, lists), atol=1e-5)
    assert np.isneginf(found).sum() == (lists.rows < 0).sum() > 0


@pytest.fixture
def short_parts(monkeypatch):
    monkeypatch.setattr(pair_teacher, "LISTS_AT_ONCE", 8)
    monkeypatch.setattr(pair_teacher, "TELL_S", 0.0)


def dies_at(text):
    def die(message):
        if text in message:
            raise KeyboardInterrupt

    return die


@pytest.mark.usefixtures("short_parts")
def test_a_run_killed_anywhere_goes_on_and_ends_the_same(base, teacher, tmp_path):
    config = settings(base, layers=2, teacher=str(teacher), epochs=1, checkpoint_minutes=1e-9)
    lists = graded(7, 40, follow=0.5)
    whole = train_pair_scorer(config, lists, tmp_path / "whole", seed=3)
    out, told = tmp_path / "killed", []
    for text in ("the teacher scored 16/40 lists", "step 5/5"):
        with pytest.raises(KeyboardInterrupt):
            train_pair_scorer(config, lists, out, seed=3, progress=dies_at(text))
    assert (out / "teacher.safetensors").exists()
    again = train_pair_scorer(config, lists, out, seed=3, progress=told.append)
    assert told[0] == "cross-encoder: going on after step 5", "the teacher is not asked again"
    np.testing.assert_array_equal(again.score(PAIRS), whole.score(PAIRS))
    assert (out / "model.safetensors").read_bytes() == (tmp_path / "whole" / "model.safetensors").read_bytes()
    assert {path.name for path in out.glob("*.safetensors")} == {"model.safetensors"}


@pytest.mark.usefixtures("short_parts")
def test_a_teacher_goes_on_where_it_was(teacher, tmp_path):
    model, lists, told = PairScorer.load(str(teacher), max_tokens=32), graded(8, 40, follow=0.5), []
    options = {"checkpoint_minutes": 1e-9}
    whole = teacher_scores(model, lists, tmp_path / "whole", "key", progress=told.append, **options)
    assert told[0] == f"cross-encoder: the teacher scores {(lists.rows >= 0).sum()} pairs"
    assert told[2].startswith("cross-encoder: the teacher scored 16/40 lists, ")
    with pytest.raises(KeyboardInterrupt):
        teacher_scores(model, lists, tmp_path / "killed", "key", progress=dies_at("scored 24/40"), **options)
    before = model.scored
    again = teacher_scores(model, lists, tmp_path / "killed", "key", progress=print, **options)
    assert model.scored - before == (lists.rows[24:] >= 0).sum()
    np.testing.assert_array_equal(again, whole)
    teacher_scores(model, lists, tmp_path / "killed", "other", progress=print, **options)
    assert model.scored - before == (lists.rows[24:] >= 0).sum() + (lists.rows >= 0).sum(), "of another run"


def test_another_teacher_is_another_run(base, tmp_path):
    lists, folder = graded(0, 16, follow=1.0), tmp_path / "teacher"
    config, told = settings(base, layers=1, epochs=1, teacher=str(folder)), []
    found = []
    for seed in (0, 0, 1):
        tiny_cross_encoder(folder, words=WORDS, seed=seed)
        found.append(train_pair_scorer(config, lists, tmp_path / "m", seed=0, progress=told.append).score(PAIRS))
    np.testing.assert_array_equal(found[0], found[1])
    assert not np.array_equal(found[1], found[2])
    assert len([line for line in told if "trained before" in line]) == 1


def test_a_teacher_that_says_nothing_is_an_error(base, tmp_path):
    """As one whose training was of no use: its head is all zeros."""
    folder, told = tmp_path / "teacher", []
    config = settings(base, epochs=1, learning_rate=1e-12, head_learning_rate=1e-12, check_share=0.5)
    lists = graded(0, 8, follow=0.0)
    train_pair_scorer(config, lists, folder, progress=told.append)
    assert any("left saying nothing" in line for line in told)
    with pytest.raises(ModelError, match=r"gives every pair the same score.*choose another teacher, or none"):
        train_pair_scorer(settings(base, teacher=str(folder)), lists, tmp_path / "m")


def config_of(base, **scorer):
    scorer = {"base": str(base), "list_length": 6, "negatives": 2, "check_share": 0.0, "epochs": 1, **scorer}
    retrievers = {"popularity": {}, "dense": {"encoder": str(base), "item_template": "item/title"}}
    return Config.from_dict(
        {
            "stages": [
                {"name": "hybrid", "keep": 6, "retrievers": retrievers},
                {"name": "rerank", "keep": 6, "scorers": {"small": {"type": "cross_encoder", **scorer}}},
            ]
        }
    )


def test_what_is_no_teacher_is_an_error_before_lists_are_asked_for(base, catalog, interactions, tmp_path):
    told = []
    for name, error in ((str(tmp_path / "none"), AssetError), (str(base), ModelError)):
        with pytest.raises(error):
            fit(config_of(base, teacher=name), catalog, interactions, work=tmp_path / "w", progress=told.append)
    assert told
    assert not any("asking the stage before" in line for line in told)


def test_a_model_of_a_bundle_teaches_by_configuration(base, catalog, interactions, queries, tmp_path):
    """As the guide says: fitted twice, the second time with fewer layers and the first one's model."""
    config = config_of(base, learning_rate=1e-3)
    deep = fit(config, catalog, interactions, work=tmp_path / "w").save(tmp_path / "deep")
    folder = deep / "parts/components/small/files/model"
    fitted = fit(config_of(base, layers=1, teacher=str(folder)), catalog, interactions, work=tmp_path / "w")
    saved = fitted.save(tmp_path / "small") / "parts/components/small/files/model"
    assert json.loads((saved / "config.json").read_text())["num_hidden_layers"] == 1
    from llmrec import load

    back = load(tmp_path / "small")
    np.testing.assert_array_equal(back.recommend(queries, 5).scores, fitted.recommend(queries, 5).scores)
