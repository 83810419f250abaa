"""What an encoder is trained on: who is asked, what is hidden, what is left out; never what is held out."""

from dataclasses import replace

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from llmrec.data import leave_last_out
from llmrec.models import TextEncoder
from llmrec.testing.strategies import interactions as logs
from llmrec.train.encoder_config import EncoderConfig
from llmrec.train.encoder_mining import miner_of
from llmrec.train.encoder_pairs import PairShape, draw_pairs, inclusion_logs, texts_of


@given(logs(), st.integers(1, 40), st.integers(1, 4), st.integers(0, 3))
@settings(max_examples=60, deadline=None)
def test_a_batch_says_who_took_what_and_hides_what_else_they_took(log, n, history, seed):
    pairs = draw_pairs(PairShape(pairs=n, history=history, decay=0.5), log, seed=seed)
    if len(pairs) == 0:
        return
    rows = np.random.default_rng(seed).permutation(len(pairs))[:7].astype(np.int64)
    batch = pairs.batch(rows)
    candidates = batch.texts[: batch.hidden.shape[1]]
    assert len(set(batch.texts.tolist())) == len(batch.texts)
    assert set(candidates.tolist()) == set(pairs.cases.targets[rows].tolist())
    for place, row in enumerate(rows.tolist()):
        target, past = pairs.cases.targets[row], pairs.cases.queries.histories[row].tolist()
        assert batch.texts[batch.positives[place]] == target
        newest = past[::-1][:history]
        used = batch.weights[place] > 0
        assert batch.texts[batch.anchors[place][used]].tolist() == newest
        np.testing.assert_allclose(batch.weights[place][used], 0.5 ** np.arange(len(newest)), rtol=1e-6)
        taken = set(log.histories[int(pairs.cases.user_rows[row])].tolist())
        assert batch.hidden[place].tolist() == [int(item) in taken and item != target for item in candidates]


def test_chances_are_those_of_being_drawn(rng):
    frequencies = np.array([0.5, 0.3, 0.15, 0.05], np.float32)
    batches = rng.choice(4, p=frequencies / frequencies.sum(), size=(40_000, 6))
    seen = [(batches == item).any(axis=1).mean() for item in range(4)]
    np.testing.assert_allclose(np.exp(inclusion_logs(frequencies, 6)), seen, atol=0.01)
    assert np.isfinite(inclusion_logs(np.array([1.0, 1e-9], np.float32), 256)).all()


def test_frequencies_are_shares_of_the_pairs(interactions):
    pairs = draw_pairs(PairShape(pairs=60), interactions, seed=0)
    for item in range(12):
        assert pairs.frequencies[item] == pytest.approx((pairs.cases.targets == item).mean())
    batch = pairs.batch(np.arange(8))
    candidates = batch.texts[: batch.hidden.shape[1]]
    np.testing.assert_allclose(batch.log_chances, inclusion_logs(pairs.frequencies[candidates], 8))


def test_hard_negatives_are_candidates_that_are_there_for_certain(catalog, interactions, bert):
    config = EncoderConfig(encoder=str(bert), item_template="item/title", mined_by="ease")
    shape = PairShape(pairs=40, negatives=2, negative_depth=12)
    pairs = draw_pairs(shape, interactions, seed=0, first_stage=miner_of(config, catalog, interactions))
    rows = np.arange(3, dtype=np.int64)
    batch = pairs.batch(rows)
    candidates = batch.texts[: batch.hidden.shape[1]].tolist()
    targets = set(pairs.cases.targets[rows].tolist())
    mined = set(pairs.negatives[rows].ravel().tolist()) - {-1}
    assert mined - targets
    assert set(candidates) == targets | mined
    for place, item in enumerate(candidates):
        assert (batch.log_chances[place] == 0) == (item not in targets)
    for row in rows.tolist():
        taken = set(interactions.histories[int(pairs.cases.user_rows[row])].tolist())
        own = [candidates.index(item) for item in pairs.negatives[row].tolist() if item >= 0]
        assert not taken & set(pairs.negatives[row].tolist())
        assert not batch.hidden[row, own].any()
    with pytest.raises(ValueError, match="first stage"):
        draw_pairs(shape, interactions, seed=0)


@pytest.mark.parametrize("mined_by", ["ease", "encoder"])
def test_both_miners_rank_the_catalog(catalog, interactions, bert, queries, mined_by):
    config = EncoderConfig(encoder=str(bert), item_template="item/title", mined_by=mined_by)
    lists = miner_of(config, catalog, interactions).recommend(queries, 5).items
    assert lists.shape == (5, 5)
    assert (lists[1:] >= 0).all()


