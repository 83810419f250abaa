import gzip
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmrec.data import _blocks, _delimited, read_table
from llmrec.data._delimited import Delimited, read_delimited_chunks, read_names
from llmrec.errors import DataError


def write(tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def test_csv_types_never_lose_anything(tmp_path):
    text = "item_id,count,price,zip,title,code,empty\n1,3,1.5,01234,NULL,1e5,\n2,,2,99999,,7,\n"
    table = read_table(write(tmp_path, "t.csv", text))
    assert table.to_pydict() == {
        "item_id": ["1", "2"],  # an id
        "count": [3, None],
        "price": [1.5, 2.0],
        "zip": ["01234", "99999"],  # a leading zero
        "title": ["NULL", None],  # only an empty value is null
        "code": ["1e5", "7"],
        "empty": [None, None],
    }


def test_quotes_line_breaks_and_a_byte_order_mark(tmp_path):
    text = '\ufeffitem_id,title\n1,"Les ""Misérables"",\nthe film"\n2,""\n'
    assert read_table(write(tmp_path, "t.csv", text)).to_pydict() == {
        "item_id": ["1", "2"],
        "title": ['Les "Misérables",\nthe film', ""],
    }


def test_tsv_and_parquet(tmp_path):
    assert read_table(write(tmp_path, "t.TSV", "user_id\tx\r\n1\ta,b\r\n")).to_pydict() == {
        "user_id": ["1"],
        "x": ["a,b"],
    }
    table = pa.table({"item_id": pa.array(["a"], pa.large_string()), "n": [1]})
    pq.write_table(table, tmp_path / "t.parquet")
    assert read_table(tmp_path / "t.parquet").schema.field("item_id").type == pa.string()


def test_whole_numbers_beyond_64_bits_stay_text(tmp_path):
    path = write(tmp_path, "t.csv", "a,b\n99999999999999999999,1\n1,2\n")
    assert read_table(path).column("a").to_pylist() in (["99999999999999999999", "1"],)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            "t.csv",
            "a,b\n1,2\n1,2,3\n",
            r"^line 3 of .*t.csv cannot be read: wrong number of values \(3 values, the header names 2 columns\)",
        ),
        ("t.tsv", "a\tb\n1\t2\n\n1\n", r"line 4 of .*t.tsv cannot be read: .* \(1 values"),
        (
            "t.csv",
            "a,b\n1,é\n2,Ã\n".encode("latin-1"),
            r"^line 2, and 1 more lines of .*t.csv cannot be read: not UTF-8 \(line 2, byte 6 of the file is 0xe9\)",
        ),
        ("t.csv", "é,b\n1,2\n".encode("latin-1"), "t.csv is not UTF-8 .line 1, byte 0 of the file is 0xe9."),
        ("t.csv", "a,b\n1,2\n".encode("utf-16"), "t.csv is not UTF-8 .line 1, byte 0 of the file is 0xff."),
        ("t.csv", 'a,b\n1,"x"y\n', "line 2 of .*t.csv cannot be read: quotes that do not wrap a value"),
        ("t.csv", 'a,b\n1,"x\n2,y\n', "line 2 of .*t.csv cannot be read: quotes that do not wrap a value"),
        ("t.jsonl", '{"a": 1}\n\n{"a": 1', r"line 3 of .*t.jsonl cannot be read: not a JSON object \(Expecting"),
        ("t.jsonl", "[1]\n", r"line 1 of .*\(a list, not an object with fields\)"),
        ("t.jsonl", "{}\n", r"line 1 of .*\(an empty object, not an object with fields\)"),
        ("t.jsonl", '{"a": "\\ud800"}\n', "line 1 of .*surrogates not allowed"),
        ("t.csv.gz", "a\n1\n", "cannot read .*t.csv.gz: Not a gzipped file"),
        ("t.parquet.gz", "", "its extension is .parquet.gz, expected .csv, .tsv, .jsonl, .ndjson, .parquet, .csv.gz"),
        ("t.csv", "", "t.csv is empty"),
        ("t.csv", "a,a\n1,2\n", "must name every column, each differently"),
        ("t.parquet", "not parquet", "not a readable Parquet file"),
        ("t.json", "{}", "extension is .json, expected .csv, .tsv, .jsonl"),
    ],
)
def test_bad_files_are_refused_with_the_line(tmp_path, name, content, message):
    with pytest.raises(DataError, match=message):
        read_table(write(tmp_path, name, content))


def test_missing_file_says_what_is_there(tmp_path):
    write(tmp_path, "items.csv", "a\n1\n")
    with pytest.raises(DataError, match=r"no file .*itens.csv; its folder holds items.csv"):
        read_table(tmp_path / "itens.csv")


