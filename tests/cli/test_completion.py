"""Shells complete commands, options and values, and nothing heavy is loaded for it."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest


def complete(what, words):
    """What a shell is told when it asks for `what` with these words typed."""
    asked = {"_LLMREC_COMPLETE": what, "COMP_WORDS": words, "COMP_CWORD": str(len(words.split(" ")) - 1)}
    environment = {**os.environ, **asked, "_TYPER_COMPLETE_ARGS": words}
    done = subprocess.run(
        [sys.executable, "-m", "llmrec"], env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    return done.stdout


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_every_shell_gets_a_script(shell):
    done = complete(f"source_{shell}", "")
    assert "_LLMREC_COMPLETE" in done
    assert "llmrec" in done


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("llmrec reco", "recommend"),
        ("llmrec data ch", "check"),
        ("llmrec fit --hol", "--holdout"),
        ("llmrec fit --holdout co", "cold-users"),
        ("llmrec fit --dataset ml", "ml-100k"),
        ("llmrec assets --fetch mi", "minilm"),
        ("llmrec prompt render pair/hi", "pair/history"),
    ],
)
def test_commands_options_and_values(words, found):
    assert found in complete("complete_bash", words)


def test_names_of_templates():
    from llmrec.cli.complete import complete_templates

    assert "item/title" in complete_templates("item/")
    assert complete_templates("nothing") == []
