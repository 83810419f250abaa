"""`llmrec tune`: a table of trials, and the user's own file with better values in it."""

from __future__ import annotations

import tomllib

import pytest

from llmrec.cli.tune_file import edit_toml
from llmrec.config import Project

SHOP = """\
# our shop
seed = 4  # lucky

[data]
items = "items.csv"  # the catalog
interactions = "interactions.csv"

[tune]  # where to look
hybrid.ease.l2 = { low = 1, high = 900, log = true }
"hybrid.ease.decay" = { choices = [0.5, 0.9] }
"hybrid.fusion.weights.ease" = { low = 1, high = 5, step = 1 }

[[stages]]
name = "hybrid"
[stages.retrievers.popularity]
[stages.retrievers.ease]
# too large, we think
l2 = 5000.0  # to be tuned

[stages.fusion]
constant = 50  # stays
"""


pytestmark = pytest.mark.usefixtures("no_settings")


@pytest.fixture
def shop(data, tmp_path):
    """A folder with data and a configuration."""
    for name in ("items.csv", "interactions.csv"):
        (tmp_path / name).write_bytes((data / name).read_bytes())
    (tmp_path / "shop.toml").write_text(SHOP)
    return tmp_path / "shop.toml"


def test_the_best_file_is_the_users_own_with_better_values(run, shop, tmp_path):
    out = tmp_path / "best.toml"
    result = run("tune", "--config", shop, "--trials", 4, "--out", out, "--json")
    assert result.code == 0, result.err
    best = result.json["best"]
    assert best["number"] != 0  # outside of the range, and worse
    text = out.read_text()
    assert f"l2 = {best['values']['hybrid.ease.l2']}  # to be tuned" in text.splitlines()
    for line in SHOP.splitlines():
        assert line in text.splitlines() or line.startswith("l2 ")
    tuned, before = Project.from_toml(out), Project.from_toml(shop)
    ease = tuned.pipeline.stages[0].retrievers["ease"]
    assert ease == {"l2": best["values"]["hybrid.ease.l2"], "decay": best["values"]["hybrid.ease.decay"]}
    assert tuned.pipeline.stages[0].fusion["weights"] == {"ease": best["values"]["hybrid.fusion.weights.ease"]}
    assert (tuned.data, tuned.tune, tuned.pipeline.seed) == (before.data, before.tune, 4)


def test_the_table_and_what_next(run, shop, tmp_path):
    options = ("tune", "--config", shop, "--trials", 3, "--work", tmp_path / "w", "--out", tmp_path / "best.toml")
    result = run(*options)
    assert result.code == 0, result.err
    lines = [line.split() for line in result.out.splitlines()]
    assert lines[1][:3] == ["rank", "trial", "NDCG@10"]
    assert sorted(line[1] for line in lines[3:6]) == ["0", "1", "2"]
    assert "validation: what the test asks was put aside" in result.out
    assert "measure it on the test, once" in result.out
    assert f"saved {tmp_path / 'best.toml'}" in result.out
    assert "trial 2: NDCG@10" in result.err
    again = run(*options)  # it is all there
    assert again.out == result.out
    assert "going on after 3 trials" in again.err
    assert "fitting" not in again.err


def test_paths_of_data_lead_where_they_led(run, shop, tmp_path):
    below = tmp_path / "runs"
    below.mkdir()
    assert run("tune", "--config", shop, "--trials", 1, "--out", below / "best.toml").code == 0
    assert 'items = "../items.csv"  # the catalog' in (below / "best.toml").read_text().splitlines()
    assert run("tune", "--config", below / "best.toml", "--trials", 1).code == 0


def test_what_was_set_by_options_is_written_too(run, shop, tmp_path, monkeypatch):
    monkeypatch.setenv("LLMREC_SET", "runtime.threads=1")
    sets = ["--set", "stages.hybrid.retrievers.popularity.depth=7", "--set", "stages.0.keep=60", "--set", "seed=9"]
    result = run("tune", "--config", shop, "--trials", 1, "--out", tmp_path / "best.toml", *sets)
    assert result.code == 0, result.err
    text = (tmp_path / "best.toml").read_text()
    assert "seed = 9  # lucky" in text.splitlines()
    project = Project.from_dict(tomllib.loads(text))
    assert project.pipeline.stages[0].keep == 60
    assert project.pipeline.stages[0].retrievers["popularity"] == {"depth": 7}
    assert project.runtime.threads == 1


