"""Which of several places that set a value wins, and what is said of a place that is not there."""

from __future__ import annotations

import pytest

from llmrec.cli.layers import read_layers
from llmrec.cli.source import read_project
from llmrec.errors import ConfigError

FILE = """
seed = 1
min_interactions = 4
[data]
items = "items.csv"
interactions = "sub/log.csv"
[runtime]
device = "cpu"
[[stages]]
name = "hybrid"
keep = 11
[stages.retrievers.popularity]
[stages.retrievers.mine]
type = "ease"
l2 = 7.0
"""


pytestmark = pytest.mark.usefixtures("no_settings")


@pytest.fixture
def shop(tmp_path):
    path = tmp_path / "shop.toml"
    path.write_text(FILE)
    return path


def table(layers, name="mine"):
    return layers.project.pipeline.stages[0].retrievers[name]


def test_command_line_over_environment_over_file_over_default(shop, monkeypatch):
    plain = read_layers(None, None)
    assert plain.project.pipeline.seed == 0
    assert plain.origin(("seed",)) == "default"
    layers = read_layers(shop, None)
    assert (layers.project.pipeline.seed, layers.origin(("seed",))) == (1, str(shop))
    monkeypatch.setenv("LLMREC_SET", "seed=2; stages.hybrid.keep=22")
    layers = read_layers(shop, None)
    assert (layers.project.pipeline.seed, layers.origin(("seed",))) == (2, "LLMREC_SET")
    layers = read_layers(shop, ["seed=3"])
    assert (layers.project.pipeline.seed, layers.origin(("seed",))) == (3, "--set")
    assert (layers.project.pipeline.stages[0].keep, layers.origin(("stages", "hybrid", "keep"))) == (22, "LLMREC_SET")
    assert layers.project.pipeline.min_interactions == 4
    assert layers.origin(("stages", "hybrid", "retrievers", "mine", "l2")) == str(shop)
    assert layers.origin(("fallback",)) == "default"


@pytest.mark.parametrize("levels", ["default", "file", "environment", "option"])
def test_runtime_of_every_level(run, shop, monkeypatch, levels):
    shown = {"default": (None, "default"), "file": ("cpu", str(shop)), "environment": ("cuda:1", "LLMREC_DEVICE")}
    shown["option"] = ("cuda:2", "--set")
    if levels in ("environment",):
        monkeypatch.setenv("LLMREC_DEVICE", "cuda:1")
    config = [] if levels == "default" else ["--config", shop]
    sets = ["--set", "runtime.device=cuda:2"] if levels == "option" else []
    found = run("config", "show", *config, *sets, "--json").json
    assert (found["config"]["runtime"]["device"], found["origins"]["runtime.device"]) == shown[levels]


def test_the_later_of_two_options_wins():
    assert read_layers(None, ["seed=3", "seed=4"]).project.pipeline.seed == 4


@pytest.mark.parametrize(
    ("entry", "found"),
    [
        ("stages.hybrid.retrievers.next_item.l2=100", {"l2": 100}),
        ("stages.0.retrievers.next_item.l2=0.5", {"l2": 0.5}),
        ("stages.hybrid.retrievers.next_item={l2 = 3, depth = 9}", {"l2": 3, "depth": 9}),
        ("stages.hybrid.retrievers.next_item = {}", {}),
    ],
)
def test_settings_of_a_component_by_path(entry, found):
    assert table(read_layers(None, [entry]), "next_item") == found


def test_a_component_is_added_with_its_whole_table():
    layers = read_layers(None, ["stages.hybrid.retrievers.more={type = 'ease', l2 = 9}"])
    assert table(layers, "more") == {"type": "ease", "l2": 9}


def test_values_are_toml_or_else_text(shop):
    sets = ["runtime.device=cuda:0", "data.on_error=skip", 'data.item_id="1"', "data.required=['title', 'genres']"]
    data = read_layers(shop, sets).project.data
    assert (data.on_error, data.item_id, data.required) == ("skip", "1", ("title", "genres"))


def test_semicolons_within_quotes_do_not_separate(monkeypatch):
    monkeypatch.setenv("LLMREC_SET", "data.item_id='a;b';seed=5;")
    layers = read_layers(None, None)
    assert (layers.project.data.item_id, layers.project.pipeline.seed) == ("a;b", 5)


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ("sede=1", r"unknown key 'sede'; did you mean 'seed'\?"),
        ("stage.hybrid.keep=1", r"unknown key 'stage'; did you mean 'stages'\?"),
        ("stages.hybrit.keep=1", r"there is no stage 'hybrit'; did you mean 'hybrid'\? known: hybrid"),
        ("stages.hybrid.kep=1", r"unknown key 'stages.0.kep'; did you mean 'keep'\?"),
        (
            "stages.hybrid.retrievers.next_itm.l2=1",
            r"stages.hybrid.retrievers has no 'next_itm'; did you mean 'next_item'\?.*a new one is given whole",
        ),
        ("stages.hybrid.retrievers.next_item.l3=1", r"hybrid.next_item: unknown key 'l3'; did you mean 'l2'\?"),
        ("policies.sen.x=1", r"policies has no 'sen'; did you mean 'seen'\?"),
        ("stages.hybrid.retrievers.next_item.l2.deep=1", r"l2: .*valid number"),
        ("seed.deep=1", r"seed is one value, with nothing below it"),
        ("stages.hybrid=1", r"stages.hybrid is a whole stage"),
        ("seed", r"must be of the form PATH=VALUE"),
        ("=1", r"must be of the form PATH=VALUE"),
        ("a b=1", r"must be of the form PATH=VALUE"),
        ("seed=1\nfallback='x'", r"seed: .*valid integer"),
        ("seed=true", r"seed: .*valid integer.*got True"),
        ("runtime.threads=0", r"runtime: threads: .*greater than 0"),
        ("runtime.dtype=int4", r"runtime: dtype: .*'float32'"),
        ("data.itmes=x.csv", r"data: unknown key 'itmes'; did you mean 'items'\?"),
        ("data.columns.usr=x", r"unknown key 'columns.usr'; did you mean 'user'\?"),
    ],
)
def test_a_path_that_leads_nowhere_names_the_nearest(entry, said):
    with pytest.raises(ConfigError, match=f"(?s){said}") as caught:
        read_layers(None, [entry])
    assert f"--set {entry}" in str(caught.value) or repr(entry) in str(caught.value)


def test_paths_of_the_data_table_are_relative_to_the_file(shop, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path.parent)
    data = read_layers(shop, None).project.data
    assert data.items == str(tmp_path / "items.csv")
    assert data.interactions == str(tmp_path / "sub" / "log.csv")
    assert read_layers(shop, ["data.items=mine.csv"]).project.data.items == "mine.csv"


def test_a_file_named_by_the_environment(run, shop, monkeypatch):
    monkeypatch.setenv("LLMREC_CONFIG", str(shop))
    assert run("config", "show", "--json").json["config"]["seed"] == 1


def test_runtime_of_a_file_yields_to_the_environment(shop, monkeypatch):
    import os

    monkeypatch.setenv("LLMREC_DEVICE", "")
    read_project(shop, ["runtime.threads=2"])
    assert (os.environ["LLMREC_DEVICE"], os.environ["LLMREC_THREADS"]) == ("cpu", "2")
    monkeypatch.setenv("LLMREC_DEVICE", "cuda:3")
    read_project(shop, None)
    assert os.environ["LLMREC_DEVICE"] == "cuda:3"
