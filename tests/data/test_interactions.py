import datetime
import time
from dataclasses import replace

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import csv

from llmrec.data import Catalog, InteractionColumns, Interactions, items_hash, usual_columns
from llmrec.errors import DataError, UnknownIdError
from llmrec.testing.data import tiny_catalog, tiny_interactions
from llmrec.testing.strategies import catalogs, interaction_tables, interactions

CATALOG = Catalog.from_table({"item_id": ["a", "b", "c", "d"]})
TABLE = {
    "user_id": ["u", "v", "u", "u", "v", "u"],
    "item_id": ["c", "a", "b", "c", "d", "a"],
    "timestamp": [5, 9, 5, 3, 2, 1],
}


def load(table=None, columns=None, **options):
    columns = {} if columns is None else {"columns": columns}
    return Interactions.from_table(TABLE if table is None else table, CATALOG, **columns, **options)


def rows_of(log, user):
    return [CATALOG.items[i] for i in log.histories[int(log.users.rows([user])[0])].tolist()]


def test_histories_are_oldest_first_and_ties_keep_file_order():
    log = load(repeats="keep")
    assert log.users.ids == ("u", "v")
    assert log.offsets.tolist() == [0, 4, 6]
    assert rows_of(log, "u") == ["a", "c", "c", "b"]
    assert rows_of(log, "v") == ["d", "a"]
    assert log.times.tolist() == [1, 3, 5, 5, 2, 9]
    assert (log.offsets.dtype, log.items.dtype, log.times.dtype) == (np.int64, np.int32, np.int64)


def test_folding_keeps_the_oldest_of_a_pair():
    log = load()
    assert len(log) == 5
    assert rows_of(log, "u") == ["a", "c", "b"]
    assert log.times.tolist() == [1, 3, 5, 2, 9]


def test_without_times_the_file_is_the_order():
    log = load(columns=InteractionColumns(time=None))
    assert rows_of(log, "u") == ["c", "b", "a"]
    assert log.times is None


def brute_force(table, repeats):
    histories = {}
    order = sorted(range(len(table["user_id"])), key=lambda row: table["timestamp"][row])
    for row in order:
        history = histories.setdefault(table["user_id"][row], [])
        pair = (table["item_id"][row], table["timestamp"][row])
        if repeats == "keep" or pair[0] not in [item for item, _ in history]:
            history.append(pair)
    return histories


@settings(deadline=None, max_examples=40)
@given(catalogs(), st.data(), st.sampled_from(["fold", "keep"]))
def test_any_table_gives_what_a_loop_would_give(catalog, data, repeats):
    table = data.draw(interaction_tables(catalog))
    log = Interactions.from_table(table, catalog, repeats=repeats)
    expected = brute_force(table, repeats)
    assert set(log.users.ids) == set(expected)
    for row, user in enumerate(log.users.ids):
        span = slice(log.offsets[row], log.offsets[row + 1])
        found = list(zip(catalog.items.decode(log.items[span]), log.times[span].tolist(), strict=True))
        assert found == expected[user]


UTC = datetime.UTC


@pytest.mark.parametrize(
    "times",
    [
        [1.0, 0.0, 2.0],
        pa.array([1, 0, 2], pa.timestamp("s")),
        pa.array([1_900, 0, 2_000], pa.timestamp("ms")),
        pd.to_datetime([1, 0, 2], unit="s", utc=True),
        ["1970-01-01 00:00:01", "1970-01-01T00:00:00", "1970-01-01 00:00:02"],
        ["1970-01-01T00:00:01Z", "1970-01-01T02:00:00+02:00", "1970-01-01T00:00:02+00:00"],
    ],
    ids=["floats", "seconds", "milliseconds", "pandas", "text", "text with offset"],
)
def test_times_of_every_kind_become_seconds(times):
    log = load({"user_id": ["u"] * 3, "item_id": ["a", "b", "c"], "timestamp": times})
    assert log.times.tolist() == [0, 1, 2]
    assert rows_of(log, "u") == ["b", "a", "c"]


