from dataclasses import replace

import numpy as np
import pytest

from llmrec.data import Interactions
from llmrec.fuse import Features
from llmrec.retrieve import EraConfig, fit_era
from llmrec.types import Candidates, Queries

NAN = np.float32(np.nan)
LOG = {
    "user_id": ["a", "a", "a", "b", "b"],
    "item_id": ["i0", "i1", "i2", "i0", "i2"],
    "timestamp": [0, 86_400, 864_000, 86_400, 864_000],
}


@pytest.fixture
def train(catalog):
    return Interactions.from_table(LOG, catalog)


@pytest.fixture
def candidates():
    items = np.int32([[3, 0, 2, -1], [1, 14, 0, 2]])
    ease = np.float32([[NAN, 2, 5, NAN], [1, NAN, 1, 4]])
    return Candidates(items, {"ease": ease}, {"ease": np.int32([[0, 2, 1, 0], [0, 0, 0, 1]])})


def rows(features, queries, candidates, wanted=None):
    """Feature values by name, per query and item."""
    wanted = candidates.items >= 0 if wanted is None else wanted
    fused = np.nan_to_num(candidates.columns["ease"]) / 10
    found = {}
    for some, matrix in features.matrices(queries, candidates, fused.astype(np.float32), wanted):
        owners, places = np.nonzero(wanted[some])
        assert matrix.dtype == np.float32
        for owner, place, row in zip(owners, places, matrix, strict=True):
            found[int(some[owner]), int(candidates.items[some[owner], place])] = dict(
                zip(features.names, row.tolist(), strict=True)
            )
    return found


def test_by_hand(train, candidates):
    queries = replace(Queries.from_lists([[0, 1], []]), at=np.int64([2 * 86_400, 0]))
    found = rows(Features.of(candidates, train), queries, candidates)
    assert set(found) == {(0, 3), (0, 0), (0, 2), (1, 1), (1, 14), (1, 0), (1, 2)}
    one = found[0, 0]
    assert [one[f"ease:{kind}"] for kind in ("score", "gap", "share", "rank")] == [2, -3, 0, 2]
    assert one["weighted RRF:rank"] == 2
    assert one["weighted RRF:share"] == pytest.approx(0.4)
    assert one["sources"] == 1
    assert one["item popularity"] == pytest.approx(np.log(3))
    assert one["item age"] == 2
    # halved with every day of the ten the log spans
    assert one["item recent popularity"] == pytest.approx(np.log1p(2.0**-10 + 2.0**-9), rel=1e-5)
    assert [one["history length"], one["history popularity"]] == [2, pytest.approx((np.log(3) + np.log(2)) / 2)]
    assert one["last item popularity"] == pytest.approx(np.log(2))
    tied = found[1, 1]
    assert [tied[f"ease:{kind}"] for kind in ("score", "gap", "share", "rank")] == [1, -3, 0, 2]
    assert tied["sources"] == tied["history length"] == 0
    assert np.isnan(tied["history popularity"])
    assert np.isnan(tied["last item popularity"])
    for new in (found[0, 3], found[1, 14]):  # never taken; not even in the catalog at fit time
        assert new["item popularity"] == new["item recent popularity"] == 0
        assert np.isnan([new["item age"], *(new[f"ease:{kind}"] for kind in ("score", "gap", "share", "rank"))]).all()


def test_blocks_and_choice_change_nothing(train, candidates, monkeypatch):
    queries = Queries.from_lists([[0, 1], [2]])
    features = Features.of(candidates, train)
    whole = rows(features, queries, candidates)
    monkeypatch.setattr("llmrec.retrieve.base.BLOCK_CELLS", 1)
    np.testing.assert_equal(rows(features, queries, candidates), whole)
    wanted = np.array([[False, True, False, False], [True, False, False, True]])
    some = rows(features, queries, candidates, wanted)
    np.testing.assert_equal(some, {key: whole[key] for key in [(0, 0), (1, 1), (1, 2)]})


def test_order_says_how_late_and_of_what_time_an_item_is(catalog, candidates):
    early, late = ["i0", "i1", "i2", "i3"] * 30, ["i4", "i5", "i0", "i3"] * 2
    users = [f"a{n // 4}" for n in range(120)] + [f"b{n // 4}" for n in range(8)]
    log = Interactions.from_table({"user_id": users, "item_id": early + late}, catalog)
    features = Features.of(candidates, log)
    usual = 3 / 4  # of the interactions are among a user's newest three
    shares = {0: (2 + 10 * usual) / (32 + 10), 1: (30 + 10 * usual) / (30 + 10), 4: 10 * usual / (2 + 10)}
    for item, share in shares.items():
        assert features.late[item] == pytest.approx(np.log(share / usual), rel=1e-5)
    np.testing.assert_array_equal(features.era, fit_era(log, catalog, EraConfig()).times)
    assert (np.diff(features.era[:4]) > 0).all()
    found = rows(features, Queries.from_lists([[0], []]), candidates)
    assert found[0, 2]["item lateness"] == features.late[2]
    assert found[0, 2]["item era"] == features.era[2]
    assert np.isnan([found[1, 14]["item lateness"], found[1, 14]["item era"]]).all()
    blind = features.forgetting(np.arange(len(catalog)) == 2)
    assert np.isnan([blind.late[2], blind.era[2]]).all()
    np.testing.assert_array_equal(blind.late[:2], features.late[:2])


def test_features_of_older_bundles_open(train, candidates):
    features = Features.of(candidates, train)
    config, arrays = features.state()
    old = Features.from_state(config, {name: arrays[name] for name in ("popularity", "recent", "since")})
    assert set(features.names) - set(old.names) == {"item lateness", "item era"}
    queries = Queries.from_lists([[0, 1], []])
    now, before = rows(features, queries, candidates), rows(old, queries, candidates)
    for key, values in before.items():
        np.testing.assert_equal({name: now[key][name] for name in values}, values)


def test_without_times_there_is_no_age(train, candidates):
    timeless = Features.of(candidates, replace(train, times=None))
    assert {"item age", "item recent popularity"} == set(Features.of(candidates, train).names) - set(timeless.names)
    assert rows(timeless, Queries.from_lists([[0], []]), candidates)[0, 0]["item popularity"] == pytest.approx(
        np.log(3)
    )


def test_a_column_that_is_not_there_is_missing(train, candidates):
    both = replace(candidates, columns={**candidates.columns, "dense": candidates.columns["ease"]})
    features = Features.of(both, train)
    found = rows(features, Queries.from_lists([[0], []]), candidates)
    assert np.isnan(found[0, 0]["dense:score"])
    assert found[0, 0]["ease:score"] == 2


def test_state(train, candidates):
    features = Features.of(candidates, train)
    config, arrays = features.state()
    again = Features.from_state(config, arrays)
    queries = Queries.from_lists([[0, 1], [2]])
    assert again.names == features.names
    np.testing.assert_equal(rows(again, queries, candidates), rows(features, queries, candidates))
    assert again.is_known(np.int32([[0, 3, 14, -1]])).tolist() == [[True, False, False, False]]
