"""scripts/bench/quality.py on tiny data: methods, jobs, what is kept, the page."""

import json
import shutil
import sys
import tomllib
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

import llmrec
from llmrec.errors import ConfigError
from llmrec.testing.data import tiny_catalog

BENCH = Path(__file__).resolve().parents[2] / "scripts" / "bench"
OURS = """
[[stages]]
name = "hybrid"
[stages.retrievers.popularity]
[stages.retrievers.ease]
l2 = 5.0
[stages.retrievers.bm25]
[stages.fusion]
type = "lambdamart"
"""
METHODS = """
[peers.item_knn]
neighbours = 5
[ablations."texts shuffled"]
shuffle_texts = true
[ablations."plain"]
remove = ["bm25"]
[ablations."plain".set]
"hybrid.ease.l2" = 50.0
[ablations."plain".stages]
hybrid = { fusion = { type = "rrf" } }
[external.sasrec]
epochs = 1
[protocols.seen]
methods = ["item_knn"]
[protocols.ties]
[protocols.time]
methods = ["item_knn"]
[protocols.cold-items]
methods = ["plain"]
[protocols.cold-users]
methods = ["item_knn"]
[[grids.item_knn]]
neighbours = [5, 10]
"""


@pytest.fixture
def configs(tmp_path):
    folder = tmp_path / "configs"
    folder.mkdir()
    (folder / "tiny.toml").write_text(OURS)
    (folder / "tiny-methods.toml").write_text(METHODS)
    return folder


def test_methods(bench, configs):
    found = {method.name: method for method in bench["_quality_methods"].read_methods("tiny", configs)}
    assert list(found) == ["ours", "without ease", "without bm25", "texts shuffled", "plain", "item_knn", "sasrec"]
    assert [m.kind for m in found.values()] == ["ours", *["ablation"] * 4, "peer", "external"]
    assert list(found["without ease"].config["stages"][0]["retrievers"]) == ["popularity", "bm25"]
    plain = found["plain"].config["stages"][0]
    assert plain["retrievers"] == {"popularity": {}, "ease": {"l2": 50.0}}
    assert plain["fusion"] == {"type": "rrf"}
    assert found["texts shuffled"].config == found["ours"].config
    assert found["texts shuffled"].shuffle_texts
    assert found["ours"].config["stages"][0]["retrievers"]["ease"] == {"l2": 5.0}  # no ablation touched it
    assert found["item_knn"].config["stages"][0]["retrievers"] == {"item_knn": {"neighbours": 5}}
    for method in found.values():
        if method.kind != "external":
            llmrec.Config.from_dict(dict(method.config))


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ('[ablations.x]\nremove = ["eas"]', "no stage has 'eas'"),
        ('[ablations.x.set]\n"hybrid.eas.l2" = 1', "not the stage.component.key"),
        ('[ablations.x.set]\n"hybrid.ease" = 1', "not the stage.component.key"),
        ('[ablations.x.stages]\nhybird = { type = "rrf" }', "no stage is called 'hybird'"),
        ('[ablations.x.add]\n"hybrid.ease" = {}', "'hybrid.ease' is there already"),
        ("[ablations.x]\nremoved = []", "unknown key 'removed'"),
        ('[ablations."without x, or y"]', "has a comma"),
        ("[ablations", "cannot read the methods"),
        ("[ablation.x]", "unknown table 'ablation'"),
    ],
)
def test_mistakes_in_methods_are_said(bench, configs, table, said):
    (configs / "tiny-methods.toml").write_text(table)
    with pytest.raises(ConfigError, match=said):
        bench["_quality_methods"].read_methods("tiny", configs)


@pytest.mark.parametrize("path", sorted(BENCH.glob("configs/*-methods.toml")), ids=lambda path: path.stem)
def test_the_shipped_configurations_hold(bench, path):
    methods = bench["_quality_methods"].read_methods(path.stem.removesuffix("-methods"))
    assert methods[0].name == "ours"
    assert tomllib.loads(path.read_text())["peers"]
    for method in methods:
        if method.kind != "external":
            llmrec.Config.from_dict(dict(method.config))


