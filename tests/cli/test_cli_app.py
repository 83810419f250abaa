"""What holds for every command: help, versions, exit codes, tracebacks, streams, colour, Ctrl-C."""

from __future__ import annotations

import io
import json
import os
import shlex
import signal
import subprocess
import sys
import textwrap
from importlib.metadata import version

import pytest
import typer
from typer.testing import CliRunner

from llmrec.cli import main
from llmrec.cli.app import ENTRIES, app
from llmrec.cli.output import print_rows, results

PANELS = {
    "Start here": ["demo", "doctor"],
    "Data and configuration": ["data", "config"],
    "Make a recommender": ["fit", "train", "tune", "items", "refit", "push"],
    "Ask a recommender": ["recommend", "explain", "similar", "search"],
    "Run a service": ["serve", "key", "bulk", "experiment"],
    "Judge recommenders": ["evaluate", "compare"],
    "Look closer": ["prompt", "assets"],
}
COMMANDS = [command for panel in PANELS.values() for command in panel]
APPLICATION = typer.main.get_command(app)
PATHS = [(*((entry.group,) if entry.group else ()), entry.name or entry.command.__name__) for entry in ENTRIES]
ESCAPE = "\x1b["


def python(code: str, *arguments: object) -> list[str]:
    """The command line of a fresh interpreter that runs the code."""
    return [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)]


def command_at(path):
    command = APPLICATION
    for name in path:
        command = command.commands[name]
    return command


def test_commands_are_these():
    assert set(APPLICATION.commands) == set(COMMANDS)


@pytest.mark.parametrize("path", PATHS, ids=" ".join)
def test_help_names_every_option_and_explains_it(path):
    result = CliRunner().invoke(app, [*path, "--help"], env={"COLUMNS": "200"})
    assert result.exit_code == 0
    assert ESCAPE not in result.output
    for parameter in command_at(path).params:
        shown = parameter.opts if parameter.param_type_name == "option" else [parameter.metavar]
        assert all(name in result.output for name in shown), shown
        assert parameter.help, f"{path}: {parameter.name} has no help"
    assert "--json" in result.output or path == ("config", "schema")
    assert f"Example:\n    llmrec {' '.join(path)}" in result.output


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.example)
def test_examples_are_understood(entry):
    words = shlex.split(entry.example.partition(">")[0])[1:]
    path = [entry.group, words[1]] if entry.group else [words[0]]
    command_at(path).make_context("llmrec", words[len(path) :])


def test_commands_that_load_models_let_them_be_placed():
    for name in ("fit", "tune", "recommend", "explain", "similar", "search", "evaluate", "compare", "demo", "doctor"):
        assert {"device", "dtype", "threads"} <= {parameter.name for parameter in command_at([name]).params}, name


def test_help_of_all_names_every_command_under_its_heading():
    result = CliRunner().invoke(app, ["--help"])
    assert result.exit_code == 0
    listed = result.output[result.output.index("Start here") : result.output.index("  An option wins")]
    found: dict[str, list[str]] = {}
    for line in filter(None, listed.splitlines()):
        if line.endswith(":"):
            found[line[:-1]] = []
        else:
            name = line[2:].partition(" ")[0]  # empty: the line goes on with what stands in the one above
            found[list(found)[-1]] += [name] if name else []
    assert found == PANELS
    assert "..." not in listed
    assert list(found) == list(PANELS)
    assert "--debug" in result.output


def test_no_command_shows_the_help(run):
    result = run()
    assert result.code == 2
    assert "Usage: llmrec" in result.out + result.err


def test_version(run):
    result = run("--version")
    assert (result.code, result.out, result.err) == (0, f"llmrec {version('llmrec')}\n", "")


@pytest.mark.parametrize(
    ("words", "said"),
    [(["fitt"], "fitt"), (["fit", "--holdin", "last"], "--holdin"), (["fit"], "--out"), (["recommend"], "--bundle")],
)
def test_wrong_usage(run, words, said):
    result = run(*words)
    assert (result.code, result.out) == (2, "")
    assert said in result.err


