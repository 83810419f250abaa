import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from llmrec.data import read_table
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
        ("t.csv", "a,b\n1,2\n1,2,3\n", "line 3 of .*t.csv has 3 values, the header names 2 columns. Quote"),
        ("t.tsv", "a\tb\n1\t2\n\n1\n", "line 4 of .*t.tsv has 1 values"),
        ("t.csv", "a,b\n1,é\n2,Ã\n".encode("latin-1"), "line 2 of .*t.csv is not UTF-8"),
        ("t.csv", "é,b\n1,2\n".encode("latin-1"), "line 1 of .*t.csv is not UTF-8"),
        ("t.csv", "a,b\n1,2\n".encode("utf-16"), "line 1 of .*t.csv is not UTF-8"),
        ("t.csv", "", "t.csv is empty"),
        ("t.csv", "a,a\n1,2\n", "must name every column, each differently"),
        ("t.parquet", "not parquet", "not a readable Parquet file"),
        ("t.json", "{}", "extension is .json, expected .csv, .tsv, .parquet"),
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