def test_shuffling_moves_every_field_and_no_id(bench):
    catalog = tiny_catalog(40)
    moved = bench["_quality_job"].shuffled(catalog, 0)
    assert moved.items.ids == catalog.items.ids
    rows = [tuple(record[name] for name in ("title", "year", "genres")) for record in catalog.table.to_pylist()]
    swapped = [tuple(record[name] for name in ("title", "year", "genres")) for record in moved.table.to_pylist()]
    assert sorted(map(str, rows)) == sorted(map(str, swapped))
    assert sum(a == b for a, b in zip(rows, swapped, strict=True)) < 5


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ("[protocols.tim]", "no protocol beside the main one is called 'tim'"),
        ("[protocols.last]", "no protocol beside the main one is called 'last'"),
        ('[protocols.time]\nmethods = ["eas"]', "'eas' is no method of ours"),
        ('[protocols.time]\nmethods = ["sasrec"]\n[external.sasrec]', "'sasrec' is no method of ours"),
    ],
)
def test_mistakes_in_protocols_are_said(bench, configs, table, said):
    (configs / "tiny-methods.toml").write_text(table)
    with pytest.raises(ConfigError, match=said):
        bench["_quality_methods"].read_protocols("tiny", configs)


@pytest.fixture
def quick(configs):
    """Without trees, where what is fitted does not matter."""
    (configs / "tiny.toml").write_text(OURS.replace("lambdamart", "rrf"))


@pytest.fixture
def call(bench, configs, data, tmp_path, monkeypatch, capsys):
    """Call the script; jobs run in this process. Returns what it printed, which jobs ran, and which were fitted."""
    quality, ran, fits, fit = bench["quality"], [], [], llmrec.fit

    def run(job):
        ran.append((job.values["method"], job.values["seed"], job.values["protocol"]))
        order = tmp_path / "order.json"
        order.write_text(json.dumps(job.values))
        job.out.parent.mkdir(parents=True, exist_ok=True)
        monkeypatch.setattr(sys, "argv", ["job", str(order)])
        bench["_quality_job"].main()

    def counted(*arguments, **named):
        fits.append(named["holdout"])
        return fit(*arguments, **named)

    def script(*arguments):
        ran.clear()
        fits.clear()
        fixed = ["tiny", "--data", str(data), "--configs", str(configs), "--work", str(tmp_path / "work")]
        monkeypatch.setattr(sys, "argv", ["quality.py", *fixed, *map(str, arguments)])
        quality.main()
        return capsys.readouterr().out, list(ran), list(fits)

    monkeypatch.setattr(quality, "run", run)
    monkeypatch.setattr(llmrec, "fit", counted)
    return script


SOME = ("--protocols", "", "--methods", "item_knn,texts shuffled", "--seeds", 2)
OF_SOME = [("ours", 0, "last"), ("ours", 1, "last"), ("texts shuffled", 0, "last"), ("item_knn", 0, "last")]


def test_the_page_and_what_is_kept(call, tmp_path, data, configs):
    out, ran, _ = call(*SOME, "--out", tmp_path / "out")
    assert ran == OF_SOME
    assert (tmp_path / "out" / "quality-tiny-validation.md").read_text() == out.rstrip("\n") + "\n"
    for part in ("| ours ", "| part: ease ", "| texts shuffled", "| item_knn", "NDCG@10 minus ours", "Recall of all"):
        assert part in out
    for said in ("by history", "by popularity", "mean and spread", "put aside unseen", "Recall@200", "novelty@10"):
        assert said in out
    assert "`python scripts/bench/quality.py tiny --data FOLDER --validation --methods 'item_knn,texts shuffled'" in out
    for kind in ("cost", "history", "popularity"):
        assert f"(quality-tiny-validation-{kind}.png)" in out
        assert (tmp_path / "out" / f"quality-tiny-validation-{kind}.png").stat().st_size > 1000
    stored = json.loads((tmp_path / "out" / "quality-tiny-validation.json").read_text())
    assert [row["method"] for row in stored["results"]] == ["ours", "ours", "texts shuffled", "item_knn"]
    assert stored["results"][0]["cost"]["fit_seconds"] > 0
    assert stored["results"][0]["recall@200"]["last"]["popularity"] == 1.0  # a list of 200 holds all 15 items
    assert stored["machine"]["libraries"]["numpy"]
    assert {row["method"] for row in stored["differences"]} >= {"item_knn", "texts shuffled", "part: popularity"}
    again, ran, _ = call(*SOME)
    assert ran == []
    assert again.split("## Differences")[1] == out.split("## Differences")[1]
    assert not list((tmp_path / "work").rglob("*.part"))
    assert not list((tmp_path / "work").rglob("*.clock"))
    for path in data.iterdir():
        path.touch()  # what counts is what they say
    assert call(*SOME)[1] == []
    (configs / "tiny-methods.toml").write_text(METHODS.replace("neighbours = 5", "neighbours = 6"))
    assert call(*SOME)[1] == [("item_knn", 0, "last")]
    shutil.copy(data / "items.parquet", data / "other.parquet")
    assert call(*SOME)[1] == OF_SOME


