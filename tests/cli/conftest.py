"""Data files, configurations and bundles for the command line, and a way to call it within this process."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import csv

from llmrec.cli import main
from llmrec.testing.data import tiny_catalog, tiny_interactions

PLAIN = """
[[stages]]
name = "hybrid"
[stages.retrievers.popularity]
[stages.retrievers.ease]
l2 = 5.0
"""


@dataclass(frozen=True)
class Result:
    """What a command left behind."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


class Stream(io.StringIO):
    """A stream that may pass for a terminal."""

    def __init__(self, tty: bool) -> None:
        super().__init__()
        self.tty = tty

    def isatty(self) -> bool:
        return self.tty


def _run(*arguments: object, tty: bool = False) -> Result:
    out, err = Stream(tty), Stream(tty)
    code = 0
    with redirect_stdout(out), redirect_stderr(err):
        try:
            main([str(argument) for argument in arguments])
        except SystemExit as stop:
            code = int(stop.code or 0)
    return Result(code, out.getvalue(), err.getvalue())


@pytest.fixture(scope="session")
def run() -> Callable[..., Result]:
    """Call `llmrec` with the given arguments; `tty=True`: as on a terminal."""
    return _run


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch):
    for name in ("NO_COLOR", "FORCE_COLOR", "COLUMNS", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")


@pytest.fixture(scope="session")
def data(tmp_path_factory) -> Path:
    """A folder with items.csv and interactions.csv: 30 items, 40 users; user u0 has two interactions only."""
    folder = tmp_path_factory.mktemp("data")
    catalog = tiny_catalog(30)
    log = tiny_interactions(1, catalog, n_users=40)
    users = np.repeat(np.arange(log.n_users), np.diff(log.offsets))
    csv.write_csv(catalog.table, folder / "items.csv")
    columns = {"user_id": log.users.decode(users), "item_id": catalog.items.decode(log.items), "timestamp": log.times}
    csv.write_csv(pa.table(columns), folder / "interactions.csv")
    return folder


@pytest.fixture(scope="session")
def plain_config(tmp_path_factory) -> Path:
    """Popularity and EASE."""
    path = tmp_path_factory.mktemp("config") / "plain.toml"
    path.write_text(PLAIN)
    return path


@pytest.fixture(scope="session")
def text_config(tmp_path_factory, bert) -> Path:
    """Popularity, EASE and dense retrieval with a tiny random encoder."""
    path = tmp_path_factory.mktemp("config") / "text.toml"
    path.write_text(f"{PLAIN}[stages.retrievers.dense]\nencoder = {json.dumps(str(bert))}\n")
    return path


@pytest.fixture(scope="session")
def text_bundle(data, text_config, tmp_path_factory) -> Path:
    """Fitted on everything, from a folder, with dense retrieval."""
    path = tmp_path_factory.mktemp("bundles") / "text"
    result = _run("fit", "--dataset", data, "--config", text_config, "--out", path)
    assert result.code == 0, result.err
    return path


@pytest.fixture(scope="session")
def files(data) -> list[str]:
    """The options that name both data files."""
    return ["--items", str(data / "items.csv"), "--interactions", str(data / "interactions.csv")]


@pytest.fixture(scope="session")
def held_bundle(files, plain_config, tmp_path_factory) -> Path:
    """Fitted without the last interactions, from two files, without any text model."""
    path = tmp_path_factory.mktemp("bundles") / "held"
    result = _run("fit", *files, "--config", plain_config, "--holdout", "last", "--out", path)
    assert result.code == 0, result.err
    return path


@pytest.fixture
def no_settings(monkeypatch):
    """No configuration from the environment."""
    for name in ("LLMREC_SET", "LLMREC_CONFIG", "LLMREC_DEVICE", "LLMREC_DTYPE", "LLMREC_THREADS"):
        monkeypatch.delenv(name, raising=False)