def test_dates_become_midnight():
    dates = [datetime.date(1970, 1, 3), datetime.date(1970, 1, 2)]
    log = load({"user_id": ["u", "u"], "item_id": ["a", "b"], "timestamp": dates})
    assert log.times.tolist() == [86400, 172800]


def test_order_within_a_second_is_kept():
    times = pa.array([2_500_000, 2_100_000], pa.timestamp("us"))
    log = load({"user_id": ["u", "u"], "item_id": ["a", "b"], "timestamp": times})
    assert rows_of(log, "u") == ["b", "a"]
    assert log.times.tolist() == [2, 2]


@pytest.mark.parametrize(
    ("times", "message"),
    [
        ([1, None, 3], "no time in 1 rows, first in row 2"),
        ([1.0, float("nan"), 3.0], "holds nan in row 2"),
        ([1.0, 2.0, 3.5], "holds 3.5 in row 3"),
        ([1.0, 1e300, 3.0], "in row 2, not a whole number"),
        (["1", "2", "3"], "holds '1' in row 1, not a time"),
        (["2020-01-01", "2020-01-01 10:00:00", "yesterday"], "holds 'yesterday' in row 3"),
        ([True, False, True], "type bool"),
    ],
)
def test_bad_times_are_refused_with_their_row(times, message):
    with pytest.raises(DataError, match=message):
        load({"user_id": ["u"] * 3, "item_id": ["a", "b", "c"], "timestamp": times})


def test_a_missing_time_column_says_what_to_do():
    with pytest.raises(DataError, match=r"no column 'timestamp'.*\['user_id', 'item_id'\].*time=None"):
        load({"user_id": ["u"], "item_id": ["a"]}, columns=InteractionColumns())


@pytest.mark.parametrize(
    ("names", "time", "weight"),
    [
        (["user_id", "item_id"], None, None),
        (["t", "time", "timestamp", "weight"], "timestamp", "weight"),
        (["t", "time"], "time", None),
        (["t"], "t", None),
    ],
)
def test_usual_columns(names, time, weight):
    assert usual_columns(names) == InteractionColumns(time=time, weight=weight)


def test_a_file_and_a_table_are_read_by_their_usual_columns(tmp_path):
    rows = {"user_id": ["u", "u"], "item_id": ["a", "b"], "time": [9, 5], "weight": [1.0, 2.0]}
    csv.write_csv(pa.table(rows), tmp_path / "log.csv")
    catalog = Catalog.from_table({"item_id": ["a", "b"]})
    for log in (Interactions.from_file(tmp_path / "log.csv", catalog), Interactions.from_table(rows, catalog)):
        assert log.items.tolist() == [1, 0]
        assert log.times.tolist() == [5, 9]
        assert log.weights.tolist() == [2.0, 1.0]
    del rows["time"]
    in_order = Interactions.from_table(rows, catalog)
    assert (in_order.items.tolist(), in_order.times) == ([0, 1], None)


def test_repr_is_short():
    catalog = Catalog.from_table({"item_id": ["a", "b"]})
    log = Interactions.from_table({"user_id": ["u", "u"], "item_id": ["a", "b"]}, catalog)
    assert repr(log) == "Interactions(2 interactions, 1 users, 2 items)"


def test_unknown_items_are_counted_and_named():
    table = {"user_id": ["u"] * 4, "item_id": ["a", "zz", "x", "zz"], "timestamp": [1, 2, 3, 4]}
    with pytest.raises(UnknownIdError, match=r"3 of 4 interactions are of items outside .* row 2: .*'zz', 'x'"):
        load(table)


def test_ids_that_are_numbers_match_the_catalog_as_text():
    catalog = Catalog.from_table({"item_id": [1, 20]})
    log = Interactions.from_table({"user_id": [7.0], "item_id": [20], "timestamp": [0]}, catalog)
    assert (log.users.ids, log.items.tolist()) == (("7",), [1])


def test_weights_travel_with_their_interaction():
    table = {**TABLE, "stars": [1, 2, 3, 4, 5, 6]}
    log = load(table, InteractionColumns(weight="stars"))
    assert log.weights.tolist() == [6, 4, 3, 5, 2]
    assert log.weights.dtype == np.float32
    assert log.queries().weights.tolist() == log.weights.tolist()
    for bad, message in (
        ([1.0, None, 3, 4, 5, 6], "1 weights that are not finite, first in row 2"),
        (["x"] * 6, "numbers"),
    ):
        with pytest.raises(DataError, match=message):
            load({**TABLE, "stars": bad}, InteractionColumns(weight="stars"))


