"""The fusion against a reference in plain Python, and by property."""

import math
from types import SimpleNamespace

import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import numpy as np
from hypothesis import given, settings

from llmrec.component import FitContext
from llmrec.data import Holdout
from llmrec.fuse import ReciprocalRankFusion, RrfConfig
from llmrec.fuse.rrf import COMPONENT
from llmrec.types import Candidates, Queries

NAMES = ("a", "b", "c")
SCORES = st.sampled_from([-3.0, -0.5, 0.0, 0.25, 1.0, 7.0, float("nan")])


def plain(n):
    return Queries.from_lists([[]] * n)


@st.composite
def candidates(draw, values=SCORES, pads=True):
    shape = draw(st.tuples(st.integers(1, 4), st.integers(1, 7)))
    rng = np.random.default_rng(draw(st.integers(0, 1000)))
    items = np.stack([rng.permutation(12)[: shape[1]] for _ in range(shape[0])]).astype(np.int32)
    if pads:
        for row in range(shape[0]):
            items[row, draw(st.integers(0, shape[1])) :] = -1
    columns = {name: draw(hnp.arrays(np.float32, shape, elements=values)) for name in NAMES}
    return Candidates(items, {n: np.where(items >= 0, c, np.float32(np.nan)) for n, c in columns.items()})


WEIGHTS = st.fixed_dictionaries(dict.fromkeys(NAMES, st.sampled_from([0.0, 0.05, 0.3, 1.0, 2.0]))).filter(
    lambda w: any(w.values())
)


NORMS = st.sampled_from(["rank", "min-max"])


def reference(row, weights, config):
    """Scores of one row: a dict of columns, each a list of floats; NaN where there is no evidence."""
    new_item_share = config.new_item_share
    size = len(next(iter(row.values())))

    def mean(names, place, weigh):
        total = evidence = 0.0
        for name in names:
            own = row[name][place]
            if math.isnan(own):
                continue
            known = [other for other in row[name] if not math.isnan(other)]
            if config.norm == "rank":
                said = 1 / (config.constant + 1 + sum(other > own for other in known))
            else:
                share = (own - min(known)) / (max(known) - min(known)) if max(known) > min(known) else 1.0
                said = 0.001 + 0.999 * share
            total += weigh[name] * said
            evidence += weigh[name]
        return (total / evidence if evidence else 0.0), evidence

    heard = [n for n in weights if weights[n] > 0]
    unheard = [n for n in weights if weights[n] == 0]
    full = sum(weights[n] for n in heard)
    out = []
    for place in range(size):
        score, evidence = mean(heard, place, weights)
        if not evidence:
            score, _ = mean(unheard, place, dict.fromkeys(unheard, 1.0))
        out.append(score * full * (new_item_share + (1 - new_item_share) * evidence / full))
    return out


@given(candidates(), WEIGHTS, st.sampled_from([0.0, 5.0, 60.0]), st.sampled_from([0.0, 0.9, 1.0]), NORMS)
@settings(max_examples=200, deadline=None)
def test_it_is_what_the_reference_says(found, weights, constant, share, norm):
    config = RrfConfig(norm=norm, constant=constant, new_item_share=share)
    fusion = ReciprocalRankFusion("rrf", config, weights)
    fused = fusion.fuse(plain(len(found)), found)
    for row in range(len(found)):
        columns = {n: c[row].tolist() for n, c in found.columns.items()}
        np.testing.assert_allclose(fused[row], reference(columns, weights, config), rtol=3e-6, atol=1e-9)


@given(
    candidates(), WEIGHTS, st.sampled_from(NAMES), st.sampled_from([1e-3, 17.0, 2.0**40]), st.sampled_from([0.0, -5.0])
)
@settings(max_examples=60, deadline=None)
def test_the_scale_of_a_column_does_not_matter(found, weights, name, scale, shift):
    fusion = ReciprocalRankFusion("rrf", RrfConfig(), weights)
    stretched = (found.columns[name].astype(np.float64) * scale + shift * scale).astype(np.float32)
    moved = Candidates(found.items, {**found.columns, name: stretched})
    np.testing.assert_array_equal(fusion.fuse(plain(len(found)), moved), fusion.fuse(plain(len(found)), found))