def test_the_default_pipeline_is_written_whole(run, data, tmp_path):
    config = tmp_path / "tune.toml"
    config.write_text('# only where to look\n[tune]\n"hybrid.ease.l2" = { low = 1, high = 9 }\n')
    out = tmp_path / "best.toml"
    small = ["--set", 'stages=[{name="hybrid",retrievers={popularity={},ease={l2=2.0}}}]']
    assert run("tune", "--dataset", data, "--config", config, *small, "--trials", 1, "--out", out).code == 0
    assert out.read_text().startswith("# only where to look\n[tune]\n")
    assert Project.from_toml(out).pipeline.stages[0].retrievers["ease"] == {"l2": 2.0}
    both = [*small, "--set", "tune={hybrid={ease={l2={low=1,high=9}}}}"]
    assert run("tune", "--dataset", data, *both, "--trials", 1, "--out", out).code == 0
    assert Project.from_toml(out).pipeline.stages[0].retrievers == {"popularity": {}, "ease": {"l2": 2.0}}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--set", "tune.hybrid.ease.l3={low=1,high=2}"], "unknown key 'l3'; did you mean 'l2'?"),
        (["--metric", "NDGC@10"], "metric 'NDGC@10' must be one of"),
        (["--minutes", "0"], "above 0"),
        (["--trials", "0"], "--trials"),
        (["--holdout", "cold-items"], "--holdout"),
        (["--out", "nowhere/best.toml"], "must name a file in a folder that exists"),
        (["--out", "."], "must name a file"),
    ],
)
def test_what_is_wrong_is_said_before_any_fit(run, shop, options, said):
    result = run("tune", "--config", shop, *options)
    assert (result.code, result.out) == (2, "")
    assert said in result.err
    assert "fitting" not in result.err


def test_a_wrong_space_is_found_before_data_are_read(run, shop):
    result = run("tune", "--dataset", "no-such-folder", "--config", shop, "--set", "tune.hybrid.x.y={low=1,high=2}")
    assert result.code == 2
    assert "stage 'hybrid' has no 'x'" in result.err


def test_without_a_table_there_is_nothing_to_tune(run, data, plain_config):
    result = run("tune", "--dataset", data, "--config", plain_config)
    assert result.code == 2
    assert "no table [tune]" in result.err


def test_another_search_in_the_same_folder(run, shop, tmp_path):
    options = ("tune", "--config", shop, "--trials", 1, "--work", tmp_path / "w")
    assert run(*options).code == 0
    result = run(*options, "--users", 20)
    assert (result.code, result.out) == (2, "")
    assert "holds the trials of another search: users was null and is 20" in result.err


def test_failed_trials_are_told(run, shop, tmp_path, monkeypatch):
    import llmrec.tune.search as search

    honest, calls = search.fit, []

    def fit(*arguments, **options):
        calls.append(1)
        if len(calls) == 2:
            raise MemoryError("too large")
        return honest(*arguments, **options)

    monkeypatch.setattr(search, "fit", fit)
    result = run("tune", "--config", shop, "--trials", 3)
    assert result.code == 0
    assert "trial 1 failed: MemoryError: too large" in result.out


@pytest.mark.parametrize(
    "stages",
    [
        '[[stages]]\nname = "a"\n[stages.retrievers]\nease = { l2 = 5.0, depth = 9 } # in one line\n',
        'stages = [{ name = "a", retrievers = { ease = { l2 = 5.0 } } }]\n',
        '[[stages]]\nname = "a"\nretrievers.ease.l2 = 5.0  # dotted\n',
        '[[stages]]\nname = "a"\n\n[stages.retrievers.ease]\n\n\n[stages.retrievers.popularity]\n\n[policies.seen]\n',
    ],
)
def test_values_are_put_into_any_layout(stages):
    place = ("stages", 0, "retrievers", "ease")
    text = f'# top\nfallback = "ease"\n{stages}'
    found = edit_toml(text, {(*place, "l2"): 7.25, (*place, "decay"): 0.5, ("seed",): 3})
    values = tomllib.loads(found)
    expected = tomllib.loads(text)
    expected["seed"] = 3
    expected["stages"][0]["retrievers"]["ease"] |= {"l2": 7.25, "decay": 0.5}
    assert values == expected
    assert all(f"#{line.partition('#')[2]}" in found for line in text.splitlines() if "#" in line)
