#!/usr/bin/env python3
"""Run the commands of a transcript in the docs, and write down what they print: `python scripts/transcript.py PAGE`.

In a ```console block, a line that starts with "$ " is a command and what follows is what it printed on stdout. With
`--check` nothing is written, and the exit status says whether the page is true to the byte.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

BLOCK = re.compile(r"^```console\n(.*?)^```$", re.DOTALL | re.MULTILINE)
HOME = "~/llmrec-tour"
"""Stands in the page for the folder that the commands ran in."""


def rerun(page: str, materials: Path) -> str:
    """Return the page with the output of every command as it is now.

    Args:
        page: Markdown; all its commands run in one folder, in order.
        materials: files that are in that folder from the start.

    Raises:
        RuntimeError: a command that must succeed does not; one that may fail ends in `# exit N`.
    """
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place).resolve() / "tour"
        shutil.copytree(materials, folder)
        return BLOCK.sub(lambda block: f"```console\n{_run_block(block.group(1), folder)}```", page)


def _run_block(block: str, folder: Path) -> str:
    commands = [line for line in block.splitlines() if line.startswith("$ ")]
    return "".join(f"{line}\n{_run(line.removeprefix('$ '), folder)}" for line in commands)


def _run(command: str, folder: Path) -> str:
    programs = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    # float32 on one thread: the same digits on every machine, as far as a machine lets them be
    settings = {"PATH": programs, "LLMREC_DTYPE": "float32", "LLMREC_THREADS": "1", "NO_COLOR": "1"}
    done = subprocess.run(
        ["bash", "-c", command],
        cwd=folder,
        env={**os.environ, **settings},
        capture_output=True,
        encoding="utf-8",
        timeout=600,
        check=False,
    )
    expected = re.search(r"# exit (\d+)$", command)
    if done.returncode != (int(expected.group(1)) if expected else 0):
        raise RuntimeError(f"{command!r} ended with {done.returncode}:\n{done.stderr}")
    shown = done.stdout + (done.stderr if done.returncode else "")
    return "\n".join(line.rstrip() for line in shown.replace(str(folder), HOME).splitlines()) + "\n" * bool(shown)


def main() -> int:
    """Rewrite or check one page."""
    parser = argparse.ArgumentParser(description="Run the commands of a page, and write down what they print.")
    parser.add_argument("page", type=Path)
    parser.add_argument("--materials", type=Path, required=True, help="folder of files the commands start from")
    parser.add_argument("--check", action="store_true", help="write nothing; fail if the page is not true")
    given = parser.parse_args()
    before = given.page.read_text(encoding="utf-8")
    after = rerun(before, given.materials)
    if given.check:
        return int(before != after)
    given.page.write_text(after, encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
