"""What happens where the extra `serve` is not installed: one sentence that says what to install."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest

from llmrec.errors import MissingExtraError
from llmrec.serve import check_installed

COMMANDS = [
    ["serve", "bundle"],
    ["key", "list", "--store", "s.sqlite"],
    ["experiment", "list", "--store", "s.sqlite"],
    ["refit", "bundle", "--store", "s.sqlite", "--out", "new"],
]
BARE = """
import sys

for name in ("alembic", "fastapi", "markdown_it", "prometheus_client", "sqlalchemy", "uvicorn"):
    sys.modules[name] = None  # as if it were not there

from llmrec.cli import main

for words in {commands}:
    try:
        main(words)
    except SystemExit as left:
        print(left.code)
"""


def test_all_of_it_is_here():
    check_installed()


@pytest.mark.parametrize("lacking", ["sqlalchemy", "fastapi", "uvicorn"])
def test_each_package_is_looked_for(monkeypatch, lacking):
    monkeypatch.setattr("llmrec.serve.find_spec", lambda name: None if name == lacking else object())
    with pytest.raises(MissingExtraError, match=rf"{lacking} .*'llmrec\[serve\]'"):
        check_installed()


def test_every_command_of_the_service_says_what_to_install(tmp_path):
    code = textwrap.dedent(BARE).format(commands=COMMANDS)
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=300, check=False, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["1"] * len(COMMANDS)
    lines = [line for line in done.stderr.splitlines() if line]
    assert len(lines) == len(COMMANDS), done.stderr
    assert all("'llmrec[serve]'" in line for line in lines), done.stderr
    assert list(tmp_path.iterdir()) == []
