import subprocess
import sys

import pytest
import torch

from llmrec.errors import ConfigError
from llmrec.models import (
    Placement,
    best_placement,
    device,
    explain_placement,
    measure_speeds,
    set_threads,
    speeds,
    threads,
)


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch):
    for name in ("LLMREC_DEVICE", "LLMREC_DTYPE", "LLMREC_THREADS"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def machine(monkeypatch):
    """Pretend to be another machine."""

    def pretend(*, cuda=False, cuda_bf16=False, mps=False, cpu_bf16=False):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: cuda_bf16)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
        monkeypatch.setattr(device, "_cpu_has_bfloat16", lambda: cpu_bf16)

    return pretend


@pytest.mark.parametrize(
    ("has", "expected"),
    [
        ({}, ("cpu", "float32")),
        ({"cpu_bf16": True}, ("cpu", "bfloat16")),
        ({"mps": True, "cpu_bf16": True}, ("mps", "float32")),
        ({"cuda": True, "mps": True}, ("cuda", "float16")),
        ({"cuda": True, "cuda_bf16": True}, ("cuda", "bfloat16")),
    ],
)
def test_best_placement_of_each_machine(machine, has, expected):
    machine(**has)
    assert best_placement() == Placement(*expected)


def test_argument_beats_environment_beats_machine(machine, monkeypatch):
    machine(cuda=True, cuda_bf16=True)
    monkeypatch.setenv("LLMREC_DEVICE", "cpu")
    monkeypatch.setenv("LLMREC_DTYPE", "float16")
    assert best_placement() == Placement("cpu", "float16")
    assert best_placement("cuda:0", "float32") == Placement("cuda:0", "float32")


@pytest.mark.parametrize(
    ("name", "message"),
    [("cuda", "'cuda' is not available"), ("mps", "'mps' is not available"), ("gpu", "'gpu' is not known to torch")],
)
def test_device_that_is_not_there(machine, name, message):
    machine()
    with pytest.raises(ConfigError, match=message):
        best_placement(name)


def test_unknown_dtype():
    with pytest.raises(ConfigError, match=r"'int4' is not known; choose one of float32, bfloat16, float16"):
        best_placement("cpu", "int4")


def test_native_bfloat16_is_read_from_the_cpu_flags(tmp_path):
    cpuinfo = tmp_path / "cpuinfo"
    for flags, expected in (("fpu avx512_bf16 sse", True), ("amx_bf16", True), ("avx512f avx2", False)):
        cpuinfo.write_text(f"processor\t: 0\nflags\t\t: {flags}\nbugs\t: avx512_bf16\n")
        assert device._cpu_has_bfloat16(cpuinfo) is expected
    assert device._cpu_has_bfloat16(tmp_path / "nothing") is False


def test_physical_cores_do_not_count_hyper_threads(tmp_path):
    cpuinfo = tmp_path / "cpuinfo"
    blocks = [f"processor: {p}\nphysical id\t: 0\ncore id\t\t: {p % 2}\n" for p in range(4)]
    cpuinfo.write_text("\n".join(blocks))
    assert threads._physical_cores(cpuinfo) == 2
    cpuinfo.write_text("processor: 0\nBogoMIPS: 50\n")
    assert threads._physical_cores(cpuinfo) is None


def test_container_quota(tmp_path):
    cpu_max = tmp_path / "cpu.max"
    for text, expected in (("150000 100000", 2), ("20000 100000", 1), ("max 100000", None)):
        cpu_max.write_text(text)
        assert threads._quota(cpu_max) == expected
    assert threads._quota(tmp_path / "nothing") is None


def test_threads_from_the_environment():
    code = "import torch; from llmrec.models import set_threads; print(set_threads(), torch.get_num_threads())"
    done = subprocess.run(
        [sys.executable, "-c", code], env={"LLMREC_THREADS": "1"}, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["1", "1"]


@pytest.mark.parametrize("text", ["0", "-1", "two", "1.5"])
def test_bad_number_of_threads(monkeypatch, text):
    monkeypatch.setenv("LLMREC_THREADS", text)
    with pytest.raises(ConfigError, match="whole number from 1"):
        set_threads.__wrapped__()


def test_the_choice_is_explained(monkeypatch):
    monkeypatch.setenv("LLMREC_DEVICE", "cpu")
    monkeypatch.delenv("LLMREC_DTYPE", raising=False)
    monkeypatch.setenv("LLMREC_THREADS", "1")
    monkeypatch.setattr("llmrec.models.device._cpu_has_bfloat16", lambda: False)
    why = explain_placement()
    assert set(why) == {"device", "dtype", "threads"}
    assert "LLMREC_DEVICE" in why["device"]
    assert "not known to be native to the CPU" in why["dtype"]
    assert "LLMREC_THREADS" in why["threads"]
    monkeypatch.setattr("llmrec.models.device._cpu_has_bfloat16", lambda: True)
    monkeypatch.delenv("LLMREC_DEVICE")
    monkeypatch.setattr("llmrec.models.device._best_device", lambda: "cpu")
    assert "natively" in explain_placement()["dtype"]
    assert "no GPU" in explain_placement()["device"]


def test_what_was_measured_here_is_chosen_unless_something_else_is_asked_for(machine, monkeypatch, tmp_path):
    monkeypatch.setenv("LLMREC_CACHE", str(tmp_path))
    monkeypatch.delenv("LLMREC_DTYPE", raising=False)
    machine(cpu_bf16=False)
    assert best_placement("cpu").dtype == "float32"
    speeds.remember_speeds({"float32": 10.0, "bfloat16": 20.0, "int8": 40.0})
    assert best_placement("cpu").dtype == "bfloat16"  # int8 is never chosen by itself
    assert Placement("cpu", "int8").floating.dtype == "bfloat16"
    assert explain_placement()["dtype"] == "the fastest here, by `llmrec doctor --measure`"
    assert best_placement("cpu", "float32").dtype == "float32"
    speeds.remember_speeds({"float32": 10.0})
    assert best_placement("cpu").dtype == "float32"  # half a measurement decides nothing
    assert speeds.known_speeds() == {"float32": 10.0}


@pytest.mark.parametrize("text", ["", "no JSON", "[1]", '{"another machine": {"float32": 1}}', '{"MACHINE": [1, 2]}'])
def test_a_record_that_cannot_be_read_is_no_record(monkeypatch, tmp_path, text):
    monkeypatch.setenv("LLMREC_CACHE", str(tmp_path))
    (tmp_path / "speeds.json").write_text(text.replace("MACHINE", speeds.machine()))
    assert speeds.known_speeds() == {}
    speeds.remember_speeds({"float32": 1.0, "bfloat16": 2.0})
    assert speeds.fastest_dtype() == "bfloat16"


def test_measuring_remembers(monkeypatch, tmp_path, bert_folder):
    monkeypatch.setenv("LLMREC_CACHE", str(tmp_path))
    said = []
    found = measure_speeds(str(bert_folder), progress=said.append)
    assert set(found) >= {"float32", "bfloat16"}
    assert min(found.values()) > 0
    assert speeds.known_speeds() == found
    assert said[:2] == ["measuring float32", "measuring bfloat16"]
