"""What a table [tune] may say, where its paths lead, and that what is drawn suits the pipeline."""

from __future__ import annotations

import tomllib

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmrec.cli.config_schema import config_schema
from llmrec.config import Config, Project
from llmrec.errors import ConfigError
from llmrec.space import Choices, Range, Space, flatten
from llmrec.tune.parameters import changed, read_parameters, standing
from llmrec.tune.places import locate, put, value_at
from llmrec.tune.sampler import importance, propose
from llmrec.tune.trials import Trial

PIPELINE = {
    "stages": [
        {
            "name": "hybrid",
            "retrievers": {"popularity": {}, "close": {"type": "item_knn", "neighbours": 7}, "ease": {"l2": 5.0}},
            "fusion": {"weights": {"ease": 2.0}},
        },
        {"name": "last", "keep": 10, "fusion": {"type": "rrf"}},
    ],
    "policies": {"seen": {}, "freshness": {"half_life": 3.0, "field": "year"}},
}
CONFIG = Config.from_dict(PIPELINE)
METRIC = "NDCG@10"


def project(text):
    return Project.from_dict(tomllib.loads(text), source="shop.toml")


def space(**entries):
    return Space({path.replace("__", "."): entry for path, entry in entries.items()})


def trial(number, values, mean=0.5):
    from llmrec.evaluate import Interval

    return Trial(number, values, {METRIC: Interval(mean, mean, mean)})


def test_paths_may_be_quoted_or_not():
    quoted = project('[tune]\n"hybrid.ease.l2" = { low = 1, high = 9 }\n"hybrid.keep" = { choices = [5, 50] }')
    nested = project("[tune]\nhybrid.ease.l2 = { low = 1, high = 9 }\nhybrid.keep = { choices = [5, 50] }")
    assert quoted.tune == nested.tune
    assert quoted.tune.root == {"hybrid.ease.l2": Range(low=1, high=9), "hybrid.keep": Choices(choices=(5, 50))}


def test_the_table_is_no_part_of_the_pipeline(tmp_path):
    path = tmp_path / "shop.toml"
    path.write_text("seed = 4\n[tune]\nhybrid.ease.l2 = { low = 1, high = 9 }\n")
    assert Config.from_toml(path) == Config(seed=4)
    filled = Project.from_toml(path).filled()
    assert Project.from_dict(filled).tune == Project.from_toml(path).tune
    assert "tune" not in Project().filled()


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ("tune = 3", "shop.toml: tune: Input should be an object, got 3"),
        ("[tune]\nl2 = 3", "tune.l2: Input should be an object, got 3"),
        ("[tune]\na.l2 = {}", "tune.a.l2: low: Field required"),
        ("[tune]\na.l2 = { lo = 1, high = 2 }", "unknown key 'lo'; did you mean 'low'?"),
        ("[tune]\na.l2 = { low = 2, high = 2 }", "tune.a.l2: low must be below high"),
        ("[tune]\na.l2 = { low = 0, high = 2, log = true }", "with log = true, low must be above 0, got 0"),
        ("[tune]\na.l2 = { low = 1, high = 2, step = 0.3 }", "steps of 0.3 do not lead from low = 1 to high = 2"),
        ("[tune]\na.l2 = { low = 1, high = 2, step = -1 }", "steps of -1 do not lead"),
        ("[tune]\na.l2 = { low = 1, high = 2, step = 1, log = true }", "log and step exclude each other"),
        ("[tune]\na.l2 = { low = 1, high = inf }", "finite"),
        ("[tune]\na.l2 = { choices = [1] }", "at least two different values, got [1]"),
        ("[tune]\na.l2 = { choices = [1, 2, 1] }", "at least two different values"),
        ("[tune]\na.l2 = { choices = [1, 2], low = 3 }", "unknown key 'low'"),
        ('[tune]\na.l2 = { low = 1, high = 2 }\n"a.l2" = { low = 1, high = 3 }', "a.l2 stands there twice"),
    ],
)
def test_a_wrong_table_is_named(table, said):
    with pytest.raises(ConfigError, match="tune") as caught:
        project(table)
    assert said in str(caught.value)


def test_a_step_may_be_a_decimal():
    assert project("[tune]\na.b = { low = 0.1, high = 0.7, step = 0.1 }").tune.root["a.b"].step == 0.1


