"""The command as a process: errors as JSON, warnings, signals, closed pipes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import warnings

import pytest

from llmrec import errors
from llmrec.cli.process import failure_of
from llmrec.text import UnknownTokensWarning

POSIX = pytest.mark.skipif(os.name != "posix", reason="sends signals")


def raising(monkeypatch, error):
    def fail(*_values, **_options):
        raise error

    monkeypatch.setattr("llmrec.opening.load", fail)


CLASSES = [getattr(errors, name) for name in errors.__all__]
CODES = {
    "ConfigError": 2,
    "TemplateError": 2,
    "DataError": 3,
    "UnknownIdError": 3,
    "LeakageError": 3,
}


@pytest.mark.parametrize("kind", CLASSES)
def test_every_class_of_error_has_its_exit_code(run, monkeypatch, tmp_path, kind):
    error = kind("some", "extra") if kind is errors.MissingExtraError else kind("what and where")
    raising(monkeypatch, error)
    result = run("similar", "--bundle", tmp_path, "x")
    assert (result.code, result.out) == (CODES.get(kind.__name__, 1), "")
    assert result.err == f"llmrec: {error}\n"


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (OSError("disk"), 1, "llmrec: disk"),
        (MemoryError(), 1, "llmrec: there is not enough memory"),
        (KeyError("x"), 1, "llmrec: KeyError: 'x'"),
        (KeyboardInterrupt(), 130, "llmrec: stopped"),
        (SystemExit(143), 143, "llmrec: told to stop"),
    ],
)
def test_other_errors(run, monkeypatch, tmp_path, error, code, said):
    raising(monkeypatch, error)
    result = run("similar", "--bundle", tmp_path, "x")
    assert (result.code, result.out) == (code, "")
    assert result.err.startswith(said)
    assert "Traceback" not in result.err


def test_under_json_an_error_is_one_line_of_json(run, tmp_path):
    result = run("similar", "--bundle", tmp_path, "x", "--json")
    assert (result.code, result.out) == (1, "")
    found = json.loads(result.err)
    assert set(found) == {"error"}
    assert (found["error"]["type"], found["error"]["exit_code"]) == ("BundleError", 1)
    assert "is not a bundle" in found["error"]["message"]
    assert len(result.err.splitlines()) == 1


def test_under_json_wrong_usage_is_one_line_too(run):
    result = run("fit", "--holdin", "x", "--json")
    assert result.code == 2
    assert json.loads(result.err)["error"]["exit_code"] == 2
    assert "--holdin" in json.loads(result.err)["error"]["message"]


def test_debug_wins_over_json(run, tmp_path):
    assert "Traceback" in run("similar", "--bundle", tmp_path, "x", "--json", "--debug").err


def test_a_warning_of_ours_is_one_line(run, monkeypatch, tmp_path):
    def warn(_path):
        warnings.warn("half the letters are unknown", UnknownTokensWarning, stacklevel=1)
        raise errors.BundleError("enough")

    monkeypatch.setattr("llmrec.opening.load", warn)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        result = run("similar", "--bundle", tmp_path, "x")
    assert result.err == "llmrec: warning: half the letters are unknown\nllmrec: enough\n"


def test_settings_of_a_run_do_not_outlive_it(run, tmp_path, monkeypatch):
    monkeypatch.delenv("LLMREC_DEVICE", raising=False)
    monkeypatch.setenv("LLMREC_DTYPE", "float32")
    seen = {}

    def look(_path):
        seen.update(os.environ)
        raise errors.BundleError("enough")

    monkeypatch.setattr("llmrec.opening.load", look)
    options = ("--device", "cpu", "--dtype", "bfloat16", "--threads", "3")
    before, handler = dict(os.environ), signal.getsignal(signal.SIGTERM)
    assert run("similar", "--bundle", tmp_path, "x", *options).code == 1
    assert [seen[f"LLMREC_{name}"] for name in ("DEVICE", "DTYPE", "THREADS")] == ["cpu", "bfloat16", "3"]
    assert {k: v for k, v in os.environ.items() if k.startswith("LLMREC")} == {
        k: v for k, v in before.items() if k.startswith("LLMREC")
    }
    assert signal.getsignal(signal.SIGTERM) is handler


def test_every_dtype_can_be_chosen():
    from llmrec.cli.runtime import DtypeChoice
    from llmrec.models.device import DTYPES

    assert [choice.value for choice in DtypeChoice] == list(DTYPES)


def test_exits_without_an_error_say_nothing():
    assert failure_of(SystemExit(None)).exit_code == 0
    assert failure_of(SystemExit("why")).exit_code == 1


STOPPED = """
    import signal, sys, time
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job may have it ignored
    import llmrec.bundle
    from llmrec.cli import main

    def slow(*_):
        print("ready", flush=True)
        time.sleep(60)

    llmrec.bundle._write_manifest = slow
    main(sys.argv[1:])
"""


@POSIX
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_fit_that_is_stopped_leaves_nothing_and_says_one_line(files, plain_config, tmp_path, number, code):
    words = ["fit", *files, "--config", str(plain_config), "--out", str(tmp_path / "b"), "--json"]
    python = [sys.executable, "-c", textwrap.dedent(STOPPED), *words]
    process = subprocess.Popen(python, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    assert [path.name.startswith(".b.") for path in tmp_path.iterdir()] == [True]
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (code, "")
    last = json.loads(err.splitlines()[-1])
    assert last["error"]["exit_code"] == code
    assert "Traceback" not in err
    assert list(tmp_path.iterdir()) == []


@POSIX
@pytest.mark.parametrize("words", [["assets"], ["assets", "--json"], ["--help"]])
def test_a_closed_pipe_is_silent(words):
    reader, writer = os.pipe()
    os.close(reader)
    process = subprocess.run(
        [sys.executable, "-m", "llmrec", *words], stdout=writer, stderr=subprocess.PIPE, timeout=60, check=False
    )
    os.close(writer)
    assert process.stderr == b""
    assert process.returncode == 141


def test_an_error_of_the_system_is_said_in_words():
    assert failure_of(OSError(28, "No space left on device")).message == "No space left on device"
    assert failure_of(OSError(13, "Permission denied", "a/b")).message == "a/b: Permission denied"
