"""scripts/bench/throughput.py: what it reports; not how fast anything is."""

import json
import os
from collections import defaultdict
from dataclasses import replace

import numpy as np
import pytest

import llmrec

CONFIG = """
[[stages]]
name = "first"
[stages.retrievers.popularity]
[stages.retrievers.ease]
[stages.retrievers.transition]
[stages.fusion]
type = "rrf"
"""


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "pipeline.toml"
    path.write_text(CONFIG)
    return path


def test_both_tables_and_json_are_printed(bench, data, config, capsys):
    asked = ["--data", str(data), "--config", str(config), "--users", "20", "--k", "4", "--fusions", "rrf"]
    bench["throughput"].main([*asked, "--json"])
    report = json.loads(capsys.readouterr().out)
    found = report["fusions"]["rrf"]
    assert found["users"] == 20
    assert found["fusion"] == "rrf"
    assert 0 < found["one user ms, p50"] <= found["one user ms, p95"]
    parts = found["parts us/user, one thread"]
    assert {"ease: score all", "ease: best k", "ease: look up", "popularity: retrieve", "fusion", "the rest"} <= set(
        parts
    )
    table = bench["throughput"].as_table(report)
    assert "| users/s |" in table
    assert "| transition: best k |" in table


def test_timing_changes_no_list_and_threads_are_as_before(bench, data, config, monkeypatch):
    monkeypatch.setenv("LLMREC_THREADS", "2")
    found = llmrec.load_dataset(data)
    fitted = llmrec.fit(
        llmrec.Config.from_dict(bench["throughput"].read_toml(config)), found.catalog, found.interactions
    )
    queries, script = fitted.queries(list(fitted.histories.users.ids)), bench["throughput"]
    clock = script.Clock(defaultdict(float))
    timed = replace(fitted, stages=tuple(script._timed(stage, clock) for stage in fitted.stages))
    np.testing.assert_array_equal(timed.recommend(queries, 5).items, fitted.recommend(queries, 5).items)
    assert all(seconds > 0 for seconds in clock.seconds.values())
    script.part_seconds(fitted, list(fitted.histories.users.ids), 5)
    assert os.environ["LLMREC_THREADS"] == "2"


def test_a_bundle_or_data_must_be_named(bench):
    with pytest.raises(SystemExit, match="name a bundle"):
        bench["throughput"].main([])
