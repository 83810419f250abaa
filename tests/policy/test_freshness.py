import time
from dataclasses import replace
from datetime import UTC, date, datetime

import numpy as np
import pyarrow as pa
import pytest

from llmrec.data import Catalog
from llmrec.errors import ConfigError, DataError
from llmrec.policy.ages import read_moments
from llmrec.types import Csr, Item

DAY = 86_400
JAN = int(datetime(2020, 1, 1, tzinfo=UTC).timestamp())


def moments(column, kind, **settings):
    catalog = Catalog.from_table({"item_id": [str(r) for r in range(len(column))], "f": column})
    return read_moments(catalog, "f", kind, np.arange(len(column), dtype=np.int32), **settings).tolist()


@pytest.mark.parametrize(
    ("column", "kind", "expected"),
    [
        ([date(1970, 1, 3), None], "time", [2.0, None]),
        ([datetime(1970, 1, 2, 12), datetime(1969, 12, 31)], "time", [1.5, -1.0]),
        (pa.array([DAY * 10**9, None], pa.timestamp("ns")), "time", [1.0, None]),
        (pa.array([DAY], pa.timestamp("s", tz="Europe/Berlin")), "time", [1.0]),
        (["1970-01-02", " 1970-01-01T06:00:00Z ", "1970-01-01T02:00:00+02:00", ""], "time", [1.0, 0.25, 0.0, None]),
        ([DAY, 2 * DAY], "time", [1.0, 2.0]),
        ([1970.0, 1971.0, None], "year", [0.0, 365.0, None]),
        (["1972", " 1973"], "year", [730.0, 1096.0]),
        ([date(1971, 6, 1)], "year", [365.0]),
        ([3, None, -1], "number", [3.0, None, -1.0]),
        (["2.5", "?", "n/a"], "number", [2.5, None, None]),
    ],
)
def test_moments_of_every_kind_of_column(column, kind, expected):
    found = [None if value != value else value for value in moments(column, kind, no_value=("?", "n/a"))]
    assert found == expected


def test_times_without_a_zone_are_utc_wherever_the_machine_is(monkeypatch):
    monkeypatch.setenv("TZ", "America/New_York")
    time.tzset()
    try:
        assert moments(["1970-01-02T00:00", "1970-01-02"], "time") == [1.0, 1.0]
        assert moments([datetime(1970, 1, 2)], "time") == [1.0]
    finally:
        monkeypatch.undo()
        time.tzset()


@pytest.mark.parametrize(
    ("column", "kind", "named"),
    [
        (["1970-01-02", "soon"], "time", "'soon' .item '1'."),
        (
            ["1995", "unkonwn", "V"],
            "year",
            "2 items have no year in field 'f' but 'unkonwn' .item '1'., 'V' .item '2'.",
        ),
        ([1995.5], "year", "1995.5"),
        ([True, False], "number", "True"),
        ([float("inf")], "number", "inf"),
    ],
)
def test_what_cannot_be_read_is_refused_by_item(column, kind, named):
    with pytest.raises(DataError, match=named):
        moments(column, kind)


def test_newer_items_move_up_half_as_far_for_each_half_life(fitted, plain, listed):
    policy = fitted("freshness", field="out", half_life=2, places=4)
    queries = replace(plain(), at=np.int64([JAN + 11 * DAY]))
    # ages: i11 0 (4 places), i9 2 (2), i7 unknown (0), i3 8 (0.25: none)
    assert policy.apply(queries, listed([0, 1, 2, 3, 7, 9, 11]), 7).items.tolist() == [[0, 1, 11, 2, 9, 3, 7]]


def test_ages_are_of_the_query_s_time(fitted, plain, listed):
    policy = fitted("freshness", field="out", max_age=2)
    queries = replace(plain(2), at=np.int64([JAN + 4 * DAY, JAN + 9 * DAY]))
    lists = listed([0, 1, 2, 3, 4, 7, 8, 9, 11], [0, 1, 2, 3, 4, 7, 8, 9, 11])
    found = policy.apply(policy.prepare(queries), lists, 5).items.tolist()
    assert found == [[2, 3, 4, 8, 9], [8, 9, 11, -1, -1]]  # what is from later has age 0
    assert policy.prepare(queries).allow is None
    assert policy.prepare(plain()).allow.tolist() == [False] * 9 + [True] * 3  # as old as the newest item says
    newest = fitted("freshness", field="out", max_age=2, reference="newest")
    assert newest.prepare(queries).allow.tolist() == [False] * 9 + [True] * 3
    assert newest.apply(queries, lists, 5).items.tolist() == [[9, 11, -1, -1, -1]] * 2


