from dataclasses import replace
from types import SimpleNamespace

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings
from pydantic import ValidationError

from llmrec.component import FitContext
from llmrec.data import Holdout
from llmrec.errors import ConfigError
from llmrec.fuse import ReciprocalRankFusion, RrfConfig, column_ranks, fit_rrf
from llmrec.fuse.rrf import COMPONENT
from llmrec.types import Candidates, Queries

NAN = np.nan


def ndcg(fused, candidates, targets):
    """NDCG of one target per row in plain Python; a tie counts half."""
    total = 0.0
    for scores, items, target in zip(fused.tolist(), candidates.items.tolist(), targets.tolist(), strict=True):
        if target not in items:
            continue
        own = scores[items.index(target)]
        others = [s for s, i in zip(scores, items, strict=True) if i >= 0 and i != target]
        rank = 1 + sum(s > own for s in others) + sum(s == own for s in others) / 2
        total += 1 / np.log2(rank + 1)
    return total / len(targets)


def plain(n):
    return Queries.from_lists([[]] * n)


def planted(seed, n=800, width=30):
    """Two columns that each see half of the truth, and one that sees none of it."""
    rng = np.random.default_rng(seed)
    items = np.stack([rng.permutation(width) for _ in range(n)]).astype(np.int32)
    targets = items[np.arange(n), rng.integers(0, width, n)]
    is_target = items == targets[:, None]
    columns = {
        name: (rng.normal(size=items.shape) + is_target * strength).astype(np.float32)
        for name, strength in (("good", 1.6), ("also", 1.4), ("noise", 0.0))
    }
    return Candidates(items, columns), targets


def test_by_hand():
    candidates = Candidates(np.int32([[4, 7, 2]]), {"a": np.float32([[3, 2, 1]]), "b": np.float32([[0, 9, 9]])})
    fusion = ReciprocalRankFusion("rrf", RrfConfig(constant=60), {"a": 1.0, "b": 0.5})
    found = fusion.fuse(plain(1), candidates)[0]
    np.testing.assert_allclose(found, [1 / 61 + 0.5 / 63, 1 / 62 + 0.5 / 61, 1 / 63 + 0.5 / 61], rtol=1e-6)


def test_missing_evidence_is_made_up_for_by_the_other_columns():
    columns = {"a": np.float32([[NAN, 2, 1]]), "b": np.float32([[9, 8, NAN]]), "c": np.float32([[NAN] * 3])}
    candidates = Candidates(np.int32([[4, 7, 2]]), columns)
    fusion = ReciprocalRankFusion("rrf", RrfConfig(constant=10, new_item_share=0.9), {"a": 1.0, "b": 0.5, "c": 0.5})
    found = fusion.fuse(plain(1), candidates)[0]
    # the mean over the columns with evidence, times all the weight, a little less where much of it has none
    less = [0.9 + 0.1 * share / 2 for share in (0.5, 1.5, 1)]
    expected = [0.5 / 11 * 2 / 0.5 * less[0], (1 / 11 + 0.5 / 12) * 2 / 1.5 * less[1], 1 / 12 * 2 / 1 * less[2]]
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    empty = replace(candidates, columns=dict.fromkeys("abc", columns["c"]))
    np.testing.assert_array_equal(fusion.fuse(plain(1), empty), [[0, 0, 0]])


def test_a_column_of_weight_zero_is_heard_only_where_no_other_has_evidence():
    columns = {"a": np.float32([[1, 2, NAN]]), "b": np.float32([[9, 1, 5]])}
    fusion = ReciprocalRankFusion("rrf", RrfConfig(constant=60, new_item_share=0.9), {"a": 1.0, "b": 0.0})
    found = fusion.fuse(plain(1), Candidates(np.int32([[4, 7, 2]]), columns))[0]
    np.testing.assert_allclose(found, [1 / 62, 1 / 61, 0.9 / 62], rtol=1e-6)