@pytest.mark.parametrize("place", [0, 1, 3])
def test_debug_shows_the_traceback_wherever_it_stands(run, tmp_path, place):
    words = ["similar", "--bundle", str(tmp_path), "x"]
    assert "Traceback" not in run(*words).err
    result = run(*words[:place], "--debug", *words[place:])
    assert (result.code, result.out) == (1, "")
    assert "Traceback" in result.err
    assert "BundleError" in result.err


def test_a_bug_is_one_line_unless_debugged(run, monkeypatch, tmp_path):
    def broken(_path):
        raise KeyError("oops")

    monkeypatch.setattr("llmrec.opening.load", broken)
    result = run("similar", "--bundle", tmp_path, "x")
    assert (result.code, result.out) == (1, "")
    assert "Traceback" not in result.err
    assert "KeyError: 'oops'" in result.err
    assert "--debug" in result.err
    assert "in broken" in run("similar", "--bundle", tmp_path, "x", "--debug").err


def test_json_is_one_document_while_progress_runs_on_a_terminal(run, data, plain_config, tmp_path):
    result = run("fit", "--dataset", data, "--config", plain_config, "--out", tmp_path / "b", "--json", tty=True)
    assert result.code == 0
    assert set(result.json) == {"bundle", "items", "users", "interactions", "cleaning"}
    assert ESCAPE in result.err  # the live line


def test_colour_on_a_terminal_only_and_never_under_no_color(run, text_bundle, monkeypatch):
    words = ("search", "--bundle", text_bundle, "zoo")
    assert ESCAPE in run(*words, tty=True).out
    assert ESCAPE not in run(*words).out
    monkeypatch.setenv("NO_COLOR", "1")
    plain = run(*words, tty=True)
    assert plain.code == 0
    assert ESCAPE not in plain.out


def test_a_bracketed_message_survives_on_a_terminal(run, monkeypatch):
    def find(name, progress):
        progress("50% [/done] \\[ of it")

    monkeypatch.setattr("llmrec.assets.find_asset", find)
    assert run("assets", "--fetch", "x", tty=True).code == 0


def test_ascii_streams_get_escapes_not_errors(held_bundle, monkeypatch):
    words = ["recommend", "--bundle", str(held_bundle), "--history", "i0", "--k", "30"]
    shown = []
    for extra in ([], ["--json"]):
        out = io.TextIOWrapper(io.BytesIO(), encoding="ascii", errors="strict")
        monkeypatch.setattr(sys, "stdout", out)
        with pytest.raises(SystemExit) as stop:
            main([*words, *extra])
        assert stop.value.code == 0
        shown.append(out.buffer.getvalue())
    table, as_json = shown
    assert rb"Mis\xe9rables" in table
    found = json.loads(as_json.decode("ascii"))
    assert any("Misérables" in item["fields"]["title"] for item in found[0]["items"])


