"""The newcomer's transcript is what the commands print, to the byte."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
PAGE = ROOT / "docs" / "guides" / "own-catalog.md"


def transcript():
    spec = importlib.util.spec_from_file_location("transcript", ROOT / "scripts" / "transcript.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.e2e
def test_the_transcript_is_true():
    page = PAGE.read_text(encoding="utf-8")
    assert "$ llmrec fit" in page
    assert transcript().rerun(page, ROOT / "docs" / "examples" / "shop") == page


def test_a_false_transcript_is_found(tmp_path):
    (tmp_path / "name.txt").write_text("shop\n")
    page = "# Page\n\n```console\n$ cat name.txt\nshop\n$ false # exit 1\n$ pwd\n~/llmrec-tour\n```\n"
    assert transcript().rerun(page, tmp_path) == page
    assert transcript().rerun(page.replace("\nshop", "\nship"), tmp_path) == page


def test_a_command_that_fails_unannounced_is_an_error(tmp_path):
    with pytest.raises(RuntimeError, match="ended with 1"):
        transcript().rerun("```console\n$ false\n```\n", tmp_path)