def test_matrix_holds_ones_weights_or_counts():
    assert load().matrix().toarray().tolist() == [[1, 1, 1, 0], [1, 0, 0, 1]]
    assert load(repeats="keep").matrix().toarray().tolist() == [[1, 1, 2, 0], [1, 0, 0, 1]]
    weighted = load({**TABLE, "w": [1, 2, 3, 4, 5, 6]}, InteractionColumns(weight="w"))
    assert weighted.matrix().toarray().tolist() == [[6, 3, 4, 0], [2, 0, 0, 5]]
    assert weighted.matrix().dtype == np.float32


def test_matrix_leaves_the_log_alone():
    log = load({**TABLE, "w": [1, 2, 3, 4, 5, 6]}, InteractionColumns(weight="w"), repeats="keep")
    before = (log.items.tolist(), log.weights.tolist())
    log.matrix().data[:] = 0
    assert (log.items.tolist(), log.weights.tolist()) == before


def test_queries_of_chosen_users():
    queries = load().queries(np.array([1, 0, 1]))
    assert [queries.histories[i].tolist() for i in range(3)] == [[3, 0], [0, 2, 1], [3, 0]]
    assert queries.times.tolist() == [2, 9, 1, 3, 5, 2, 9]
    assert queries.at is None
    assert len(load().queries()) == 2


@settings(deadline=None, max_examples=40)
@given(interactions())
def test_state_round_trip(log):
    back = Interactions.from_state(log.state())
    assert back.fingerprint == log.fingerprint
    assert back.users == log.users
    assert back.items.tolist() == log.items.tolist()
    assert back.times.tolist() == log.times.tolist()
    assert back.repeats == log.repeats


def test_damaged_state_is_refused():
    state = tiny_interactions().state()
    with pytest.raises(DataError, match="damaged"):
        Interactions.from_state(type(state)(state.config, {**state.arrays, "items": state.arrays["items"][1:]}))


def test_fingerprint_sees_order_times_users_and_weights():
    changes = [
        {},
        {"timestamp": [5, 9, 6, 3, 2, 1]},
        {"timestamp": [5, 9, 2, 3, 2, 1]},
        {"user_id": ["x", "v", "x", "x", "v", "x"]},
        {"item_id": ["c", "a", "b", "c", "b", "a"]},
    ]
    prints = {load({**TABLE, **change}).fingerprint for change in changes}
    prints.add(load(repeats="keep").fingerprint)
    prints.add(load(columns=InteractionColumns(weight="timestamp")).fingerprint)
    assert len(prints) == 7


def test_from_file(tmp_path):
    path = tmp_path / "log.csv"
    path.write_text("user_id,item_id,timestamp\n01,a,2\n1,b,1\n01,b,1\n", encoding="utf-8")
    log = Interactions.from_file(path, CATALOG)
    assert log.users.ids == ("01", "1")
    assert rows_of(log, "01") == ["b", "a"]
    path.write_text("user_id,item_id,timestamp\n01,a,2\n1,b\n", encoding="utf-8")
    with pytest.raises(DataError, match="line 3"):
        Interactions.from_file(path, CATALOG)


def test_an_empty_log_is_a_log():
    log = load(
        {
            "user_id": pa.array([], pa.string()),
            "item_id": pa.array([], pa.string()),
            "timestamp": pa.array([], pa.int64()),
        }
    )
    assert (len(log), log.n_users, log.matrix().shape) == (0, 0, (0, 4))


def test_many_rows_load_without_a_loop():
    rng = np.random.default_rng(0)
    n, catalog = 300_000, tiny_catalog(1000)
    table = pa.table(
        {
            "user_id": pa.array(rng.integers(0, 20_000, n)),
            "item_id": pa.array(np.char.add("i", rng.integers(0, 1000, n).astype(str))),
            "timestamp": rng.integers(0, 10**9, n),
        }
    )
    start = time.perf_counter()
    assert Interactions.from_table(table, catalog).n_users == 20_000
    assert time.perf_counter() - start < 5  # 0.3 s on one idle core; generous, for busy machines