def test_a_wish_gives_its_columns_their_share():
    items = np.int32([[4, 7], [4, 7]])
    columns = {name: np.float32([[1, 2], [1, 2]]) for name in ("ease", "pop")} | {"dense": np.float32([[2, 1], [2, 1]])}
    config = RrfConfig(constant=0, wish_share=0.8)
    fusion = ReciprocalRankFusion("rrf", config, {"ease": 3.0, "pop": 1.0, "dense": 0.5}, ("dense",))
    found = fusion.fuse(Queries.from_lists([[], []], [None, "a wish"]), Candidates(items, columns))
    np.testing.assert_allclose(found[0], [3 / 2 + 1 / 2 + 0.5, 3 + 1 + 0.25], rtol=1e-6)
    np.testing.assert_allclose(found[1], [0.15 / 2 + 0.05 / 2 + 0.8, 0.15 + 0.05 + 0.4], rtol=1e-6)
    tuned_out = ReciprocalRankFusion("rrf", config, {"ease": 1.0, "pop": 0.0, "dense": 0.0}, ("dense",))
    found = tuned_out.fuse(Queries.from_lists([[], []], [None, "a wish"]), Candidates(items, columns))
    np.testing.assert_allclose(found, [[1 / 2, 1], [0.1 + 0.8, 0.2 + 0.4]], rtol=1e-6)


def test_wishes_change_nothing_where_no_column_understands_them():
    columns = {"ease": np.float32([[1, 2]])}
    fusion = ReciprocalRankFusion("rrf", RrfConfig(), {"ease": 1.0})
    candidates = Candidates(np.int32([[4, 7]]), columns)
    np.testing.assert_array_equal(
        fusion.fuse(Queries.from_lists([[]], ["a wish"]), candidates), fusion.fuse(plain(1), candidates)
    )


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_a_wish_has_finite_scores_where_all_columns_understand_it(share):
    candidates = Candidates(np.int32([[4, 7]]), {"dense": np.float32([[1, 2]])})
    fusion = ReciprocalRankFusion("rrf", RrfConfig(wish_share=share), {"dense": 1.0}, ("dense",))
    found = fusion.fuse(Queries.from_lists([[]], ["a wish"]), candidates)
    np.testing.assert_array_equal(found, fusion.fuse(plain(1), candidates))


@pytest.mark.parametrize("seed", range(5))
def test_tuning_finds_the_useful_second_column_and_leaves_most_noise_out(seed):
    candidates, targets = planted(seed)
    fusion = fit_rrf(candidates, targets, RrfConfig())
    quality = {n: ndcg(column_ranks(c) * -1.0, candidates, targets) for n, c in candidates.columns.items()}
    tuned = ndcg(fusion.fuse(plain(len(targets)), candidates), candidates, targets)
    assert min(fusion.weights["good"], fusion.weights["also"]) >= 0.1
    assert fusion.weights["noise"] <= 0.25
    assert tuned > max(quality.values()) + 0.03


def test_bundles_with_settings_that_are_no_more_open():
    config = {"settings": {"constant": 60.0, "grid": [0.0, 1.0], "caution": 2.0}, "weights": {"a": 1.0}}
    found = COMPONENT.load("rrf", SimpleNamespace(config={**config, "wish_columns": []}), None)
    assert (found.config.constant, found.weights) == (60.0, {"a": 1.0})


@given(st.integers(0, 10_000))
@settings(max_examples=25, deadline=None)
def test_tuning_is_never_worse_than_the_best_column(seed):
    rng = np.random.default_rng(seed)
    n, width = int(rng.integers(1, 12)), int(rng.integers(1, 15))
    items = np.stack([rng.permutation(20)[:width] for _ in range(n)]).astype(np.int32)
    items[:, int(rng.integers(0, width + 1)) :] = -1
    columns = {}
    for name in "abc":
        column = rng.integers(0, 4, items.shape).astype(np.float32)
        column[(rng.random(items.shape) < 0.3) | (items < 0)] = NAN
        columns[name] = column
    candidates, targets = Candidates(items, columns), rng.integers(0, 20, n).astype(np.int32)
    config = RrfConfig()

    def quality(weights):
        fusion = ReciprocalRankFusion("rrf", config, weights)
        return ndcg(fusion.fuse(plain(n), candidates), candidates, targets)

    best = max(quality({m: float(m == name) for m in "abc"}) for name in "abc")
    assert quality(fit_rrf(candidates, targets, config).weights) >= best - 1e-12


