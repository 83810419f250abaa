"""Judges give the numbers that the components themselves give."""

from __future__ import annotations

import numpy as np
import pytest

from llmrec.errors import ConfigError
from llmrec.lab import Setup, Wanted, as_chat, as_pair, usual_judges
from llmrec.lab.ground import ranks_of, reordered
from llmrec.models import PairScorer
from llmrec.rerank import CrossEncoder
from llmrec.rerank.language import Reader, YesNo, YesNoConfig
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
