"""`llmrec fit`: from files or a folder to a bundle, and what it refuses before it starts."""

from __future__ import annotations

import pytest

import llmrec


def test_saves_a_bundle_that_loads_and_says_what_next(run, files, plain_config, tmp_path):
    out = tmp_path / "new folder" / "bundle"
    result = run("fit", *files, "--config", plain_config, "--out", out)
    assert result.code == 0
    assert result.out.splitlines() == [
        f"saved {out}",
        f"next: llmrec recommend --bundle '{out}' --users u0",
    ]
    assert "30 items, 40 users" in result.err
    recommender = llmrec.load(out)
    assert [stage.name for stage in recommender.stages] == ["hybrid"]
    assert recommender.about["holdout"] == "none"
    assert recommender.histories.n_users == 40


def test_json_names_the_bundle_and_the_sizes(run, data, plain_config, tmp_path):
    result = run("fit", "--dataset", data, "--config", plain_config, "--out", tmp_path / "b", "--json")
    assert result.code == 0
    assert set(result.json) == {"bundle", "items", "users", "interactions"}
    assert result.json["bundle"] == str(tmp_path / "b")
    assert (result.json["items"], result.json["users"]) == (30, 40)
    assert "fitting ease" in result.err


def test_files_and_folder_are_read_alike(held_bundle, data):
    about = llmrec.load(held_bundle).about
    loaded = llmrec.load_dataset(data)
    assert about["data"] == {
        "catalog": loaded.catalog.fingerprint,
        "interactions": loaded.interactions.fingerprint,
    }
    assert about["holdout"] == "last"


def test_weights_are_read_from_a_file_as_from_a_folder(run, data, plain_config, tmp_path):
    lines = (data / "interactions.csv").read_text().splitlines()
    weighted = [f'{lines[0]},"weight"', *(f"{line},{1 + row % 3}" for row, line in enumerate(lines[1:]))]
    (tmp_path / "interactions.csv").write_text("\n".join(weighted))
    (tmp_path / "items.csv").write_bytes((data / "items.csv").read_bytes())
    options = ["--items", tmp_path / "items.csv", "--interactions", tmp_path / "interactions.csv"]
    assert run("fit", *options, "--config", plain_config, "--out", tmp_path / "b").code == 0
    loaded = llmrec.load_dataset(tmp_path).interactions
    assert loaded.weights is not None
    assert llmrec.load(tmp_path / "b").about["data"]["interactions"] == loaded.fingerprint


def test_an_unknown_key_names_the_nearest(run, files, tmp_path):
    config = tmp_path / "c.toml"
    config.write_text('[[stages]]\nname = "s"\n[stages.retrievers.popularity]\n[stages.retrievers.ease]\nl3 = 5.0\n')
    result = run("fit", *files, "--config", config, "--out", tmp_path / "b")
    assert (result.code, result.out) == (2, "")
    assert "unknown key 'l3'; did you mean 'l2'?" in result.err
    assert str(config) in result.err


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        ([], 2, "name the data with --dataset NAME, or with --items FILE and --interactions FILE"),
        (["--items", "items.csv"], 2, "--items and --interactions go together"),
        (
            ["--dataset", "ml-100k", "--items", "items.csv"],
            2,
            "--dataset and --items/--interactions exclude each other",
        ),
        (["--items", "nowhere.csv", "--interactions", "nowhere.csv"], 3, "there is no file nowhere.csv"),
        (["--items", "items.xlsx", "--interactions", "x.csv"], 3, "its extension is .xlsx, expected .csv"),
        (["--dataset", "ml-100"], 1, "did you mean 'ml-100k'?"),
        (["--dataset", "ml-100k", "--config", "nowhere.toml"], 2, "nowhere.toml"),
        (["--dataset", "ml-100k", "--holdout", "first"], 2, "first"),
    ],
)
def test_refuses_wrong_data(run, tmp_path, options, code, said):
    result = run("fit", *options, "--out", tmp_path / "b")
    assert (result.code, result.out) == (code, "")
    assert said in " ".join(result.err.replace("│", " ").split())
    assert "Traceback" not in result.err
    assert not (tmp_path / "b").exists()


def test_unknown_items_in_the_log(run, data, tmp_path):
    log = tmp_path / "log.csv"
    log.write_text("user_id,item_id,timestamp\nu1,i1,1\nu1,i2x,2\n")
    result = run("fit", "--items", data / "items.csv", "--interactions", log, "--out", tmp_path / "b")
    assert result.code == 3
    assert "'i2x'" in result.err
    assert "the nearest known id is" in result.err


def test_a_place_that_is_taken_is_refused_before_any_work(run, files, plain_config, tmp_path):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.txt").write_text("irreplaceable")
    result = run("fit", *files, "--config", plain_config, "--out", tmp_path / "thesis")
    assert result.code == 1
    assert "is not a bundle; choose another path or remove it" in result.err
    assert "fitting" not in result.err
    assert (tmp_path / "thesis" / "chapter.txt").read_text() == "irreplaceable"


def test_a_place_below_a_file_is_refused_before_any_work(run, files, plain_config, tmp_path):
    (tmp_path / "file").write_text("")
    result = run("fit", *files, "--config", plain_config, "--out", tmp_path / "file" / "b")
    assert result.code == 1
    assert "is not a folder that can be written to" in result.err
    assert "fitting" not in result.err


def test_a_place_inside_a_bundle_is_refused_before_any_work(run, files, plain_config, held_bundle):
    result = run("fit", *files, "--config", plain_config, "--out", held_bundle / "inner")
    assert result.code == 1
    assert "lies inside another bundle" in result.err
    assert "fitting" not in result.err
    llmrec.load(held_bundle)


def test_an_older_bundle_is_replaced(run, files, plain_config, tmp_path):
    for holdout in ("last", "none"):
        command = ("fit", *files, "--config", plain_config, "--holdout", holdout, "--out", tmp_path / "b")
        assert run(*command).code == 0
    assert llmrec.load(tmp_path / "b").about["holdout"] == "none"
    assert [path.name for path in tmp_path.iterdir()] == ["b"]
