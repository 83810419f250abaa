"""One data set, written in every way it can come: always the same catalog, log and users."""

import gzip
import json

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow import csv

from llmrec.data import DataConfig, InteractionColumns, _blocks, clean_data, load_data, load_dataset, usual_columns
from llmrec.errors import ConfigError, DataError

ITEMS = {"item_id": ["b", "a", "007"], "title": ["Toy Story", None, "Misérables, Les"], "year": [1995, None, 2012]}
LOG = {
    "user_id": ["u", "v", "u", "u"],
    "item_id": ["007", "a", "b", "a"],
    "timestamp": [5, 9, 5, 1],
    "rating": [5.0, None, 3.5, 1.0],
    "kind": ["buy", "view", "view", "buy"],
}
USERS = {"user_id": ["v", "u"], "age": [30, None]}
PARTS = {"items": ITEMS, "interactions": LOG, "users": USERS}
RECBOLE = {
    "x.item": "item_id:token\ttitle:token_seq\tyear:float\nb\tToy Story\t1995\na\t\t\n007\tMisérables, Les\t2012\n",
    "x.inter": "user_id:token\titem_id:token\ttimestamp:float\trating:float\tkind:token\n"
    "u\t007\t5\t5\tbuy\nv\ta\t9.0\t\tview\nu\tb\t5e0\t3.5\tview\nu\ta\t1\t1.0\tbuy\n",
    "x.user": "user_id:token\tage:float\nv\t30\nu\t\n",
}


def write(folder, name, table, compress=False):
    path = folder / name
    if name.endswith(".parquet"):
        pq.write_table(pa.table(table), path)
        return
    suffix = name.split(".")[1]
    if suffix in ("jsonl", "ndjson"):
        rows = [json.dumps({k: v for k, v in row.items() if v is not None}) for row in pa.table(table).to_pylist()]
        text = "\n".join(rows).encode()
    else:
        sink = pa.BufferOutputStream()
        csv.write_csv(pa.table(table), sink, csv.WriteOptions(delimiter="\t" if suffix == "tsv" else ","))
        text = sink.getvalue().to_pybytes()
    path.write_bytes(gzip.compress(text) if compress else text)


def check(data):
    assert data.catalog.table.to_pylist() == pa.table(ITEMS).to_pylist()
    assert [data.catalog.items.ids, data.interactions.users.ids] == [("b", "a", "007"), ("u", "v")]
    log = data.interactions
    assert log.items.tolist() == [1, 2, 0, 1]
    assert (log.offsets.tolist(), log.times.tolist()) == ([0, 3, 4], [1, 5, 5, 9])
    np.testing.assert_array_equal(log.ratings, np.array([1, 5, 3.5, np.nan], np.float32))
    assert (log.kinds.tolist(), log.kind_names, log.kinds.dtype) == ([0, 0, 1, 1], ("buy", "view"), np.int8)
    assert log.weights is None
    assert data.users.profiles(["u", "v"]) == {"age": [None, 30]}
    assert data.cleaning.clean
    assert [(p.read, p.accepted) for p in data.cleaning.parts] == [(3, 3), (4, 4), (2, 2)]
    return log.fingerprint


@pytest.mark.parametrize(
    "suffix", ["csv", "tsv", "parquet", "jsonl", "ndjson", "csv.gz", "tsv.gz", "jsonl.gz", "ndjson.gz"]
)
def test_every_kind_of_file_gives_the_same_data_set(tmp_path, suffix):
    for part, table in PARTS.items():
        write(tmp_path, f"{part}.{suffix}", table, compress=suffix.endswith(".gz"))
    data = load_dataset(tmp_path)
    assert data.name == tmp_path.name
    assert check(data) == check(clean_data(ITEMS, LOG, USERS))


def test_recbole_files(tmp_path):
    for name, text in RECBOLE.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    assert check(load_dataset(tmp_path)) == check(clean_data(ITEMS, LOG, USERS))


def as_stream(table):
    class Stream:
        def __arrow_c_stream__(self, requested_schema=None):
            return pa.table(table).__arrow_c_stream__(requested_schema)

    return Stream()


def as_relation(table):
    duckdb = pytest.importorskip("duckdb")
    source = pa.table(table)
    assert len(source)
    return duckdb.sql("select * from source")


def as_hugging_face(table):
    datasets = pytest.importorskip("datasets")
    source = pa.table(table)
    backwards = datasets.Dataset(source.take(pa.array(range(len(source) - 1, -1, -1))))
    return backwards.select(range(len(source) - 1, -1, -1))


