"""`llmrec config`: what is shown is a configuration, and the schema knows what may stand in one."""

from __future__ import annotations

import tomllib

import jsonschema
import pytest

from llmrec.component import component_names
from llmrec.config import Config, Project

SHOP = """
seed = 4
[data]
dataset = "ml-100k"
kinds = {view = 0.5, "add to cart" = 2}
[[stages]]
name = "one"
[stages.retrievers.popularity]
[stages.retrievers.text]
type = "dense"
max_tokens = 64
[stages.fusion]
weights = {popularity = 1, text = 2.5}
[policies.seen]
"""


pytestmark = pytest.mark.usefixtures("no_settings")


@pytest.fixture
def shop(tmp_path):
    path = tmp_path / "shop.toml"
    path.write_text(SHOP)
    return path


@pytest.fixture(scope="module")
def schema(run):
    return run("config", "schema").json


def wrong(schema, values):
    return [error.message for error in jsonschema.Draft202012Validator(schema).iter_errors(values)]


@pytest.mark.parametrize("options", [[], ["--set", "stages.hybrid.retrievers.next_item.l2=100"]])
def test_the_default_shown_is_a_file_that_says_the_same(run, tmp_path, options):
    result = run("config", "show", *options)
    assert result.code == 0
    (tmp_path / "all.toml").write_text(result.out)
    again = Project.from_toml(tmp_path / "all.toml")
    assert again.filled() == run("config", "show", *options, "--json").json["config"]
    assert result.out.count("# --set") == len(options) // 2


def test_a_file_shown_is_a_file_that_says_the_same(run, shop, tmp_path):
    result = run("config", "show", "--config", shop, "--set", "seed=5")
    (tmp_path / "all.toml").write_text(result.out)
    again = Project.from_toml(tmp_path / "all.toml")
    assert again.filled() == {**Project.from_toml(shop).filled(), "seed": 5}
    assert "seed = 5  # --set" in result.out.splitlines()
    assert f"max_tokens = 64  # {shop}" in result.out.splitlines()
    assert 'encoder = "minilm"  # default' in result.out.splitlines()


def test_origins_name_every_value(run, shop, monkeypatch):
    monkeypatch.setenv("LLMREC_THREADS", "3")
    found = run("config", "show", "--config", shop, "--json").json
    assert found["config"]["runtime"]["threads"] == 3
    assert found["origins"]["runtime.threads"] == "LLMREC_THREADS"
    assert found["origins"]["stages.one.retrievers.text.max_tokens"] == str(shop)
    assert found["origins"]["stages.one.retrievers.text.depth"] == "default"
    assert found["origins"]["data.kinds.view"] == str(shop)


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("LLMREC_THREADS", "many", "threads: Input should be a valid integer, got 'many'"),
        ("LLMREC_THREADS", "0", "threads: Input should be greater than 0, got 0"),
        ("LLMREC_DTYPE", "int4", "dtype: Input should be 'float32', 'bfloat16', 'float16' or 'int8', got 'int4'"),
    ],
)
def test_a_wrong_variable_is_refused(run, monkeypatch, variable, value, said):
    monkeypatch.setenv(variable, value)
    result = run("config", "show")
    assert (result.code, result.out) == (2, "")
    assert result.err == f"llmrec: {variable}: runtime: {said}\n"


def test_a_missing_file_is_named(run):
    result = run("config", "show", "--config", "nowhere.toml")
    assert (result.code, result.err) == (
        2,
        "llmrec: cannot read the configuration nowhere.toml: No such file or directory\n",
    )


def test_a_wrong_file_is_refused(run, shop):
    shop.write_text("sede = 1")
    result = run("config", "show", "--config", shop)
    assert (result.code, result.out) == (2, "")
    assert f"{shop}: unknown key 'sede'; did you mean 'seed'?" in result.err


def test_the_schema_is_one_and_knows_every_component(schema):
    jsonschema.Draft202012Validator.check_schema(schema)
    assert set(component_names()) <= set(schema["$defs"])
    assert set(schema["properties"]) == {*Config.model_fields, "data", "runtime", "tune"}


@pytest.mark.parametrize("text", ["", SHOP, "[runtime]\ndevice = 'cpu'\n[data]\nitems = 'x.csv'"])
def test_the_schema_takes_what_is_right(schema, text):
    assert wrong(schema, tomllib.loads(text)) == []


def test_the_schema_takes_what_show_prints(schema, run, shop):
    assert wrong(schema, tomllib.loads(run("config", "show", "--config", shop).out)) == []
    assert wrong(schema, tomllib.loads(run("config", "show").out)) == []


@pytest.mark.parametrize(
    "text",
    [
        "sede = 1",
        "seed = 'x'",
        "[data]\nitmes = 'x'",
        "[data.columns]\nusr = 'x'",
        "[runtime]\nthreads = 0",
        "[runtime]\ndtype = 'int4'",
        "[[stages]]\nkeep = 3",
        "[[stages]]\nname = 's'\n[stages.retrievers.ease]\nl3 = 1",
        "[[stages]]\nname = 's'\n[stages.retrievers.ease]\ndepth = 0",
        "[[stages]]\nname = 's'\n[stages.retrievers.mine]\ntype = 'ease'\nl3 = 1",
        "[[stages]]\nname = 's'\n[stages.retrievers.mine]\nl2 = 1",
        "[[stages]]\nname = 's'\n[stages.retrievers.seen]",
        "[[stages]]\nname = 's'\n[stages.scorers.cross_encoder]\ndepth = 3",
        "[[stages]]\nname = 's'\n[stages.fusion]\nconstants = 1",
        "[policies.seen]\nx = 1",
        "[policies.ease]",
    ],
)
def test_the_schema_refuses_what_is_wrong(schema, text):
    assert wrong(schema, tomllib.loads(text))