@pytest.mark.usefixtures("quick")
def test_measuring_more_does_not_fit_anew(call, tmp_path):
    assert call(*SOME)[2] == ["last"] * 4
    kept = sorted(path.name.split("-")[2][:4] for path in (tmp_path / "work" / "fits").iterdir() if path.is_dir())
    assert kept == ["item", "ours", "ours"]  # the ablation is measured, and its bundle gone
    shutil.rmtree(tmp_path / "work" / "results")
    assert call(*SOME)[1:] == (OF_SOME, ["last"])
    assert call(*SOME, "--users", 20)[1:] == (OF_SOME, ["last"])
    asked = ("--protocols", "seen", "--methods", "item_knn")
    assert call(*asked)[1:] == ([("ours", 0, "seen"), ("item_knn", 0, "seen")], [])


def test_every_protocol(call, tmp_path):
    out, ran, fits = call("--methods", "item_knn,plain", "--out", tmp_path / "out")
    others = ["seen", "time", "cold-users"]
    assert ran == [
        ("ours", 0, "last"),
        ("plain", 0, "last"),
        ("item_knn", 0, "last"),
        *[(m, 0, p) for p in ("seen",) for m in ("ours", "item_knn")],
        ("ours", 0, "ties"),
        *[(m, 0, "time") for m in ("ours", "item_knn")],
        *[(m, 0, "cold-items") for m in ("ours", "plain")],
        *[(m, 0, "cold-users") for m in ("ours", "item_knn")],
    ]
    assert fits == [*["last"] * 4, *["time"] * 2, *["cold-items"] * 2, *["cold-users"] * 2]
    for title in ("History not excluded", "Ties shuffled", "Global time", "Cold items", "### warm targets"):
        assert title in out
    assert "history not excluded" in out
    assert "ours, as a share of the NDCG@10 of" in out
    rows = [line.split("|")[1].strip() for line in out.split("## Cold users")[1].splitlines() if "| " in line]
    assert rows == ["known", "-----", "0", "1", "2", "5", "10", "10+"]
    stored = json.loads((tmp_path / "out" / "quality-tiny-validation.json").read_text())
    figures = {(row["protocol"], row["method"]): row["tests"] for row in stored["results"]}
    assert set(figures["cold-items", "ours"]) == {"among all", "among cold", "warm targets"}
    for other in others:
        assert figures[other, "item_knn"] != figures["last", "item_knn"]
    reports = [figures[protocol, "ours"]["last"]["reports"]["hybrid"] for protocol in ("last", "ties")]
    assert reports[0]["metrics"] != reports[1]["metrics"]


@pytest.mark.usefixtures("quick")
def test_validation_by_other_users(call, configs, bench, tmp_path, monkeypatch):
    """The fit of the test, asked what it was not trained on though it stores it for its answers."""
    (configs / "tiny-methods.toml").write_text(METHODS + '[protocols.validation]\nmethods = ["item_knn"]\n')
    (configs / "tiny.toml").write_text(
        (configs / "tiny.toml").read_text().replace('"hybrid"', '"hybrid"\ntuning_users = 9')
    )
    monkeypatch.setattr(bench["_quality_cases"], "TUNED", 7)
    asked = ("--protocols", "validation", "--methods", "item_knn", "--test", "--out", tmp_path / "out")
    assert call(*asked)[2] == ["last", "last"]
    stored = json.loads((tmp_path / "out" / "quality-tiny-test.json").read_text())
    found = [row["tests"] for row in stored["results"] if row["protocol"] == "validation"]
    protocols = [one["reports"][name]["protocol"] for test in found for one in test.values() for name in one["reports"]]
    assert {protocol["name"] for protocol in protocols} == {"validation, other users"}
    assert {protocol["n_users"] for protocol in protocols} == {60 - 9}  # also where only 7 were tuned on


