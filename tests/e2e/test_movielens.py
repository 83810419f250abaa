"""The main job on real MovieLens-100K with real MiniLM weights: figures, guarantees, round trips.

The assets and embeddings go through the user's own cache, so that they are fetched and computed once.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import llmrec
from llmrec import Config, Item
from llmrec.config import StageConfig

pytestmark = pytest.mark.e2e

WESTERN = "a slow western with gunslingers"


@pytest.fixture(scope="module")
def holdout(data):
    return llmrec.leave_last_out(data.interactions).test


@pytest.fixture(scope="module")
def hybrid(data):
    """The default pipeline; it has never seen the last interactions."""
    return llmrec.fit(Config(), data.catalog, data.interactions, holdout="last")


@pytest.fixture(scope="module")
def reports(data, hybrid, holdout):
    """A report of each retriever alone, and of the hybrid."""
    from llmrec.evaluate import Case, judge, parts

    return judge(data.interactions, {name: Case(part, holdout) for name, part in parts(hybrid).items()})


@pytest.fixture(scope="module")
def loaded(hybrid, tmp_path_factory):
    return llmrec.load(hybrid.save(tmp_path_factory.mktemp("bundles") / "hybrid"))


def test_the_encoder_in_the_bundle_opens_with_plain_sentence_transformers(loaded):
    from llmrec.text import render_items

    sentence_transformers = pytest.importorskip("sentence_transformers")
    dense = next(r for r, _ in loaded.stages[0].retrievers if r.name == "dense")
    model = sentence_transformers.SentenceTransformer(str(dense.encoder.files()["config.json"].parent), device="cpu")
    rows = np.arange(0, 1682, 100, dtype=np.int32)
    theirs = model.encode(render_items(dense.item_template, loaded.catalog, rows))
    assert (dense.item_vectors(rows) * theirs).sum(axis=1).min() > 0.999  # bfloat16 where the processor has it


def genres(data, recommendations):
    rows = data.catalog.items.rows([r.item_id for r in recommendations])
    return [record["genres"] for record in data.catalog.records(rows)]


def test_ease_reproduces_its_published_figures_here(data, holdout):
    """Benchmarks of this project: EASE, lambda 200, history weighted by 0.8 ** age, leave-last-out."""
    from llmrec.evaluate import Case, judge, parts

    alone = Config.from_dict({"stages": [{"name": "alone", "retrievers": {"popularity": {}, "ease": {"l2": 200.0}}}]})
    fitted = llmrec.fit(alone, data.catalog, data.interactions, holdout="last")
    ease = parts(fitted)["ease"]
    report = judge(data.interactions, {"ease": Case(ease, holdout)})["ease"]
    assert report.metrics["NDCG@10"].mean == pytest.approx(0.1060, abs=0.002)
    assert report.metrics["Recall@10"].mean == pytest.approx(0.1983, abs=0.002)
    assert report.card.n_users == 943


def test_every_part_works(reports):
    assert reports["popularity"].metrics["NDCG@10"].mean == pytest.approx(0.0442, abs=0.002)
    assert reports["dense"].metrics["NDCG@10"].low > 0.006  # twice that of random lists
    assert all(report.n_short == 0 for report in reports.values())


def test_hybrid_is_not_worse_than_its_best_part(reports):
    from llmrec.evaluate import compare_pairs

    parts = ("popularity", "next_item", "transition", "dense")
    best = max(parts, key=lambda name: reports[name].metrics["NDCG@10"].mean)
    found = compare_pairs(reports["hybrid"], reports[best])
    assert found.difference >= 0 or found.p_value > 0.05, str(found)


def test_a_loaded_bundle_ranks_identically(hybrid, loaded):
    users = list(hybrid.histories.users.ids[:50])
    before = hybrid.recommend(hybrid.queries(users), 20)
    after = loaded.recommend(loaded.queries(users), 20)
    np.testing.assert_array_equal(before.items, after.items)
    np.testing.assert_array_equal(before.scores, after.scores)


def test_a_wish_for_a_western_brings_westerns(data, loaded):
    lists = loaded.decode(loaded.recommend(loaded.queries(wishes=[WESTERN]), 5))
    found = genres(data, lists[0])
    assert sum("Western" in (shown or "") for shown in found) >= 3, found


def test_a_typed_in_item_answers_a_fitting_wish(loaded):
    robot = Item("x1", {"title": "The Last Robot on Titan", "genres": "Sci-Fi Adventure"})
    grown = loaded.add_items([robot])
    wish = "a robot stranded alone on a distant planet"
    best = [r.item_id for r in grown.decode(grown.recommend(grown.queries(wishes=[wish]), 10))[0]]
    assert "x1" in best
    assert "x1" in [r.item_id for r in grown.decode(grown.search([wish], 10))[0]]
    gone = grown.remove_items(["x1"])
    assert "x1" not in [r.item_id for r in gone.decode(gone.search([wish], 10))[0]]


def test_an_unchanged_catalog_is_not_embedded_again(data, hybrid, tmp_path):
    from llmrec.models import EmbeddingCache, TextEncoder
    from llmrec.text import render_items

    dense = next(r for r, _ in hybrid.stages[0].retrievers if r.name == "dense")
    texts = render_items(dense.item_template, data.catalog)
    encoder = TextEncoder.load("minilm", max_tokens=dense.config.max_tokens, cache=EmbeddingCache.default())
    np.testing.assert_array_equal(encoder.encode_items(texts), dense.vectors)
    assert encoder.encoded == 0
    # the counter does count: with a cache that is empty, every text costs a call
    counts = []
    for _ in range(2):
        fresh = TextEncoder.load("minilm", cache=EmbeddingCache(tmp_path / "vectors.sqlite"))
        fresh.encode_items(texts[:3])
        counts.append(fresh.encoded)
    assert counts == [3, 0]


def test_cross_encoder_is_trained_used_and_saved(data, tmp_path):
    """A training run too short to help, through the same code as the long one."""
    first = Config().stages[0].model_copy(update={"keep": 20})
    # check_share 0: what is trained is kept, better or not
    scorers = {"cross_encoder": {"cases": 24, "epochs": 1, "check_share": 0}}
    short = StageConfig(name="rerank", keep=20, scorers=scorers, tuning_users=8)
    lines: list[str] = []
    cascade = llmrec.fit(
        Config(stages=(first, short)), data.catalog, data.interactions, holdout="last", progress=lines.append
    )
    assert any("lists hold what was taken" in line for line in lines)
    assert [stage.name for stage in cascade.stages] == ["hybrid", "rerank"]
    back = llmrec.load(cascade.save(tmp_path / "cascade"))
    users = list(cascade.histories.users.ids[:4])
    before = cascade.trace(cascade.queries(users), 20)
    after = back.trace(back.queries(users), 20)
    np.testing.assert_array_equal(before.ranking.items, after.ranking.items)
    np.testing.assert_array_equal(before.ranking.scores, after.ranking.scores)
    columns = [trace.stages[-1].candidates.columns["cross_encoder"] for trace in (before, after)]
    np.testing.assert_array_equal(*columns)
    scored = columns[0][:, : short.keep]
    assert np.isfinite(scored).all()
    assert scored.std(axis=1).min() > 0
    wished = replace(back.queries(users), texts=[WESTERN] * len(users))
    assert len(back.recommend(wished, 5)) == len(users)
