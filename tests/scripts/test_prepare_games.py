"""scripts/bench/prepare_games.py on made-up files of the official form."""

import gzip
import importlib.util
import json
from pathlib import Path

import pytest
from pyarrow import parquet

import llmrec

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "bench" / "prepare_games.py"


@pytest.fixture(scope="module")
def games():
    spec = importlib.util.spec_from_file_location("prepare_games", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def write(folder, ratings, products):
    """The two official files; the metadata gzipped."""
    (folder / "Video_Games.csv").write_text("".join(f"{i},{u},{r},{t}\n" for i, u, r, t in ratings))
    with gzip.open(folder / "meta.json.gz", "wt") as file:
        file.writelines(json.dumps(product) + "\n" for product in products)
    return folder / "Video_Games.csv", folder / "meta.json.gz"


@pytest.fixture
def official(tmp_path):
    """Five users with the same five items, in an order of their own; and what must go."""
    ratings = [(f"B{(i + u) % 5}", f"U{u}", 5.0, 100 + i) for u in range(5) for i in range(5)]
    ratings += [("B0", "U0", 1.0, 900), ("B0", "U0", 2.0, 50)]  # repeats; the oldest counts
    ratings += [("B9", f"U{u}", 5.0, 10) for u in range(5)]  # no title
    ratings += [("B8", f"U{u}", 5.0, 10) for u in range(5)]  # a script for a title
    ratings += [("B0", "V", 5.0, 10), ("B7", "U1", 5.0, 10)]  # too few
    products = [{"asin": f"B{i}", "title": f"Game &amp; Co {i}"} for i in range(8)]
    products += [{"asin": "B8", "title": "var t = getTime();"}, {"asin": "B9"}, {"asin": "B0", "title": "another"}]
    return write(tmp_path, ratings, products)


def test_what_is_kept_and_in_what_order(games, official, tmp_path):
    counts = games.prepare(*official, tmp_path / "out")
    assert counts == {
        "ratings": 39,
        "without repeats": 37,
        "with a title": 27,
        "5-core": 25,
        "interactions": 25,
        "users": 5,
        "items": 5,
    }
    log = parquet.read_table(tmp_path / "out" / "interactions.parquet").to_pylist()
    histories = {u: [(row["t"], row["item_id"]) for row in log if row["user_id"] == u] for u in ("U0", "U1")}
    assert histories["U0"] == list(enumerate(["B0", "B1", "B2", "B3", "B4"]))
    assert histories["U1"] == list(enumerate(["B1", "B2", "B3", "B4", "B0"]))
    items = parquet.read_table(tmp_path / "out" / "items.parquet").to_pylist()
    assert items == [{"item_id": f"B{i}", "title": f"Game & Co {i}"} for i in range(5)]


def test_the_folder_is_a_data_set(games, official, tmp_path):
    games.prepare(*official, tmp_path / "out")
    data = llmrec.load_dataset(tmp_path / "out")
    assert (len(data.catalog), data.interactions.n_users, len(data.interactions)) == (5, 5, 25)
    assert llmrec.leave_last_out(data.interactions).test.targets.tolist() == [4, 0, 1, 2, 3]


def test_the_core_is_stable(games, tmp_path):
    """Leaving out an item leaves a user with too few, and so on until nothing is left."""
    ratings = [(f"B{i}", f"U{u}", 5.0, i) for u in range(5) for i in range(5) if (u, i) != (0, 0)]
    counts = games.prepare(
        *write(tmp_path, ratings, [{"asin": f"B{i}", "title": "x"} for i in range(5)]), tmp_path / "o"
    )
    assert (counts["5-core"], counts["users"], counts["items"]) == (0, 0, 0)


def test_long_histories_keep_the_newest_and_ties_the_order_of_the_file(games, tmp_path):
    ratings = [(f"B{i:02}", f"U{u}", 5.0, 7) for u in range(5) for i in range(60)]
    counts = games.prepare(*write(tmp_path, ratings, [{"asin": f"B{i:02}", "title": "x"} for i in range(60)]), tmp_path)
    assert (counts["5-core"], counts["interactions"], counts["items"]) == (300, 245, 49)
    log = parquet.read_table(tmp_path / "interactions.parquet").to_pylist()
    assert [(row["t"], row["item_id"]) for row in log if row["user_id"] == "U3"] == [
        (t, f"B{t + 11:02}") for t in range(49)
    ]


def test_other_files_are_refused(games, tmp_path, official):
    wrong = tmp_path / "wrong.csv"
    wrong.write_text("item,user,rating,timestamp\n")
    with pytest.raises(SystemExit, match="without header"):
        games.prepare(wrong, official[1], tmp_path / "out")
    broken = tmp_path / "broken.json"
    broken.write_text('{"asin": "B0", "title": "x"}\n{"title": "no id"}\n')
    with pytest.raises(SystemExit, match="line 2"):
        games.prepare(official[0], broken, tmp_path / "out")