def test_items_from_after_the_query_are_all_of_age_0(fitted, plain, listed):
    policy = fitted("freshness", field="out", half_life=1, places=4)
    queries = replace(plain(), at=np.int64([JAN]))
    assert policy.apply(queries, listed([1, 3, 7, 9, 11]), 5).items.tolist() == [[1, 3, 9, 11, 7]]


def test_what_the_query_does_not_allow_stays_out(fitted, plain):
    policy = fitted("freshness", field="out", max_age=2)
    asked = replace(plain(), allow=np.arange(12) != 10)
    assert np.flatnonzero(policy.prepare(asked).allow).tolist() == [9, 11]


def test_items_of_unknown_age(fitted, plain, listed):
    lists = listed([0, 11, 7])
    old = fitted("freshness", field="out", max_age=5)
    assert old.apply(plain(), lists, 3).items.tolist() == [[11, -1, -1]]
    new = fitted("freshness", field="out", max_age=5, missing="new")
    assert new.apply(plain(), lists, 3).items.tolist() == [[11, 7, -1]]
    assert new.prepare(plain()).allow[7]
    for missing, expected in (("new", [11, 7, 0]), ("old", [11, 0, 7])):
        policy = fitted("freshness", field="out", half_life=1, places=2, missing=missing)
        assert policy.apply(plain(), lists, 3).items.tolist() == [expected]


def test_numbers_are_compared_with_the_newest(fitted, plain, listed):
    policy = fitted("freshness", field="price", kind="number", max_age=1.5)
    queries = replace(plain(), at=np.int64([5]))
    assert np.flatnonzero(policy.prepare(queries).allow).tolist() == [10, 11]
    assert policy.apply(queries, listed([2, 11, 9, 10]), 4).items.tolist() == [[11, 10, -1, -1]]


def test_the_newest_item_is_one_that_is_still_there(fitted, plain, shelves):
    policy = fitted("freshness", field="out", max_age=1)
    later = policy.with_items(shelves.without_items(["i11"]), np.empty(0, np.int32))
    assert np.flatnonzero(later.prepare(plain()).allow).tolist() == [9, 10, 11]
    grown = shelves.with_items([Item("n", {"out": "2020-02-01"})]).with_changes([Item("i0", {"out": "2020-02-02"})])
    again = policy.with_items(grown, np.int32([0]))
    assert np.flatnonzero(again.prepare(plain()).allow).tolist() == [0, 12]
    with pytest.raises(DataError, match="'n2'"):
        policy.with_items(shelves.with_items([Item("n2", {"out": "later"})]), np.empty(0, np.int32))


def test_settings(fitted):
    with pytest.raises(ConfigError, match="set max_age, half_life, or both"):
        fitted("freshness", field="out")
    with pytest.raises(ConfigError, match="no field 'date'"):
        fitted("freshness", field="date", max_age=1)
    said = []
    fitted("freshness", said=said, field="out", max_age=1)
    assert said == ["freshness: items without out, which count as too old: 1"]
    empty = Catalog.from_table({"item_id": ["a", "b"], "out": ["", None], "title": ["x", "y"]})
    with pytest.raises(ConfigError, match="'out' is empty for all items"):
        fitted("freshness", catalog=empty, field="out", max_age=1)
    years = Catalog.from_table({"item_id": ["a", "b"], "year": [1995, None]})
    with pytest.raises(ConfigError, match=r"'year' holds small numbers, .* set kind = \"year\""):
        fitted("freshness", catalog=years, field="year", max_age=1)


def test_a_list_may_grow_by_what_is_not_too_old(fitted, plain, listed):
    policy = fitted("freshness", field="out", max_age=2)
    queries = replace(plain(3), at=np.int64([JAN + 4 * DAY, JAN + 40 * DAY, JAN + 4 * DAY]))
    everything_else = [[r for r in range(12) if r != 3]] * 3
    lists = listed([2], [2], [3])
    assert policy.may_grow(queries, lists).tolist() == [True, False, True]
    assert policy.may_grow(replace(queries, exclude=Csr.from_lists(everything_else)), lists).tolist() == [
        True,
        False,
        False,
    ]
    assert fitted("freshness", field="out", half_life=2).may_grow(queries, lists).all()
