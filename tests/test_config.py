import pytest

from llmrec.config import Config, Project, resolve
from llmrec.errors import ConfigError, LlmrecError

STAGE = """
[[stages]]
name = "first"
"""
GOOD = STAGE + "[stages.retrievers.popularity]\n[stages.retrievers.ease]\n"


def read(tmp_path, text):
    path = tmp_path / "my.toml"
    path.write_text(text, encoding="utf-8")
    return Config.from_toml(path)


def test_the_default_is_valid_and_survives_json():
    config = Config()
    assert [stage.name for stage in config.stages] == ["hybrid"]
    assert Config.from_dict(config.model_dump(mode="json")) == config
    assert Config.from_dict({}) == config


def test_a_file_is_read_as_written(tmp_path):
    config = read(
        tmp_path,
        "seed = 7\n"
        + STAGE
        + "keep = 3\n[stages.retrievers.mine]\ntype='popularity'\ndepth=9\n".replace("mine", "popularity"),
    )
    assert (config.seed, config.stages[0].keep) == (7, 3)
    settings = resolve("popularity", config.stages[0].retrievers["popularity"], "retriever", "first")
    assert (settings.name, settings.depth) == ("popularity", 9)


def test_a_component_may_have_a_name_of_its_own(tmp_path):
    text = "fallback = 'floor'\n" + STAGE + "[stages.retrievers.floor]\ntype = 'popularity'\n"
    assert read(tmp_path, text).fallback == "floor"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sede = 1\n" + GOOD, r"unknown key 'sede'; did you mean 'seed'\?"),
        (STAGE + "kep = 3\n[stages.retrievers.popularity]\n", r"unknown key 'stages.0.kep'; did you mean 'keep'\?"),
        (
            GOOD + "l3 = 5\n",
            r"first.ease: unknown key 'l3'; did you mean 'l2'\?.*known: text_weight, .*l2, decay, top, max_items, type",
        ),
        (GOOD + "dept = 5\n", r"first.ease: unknown key 'dept'; did you mean 'depth'\?"),
        (GOOD + "l2 = -1\n", r"first.ease: l2: .*greater than 0.*got -1"),
        (GOOD + "l2 = 'a'\n", r"first.ease: l2: .*valid number.*got 'a'"),
        (GOOD + "depth = 0\n", r"first.ease: depth must be a whole number of at least 1, got 0"),
        (GOOD + "depth = 1.5\n", r"depth must be a whole number"),
        (GOOD + "depth = true\n", r"depth must be a whole number of at least 1, got True"),
        ("seed = true\n" + GOOD, r"seed: .*valid integer.*got True"),
        (STAGE + "keep = true\n[stages.retrievers.popularity]\n", r"stages.0.keep: .*valid integer.*got True"),
        (GOOD + "[stages.fusion.weights]\neas = 1\n", r"first.fusion: weights names 'eas', .*known: popularity, ease"),
        (
            GOOD + "[[stages]]\nname='two'\nkeep=2\n[stages.fusion.weights]\nease = 1\n",
            r"two.fusion: weights names 'ease', .*known: first",
        ),
        (
            GOOD + "[stages.scorers.mine]\ntype='cross_encoder'\n",
            r"first.mine: a cross_encoder needs .* put it in a second stage",
        ),
        (GOOD + "type = 3\n", r"first.ease: type must be the name of a component, got 3"),
        (GOOD + "[stages.retrievers.eaze]\n", r"no component is called 'eaze'; did you mean 'ease'\?"),
        (GOOD + "[stages.retrievers.seen]\n", r"'seen' is a policy and cannot stand among the retrievers"),
        (GOOD + "[stages.scorers.other]\ntype='ease'\n", r"'other' is a retriever and cannot stand among the scorers"),
        (GOOD + "[stages.fusion]\ntype='ease'\n", r"is a retriever and cannot stand among the fusions"),
        (GOOD + "[stages.fusion]\nconstan=1\n", r"first_fusion: unknown key 'constan'; did you mean 'constant'\?"),
        (
            GOOD + "[policies.exploration]\n[policies.later]\ntype='boost'\nids={a=1}\n",
            r"'later' comes after 'exploration' and would move items .* put 'later' before it",
        ),
        (GOOD + "[policies.boost]\nids={a=nan}\n", r"policies.boost: ids.a: .*finite number, got nan"),
        (GOOD + "[stages.fusion]\nconstant=inf\n", r"first_fusion: constant: .*finite number, got inf"),
        (GOOD + "[policies.ease]\n", r"is a retriever and cannot stand among the policies"),
        (GOOD + STAGE, r"the name 'first' is used twice"),
        (GOOD + "[[stages]]\nname='two'\n[stages.retrievers.ease]\n", r"the name 'ease' is used twice"),
        (GOOD + "[[stages]]\nname='ease'\n", r"the name 'ease' is used twice"),
        (GOOD + "[stages.retrievers.first_fusion]\ntype='ease'\n", r"the name 'first_fusion' is used twice"),
        (GOOD + "[stages.retrievers.'../up']\ntype='ease'\n", r"the name '../up' may hold letters"),
        (STAGE + "[stages.scorers.cross_encoder]\n", r"'first' comes first and needs at least one retriever"),
        (STAGE + "[stages.retrievers.ease]\n", r"fallback 'popularity' must name a retriever of the first stage"),
        ("stages = []\n", r"stages: .*at least 1"),
        ("min_interactions = 2\n" + GOOD, r"min_interactions: .*greater than or equal to 3.*got 2"),
        (STAGE + "keep = 0\n[stages.retrievers.popularity]\n", r"stages.0.keep: .*greater than 0"),
        ("[[stages]]\n[stages.retrievers.popularity]\n", r"stages.0.name: "),
        ("stages = 3\n", r"stages: "),
        (STAGE + "retrievers = 'ease'\n", r"stages.0.retrievers: "),
        ("seed = \n", r"cannot read the configuration .*my.toml: .*line 1"),
    ],
)
def test_what_is_wrong_is_named_with_the_file(tmp_path, text, message):
    with pytest.raises(ConfigError, match=message) as caught:
        read(tmp_path, text)
    assert "my.toml" in str(caught.value)
    assert caught.value.exit_code == 2