KINDS = {**TABLE, "kind": ["buy", "view", "view", "buy", "buy", "view"], "rating": [1.0, None, 3.0, 4.0, 5.0, 6.0]}


def test_kinds_and_ratings_travel_with_their_interaction():
    log = load(KINDS)
    assert (log.kinds.tolist(), log.kind_names, log.kinds.dtype) == ([1, 0, 1, 0, 1], ("buy", "view"), np.int8)
    np.testing.assert_array_equal(log.ratings, np.array([6, 4, 3, 5, np.nan], np.float32))
    assert log.weights is None
    queries = log.queries(np.array([1, 0]))
    assert (queries.kinds.tolist(), queries.kind_names) == ([0, 1, 1, 0, 1], ("buy", "view"))
    np.testing.assert_array_equal(queries.ratings, np.array([5, np.nan, 6, 4, 3], np.float32))


def test_some_interactions_are_kept_with_all_that_is_known_of_them():
    log = load({**KINDS, "weight": [1, 2, 3, 4, 5, 6]})
    kept = log.keep(np.array([0, 2, 4]), np.array([0, 2, 3]))
    for name in ("items", "times", "weights", "kinds", "ratings"):
        np.testing.assert_array_equal(getattr(kept, name), getattr(log, name)[[0, 2, 4]])
    assert (kept.offsets.tolist(), kept.users, kept.kind_names) == ([0, 2, 3], log.users, log.kind_names)
    assert (kept.items_hash, kept.catalog_size) == (items_hash(CATALOG.items.ids), 4)


def test_state_round_trip_with_kinds_and_ratings():
    log = load(KINDS)
    back = Interactions.from_state(log.state())
    assert (back.fingerprint, back.items_hash, back.kind_names) == (log.fingerprint, log.items_hash, ("buy", "view"))
    assert (back.kinds.dtype, back.ratings.dtype) == (np.int8, np.float32)


def test_states_from_before_kinds_and_ratings_open_with_the_same_fingerprint():
    state = tiny_interactions().state()
    old = type(state)({"catalog_size": 12, "repeats": "fold"}, state.arrays)
    back = Interactions.from_state(old)
    assert (back.kinds, back.kind_names, back.ratings, back.items_hash) == (None, (), None, "")
    assert back.fingerprint == "0b09806bdf7a1f15ba9369c8d352e42a1d45ca3a7eb1488ce8ef9b6c0d105ed1"  # what it was then


def test_fingerprint_sees_kinds_and_ratings():
    changes = ({}, {"kind": ["buy"] * 6}, {"kind": [k.upper() for k in KINDS["kind"]]}, {"rating": [1.0] * 6})
    assert len({load({**KINDS, **change}).fingerprint for change in changes}) == 4


def test_items_hash_tells_a_permuted_catalog():
    assert len({items_hash(ids) for ids in (["a", "b"], ["b", "a"], ["ab"], ["a"])}) == 4


def test_bad_kinds_and_ratings_are_refused():
    for change, message in (
        ({"rating": [1.0, float("inf"), 3, 4, 5, 6]}, "1 ratings that are not finite, first in row 2"),
        ({"rating": ["x"] * 6}, "ratings must be numbers"),
        ({"kind": ["buy", None, "a", "b", "c", "d"]}, "has no id in 1 rows, first in row 2"),
    ):
        with pytest.raises(DataError, match=message):
            load({**KINDS, **change})
    many = {"user_id": ["u"] * 128, "item_id": ["a"] * 128, "kind": list(range(128)), "t": list(range(128))}
    with pytest.raises(DataError, match="holds 128 kinds, more than 127"):
        load(many)


@pytest.mark.parametrize("name", ["times", "weights", "kinds", "ratings"])
def test_what_is_not_aligned_with_the_items_is_refused(name):
    with pytest.raises(ValueError, match=f"{name} must align with items: 1 != 5"):
        replace(load(), **{name: np.zeros(1, np.int64)})