@pytest.mark.parametrize(
    "convert",
    [
        dict,
        pa.table,
        pd.DataFrame,
        pl.DataFrame,
        lambda table: pa.table(table).to_pylist(),
        as_stream,
        as_relation,
        as_hugging_face,
        lambda table: as_hugging_face(table).to_iterable_dataset(),
    ],
    ids=["dict", "arrow", "pandas", "polars", "rows", "stream", "duckdb", "hugging face", "hugging face stream"],
)
def test_every_kind_of_table_gives_the_same_data_set(convert):
    data = clean_data(*(convert(table) for table in PARTS.values()))
    assert check(data) == check(clean_data(ITEMS, LOG, USERS))


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (
            ["user_id", "item_id", "weight", "datetime"],  # RecTools
            InteractionColumns("user_id", "item_id", "datetime", "weight"),
        ),
        (
            ["user", "item", "rating", "timestamp"],  # LensKit
            InteractionColumns("user", "item", "timestamp", None, None, "rating"),
        ),
        (["user_id", "user", "item", "item_id", "event"], InteractionColumns(time=None, kind="event")),
    ],
)
def test_usual_columns_of_other_libraries(names, expected):
    assert usual_columns(names) == expected


def test_rectools_and_lenskit_frames():
    rectools = pd.DataFrame(
        {
            "user_id": [1, 1],
            "item_id": [7, 8],
            "weight": [0.5, 2.0],
            "datetime": pd.to_datetime(["2020-01-02", "2020-01-01"]),
        }
    )
    data = clean_data(pd.DataFrame({"item_id": [7, 8], "title": ["x", "y"]}), rectools)
    assert (data.interactions.items.tolist(), data.interactions.weights.tolist()) == ([1, 0], [2.0, 0.5])
    assert data.interactions.times.tolist() == [1577836800, 1577923200]
    lenskit = pd.DataFrame({"user": [3, 3], "item": [7, 8], "rating": [4.0, 2.5], "timestamp": [2, 1]})
    data = clean_data({"item": [7, 8], "title": ["x", "y"]}, lenskit, {"user": [3], "age": [9]})
    assert (data.interactions.ratings.tolist(), data.interactions.weights) == ([2.5, 4.0], None)
    assert data.users.profiles(["3"]) == {"age": [9]}


def test_columns_and_fields_by_other_names(tmp_path):
    write(tmp_path, "products.csv", {"asin": ["A", "B"], "name": ["x", "y"], "item_id": [1, 2]})
    write(tmp_path, "clicks.csv", {"who": ["1", "1"], "what": ["A", "B"], "when": [2, 1], "stars": [4, 5], "t": [1, 2]})
    write(tmp_path, "people.csv", {"uid": ["1"], "Age": [30]})
    config = DataConfig.model_validate(
        {
            "items": "products.csv",
            "interactions": "clicks.csv",
            "users": "people.csv",
            "item_id": "asin",
            "item_fields": {"name": "title", "item_id": "number"},
            "required": ["title"],
            "user_id": "uid",
            "user_fields": {"Age": "age"},
            "columns": {"user": "who", "item": "what", "time": "when", "rating": "stars"},
        }
    )
    data = load_data(config, tmp_path)
    assert data.catalog.table.to_pylist()[1] == {"item_id": "B", "title": "y", "number": 2}
    assert (data.interactions.items.tolist(), data.interactions.ratings.tolist()) == ([1, 0], [5.0, 4.0])
    assert data.users.profiles(["1"]) == {"age": [30]}
    config = config.model_copy(update={"columns": config.columns.model_copy(update={"time": False, "rating": False})})
    log = load_data(config, tmp_path).interactions
    assert (log.items.tolist(), log.times, log.ratings) == ([0, 1], None, None)


def test_a_configuration_can_replace_one_part_of_a_folder(tmp_path):
    write(tmp_path, "items.csv", {"item_id": ["a", "b"]})
    write(tmp_path, "interactions.csv", {"user_id": ["u"], "item_id": ["a"]})
    write(tmp_path, "other.csv", {"user_id": ["u"], "item_id": ["b"]})
    config = DataConfig(dataset=str(tmp_path), interactions="other.csv")
    assert load_data(config, tmp_path).interactions.items.tolist() == [1]
    assert load_data(DataConfig(dataset="."), tmp_path).interactions.items.tolist() == [0]


