"""`llmrec doctor`: what it finds, what it says of what is broken, and what it never says."""

from __future__ import annotations

import os
import time

import pytest

from llmrec.cli import checkup


@pytest.fixture(autouse=True)
def _quiet(monkeypatch, tmp_path):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("LLMREC_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))


def problems(result):
    return {problem["message"]: problem for problem in result.json["problems"]}


def test_a_usable_installation(run, monkeypatch):
    monkeypatch.setenv("LLMREC_DEVICE", "cpu")
    monkeypatch.setenv("LLMREC_DTYPE", "float32")
    result = run("doctor", "--json")
    assert result.code == 0, result.out
    found = result.json
    assert found["usable"] is True
    assert {"python", "llmrec", "torch", "transformers", "faiss"} == set(found["versions"])
    assert (found["models"]["device"], found["models"]["dtype"]) == ("cpu", "float32")
    assert "LLMREC_DEVICE" in found["models"]["why"]["device"]
    assert found["cache"]["writable"] is True
    assert found["hub"]["asked"] is False
    assert found["settings"]["LLMREC_DTYPE"] == "float32"
    assert found["extras"]["testing"] == {"missing": []}
    (missing,) = (message for message in problems(result) if message.startswith("not here yet"))
    assert "--fetch minilm --fetch ml-100k" in problems(result)[missing]["remedy"]
    table = run("doctor")
    assert table.code == 0
    assert "device cpu" in table.out


def test_options_choose_what_is_checked(run):
    assert run("doctor", "--device", "cpu", "--dtype", "float16", "--json").json["models"]["dtype"] == "float16"


def test_a_library_that_does_not_load(run, monkeypatch):
    honest = checkup.import_module

    def broken(name):
        if name == "faiss":
            raise ImportError("undefined symbol: x")
        return honest(name)

    monkeypatch.setattr(checkup, "import_module", broken)
    result = run("doctor", "--json")
    assert (result.code, result.json["usable"], result.json["versions"]["faiss"]) == (1, False, "broken")
    problem = problems(result)["faiss does not load: undefined symbol: x"]
    assert problem["severity"] == "error"
    assert "faiss-cpu" in problem["remedy"]
    assert run("doctor").code == 1
    assert "error: faiss does not load" in run("doctor").out


def test_a_library_that_is_missing(run, monkeypatch):
    honest = checkup.version

    def absent(name):
        if name == "scipy":
            raise checkup.PackageNotFoundError(name)
        return honest(name)

    monkeypatch.setattr(checkup, "version", absent)
    result = run("doctor", "--json")
    assert result.code == 1
    assert problems(result)["not installed: scipy"]["remedy"].endswith("-m pip install scipy")


def test_a_device_that_is_not_there(run, monkeypatch):
    monkeypatch.setenv("LLMREC_DEVICE", "quantum")
    result = run("doctor", "--json")
    assert result.code == 1
    assert any("'quantum' is not known to torch" in message for message in problems(result))
    assert run("doctor").code == 1


def test_a_cache_that_cannot_be_written(run, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("LLMREC_CACHE", str(tmp_path / "file" / "cache"))
    result = run("doctor", "--json")
    assert (result.code, result.json["cache"]["writable"]) == (1, False)
    assert any("cannot be written to" in message for message in problems(result))


def test_little_space_and_memory_are_warnings(run, monkeypatch):
    monkeypatch.setattr(checkup, "TIGHT_DISK", 10**18)
    monkeypatch.setattr(checkup, "TIGHT_MEMORY", 10**18)
    result = run("doctor", "--json")
    assert result.code == 0
    warned = [p["message"] for p in result.json["problems"] if p["severity"] == "warning"]
    assert any("free on the disk" in message for message in warned)
    assert any("of memory are free" in message for message in warned)


def test_half_written_folders_are_named(run, tmp_path):
    old, new = tmp_path / "bundles" / ".shop.abc", tmp_path / "bundles" / ".shop.def"
    stale = [old, tmp_path / "cache" / "assets" / ".minilm.tmp-1", tmp_path / "tmp" / "llmrec-1"]
    for folder in (*stale, new):
        (folder / "parts").mkdir(parents=True)
    for folder in stale:
        os.utime(folder, (time.time() - 2 * checkup.STALE_S,) * 2)
    result = run("doctor", "--json")
    assert result.code == 0
    assert result.json["leftovers"]["folders"] == sorted(map(str, stale))
    assert all(folder.exists() for folder in stale)


def test_a_hub_that_does_not_answer(run, monkeypatch):
    monkeypatch.delenv("HF_HUB_OFFLINE")
    for name in ("TRANSFORMERS_OFFLINE", "LLMREC_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    start = time.monotonic()
    result = run("doctor", "--json")
    assert time.monotonic() - start < 10
    assert (result.code, result.json["hub"]["asked"], result.json["hub"]["reachable"]) == (0, True, False)


def test_no_secret_is_shown(run, monkeypatch):
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "LLMREC_API_KEY"):
        monkeypatch.setenv(name, "hf_secretsecret")
    assert "secretsecret" not in run("doctor").out + run("doctor", "--json").out