def test_without_cases_or_candidates_all_count_alike(catalog, interactions):
    columns = {"a": np.empty((0, 3), np.float32), "b": np.empty((0, 3), np.float32)}
    nothing = Candidates(np.empty((0, 3), np.int32), columns)
    assert fit_rrf(nothing, np.empty(0, np.int32), RrfConfig()).weights == {"a": 1.0, "b": 1.0}
    narrow = Candidates(np.empty((2, 0), np.int32), {n: np.empty((2, 0), np.float32) for n in "ab"})
    assert set(fit_rrf(narrow, np.int32([1, 2]), RrfConfig()).weights) == {"a", "b"}


def context(candidates, catalog, interactions):
    nobody = np.empty(0, np.int64)
    cases = Holdout(nobody, interactions.queries(nobody), np.empty(0, np.int32))
    return FitContext("rrf", catalog, interactions, validation=cases, candidates=candidates)


def test_weights_by_hand_are_taken_as_they_are(catalog, interactions):
    candidates, _ = planted(0, n=3)
    config = RrfConfig(weights={"good": 2.0, "noise": 0.0})
    assert COMPONENT.fit(context(candidates, catalog, interactions), config).weights == {"good": 2.0, "noise": 0.0}


@pytest.mark.parametrize("weights", [{"god": 1.0}, {"good": -1.0, "also": 1.0}, {"good": 0.0}, {}])
def test_wrong_weights_are_refused_with_the_columns(catalog, interactions, weights):
    candidates, _ = planted(0, n=3)
    with pytest.raises(ConfigError, match="good, also, noise"):
        COMPONENT.fit(context(candidates, catalog, interactions), RrfConfig(weights=weights))


def test_wrong_settings_are_refused(catalog, interactions):
    candidates, _ = planted(0, n=3)
    with pytest.raises(ConfigError, match=r"wish_columns names 'goot', .*: good, also, noise"):
        COMPONENT.fit(context(candidates, catalog, interactions), RrfConfig(wish_columns=("good", "goot")))
    for wrong in ({"constant": -1.0}, {"constant": np.inf}, {"weights": {"good": np.nan}}):
        with pytest.raises(ValidationError):
            RrfConfig(**wrong)


def test_the_order_of_the_weights_does_not_matter(rng):
    columns = {n: rng.normal(size=(5, 9)).astype(np.float32) for n in "abc"}
    candidates = Candidates(np.tile(np.arange(9, dtype=np.int32), (5, 1)), columns)
    weights = {"a": 1.0, "b": 0.7, "c": 0.05}
    one, other = (
        ReciprocalRankFusion("rrf", RrfConfig(), w).fuse(plain(5), candidates)
        for w in (weights, dict(reversed(weights.items())))
    )
    np.testing.assert_array_equal(one, other)


def test_state_survives_json():
    import json

    fusion = ReciprocalRankFusion("rrf", RrfConfig(constant=7.0), {"a": 0.3})
    state = SimpleNamespace(config=json.loads(json.dumps(fusion.state().config)))
    assert COMPONENT.load("rrf", state, None) == fusion


def test_a_weight_of_zero_is_ignored_only_where_others_know_enough():
    full, gap = np.float32([[1, 2]]), np.float32([[1, NAN]])
    fusion = ReciprocalRankFusion("rrf", RrfConfig(), {"a": 1.0, "b": 0.0})
    items = np.int32([[4, 7]])
    assert fusion.ignores(plain(1), Candidates(items, {"a": full})) == {"b"}
    assert fusion.ignores(plain(1), Candidates(items, {"a": gap})) == set()
    assert fusion.ignores(plain(1), Candidates(np.int32([[4, -1]]), {"a": gap})) == {"b"}
    assert fusion.ignores(Queries.from_lists([[]], ["a wish"]), Candidates(items, {"a": full})) == set()
    both = ReciprocalRankFusion("rrf", RrfConfig(), {"a": 1.0, "b": 0.1})
    assert both.ignores(plain(1), Candidates(items, {"a": full})) == set()
    alone = fusion.fuse(plain(1), Candidates(items, {"a": full}))
    np.testing.assert_array_equal(alone, fusion.fuse(plain(1), Candidates(items, {"a": full, "b": full[:, ::-1]})))