def test_a_killed_fit_counts_all_its_time(bench, tmp_path):
    clock_of, training = bench["_quality_job"].Clock.of, tmp_path / "training"
    training.mkdir()
    (tmp_path / "x.clock").write_text(json.dumps({"fit_seconds": 100.0, "peak_gb": 50.0, "reused": 0.0}))
    (training / "checkpoint").touch()
    clock = clock_of(tmp_path / "x.clock", training, shared=True)
    clock.say("on")
    found = json.loads((tmp_path / "x.clock").read_text())
    assert 100.0 < found["fit_seconds"] < 110.0
    assert (found["peak_gb"], found["reused"]) == (50.0, 0.0)  # the checkpoint is its own
    assert clock_of(tmp_path / "y.clock", training, shared=True).cost["reused"]
    assert not clock_of(tmp_path / "y.clock", training, shared=False).cost["reused"]
    assert not clock_of(tmp_path / "y.clock", tmp_path / "none", shared=True).cost["reused"]


@pytest.mark.usefixtures("quick")
def test_validation_never_sees_the_test(call, data, tmp_path):
    """With other last interactions, validation gives the same figures and the test others."""

    def figures(*arguments):
        shutil.rmtree(tmp_path / "work", ignore_errors=True)
        call("--protocols", "ties", "--methods", "item_knn", "--out", tmp_path / "out", *arguments)
        name = "test" if "--test" in arguments else "validation"
        stored = json.loads((tmp_path / "out" / f"quality-tiny-{name}.json").read_text())
        return [test["reports"] for row in stored["results"] for test in row["tests"].values()]

    def strip(reports):
        return [{n: (r["metrics"], r["totals"], r["protocol"]["n_users"]) for n, r in one.items()} for one in reports]

    before = strip(figures()), strip(figures("--test"))
    table = parquet.read_table(data / "interactions.parquet").to_pydict()
    last = {user: place for place, user in enumerate(table["user_id"])}
    for user, place in last.items():
        own = {i for i, u in zip(table["item_id"], table["user_id"], strict=True) if u == user}
        if len(own) < 3:
            continue  # is never evaluated, and stays whole in training
        table["item_id"][place] = next(f"i{n}" for n in range(15) if f"i{n}" not in own)
    parquet.write_table(pa.table(table), data / "interactions.parquet")
    after = strip(figures()), strip(figures("--test"))
    assert before[0] == after[0]
    assert before[1] != after[1]
    assert before[0] != before[1]


def test_a_real_process_and_a_failing_one(bench, data, tmp_path, capsys):
    quality = bench["quality"]
    values = {
        "data": str(data),
        "method": "item_knn",
        "kind": "peer",
        "config": {"stages": [{"name": "alone", "retrievers": {"item_knn": {}}}], "fallback": "item_knn"},
        "shuffle_texts": False,
        "seed": 0,
        "targets": "test",
        "protocol": "last",
        "users": 10,
        "parts": False,
        "fit": str(tmp_path / "work" / "fit"),
        "training": str(tmp_path / "work" / "training"),
        "out": str(tmp_path / "work" / "job"),
    }
    job = quality.Job(values)
    quality.run(job)
    assert job.is_done, (tmp_path / "work" / "job.log").read_text()
    found = quality.result_of(job)
    assert found.report("last").card.n_users == 10
    assert found.cost["peak_gb"] > 0.01
    failing = quality.Job({**values, "data": str(tmp_path / "nowhere"), "out": str(tmp_path / "work" / "other")})
    quality.run(failing)
    assert not failing.is_done
    assert "item_knn, seed 0, last failed with code 1" in capsys.readouterr().err


def test_unknown_methods_are_refused(call):
    with pytest.raises(SystemExit, match=r"no method is called 'nobody'; there are: ours"):
        call("--methods", "nobody")


def test_unknown_protocols_are_refused(call):
    with pytest.raises(SystemExit, match=r"no protocol is called 'cold'; there are: last, seen, ties, time"):
        call("--protocols", "cold")


def test_an_ablation_may_add_a_retriever(bench, configs):
    with (configs / "tiny-methods.toml").open("a") as file:
        file.write('[ablations.more.add]\n"hybrid.transition" = { window = 3 }\n')
    methods = {method.name: method for method in bench["_quality_methods"].read_methods("tiny", configs)}
    assert methods["more"].config["stages"][0]["retrievers"]["transition"] == {"window": 3}
    assert "transition" not in methods["ours"].config["stages"][0]["retrievers"]


def test_the_pipeline_with_a_language_model_begins_as_the_one_it_is_compared_with():
    configs = BENCH / "configs"
    plain, more = (tomllib.loads((configs / f"ml-100k{end}.toml").read_text()) for end in ("", "-language-model"))
    (first,) = plain["stages"]
    assert more["stages"][0] == first | {"keep": 20}
    assert list(more["stages"][1]["scorers"]) == ["yes_no"]
    llmrec.Config.from_dict(more)