def test_the_schema_knows_the_table():
    check = jsonschema.Draft202012Validator(config_schema())
    right = ["hybrid.ease.l2 = { low = 1, high = 9, log = true }", '"hybrid.keep" = { choices = [5, 50] }']
    for line in right:
        assert not list(check.iter_errors(tomllib.loads(f"[tune]\n{line}")))
    assert list(check.iter_errors(tomllib.loads("[tune]\nhybrid.ease.l2 = { lw = 1 }")))


@pytest.mark.parametrize(
    ("path", "place", "value"),
    [
        ("hybrid.ease.l2", ("stages", 0, "retrievers", "ease", "l2"), 5.0),
        ("hybrid.ease.decay", ("stages", 0, "retrievers", "ease", "decay"), 0.8),
        ("hybrid.close.depth", ("stages", 0, "retrievers", "close", "depth"), 200),
        ("hybrid.keep", ("stages", 0, "keep"), 200),
        ("last.tuning_users", ("stages", 1, "tuning_users"), 5_000),
        ("hybrid.fusion.constant", ("stages", 0, "fusion", "constant"), 20.0),
        ("hybrid.fusion.weights.ease", ("stages", 0, "fusion", "weights", "ease"), 2.0),
        ("hybrid.fusion.weights.close", ("stages", 0, "fusion", "weights", "close"), None),
        ("last.fusion.weights.hybrid", ("stages", 1, "fusion", "weights", "hybrid"), None),
        ("policies.freshness.half_life", ("policies", "freshness", "half_life"), 3.0),
    ],
)
def test_paths_lead_to_places(path, place, value):
    assert locate(CONFIG, path) == place
    assert value_at(CONFIG, place) == value
    if value is not None:
        assert put(CONFIG, {place: value}).filled() == CONFIG.filled()


@pytest.mark.parametrize(
    ("path", "entry", "said"),
    [
        ("hibrid.ease.l2", Range(low=1, high=2), "no stage 'hibrid'; did you mean 'hybrid'?"),
        ("hybrid.eas.l2", Range(low=1, high=2), "stage 'hybrid' has no 'eas'; did you mean 'ease'?"),
        ("hybrid.ease.l3", Range(low=1, high=2), "unknown key 'l3'; did you mean 'l2'?"),
        ("hybrid.ease", Range(low=1, high=2), "names a whole component"),
        ("hybrid", Range(low=1, high=2), "has no ''"),
        ("hybrid.keep.it", Range(low=1, high=2), "stage 'hybrid' has no 'keep'"),
        ("policies.fresh.half_life", Range(low=1, high=2), "did you mean 'freshness'?"),
        ("policies.seen", Range(low=1, high=2), "no policies.POLICY.KEY"),
        ("seed", Range(low=1, high=2), "no stage 'seed'"),
        ("hybrid.ease.l2.deep", Range(low=1, high=2), "nothing below it"),
        ("hybrid.ease.l2", Range(low=0, high=2), "may not be 0: configuration: hybrid.ease: l2"),
        ("hybrid.ease.decay", Range(low=0.5, high=1.5), "may not be 1.5"),
        ("hybrid.keep", Range(low=1.5, high=8), "may not be 1.5"),
        ("hybrid.keep", Range(low=1, high=2, step=0.5), "is a whole number, so step must be one"),
        ("hybrid.ease.l2", Choices(choices=(1, "many")), 'may not be "many"'),
        ("hybrid.fusion.tune", Range(low=0, high=1), "may not be 0"),
        ("hybrid.fusion.weights.dense", Range(low=0, high=1), "weights names 'dense'"),
        ("hybrid.fusion.type", Choices(choices=("rrf", "forest")), "no component is called 'forest'"),
    ],
)
def test_what_does_not_suit_the_pipeline_is_named_before_any_fit(path, entry, said):
    with pytest.raises(ConfigError) as caught:
        read_parameters(Space({path: entry}), CONFIG)
    assert said in str(caught.value)
    assert str(caught.value).startswith(f"tune.{path}")


def test_nothing_to_tune_is_an_error():
    with pytest.raises(ConfigError, match=r"no table \[tune\]"):
        read_parameters(Space({}), CONFIG)


def test_the_setting_says_whether_numbers_are_whole():
    found = read_parameters(
        space(hybrid__ease__l2=Range(low=1, high=9), hybrid__keep=Range(low=1, high=9), last__fusion__constant=RANGE),
        CONFIG,
    )
    assert [one.whole for one in found] == [False, True, False]


RANGE = Range(low=1, high=100)


