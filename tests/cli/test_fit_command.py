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
    assert set(result.json) == {"bundle", "items", "users", "interactions", "cleaning"}
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


@pytest.fixture
def dirty(data, tmp_path):
    """The data, a log with one row of an unknown item, and a file that names both and a pipeline."""
    (tmp_path / "items.csv").write_bytes((data / "items.csv").read_bytes())
    log = (data / "interactions.csv").read_text()
    (tmp_path / "log.csv").write_text(f'{log}"u1","i2x",999\n')
    (tmp_path / "users.csv").write_text("user_id,age\nu1,30\nnobody,40\n")
    config = tmp_path / "shop.toml"
    config.write_text(
        'fallback = "popularity"\n[[stages]]\nname = "s"\n[stages.retrievers.popularity]\n'
        '[data]\nitems = "items.csv"\ninteractions = "log.csv"\n'
    )
    return config


def test_unknown_items_in_the_log(run, dirty, tmp_path):
    options = ["--items", tmp_path / "items.csv", "--interactions", tmp_path / "log.csv"]
    result = run("fit", *options, "--out", tmp_path / "b")
    assert result.code == 3
    assert "'i2x'" in result.err
    assert "--on-error skip" in result.err


def test_a_file_names_the_data_and_options_win(run, dirty, data, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path.parent)
    assert run("fit", "--config", dirty, "--out", tmp_path / "b").code == 3
    result = run("fit", "--config", dirty, "--on-error", "skip", "--out", tmp_path / "b", "--json")
    assert result.code == 0, result.err
    log = result.json["cleaning"]["interactions"]
    assert (log["rejected"], log["classes"]["unknown_item"]) == (1, 1)
    assert log["read"] == log["accepted"] + 1 == result.json["interactions"] + 1
    assert "1 left out (unknown_item 1" in result.err
    about = llmrec.load(tmp_path / "b").about
    assert about["cleaning"] == result.json["cleaning"]
    assert str(tmp_path) not in (tmp_path / "b" / "manifest.json").read_text()
    whole = run("fit", "--config", dirty, "--dataset", data, "--out", tmp_path / "c", "--json")
    assert whole.json["cleaning"]["interactions"]["rejected"] == 0
    assert run("fit", "--config", dirty, "--set", "data.on_error=skip", "--out", tmp_path / "d").code == 0


def test_rejected_rows_are_written_where_the_option_says(run, dirty, tmp_path):
    rejected = tmp_path / "rejected.jsonl"
    result = run("fit", "--config", dirty, "--quarantine", rejected, "--out", tmp_path / "b")
    assert result.code == 0, result.err
    assert "i2x" in rejected.read_text()
    assert str(rejected) in result.err
    both = run("fit", "--config", dirty, "--on-error", "skip", "--quarantine", rejected, "--out", tmp_path / "b")
    assert both.code == 2
    assert "--quarantine names a file, but --on-error is skip" in both.err


def test_user_profiles_go_into_the_bundle(run, dirty, tmp_path):
    options = ["--on-error", "skip", "--user-profiles", tmp_path / "users.csv"]
    assert run("fit", "--config", dirty, *options, "--out", tmp_path / "b").code == 0
    recommender = llmrec.load(tmp_path / "b")
    assert recommender.users.profiles(["u1", "nobody"]) == {"age": [30, 40]}
    assert recommender.queries(["u1"]).profiles == {"age": [30]}


def test_the_environment_names_the_data_only_where_nothing_else_does(run, dirty, data, tmp_path, monkeypatch):
    monkeypatch.setenv("LLMREC_DATASET", "nowhere/at/all")
    assert run("data", "check", "--dataset", data).code == 0
    assert run("data", "check", "--items", data / "items.csv", "--interactions", data / "interactions.csv").code == 0
    refused = run("fit", "--config", dirty, "--out", tmp_path / "b")
    assert refused.code == 1
    assert "there is no folder nowhere/at/all" in refused.err


@pytest.mark.parametrize("holdout", ["time", "cold-items", "cold-users"])
def test_other_holdouts(run, data, plain_config, tmp_path, holdout):
    command = ("fit", "--dataset", data, "--config", plain_config, "--holdout", holdout, "--out", tmp_path / "b")
    result = run(*command)
    assert result.code == 0, result.err
    assert llmrec.load(tmp_path / "b").about["holdout"] == holdout


def test_the_holdouts_are_the_splits():
    from llmrec.cli.data import SplitChoice
    from llmrec.cli.source import HoldoutChoice
    from llmrec.data import SPLITS

    assert [choice.value for choice in HoldoutChoice] == ["none", *SPLITS]
    assert [choice.value for choice in SplitChoice] == list(SPLITS)


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
