"""The README's first example is short, and does what it says."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ORIGINAL_CACHE = os.environ.get("LLMREC_CACHE")  # as it is before the tests set their own
README = Path(__file__).parent.parent / "README.md"


def first_block() -> str:
    blocks = re.findall(r"^```python\n(.*?)^```", README.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    assert blocks, "README.md has no python block"
    return str(blocks[0])


def test_first_example_is_short():
    assert len([line for line in first_block().splitlines() if line.strip()]) <= 20


@pytest.mark.e2e
def test_first_example_runs(tmp_path):
    environment = {name: value for name, value in os.environ.items() if name != "LLMREC_CACHE"}
    if ORIGINAL_CACHE is not None:
        environment["LLMREC_CACHE"] = ORIGINAL_CACHE
    done = subprocess.run(
        [sys.executable, "-W", "error::DeprecationWarning:llmrec", "-c", first_block()],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    shown = done.stdout.splitlines()
    assert [line.split()[0] for line in shown] == ["1", "2", "3", "1", "2", "3"], done.stdout
    assert (tmp_path / "bundles" / "mine" / "manifest.json").is_file()