def test_weights_may_name_the_stages_own_scores_and_the_stage_before():
    first = {"name": "a", "retrievers": {"popularity": {}, "ease": {}}, "fusion": {"weights": {"ease": 1.0}}}
    second = {"name": "b", "scorers": {"cross_encoder": {}}, "fusion": {"weights": {"a": 1.0, "cross_encoder": 2.0}}}
    Config.from_dict({"stages": [first, second]})


def test_a_wrong_entry_does_not_make_a_list_too_short():
    with pytest.raises(ConfigError, match=r"unknown key 'stages\.0\.kep'") as caught:
        Config.from_dict({"stages": [{"name": "a", "kep": 3, "retrievers": {"popularity": {}}}]})
    assert "at least 1 item" not in str(caught.value)


def test_several_mistakes_are_named_at_once():
    with pytest.raises(ConfigError, match=r"'sede'.*; .*'falback'"):
        Config.from_dict({"sede": 1, "falback": "x"})


def test_files_that_cannot_be_read(tmp_path):
    (tmp_path / "latin.toml").write_bytes("seed = 1 # é".encode("latin-1"))
    for path in (tmp_path / "missing.toml", tmp_path, tmp_path / "latin.toml"):
        with pytest.raises(LlmrecError, match="cannot read the configuration"):
            Config.from_toml(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (GOOD + "max_items = true\n", r"first.ease: max_items: .*valid integer.*got True"),
        (GOOD + "max_items = '5'\n", r"first.ease: max_items: .*valid integer.*got '5'"),
        (GOOD + "l2 = true\n", r"first.ease: l2: .*valid number.*got True"),
        (GOOD + "l2 = '5'\n", r"first.ease: l2: .*valid number.*got '5'"),
        ("min_interactions = 3.5\n" + GOOD, r"min_interactions: .*valid integer.*got 3.5"),
        ("fallback = 1\n" + GOOD, r"fallback: .*valid string.*got 1"),
    ],
)
def test_nothing_is_taken_for_another_type(tmp_path, text, message):
    with pytest.raises(ConfigError, match=message):
        read(tmp_path, text)


def test_whole_numbers_do_for_numbers_and_arrays_for_tuples(tmp_path):
    config = read(tmp_path, GOOD + "l2 = 5\n[stages.fusion]\nconstant = 7\n")
    ease = resolve("ease", config.stages[0].retrievers["ease"], "retriever", "first").values
    fusion = resolve("rrf", config.stages[0].fusion, "fusion", "first").values
    assert (ease.l2, fusion.constant) == (5.0, 7.0)


def test_infinite_numbers_are_read_as_numbers(tmp_path):
    with pytest.raises(ConfigError, match=r"first.ease: decay: .*finite number, got inf"):
        read(tmp_path, GOOD + "decay = inf\n")


PROJECT = '[data]\nitems = "a/items.csv"\ninteractions = "/log.csv"\ncolumns = {time = false}\n[runtime]\nthreads = 2\n'


def test_a_project_is_pipeline_data_and_runtime(tmp_path):
    path = tmp_path / "my.toml"
    path.write_text("seed = 3\n" + PROJECT + GOOD)
    project = Project.from_toml(path)
    assert project.pipeline == Config.from_toml(path)
    assert (project.pipeline.seed, project.runtime.threads, project.runtime.device) == (3, 2, None)
    assert project.data.items == str(tmp_path / "a" / "items.csv")
    assert project.data.interactions == "/log.csv"
    assert project.data.columns.time is False
    assert Project.from_dict(project.filled()).filled() == project.filled()
    assert Project.from_dict({}) == Project()


@pytest.mark.parametrize("name", ["ml-100k", "mine", "sub/mine"])
def test_a_data_set_is_a_name_or_a_folder_beside_the_file(tmp_path, name):
    for folder in ("ml-100k", "mine"):
        (tmp_path / folder).mkdir()
    (tmp_path / "my.toml").write_text(f'[data]\ndataset = "{name}"\n')
    found = Project.from_toml(tmp_path / "my.toml").data.dataset
    assert found == ("ml-100k" if name == "ml-100k" else str(tmp_path / name))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[runtimes]\nx = 1", r"unknown key 'runtimes'; did you mean 'runtime'\?"),
        ("[runtime]\nthread = 1", r"runtime: unknown key 'thread'; did you mean 'threads'\?"),
        ("[runtime]\nthreads = true", r"runtime: threads: .*valid integer"),
        ("[runtime]\ndevice = ''", r"runtime: device: .*at least 1 character"),
        ("[data]\nonerror = 'skip'", r"data: unknown key 'onerror'; did you mean 'on_error'\?"),
        ("[data.columns]\nuse = 'x'", r"data: unknown key 'columns.use'; did you mean 'user'\?"),
        ("[data]\nquarantine = 'x'", r"data: quarantine names a file, but on_error is 'fail'"),
        ("data = 3", r"data: Input should be an object, got 3"),
    ],
)
def test_what_is_wrong_in_its_tables_is_named(tmp_path, text, message):
    path = tmp_path / "my.toml"
    path.write_text(text)
    for kind in (Project, Config):
        with pytest.raises(ConfigError, match=message) as caught:
            kind.from_toml(path)
        assert str(path) in str(caught.value)