@st.composite
def ranges(draw, whole):
    numbers = st.integers(1, 500) if whole else st.floats(0.001, 500)
    low, high = draw(st.lists(numbers, min_size=2, max_size=2, unique=True).map(sorted))
    if whole and draw(st.booleans()):
        step = draw(st.integers(1, 20))
        return Range(low=low, high=low + step * draw(st.integers(1, 9)), step=step)
    return Range(low=low, high=high, log=draw(st.booleans()))


@settings(deadline=None, max_examples=25)
@given(ranges(False), ranges(True), st.integers(-5, 2**40), st.sampled_from([2, 5, 12]))
def test_what_is_proposed_lies_within_suits_the_pipeline_and_is_new(l2, keep, seed, n):
    entries = {"hybrid.ease.l2": l2, "last.keep": keep, "hybrid.fusion.tune": Choices(choices=(True, False))}
    parameters = read_parameters(Space(entries), CONFIG)
    trials = [trial(0, standing(parameters, CONFIG))]
    for number in range(1, n):
        values = propose(parameters, trials, METRIC, seed)
        if values is None:
            return
        assert l2.low <= values["hybrid.ease.l2"] <= l2.high
        assert keep.low <= values["last.keep"] <= keep.high
        assert (values["last.keep"] - keep.low) % (keep.step or 1) == 0
        assert isinstance(values["last.keep"], int)
        assert values["hybrid.fusion.tune"] in (True, False)
        assert values not in [one.values for one in trials]
        assert standing(parameters, changed(CONFIG, parameters, values)) == values
        assert propose(parameters, trials, METRIC, seed) == values
        trials.append(trial(number, values, mean=values["last.keep"] / 1000))


def test_seeds_differ_and_draws_are_short():
    parameters = read_parameters(space(hybrid__ease__l2=Range(low=1, high=900, log=True)), CONFIG)
    trials = [trial(0, standing(parameters, CONFIG))]
    drawn = [propose(parameters, trials, METRIC, seed)["hybrid.ease.l2"] for seed in range(20)]
    assert len(set(drawn)) == 20
    assert all(len(f"{value:g}") <= 6 and float(f"{value:.4g}") == value for value in drawn)


def test_the_sampler_learns():
    parameters = read_parameters(
        space(hybrid__ease__decay=Range(low=0.01, high=1), hybrid__ease__l2=Range(low=1, high=100)), CONFIG
    )
    trials = [trial(0, standing(parameters, CONFIG), -1.0)]
    for number in range(1, 60):
        values = propose(parameters, trials, METRIC, 0)
        trials.append(trial(number, values, -abs(values["hybrid.ease.decay"] - 0.3)))
    late = [one.values["hybrid.ease.decay"] for one in trials[40:]]
    assert sum(abs(value - 0.3) < 0.1 for value in late) >= 8  # by chance it is one in five
    shares = importance(parameters, trials, METRIC)
    assert sum(shares.values()) == pytest.approx(1)
    assert next(iter(shares)) == "hybrid.ease.decay"
    assert shares["hybrid.ease.decay"] > 0.7
    assert importance(parameters, trials[:9], METRIC) == {}


def test_a_pipeline_outside_of_what_is_searched_does_not_mislead_the_sampler():
    parameters = read_parameters(space(hybrid__ease__l2=Range(low=50, high=100)), CONFIG)
    outside = trial(0, standing(parameters, CONFIG))
    assert outside.values == {"hybrid.ease.l2": 5.0}
    assert 50 <= propose(parameters, [outside], METRIC, 0)["hybrid.ease.l2"] <= 100


def test_everything_is_tried_once_and_then_nothing():
    parameters = read_parameters(space(hybrid__fusion__weights=Choices(choices=({"ease": 1.0}, {"ease": 3}))), CONFIG)
    trials = [trial(0, standing(parameters, CONFIG))]
    while (values := propose(parameters, trials, METRIC, 0)) is not None:
        trials.append(trial(len(trials), values))
    assert [one.values["hybrid.fusion.weights"]["ease"] for one in trials[1:]] in ([1.0, 3], [3, 1.0])


@given(
    st.dictionaries(st.text("abc", min_size=1, max_size=2), st.just({"low": 1}), min_size=1, max_size=4), st.text("xyz")
)
def test_nesting_is_undone(table, key):
    nested = {f"{key}-": table}
    assert flatten(nested) == {f"{key}-.{name}": entry for name, entry in table.items()}
