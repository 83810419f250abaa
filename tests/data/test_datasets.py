import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from llmrec.data import load_dataset, read_table
from llmrec.errors import AssetError, DataError
from llmrec.testing.data import tiny_dataset

INTER = "user_id:token\titem_id:token\trating:float\ttimestamp:float\nu\t01\t3\t5\nu\t2\t1\t4\n"
ITEM = 'item_id:token\tname:token_seq\tyear:token\n01\t"Toy" Story, The\t1995\n2\tNA\t\n'
USER = "user_id:token\tage:token\nu\t24\n"


def write(folder, **files):
    folder.mkdir(exist_ok=True)
    for name, text in files.items():
        stem, _, suffix = name.rpartition("_")
        (folder / f"{stem}.{suffix}").write_text(text, encoding="utf-8")
    return folder


def test_a_folder_of_files(tmp_path):
    log = "user_id\titem_id\ttimestamp\tweight\n1\t8\t2\t0.5\n1\t007\t1\t1.5\n"
    items = "item_id,title\n007,Bond\n8,Eight\n"
    folder = write(tmp_path / "shop", items_csv=items, interactions_tsv=log)
    pq.write_table(pa.table({"user_id": ["1"], "age": [30]}), folder / "users.parquet")
    data = load_dataset(folder)
    assert data.name == "shop"
    assert data.interactions.histories[0].tolist() == [0, 1]
    assert data.interactions.weights.tolist() == [1.5, 0.5]
    assert data.users.profiles(["1"]) == {"age": [30]}


@pytest.mark.parametrize(("time", "expected"), [("t", [1, 0]), ("time", [1, 0]), ("when", [0, 1])])
def test_time_columns_of_a_folder(tmp_path, time, expected):
    log = f"user_id,item_id,{time}\n1,a,2\n1,b,1\n"
    data = load_dataset(write(tmp_path / "x", items_csv="item_id\na\nb\n", interactions_csv=log))
    assert data.interactions.histories[0].tolist() == expected
    assert (data.interactions.times is None) == (time == "when")
    assert data.users is None


def test_incomplete_and_ambiguous_folders_are_refused(tmp_path):
    folder = write(tmp_path / "x", items_csv="item_id\na\n")
    with pytest.raises(DataError, match=r"no interactions file; it holds items.csv"):
        load_dataset(folder)
    write(folder, items_tsv="item_id\na\n", interactions_csv="user_id,item_id\n1,a\n")
    with pytest.raises(DataError, match=r"items.csv and items.tsv; keep one"):
        load_dataset(folder)
    with pytest.raises(AssetError, match="no folder"):
        load_dataset(tmp_path / "nothing")


def test_a_recbole_folder(tmp_path):
    folder = write(tmp_path / "rb", my_inter=INTER, my_item=ITEM, my_user=USER)
    data = load_dataset(folder)
    assert data.catalog.columns == ["item_id", "name", "year"]
    assert data.catalog.table.to_pylist() == [
        {"item_id": "01", "name": '"Toy" Story, The', "year": "1995"},
        {"item_id": "2", "name": "NA", "year": None},
    ]
    assert data.interactions.histories[0].tolist() == [1, 0]
    assert data.interactions.times.tolist() == [4, 5]
    assert data.interactions.weights is None  # all ratings count as interactions
    assert data.users.profiles(["u"]) == {"age": ["24"]}


def test_bad_recbole_folders_are_refused(tmp_path):
    folder = write(tmp_path / "rb", my_inter=INTER, other_item=ITEM)
    with pytest.raises(DataError, match=r"one NAME.inter and one NAME.item .* holds my.inter, other.item"):
        load_dataset(folder)
    write(folder, my_item="item_id:token\tname\n1\tx\n")
    with pytest.raises(DataError, match=r"'name' of .*my.item is not NAME:TYPE"):
        read_table(folder / "my.item")
    write(folder, my_item="item_id:token\tname:float\n1\tx\n")
    with pytest.raises(DataError, match=r"'name' of .*my.item must hold numbers"):
        read_table(folder / "my.item")


def test_fingerprint_covers_all_parts():
    base = tiny_dataset(seed=1)
    assert base.fingerprint == tiny_dataset(seed=1).fingerprint
    assert len({base.fingerprint, tiny_dataset(seed=2).fingerprint, tiny_dataset(seed=1, n_items=13).fingerprint}) == 3
