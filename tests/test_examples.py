"""The examples' data are what their scripts write."""

import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parent.parent / "docs" / "examples"


@pytest.mark.parametrize("name", ["shop", "news", "courses"])
def test_the_data_are_what_the_script_writes(name, tmp_path):
    subprocess.run([sys.executable, EXAMPLES / name / "make.py", tmp_path], check=True, timeout=60)
    written = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert len(written) >= 2
    assert written == {file: (EXAMPLES / name / file).read_bytes() for file in written}