def test_user_texts_stand_for_users(catalog, interactions, bert):
    config = EncoderConfig(encoder=str(bert), item_template="item/title", user_template="user/recent", max_tokens=24)
    encoder = TextEncoder.load(str(bert), max_tokens=24)
    pairs = draw_pairs(PairShape(pairs=30, history=0), interactions, seed=0)
    texts = texts_of(pairs, catalog, config, encoder, {"query": "ask: ", "passage": "is: "})
    assert len(texts) == 12 + 30
    title = catalog.records(np.array([0], dtype=np.int32))[0]["title"]
    assert all(text.startswith("is: ") for text in texts[:12])
    assert texts[0] == f"is: {title}"
    batch = pairs.batch(np.array([4, 9], dtype=np.int64))
    assert batch.weights.tolist() == [[1.0], [1.0]]
    assert batch.texts[batch.anchors[:, 0]].tolist() == [12 + 4, 12 + 9]
    assert all(texts[text].startswith("ask: ") for text in batch.texts[batch.anchors[:, 0]])
    assert encoder.count_tokens([text.removeprefix("ask: ") for text in texts[12:]]).max() <= encoder.text_budget


def test_what_is_held_out_is_in_no_pair(catalog, interactions):
    """Whatever each user took last and second last, the pairs are the same."""
    changed = interactions.items.copy()
    for user in range(interactions.n_users):
        start, end = interactions.offsets[user : user + 2]
        if end - start >= 3:
            others = np.setdiff1d(np.arange(12), changed[start:end])
            changed[end - 2 : end] = others[:2]
    drawn = [
        draw_pairs(PairShape(pairs=100, history=2), leave_last_out(log).train, seed=0)
        for log in (interactions, replace(interactions, items=changed))
    ]
    np.testing.assert_array_equal(drawn[0].cases.targets, drawn[1].cases.targets)
    np.testing.assert_array_equal(drawn[0].cases.queries.items, drawn[1].cases.queries.items)
    np.testing.assert_array_equal(drawn[0].taken.values, drawn[1].taken.values)
    assert len(drawn[0]) > 20


def test_weights_of_interactions_count(interactions):
    weights = np.linspace(-1, 3, len(interactions)).astype(np.float32)
    pairs = draw_pairs(PairShape(pairs=30, history=2, decay=0.5), replace(interactions, weights=weights), seed=0)
    batch = pairs.batch(np.arange(30))
    assert (batch.weights >= 0).all()
    for row in range(30):
        low, high = pairs.cases.queries.offsets[row : row + 2]
        expected = [max(0.0, w) * 0.5**age for age, w in enumerate(pairs.cases.queries.weights[low:high][::-1][:2])]
        np.testing.assert_allclose(batch.weights[row][: len(expected)], expected, rtol=1e-6)


def test_the_collator_gives_each_text_its_place(catalog, interactions, bert):
    from llmrec.train.encoder_model import new_encoder
    from llmrec.train.encoder_trainer import Collator

    config = EncoderConfig(encoder=str(bert), item_template="item/title")
    model = new_encoder(bert, config, seed=0)
    encoder = TextEncoder.load(str(bert), max_tokens=9)
    pairs = draw_pairs(PairShape(pairs=30, history=2), interactions, seed=0)
    texts = texts_of(pairs, catalog, config, encoder, {})
    collate = Collator(pairs, texts, encoder.count_tokens(texts), model, 9)
    found = collate([{"pair": 3}, {"pair": 8}, {"pair": 1}])
    batch = pairs.batch(np.array([3, 8, 1], dtype=np.int64))
    assert found["text_input_ids"].shape[1] == 9
    assert model.max_seq_length == 128
    widths = found["text_attention_mask"].sum(dim=1).tolist()
    assert widths == sorted(widths)  # short texts stand together
    for place, text in enumerate(batch.texts.tolist()):
        expected = model.tokenizer(texts[text], truncation=True, max_length=9)["input_ids"]
        row = int(found["label"]["order"][place])
        assert found["text_input_ids"][row, : len(expected)].tolist() == expected
    for name in ("anchors", "weights", "positives", "hidden", "log_chances"):
        np.testing.assert_array_equal(found["label"][name].numpy(), getattr(batch, name))