def test_header_only_is_an_empty_table(tmp_path):
    assert read_table(write(tmp_path, "t.csv", "item_id,title\n")).num_rows == 0


def test_json_lines_keep_text_as_text_and_other_values_as_they_are(tmp_path):
    text = '{"item_id": "007", "on": "2020-01-01 10:00:00", "tags": ["a"], "n": 1}\n\n{"item_id": "8", "n": null}\r\n'
    rows = [
        {"item_id": "007", "on": "2020-01-01 10:00:00", "tags": ["a"], "n": 1},
        {"item_id": "8", "on": None, "tags": None, "n": None},
    ]
    for name in ("t.jsonl", "t.ndjson"):
        assert read_table(write(tmp_path, name, text)).to_pylist() == rows


def test_values_of_several_types_in_a_json_column_become_text(tmp_path):
    text = '{"id": 7}\n{"id": "07"}\n{"id": null}\n{"id": true}\n{"id": 99999999999999999999}\n'
    table = read_table(write(tmp_path, "t.jsonl", text))
    assert table.column("id").to_pylist() == ["7", "07", None, "true", "99999999999999999999"]


def test_gzipped_text(tmp_path):
    assert read_table(write(tmp_path, "t.csv.gz", gzip.compress(b"a,b\n1,x\n"))).to_pylist() == [{"a": 1, "b": "x"}]
    assert read_table(write(tmp_path, "t.jsonl.GZ", gzip.compress(b'{"a": 1}'))).to_pylist() == [{"a": 1}]
    cut = gzip.compress(b"a,b\n1,x\n")[:-9]
    with pytest.raises(DataError, match=r"cannot read .*cut.csv.gz"):
        read_table(write(tmp_path, "cut.csv.gz", cut))


def test_quotes_inside_a_value_are_text(tmp_path):
    assert read_table(write(tmp_path, "t.csv", 'a,b\n1,5" disk\n')).to_pylist() == [{"a": 1, "b": '5" disk'}]


ROWS = [["1", 'a "b", c'], ["2", None], ["3", "two\nlines"], ["4", ""], ["5", 'q"'], ["6", "é\r\nx"], ["7", ","]]


def test_blocks_end_where_rows_end(tmp_path, monkeypatch):
    """However a file falls into blocks, its rows and their lines are the same."""
    quoted = [",".join(["" if v is None else '"' + v.replace('"', '""') + '"' for v in row]) for row in ROWS]
    path = write(tmp_path, "t.csv", "\ufeffa,b\n\n" + "\n".join(quoted))
    form = Delimited(",", quotes=True)
    for size in (*range(1, 80), 1 << 24):
        monkeypatch.setattr(_blocks, "_BLOCK", size)
        chunks = list(read_delimited_chunks(path, form, read_names(path, form)))
        assert [list(row.values()) for chunk in chunks for row in chunk.table.to_pylist()] == ROWS
        lines = [line for chunk in chunks for line in chunk.places(np.arange(chunk.table.num_rows)).tolist()]
        assert lines == [3, 4, 5, 7, 8, 9, 11]
        assert not any(chunk.bad for chunk in chunks)


@settings(deadline=None, max_examples=80)
@given(st.binary(max_size=60) | st.text('ab1,"\n\r\té', max_size=60).map(str.encode), st.booleans())
def test_every_line_of_any_bytes_is_read_or_reported(data, quotes):
    """The fast and the slow reading agree, and no line is lost."""
    form = Delimited(",", quotes=quotes)
    block = _blocks.Block(data, 2, 4)
    slow = _delimited._read_slowly(block, form, ["x", "y"], ["x", "y"])
    fast = _delimited._read_fast(block, form, ["x", "y"], ["x", "y"]) if data else None
    if fast is not None:
        assert not slow.bad
        assert fast.to_pylist() == slow.table.to_pylist()
    if not quotes:
        lines = [line for line in data.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n") if line]
        assert slow.table.num_rows + len(slow.bad) == len(lines)


def test_text_of_json_lines_that_looks_like_a_time_is_text(tmp_path):
    row = {"on": "2020-01-01 10:00:00", "parts": ["2020-01-01"], "more": {"on": "2020-01-01 10:00:00"}}
    text = f"{json.dumps(row)}\n{json.dumps(row)}\n"
    assert read_table(write(tmp_path, "t.jsonl", text)).to_pylist() == [row, row]
    assert read_table(write(tmp_path, "u.jsonl", text + "\n")).to_pylist() == [row, row]


def test_two_json_objects_in_a_line_are_refused(tmp_path):
    with pytest.raises(DataError, match=r"line 1 of .*t.jsonl cannot be read: not a JSON object \(Extra data"):
        read_table(write(tmp_path, "t.jsonl", '{"a": 1}{"a": 2}\n'))