@pytest.mark.skipif(os.name != "posix", reason="a shell closes the streams")
@pytest.mark.parametrize(
    ("closed", "err"),
    [("<&-", "llmrec: standard input holds no ids; write one a line\n"), ("</dev/null >&- 2>&-", "")],
)
def test_streams_that_are_closed_read_empty_and_swallow(tmp_path, closed, err):
    words = [sys.executable, "-m", "llmrec", "recommend", "--bundle", str(tmp_path), "--users", "-"]
    done = subprocess.run(
        ["sh", "-c", f"{shlex.join(words)} {closed}"], capture_output=True, text=True, timeout=120, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (3, "", err)


def test_wide_tables_do_not_fold_in_a_pipe(capsys):
    print_rows(results(), [("name", *(f"metric{i:02}" for i in range(15))), ("row", *["0.123456"] * 15)])
    shown = [line for line in capsys.readouterr().out.splitlines() if line.strip()]
    assert [len(line.split()) for line in shown] == [16, 1, 16]  # names, a rule, values


def test_a_bundle_that_is_a_file(run, tmp_path):
    (tmp_path / "items.csv").write_text("x")
    result = run("recommend", "--bundle", tmp_path / "items.csv", "--users", "u1")
    assert (result.code, result.out) == (1, "")
    assert (
        result.err
        == f"llmrec: {tmp_path / 'items.csv'} is not a bundle: it has no manifest.json; make one with `llmrec fit`\n"
    )


def test_python_m_llmrec_in_a_pipe(held_bundle):
    words = [sys.executable, "-m", "llmrec", "recommend", "--bundle", str(held_bundle), "--users", "u1"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert "user u1" in done.stdout
    assert ESCAPE not in done.stdout + done.stderr
    missing = [*words[:4], "--bundle", "nowhere", "--users", "u1"]
    done = subprocess.run(missing, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("llmrec: ")
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.skipif(os.name != "posix", reason="needs a pseudo terminal")
@pytest.mark.parametrize("no_color", [False, True])
def test_colour_on_a_real_terminal(no_color):
    import pty

    master, slave = pty.openpty()
    environment = {**os.environ, "TERM": "xterm-256color", **({"NO_COLOR": "1"} if no_color else {})}
    process = subprocess.Popen(
        [sys.executable, "-m", "llmrec", "assets"], stdin=slave, stdout=slave, stderr=subprocess.PIPE, env=environment
    )
    os.close(slave)
    shown = b""
    while True:
        try:
            part = os.read(master, 65536)
        except OSError:  # Linux says so when the other side is closed
            break
        if not part:
            break
        shown += part
    os.close(master)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    assert errors == b""
    assert b"minilm" in shown
    assert (ESCAPE.encode() in shown) is not no_color


INTERRUPTED = """
    import signal, sys, time
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job may have it ignored
    from llmrec.cli import main
    from llmrec.pipeline import Recommender

    honest, calls = Recommender.recommend, []

    def slow(self, queries, k):
        calls.append(k)
        if len(calls) == 3:
            print("ready", flush=True)
            time.sleep(60)
        return honest(self, queries, k)

    Recommender.recommend = slow
    import llmrec.cli.lists_file
    llmrec.cli.lists_file.BATCH = 5
    main(sys.argv[1:])
"""


@pytest.mark.skipif(os.name != "posix", reason="sends SIGINT")
def test_ctrl_c_leaves_no_traceback_and_no_partial_file(held_bundle, tmp_path):
    words = ("recommend", "--bundle", held_bundle, "--users", "all", "--out", tmp_path / "recs.parquet")
    process = subprocess.Popen(python(INTERRUPTED, *words), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    assert any(path.name.endswith(".partial.parquet") for path in tmp_path.iterdir())
    process.send_signal(signal.SIGINT)
    out, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in errors
    assert out == ""
    assert list(tmp_path.iterdir()) == []


def test_ctrl_c_while_saving_leaves_no_bundle(run, data, plain_config, tmp_path, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("llmrec.bundle._write_manifest", interrupted)
    result = run("fit", "--dataset", data, "--config", plain_config, "--out", tmp_path / "b")
    assert (result.code, result.out) == (130, "")
    assert "Traceback" not in result.err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "words",
    [["--help"], ["recommend", "--help"], ["explain", "--help"], ["data", "check", "--help"], ["tune", "--help"]],
)
def test_help_imports_no_library_for_data_or_models(words):
    code = """
        import sys
        from llmrec.cli import main
        try:
            main(sys.argv[1:])
        except SystemExit:
            print("LOADED", *sys.modules)
    """
    done = subprocess.run(python(code, *words), capture_output=True, text=True, timeout=60, check=False)
    loaded = {name.split(".")[0] for name in done.stdout.rpartition("LOADED")[2].split()}
    assert "llmrec" in loaded
    assert not loaded & {"torch", "transformers", "numpy", "pyarrow", "scipy", "jinja2", "huggingface_hub", "optuna"}