def test_weights_are_those_of_the_row_times_those_of_its_kind():
    items = {"item_id": ["a", "b", "c"], "title": ["x", "y", "z"]}
    log = {
        "user_id": ["u"] * 4,
        "item_id": ["a", "b", "c", "a"],
        "kind": ["view", "buy", "hover", "buy"],
        "t": range(4),
    }
    config = DataConfig(kinds={"buy": 3.0, "view": 0.5, "hover": 0.0})
    data = clean_data(items, {k: list(v) for k, v in log.items()}, config=config)
    assert data.interactions.kind_names == ("buy", "view")
    assert (data.interactions.kinds.tolist(), data.interactions.weights.tolist()) == ([1, 0], [0.5, 3.0])
    dropped = data.cleaning.part("interactions")
    assert (dropped.count("dropped_kind"), dropped.count("folded"), dropped.accepted) == (1, 1, 3)
    weighted = {**{k: list(v) for k, v in log.items()}, "weight": [2, 2, 2, 10]}
    data = clean_data(items, weighted, config=config.model_copy(update={"repeats": "keep"}))
    assert data.interactions.weights.tolist() == [1.0, 6.0, 30.0]
    even = clean_data(
        items, {k: list(v) for k, v in log.items()}, config=DataConfig(kinds=dict.fromkeys(log["kind"], 1))
    )
    assert even.interactions.weights is None


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"kinds": {"buy": -1}}, r"kinds.buy: a weight is a number from 0 to 1e\+30, got -1.0"),
        ({"kinds": {"buy": float("inf")}}, r"kinds.buy: .* got inf"),
        ({"kinds": {"buy": 0}}, "all weights are 0, which leaves nothing"),
        ({"kinds": {str(n): 1 for n in range(128)}}, "128 kinds are more than 127"),
        ({"quarantine": "x"}, "quarantine names a file, but on_error is 'fail'; set it to 'quarantine'"),
        ({"kinds": {"buy": 1}, "columns": {"kind": False}}, "columns.kind is false"),
    ],
)
def test_settings_that_contradict_are_refused(values, message):
    with pytest.raises(ConfigError, match=message):
        DataConfig.model_validate(values)


def test_a_configuration_without_data_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="name a dataset, or a file for each"):
        load_data(DataConfig(items="x.csv"), tmp_path)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (
            {"columns": {"time": "when"}},
            r"the interactions has no column 'when'; .* column of the time in columns.time",
        ),
        ({"columns": {"user": "who"}}, r"has no column 'who'; its columns are \['user_id'"),
        ({"item_id": "asin"}, "the catalog has no column 'asin'"),
        ({"item_fields": {"nome": "title"}}, "the catalog has no column 'nome'"),
        ({"item_fields": {"year": "title"}}, "two columns of one name"),
        ({"required": ["text"]}, r"required names 'text'; the fields of the catalog are \['title', 'year'\]"),
        ({"kinds": {"buy": 1}, "columns": {"kind": None}}, None),
    ],
)
def test_columns_that_are_not_there_are_named(config, message):
    if message is None:
        log = {name: values for name, values in LOG.items() if name != "kind"}
        with pytest.raises(DataError, match=r"has no column of kinds; .* Name it in columns.kind"):
            clean_data(ITEMS, log, config=DataConfig.model_validate(config))
        return
    with pytest.raises(DataError, match=message):
        clean_data(ITEMS, LOG, config=DataConfig.model_validate(config))


def test_too_many_kinds_are_no_kinds():
    log = {"user_id": ["u"] * 128, "item_id": ["a"] * 128, "kind": [f"k{n}" for n in range(128)], "t": list(range(128))}
    with pytest.raises(DataError, match=r"more than 127 kinds, .* Name another column, or none"):
        clean_data(ITEMS, log)


@pytest.mark.parametrize(
    ("times", "seconds"),
    [
        (["2", "1.0", "3e0"], [1, 2, 3]),
        (["1970-01-01T00:00:02", "1970-01-01 00:00:01.5", "1970-01-01"], [0, 1, 2]),
        (["1970-01-01T00:00:02Z", "1970-01-01T02:00:01+02:00", "1970-01-01T00:00:03-0000"], [1, 2, 3]),
        (pa.array([2_000, 1_500, 3_999], pa.timestamp("ms")), [1, 2, 3]),
        (pa.array([2, 1, 3], pa.uint64()), [1, 2, 3]),
        (pa.array([2, 1, 3], pa.date32()), [86400, 172800, 259200]),
    ],
)
def test_times_of_every_kind_become_seconds_when_cleaned(times, seconds):
    log = clean_data(ITEMS, {"user_id": ["u"] * 3, "item_id": ["a", "b", "007"], "t": times}).interactions
    assert log.times.tolist() == seconds


def test_a_field_of_json_lines_that_comes_late_is_not_overlooked(tmp_path, monkeypatch):
    monkeypatch.setattr(_blocks, "_BLOCK", 40)
    path = tmp_path / "log.jsonl"
    path.write_text(
        '{"user_id": "u", "item_id": "a"}\n{"user_id": "u", "item_id": "b", "rating": 1}\n', encoding="utf-8"
    )
    with pytest.raises(DataError, match=r"log.jsonl has the field 'rating' only after line 2, too late"):
        clean_data(ITEMS, path)
    path.write_text(path.read_text().replace('"a"', '"a", "rating": null'), encoding="utf-8")
    np.testing.assert_array_equal(clean_data(ITEMS, path).interactions.ratings, np.array([np.nan, 1], np.float32))


def test_a_folder_named_like_a_data_set_is_meant_when_written_as_a_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ml-100k").mkdir()
    write(tmp_path / "ml-100k", "items.csv", {"item_id": ["a"], "title": ["x"]})
    write(tmp_path / "ml-100k", "interactions.csv", {"user_id": ["u"], "item_id": ["a"]})
    assert len(load_dataset("./ml-100k").catalog) == 1
    assert len(load_data(DataConfig(dataset="./ml-100k"), tmp_path).catalog) == 1