@given(candidates(), WEIGHTS, st.sampled_from(NAMES), st.sampled_from([0.25, 2.0**40]))
@settings(max_examples=60, deadline=None)
def test_the_unit_of_scores_does_not_matter(found, weights, name, scale):
    fusion = ReciprocalRankFusion("rrf", RrfConfig(norm="min-max"), weights)
    moved = Candidates(found.items, {**found.columns, name: found.columns[name] * np.float32(scale)})
    np.testing.assert_array_equal(fusion.fuse(plain(len(found)), moved), fusion.fuse(plain(len(found)), found))


@given(candidates(values=st.integers(-4, 4).map(float), pads=False), WEIGHTS, NORMS)
@settings(max_examples=60, deadline=None)
def test_what_every_column_ranks_higher_is_higher(found, weights, norm):
    fused = ReciprocalRankFusion("rrf", RrfConfig(norm=norm), weights).fuse(plain(len(found)), found)
    heard = [found.columns[n] for n in NAMES if weights[n] > 0]
    for row in range(len(found)):
        for one in range(found.items.shape[1]):
            for other in range(found.items.shape[1]):
                if all(c[row, one] > c[row, other] for c in heard):
                    assert fused[row, one] > fused[row, other]


@given(candidates(), WEIGHTS, NORMS)
@settings(max_examples=60, deadline=None)
def test_scores_are_finite_and_zero_exactly_where_nothing_is_known(found, weights, norm):
    fused = ReciprocalRankFusion("rrf", RrfConfig(norm=norm), weights).fuse(plain(len(found)), found)
    known = np.logical_or.reduce([~np.isnan(c) for c in found.columns.values()])
    np.testing.assert_array_equal(fused > 0, known)
    assert (fused[~known] == 0).all()


@given(candidates(), WEIGHTS, NORMS)
@settings(max_examples=60, deadline=None)
def test_rows_do_not_depend_on_each_other(found, weights, norm):
    fusion = ReciprocalRankFusion("rrf", RrfConfig(norm=norm), weights)
    together = fusion.fuse(plain(len(found)), found)
    for row in range(len(found)):
        alone = Candidates(found.items[row : row + 1], {n: c[row : row + 1] for n, c in found.columns.items()})
        np.testing.assert_array_equal(fusion.fuse(plain(1), alone)[0], together[row])


def test_without_tuning_all_columns_count_alike(catalog, interactions):
    rng = np.random.default_rng(0)
    items = np.stack([rng.permutation(12) for _ in range(60)]).astype(np.int32)
    targets = items[:, 3].copy()
    right = (items == targets[:, None]).astype(np.float32)
    found = Candidates(items, {"right": right, "noise": rng.random(items.shape).astype(np.float32)})
    cases = Holdout(np.arange(60), plain(60), targets)
    context = FitContext("rrf", catalog, interactions, validation=cases, candidates=found)
    assert COMPONENT.fit(context, RrfConfig(tune=False)).weights == {"right": 1.0, "noise": 1.0}
    tuned = COMPONENT.fit(context, RrfConfig()).weights
    assert tuned["right"] == 1.0
    assert tuned["noise"] < 0.5


def test_how_far_apart_scores_are_counts_where_they_are_summed():
    """Two columns order three items the other way round; one of them is sure of it."""
    items = np.arange(3, dtype=np.int32)[None].repeat(60, axis=0)
    sure, unsure = np.array([9.0, 8.9, 0.0], np.float32), np.array([1.0, 1.1, 1.2], np.float32)
    found = Candidates(items, {"sure": sure[None].repeat(60, 0), "unsure": unsure[None].repeat(60, 0)})
    fused = ReciprocalRankFusion("rrf", RrfConfig(norm="min-max"), {"sure": 1.0, "unsure": 1.0}).fuse(plain(60), found)
    assert np.argmax(fused, axis=1).tolist() == [1] * 60
    by_rank = ReciprocalRankFusion("rrf", RrfConfig(), {"sure": 1.0, "unsure": 1.0}).fuse(plain(60), found)
    np.testing.assert_allclose(by_rank[:, 0], by_rank[:, 2])


def test_a_bundle_from_before_tune_still_opens():
    config = RrfConfig().model_dump(mode="json")
    del config["tune"]
    state = SimpleNamespace(config={"settings": config, "weights": {"a": 1.0}, "wish_columns": []})
    assert COMPONENT.load("rrf", state, None).weights == {"a": 1.0}
