"""`llmrec experiment`: what is kept, and what a person reads."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import jsonschema
import pytest

from llmrec.serve.problems import Conflict

SCHEMAS = Path(__file__).parents[1] / "golden" / "schemas"
TWO = ("--variant", "old=default", "--variant", "new=tuned", "--store", "x.sqlite")


class MemoryStore:
    """What the command needs of a store."""

    def __init__(self):
        self.kept, self.rows, self.closed = {}, [], 0

    def put_value(self, space, name, value, *, expect_absent=False):
        if expect_absent and (space, name) in self.kept:
            raise Conflict("there is one")
        self.kept[space, name] = json.loads(json.dumps(value))

    def values(self, space):
        return {name: value for (of, name), value in self.kept.items() if of == space}

    def outcomes(self, experiment, *, after_seq=0):
        return self.rows

    def close(self):
        self.closed += 1


@pytest.fixture
def store(monkeypatch):
    kept, module = MemoryStore(), ModuleType("llmrec.serve.store")
    module.open_store = lambda url: kept
    monkeypatch.setitem(sys.modules, "llmrec.serve.store", module)
    return kept


def rows(rates, users=2000):
    """One list a person; the first ones click."""
    return [
        SimpleNamespace(
            user_id=f"{variant}{user}",
            variant=variant,
            impressions=1,
            clicks=int(user < rate * users),
            conversions=0,
            source_clicks={},
        )
        for variant, rate in rates.items()
        for user in range(users)
    ]


def check(name, value):
    schema = json.loads((SCHEMAS / f"experiment-{name}.json").read_text(encoding="utf-8"))
    jsonschema.validate(value, schema, jsonschema.Draft202012Validator)


def test_from_start_to_end(run, store):
    assert run("experiment", "list", "--store", "x").out == "There is no experiment.\n"
    made = run("experiment", "create", "titles", *TWO, "--weight", "old=3", "--weight", "new=1")
    assert (made.code, made.out) == (0, "titles runs: old = default (75%), new = tuned (25%)\n")
    assert "titles" in run("experiment", "list", "--store", "x").out
    stopped = run("experiment", "stop", "titles", "--store", "x")
    assert (stopped.code, stopped.out) == (0, "titles is stopped\n")
    assert store.closed == 4


def test_a_report_begins_with_the_verdict(run, store):
    run("experiment", "create", "titles", *TWO)
    store.rows = rows({"old": 0.1, "new": 0.2})
    shown = run("experiment", "report", "titles", "--store", "x").out
    first, second, *_ = shown.splitlines()
    assert first == "titles (ab, running)"
    assert second.startswith("new is better than old by +0.1000 clicks a list [+0.0")
    assert "Warning" not in shown
    assert "50.0% of 50.0%" in shown
    assert "cannot be told" in shown  # conversions
    store.rows = rows({"old": 0.1, "new": 0.1})
    shown = run("experiment", "report", "titles", "--store", "x").out
    assert "It cannot be told yet whether new differs from old: new has +0.0000 clicks a list [-0.0" in shown


def test_a_ratio_that_is_off_is_warned_of(run, store):
    run("experiment", "create", "titles", *TWO)
    store.rows = rows({"old": 0.1}) + rows({"new": 0.2}, users=1500)
    shown = run("experiment", "report", "titles", "--store", "x").out
    assert "Nothing can be told" in shown
    assert "Warning: The sample ratio is off (always-valid p = " in shown
    assert "old 57.1% instead of 50.0%, new 42.9% instead of 50.0%" in shown


def test_interleaved_lists(run, store):
    assert run("experiment", "create", "drawn", *TWO, "--interleave").code == 0
    store.rows = [
        SimpleNamespace(
            user_id=f"u{user}",
            variant="",
            impressions=3,
            clicks=1,
            conversions=0,
            source_clicks={"new" if user % 4 else "old": 1},
        )
        for user in range(1000)
    ]
    shown = run("experiment", "report", "drawn", "--store", "x").out
    assert "new is better than old: it wins 75.0% of the clicks [" in shown
    assert "share of clicks above 50%" in shown


def test_json_has_its_schema(run, store):
    check("create", run("experiment", "create", "titles", *TWO, "--json").json)
    check("list", run("experiment", "list", "--store", "x", "--json").json)
    for found in ([], rows({"old": 0.1, "new": 0.2}), [*rows({"old": 0.1}), *rows({"new": 0.2}, users=900)]):
        store.rows = found
        check("report", run("experiment", "report", "titles", "--store", "x", "--json").json)
    check("stop", run("experiment", "stop", "titles", "--store", "x", "--json").json)
    run("experiment", "create", "drawn", *TWO, "--interleave")
    store.rows = []
    check("report", run("experiment", "report", "drawn", "--store", "x", "--json").json)


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("create", "x", "--variant", "old", "--store", "x"), 2, "--variant: expected NAME=VALUE, got 'old'"),
        (("create", "x", "--variant", "a=b", "--variant", "a=c", "--store", "x"), 2, "stands there twice"),
        (("create", "x", *TWO, "--weight", "old=much"), 2, "--weight: 'much' is not a number"),
        (("create", "x", "--variant", "a=b", "--store", "x"), 1, "at least two variants"),
        (("report", "none", "--store", "x"), 1, "there is no experiment 'none'"),
        (("report", "none"), 2, "--store"),
    ],
)
def test_what_is_wrong_is_one_line(run, store, words, code, said):
    result = run("experiment", *words)
    assert (result.code, result.out) == (code, "")
    assert said in result.err
    assert "Traceback" not in result.err


def test_help_loads_neither_models_nor_a_database():
    code = """
import sys
from llmrec.cli import main
try:
    main(["experiment", "report", "--help"])
except SystemExit:
    print("LOADED", *sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    loaded = {name.split(".")[0] for name in done.stdout.rpartition("LOADED")[2].split()}
    assert "llmrec" in loaded
    assert not loaded & {"torch", "sqlalchemy", "numpy", "fastapi", "scipy"}
