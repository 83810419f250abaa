"""Judges give the numbers that the components themselves give."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from llmrec.data import Interactions
from llmrec.errors import ConfigError, DataError
from llmrec.lab import Ground, Setup, Wanted, as_chat, as_pair, usual_judges
from llmrec.lab.ground import ranks_of, reordered
from llmrec.lab.scoring import chat_room
from llmrec.models import PairScorer
from llmrec.rerank import CrossEncoder
from llmrec.rerank.language import ANSWER, Reader, YesNo, YesNoConfig
from llmrec.testing.data import tiny_catalog
from llmrec.text import load_template
from llmrec.train.pair_lists import rank_prior


@pytest.fixture
def setup(ground, pair_model, causal_model, bert, tmp_path):
    def make(**wanted):
        usual = {"rerank_users": 12, "depth": 6, "encoder": str(bert), "lm": str(causal_model)}
        return Setup(Wanted(**{**usual, "cross_encoder": str(pair_model), **wanted}), ground, tmp_path / "models")

    return make


def test_candidates_are_the_same_for_both_and_end_before_the_target(setup):
    made = setup()
    lm, cross = made.judge("lm"), made.judge("cross-encoder")
    np.testing.assert_array_equal(lm.lists.items, cross.lists.items)
    assert lm.lists.items.shape == (12, 6)
    for items, history in zip(lm.lists.items, lm.cases.queries.histories, strict=True):
        assert not set(items.tolist()) & set(history.tolist())
    assert lm.about()["lists"] == cross.about()["lists"]


def test_a_language_model_orders_by_its_scorer(setup, ground, causal_model):
    judge = setup(scorer="yes_no").judge("lm")
    template = load_template("user/genres")
    config = YesNoConfig(model=str(causal_model), max_tokens=256)
    reader = Reader.of(config, ground.catalog)
    scorer = YesNo("yes_no", config, Reader(reader.model, as_chat(template), config.item_tokens, ground.catalog))
    scores = scorer.score(judge.cases.queries, judge.lists.items)
    expected = ranks_of(reordered(judge.lists.items, scores, ground.catalog.tie_order), judge.cases.targets)
    found = judge.measure(template)
    np.testing.assert_array_equal(found.ranks, expected)
    assert found.orders is None
    assert set(found.tokens) == {"item", "user"}
    assert found.ms_per_user > 0


def test_a_scorer_that_reads_several_is_shown_them_in_other_orders(setup, monkeypatch):
    monkeypatch.setattr("llmrec.lab.judges.ONE_BY_ONE", frozenset())
    judge = setup(scorer="yes_no", orders=2).judge("lm")
    assert judge.reads_together
    found = judge.measure(load_template("chat/yes-no")).orders
    assert found.orders == 3
    assert found.tau == pytest.approx(1.0)  # it does read one by one
    assert found.low == pytest.approx(found.high)
    assert (judge.about()["orders"], judge.about()["seed"]) == (2, 0)
    assert setup(scorer="yes_no", orders=0).judge("lm").measure(load_template("chat/yes-no")).orders is None


def test_listwise_has_the_room_it_needs(setup):
    judge = setup(scorer="listwise", orders=1).judge("lm")
    assert judge.about()["settings"]["max_tokens"] == 1024
    assert setup(scorer="yes_no").judge("lm").about()["settings"]["max_tokens"] == 256
    found = judge.measure(load_template("user/recent"))
    assert len(found.ranks) == 12
    assert found.orders.orders == 2


def test_examples_depend_on_the_seed(setup):
    judge = setup(scorer="yes_no", seed=7).judge("lm")
    assert "seed" not in judge.about()
    assert replace(judge, settings={"shots": 2}).about()["seed"] == 7


def test_a_scorer_of_another_package_is_told_with_its_version(setup, monkeypatch):
    judge = setup(scorer="yes_no").judge("lm")
    assert "by" not in judge.about()
    other = SimpleNamespace(dist=SimpleNamespace(name="other", version="1.2"))
    monkeypatch.setattr("llmrec.lab.scoring.entry_points", lambda **_: [other])
    assert judge.about()["by"] == "other 1.2"


def test_weights_that_are_given_need_no_long_logs(pair_model, bert, tmp_path):
    catalog = tiny_catalog(12)
    users, items = zip(
        *[(f"u{user}", f"i{(user + step) % 12}") for user in range(12) for step in range(4)], strict=True
    )
    log = Interactions.from_table({"user_id": users, "item_id": items, "timestamp": list(range(48))}, catalog)
    ground = Ground.of(catalog, log)
    wanted = Wanted(rerank_users=6, depth=4, first="popularity", cross_encoder=str(pair_model), encoder=str(bert))
    judge = Setup(wanted, ground, tmp_path).judge("cross-encoder")
    assert len(judge.measure(load_template("pair/history")).ranks) == 6
    np.testing.assert_allclose(judge._prior, -np.log([2, 3, 4, 5]))
    assert "-log(place + 1)" in judge.note
    assert judge.about()["prior"] == "-log(place + 1)"
    tuned = Setup(replace(wanted, cross_encoder=None), ground, tmp_path).judge("cross-encoder")
    with pytest.raises(DataError, match="give one with --cross-encoder FOLDER"):
        tuned.measure(load_template("pair/history"))


def test_tokens_of_an_item_are_part_of_the_key(setup):
    judge = setup().judge("cross-encoder")
    assert judge.about()["prior"] == "fitted"
    assert "log(place" not in judge.note
    told = [replace(judge, tuning={**judge.tuning, "item_tokens": n}).about() for n in (10, 11)]
    assert told[0] != told[1]


def test_room_for_a_user_is_what_the_scorer_has(ground, causal_model):
    reader = Reader.of(YesNoConfig(model=str(causal_model), template="chat/listwise"), ground.catalog)
    around = len(reader.chats([reader.question([])])[0])
    assert chat_room(reader) == reader.model.max_tokens - around - reader.item_tokens - ANSWER
    assert around > len(reader.chats([""])[0])


def test_a_cross_encoder_adds_to_what_the_place_says(setup, ground, pair_model):
    made = setup()
    judge = made.judge("cross-encoder")
    template = load_template("user/recent")
    model = PairScorer.load(str(pair_model), max_tokens=48)
    scorer = CrossEncoder("cross_encoder", model, as_pair(template), 18, ground.catalog)
    before = ground.earlier()
    first = made._fitted(before).recommend(before.cases.queries, 6).items
    places = ranks_of(first, before.cases.targets)
    prior = rank_prior(places[np.isfinite(places)].astype(np.int64) - 1, 6)
    scores = (scorer.score(judge.cases.queries, judge.lists.items) + prior).astype(np.float32)
    expected = ranks_of(reordered(judge.lists.items, scores, ground.catalog.tie_order), judge.cases.targets)
    np.testing.assert_array_equal(judge.measure(template).ranks, expected)


def test_half_the_users_are_asked_by_each_of_two(setup):
    one, two = setup(rerank_users=11, scorer="yes_no").halved("lm")
    assert (len(one.cases), len(two.cases)) == (5, 6)
    assert not set(one.cases.user_rows) & set(two.cases.user_rows)


def test_what_is_wanted_is_checked():
    with pytest.raises(ConfigError, match="users must be at least 2"):
        Wanted(users=1)
    with pytest.raises(ConfigError, match="depth must be at least 2"):
        Wanted(depth=1)
    assert usual_judges([load_template("pair/history")]) == ("cross-encoder",)


def test_an_unknown_judge(setup):
    with pytest.raises(ConfigError, match="--on 'oracle'"):
        setup().judge("oracle")
