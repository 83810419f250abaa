"""scripts/bench/quality.py on tiny data: jobs, what they are kept by, the table."""

import importlib
import json
import shutil
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
from pyarrow import parquet

import llmrec
from llmrec.errors import ConfigError
from llmrec.testing.data import tiny_catalog, tiny_interactions

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
[ablations."plain".fusion]
hybrid = { type = "rrf" }
[external.sasrec]
epochs = 1
"""


@pytest.fixture(scope="module")
def bench():
    """The script's modules, by name."""
    sys.path.insert(0, str(BENCH))
    try:
        yield {name: importlib.import_module(name) for name in ("quality", "_quality_methods", "_quality_job")}
    finally:
        sys.path.remove(str(BENCH))


@pytest.fixture
def configs(tmp_path):
    folder = tmp_path / "configs"
    folder.mkdir()
    (folder / "tiny.toml").write_text(OURS)
    (folder / "tiny-methods.toml").write_text(METHODS)
    return folder


@pytest.fixture
def data(tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    catalog = tiny_catalog(15)
    log = tiny_interactions(0, catalog, n_users=40)
    parquet.write_table(catalog.table, folder / "items.parquet")
    table = {
        "user_id": np.repeat(log.users.ids, np.diff(log.offsets)).tolist(),
        "item_id": catalog.items.decode(log.items),
        "timestamp": log.times,
    }
    import pyarrow as pa

    parquet.write_table(pa.table(table), folder / "interactions.parquet")
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
        ('[ablations.x.fusion]\nhybird = { type = "rrf" }', "no stage is called 'hybird'"),
        ("[ablations.x]\nremoved = []", "unknown key 'removed'"),
        ("[ablations", "cannot read the methods"),
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


@pytest.fixture
def call(bench, configs, data, tmp_path, monkeypatch, capsys):
    """Call the script; jobs run in this process."""
    quality, ran = bench["quality"], []

    def run(job):
        ran.append((job.values["method"], job.values["seed"]))
        order = tmp_path / "order.json"
        order.write_text(json.dumps(job.values))
        job.folder.parent.mkdir(exist_ok=True)
        monkeypatch.setattr(sys, "argv", ["job", str(order), str(job.folder)])
        bench["_quality_job"].main()

    def script(*arguments):
        ran.clear()
        fixed = ["tiny", "--data", str(data), "--configs", str(configs), "--work", str(tmp_path / "work")]
        monkeypatch.setattr(sys, "argv", ["quality.py", *fixed, *map(str, arguments)])
        quality.main()
        return capsys.readouterr().out, list(ran)

    monkeypatch.setattr(quality, "run", run)
    return script


def test_the_table_and_what_is_kept(call, bench, tmp_path, data, configs):
    out, ran = call("--methods", "item_knn,texts shuffled", "--seeds", 2, "--out", tmp_path / "out")
    assert ran == [("ours", 0), ("ours", 1), ("texts shuffled", 0), ("item_knn", 0)]
    assert (tmp_path / "out" / "quality-tiny-validation.md").read_text() == out.rstrip("\n") + "\n"
    for part in ("| ours ", "| part: ease ", "| texts shuffled", "| item_knn", "NDCG@10 minus ours", "Recall of all"):
        assert part in out
    assert "By popularity" not in out
    assert "by history" in out
    assert "mean and spread" in out
    assert "put aside unseen" in out
    stored = json.loads((tmp_path / "out" / "quality-tiny-validation.json").read_text())
    assert [row["method"] for row in stored["results"]] == ["ours", "ours", "texts shuffled", "item_knn"]
    assert stored["results"][0]["cost"]["fit_seconds"] > 0
    assert {row["method"] for row in stored["differences"]} >= {"item_knn", "texts shuffled", "part: popularity"}
    again, ran = call("--methods", "item_knn,texts shuffled", "--seeds", 2)
    assert ran == []
    assert again.split("| fit")[0] == out.split("| fit")[0]
    assert not list((tmp_path / "work").glob("*.part"))
    assert not list((tmp_path / "work").glob("*.work"))
    (configs / "tiny-methods.toml").write_text(METHODS.replace("neighbours = 5", "neighbours = 6"))
    assert call("--methods", "item_knn,texts shuffled", "--seeds", 2)[1] == [("item_knn", 0)]
    shutil.copy(data / "items.parquet", data / "other.parquet")
    assert call("--methods", "item_knn")[1] == [("ours", 0), ("item_knn", 0)]


def test_validation_never_sees_the_test(call, data, tmp_path):
    """With other last interactions, validation gives the same figures and the test others."""

    def figures(*arguments):
        shutil.rmtree(tmp_path / "work", ignore_errors=True)
        call("--methods", "item_knn", "--out", tmp_path / "out", *arguments)
        name = "test" if "--test" in arguments else "validation"
        stored = json.loads((tmp_path / "out" / f"quality-tiny-{name}.json").read_text())
        return [row["reports"] for row in stored["results"]]

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
    import pyarrow as pa

    parquet.write_table(pa.table(table), data / "interactions.parquet")
    after = strip(figures()), strip(figures("--test"))
    assert before[0] == after[0]
    assert before[1] != after[1]
    assert before[0] != before[1]


def test_a_real_process_and_a_failing_one(bench, configs, data, tmp_path, capsys):
    quality = bench["quality"]
    values = {
        "data": str(data),
        "method": "item_knn",
        "kind": "peer",
        "config": {"stages": [{"name": "alone", "retrievers": {"item_knn": {}}}], "fallback": "item_knn"},
        "shuffle_texts": False,
        "seed": 0,
        "protocol": "test",
        "users": 10,
        "parts": False,
    }
    job = quality.Job(values, tmp_path / "work" / "job")
    quality.run(job)
    assert job.is_done, (tmp_path / "work" / "job.log").read_text()
    found = quality.result_of(job)
    assert found.report.card.n_users == 10
    assert found.cost["peak_gb"] > 0.01
    failing = quality.Job({**values, "data": str(tmp_path / "nowhere")}, tmp_path / "work" / "other")
    quality.run(failing)
    assert not failing.is_done
    assert "item_knn failed with code 1" in capsys.readouterr().err


def test_unknown_methods_are_refused(call):
    with pytest.raises(SystemExit, match=r"no method is called 'nobody'; there are: ours"):
        call("--methods", "nobody")
