"""Every snippet in the guides runs: a page is one session in a copy of the examples, from top to bottom.

Python blocks share their names; `bash` blocks run as they are; a `toml` block is a configuration and is checked,
and saved where its first line names a file. Output shown after `$ ` is checked by `tests/e2e/test_transcript.py`.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from sybil import Example, Sybil
from sybil.parsers.myst import CodeBlockParser, PythonCodeBlockParser

LIMIT_S = 600
SETTINGS = ("LLMREC_CACHE", "LLMREC_DTYPE", "LLMREC_THREADS", "HF_HUB_OFFLINE")
READERS = {name: os.environ.get(name) for name in SETTINGS}  # as they are before the suite in `tests` sets its own


@pytest.fixture(scope="module")
def page_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Work in a folder with the examples in it, as a reader would who is in `docs`."""
    folder, before = tmp_path_factory.mktemp("page"), Path.cwd()
    shutil.copytree(Path(__file__).parent / "examples", folder / "examples")
    os.chdir(folder)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in READERS.items():
            if value is None:
                patch.delenv(name, raising=False)
            else:
                patch.setenv(name, value)
        yield folder
    os.chdir(before)


def run_shell(example: Example) -> None:
    """Run a block as a shell script that stops at the first error."""
    programs = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", example.parsed],
        env={**os.environ, "PATH": programs},
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"


def check_configuration(example: Example) -> None:
    """Check a block as a configuration; one that starts with `# name.toml` becomes that file."""
    from llmrec import Config

    first = example.parsed.split("\n", 1)[0].removeprefix("#").strip()
    if first.endswith(".toml"):
        Path(first).write_text(example.parsed, encoding="utf-8")
        Config.from_toml(first)
    else:
        Config.from_dict(tomllib.loads(example.parsed))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Guides use the real model."""
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.e2e)


pytest_collect_file = Sybil(
    parsers=[
        PythonCodeBlockParser(),
        CodeBlockParser("bash", run_shell),
        CodeBlockParser("toml", check_configuration),
    ],
    patterns=["guides/*.md"],
    fixtures=["page_folder"],
).pytest()
