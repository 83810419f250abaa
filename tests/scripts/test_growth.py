"""scripts/bench/growth.py on tiny data: that it runs, that its numbers are sane, that what is done is kept."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

BENCH = Path(__file__).resolve().parents[2] / "scripts" / "bench"
SIZES = (1000, 2000)


@pytest.fixture
def grow(bench, data, bert, tmp_path, monkeypatch):
    """The script, with its jobs in this process."""
    done = []

    def run_here(arguments):
        done.append(arguments[0])
        return bench["_growth_job"].run(arguments)

    monkeypatch.setattr(bench["growth"], "run_apart", run_here)
    monkeypatch.setattr(bench["_growth_job"], "QUERIES", 16)

    def grow(*more):
        done.clear()
        arguments = ["--data", data, "--encoder", bert, "--work", tmp_path / "work", *more]
        monkeypatch.setattr("sys.argv", ["growth.py", *map(str, arguments)])
        bench["growth"].main()
        return list(done)

    return grow


def test_a_small_run_has_sane_numbers_and_is_not_done_twice(grow, tmp_path, capsys):
    out = tmp_path / "out"
    sizes, kinds = ",".join(map(str, SIZES)), "exact,hnsw,exact-int8,compact"
    small = ("--sizes", sizes, "--kinds", kinds, "--users", "50", "--out", out, "--json")
    assert len(grow(*small)) == 2 * (1 + 2 * 4) + 1
    found = json.loads((out / "growth.json").read_text())
    assert json.loads(capsys.readouterr().out) == found
    assert [(row["items"], row["name"]) for row in found["items"]] == [(n, k) for n in SIZES for k in kinds.split(",")]
    for row in found["items"]:
        assert row["recall"] >= (1 if row["name"] == "exact" else 0.9)
        assert 0 < row["p50_ms"] <= row["p95_ms"]
        assert row["index_bytes"] >= 0
        assert row["vector_bytes"] in (32 * 4, 32 + 4)
        assert row["serve_peak_mb"] > 1
        assert row["text_bytes"] > 4
    by = {row["name"]: row for row in found["items"]}
    assert by["hnsw"]["index_bytes"] > 32 * 2
    assert by["compact"]["kind"] == "exact"  # too few to train compressed vectors on
    assert set(found["slopes"]) == set(kinds.split(","))
    assert found["users"][0]["users"] == found["users"][0]["asked"] == 50
    assert found["users"][0]["users_per_s"] > 0
    page = (out / "growth.md").read_text()
    assert page.count("\n| 1,000 |") == page.count("\n| 2,000 |") == 4
    assert len(list(out.glob("*.png"))) == page.count("![") == 4
    assert grow(*small) == []


def test_vectors_are_near_those_they_are_drawn_from(bench, grow, tmp_path):
    grow("--sizes", "1000", "--kinds", "exact", "--users", "", "--no-plots")
    source = bench["_growth_data"].Source.load(tmp_path / "work" / "source.npz")
    origins = np.load(tmp_path / "work" / "1000" / "asked" / "origins.npy")
    vectors = np.load(tmp_path / "work" / "1000" / "vectors.npy")
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    own = np.einsum("nd,nd->n", vectors, source.vectors[origins])
    other = np.einsum("nd,nd->n", vectors, source.vectors[(origins + 1) % len(source.vectors)])
    assert own.mean() > other.mean()
    assert own.std() > 0


def test_a_job_runs_in_a_process_of_its_own(bench, grow, tmp_path):
    grow("--sizes", "1000", "--kinds", "exact", "--users", "", "--no-plots")
    again = [sys.executable, str(BENCH / "_growth_job.py"), "build", str(tmp_path / "work"), "1000", "exact-int8"]
    done = subprocess.run(again, check=True, capture_output=True, text=True)
    assert json.loads(done.stdout)["vector_bytes"] == 32 + 4
    shutil.rmtree(tmp_path / "work")


def test_an_unknown_kind_is_named(grow, capsys):
    with pytest.raises(SystemExit):
        grow("--kinds", "exact,ivf")
    assert "unknown kinds ivf; there are exact, hnsw" in capsys.readouterr().err
