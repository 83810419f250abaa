#!/usr/bin/env python3
"""Set up llmrec in a bare clone and run it: `python3 scripts/run.py demo`.

Makes `.venv` in the repository, installs the project there (editable, with the versions of
constraints.txt) and runs a command in it. Standard library only. The file parses, and says what is
missing, on Pythons older than the project supports, so nothing newer than 3.8 is used at import time.
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, Callable, Sequence  # noqa: UP035 - parses on 3.8

from _environment import Options, Setup, SetupError, Venv, locked, python_version, read_project, say

PYTHON_NAMES = ("python3.13", "python3.12", "python3.11", "python3.14")
MIN_PYTHON = (3, 11)
MIN_FREE_BYTES = 3 * 10**9
EXTRAS = {"setup": (), "demo": ("train",), "test": ("train", "dev"), "llmrec": ("train",)}


def pick_python(candidates: Sequence[Sequence[str]], probe: Callable[[Sequence[str]], Any] = python_version) -> Any:
    """Return the first candidate command that runs and is new enough, or None."""
    for command in candidates:
        version = probe(command)
        if version is not None and version >= MIN_PYTHON:
            return command
    return None


def python_candidates() -> list[list[str]]:
    """Return commands that may start a newer Python: names on PATH, the Windows launcher, pyenv's versions."""
    found = [[path] for path in map(shutil.which, PYTHON_NAMES) if path]
    launcher = shutil.which("py") if os.name == "nt" else None
    if launcher:
        found += [[launcher, "-" + name[len("python") :]] for name in PYTHON_NAMES]
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv") / "versions"
    return found + [[str(path)] for path in sorted(pyenv.glob("3.1*/bin/python3"), reverse=True)]


def use_newer_python() -> None:
    """Start this script again with a Python that is new enough.

    Raises:
        SetupError: there is none.
    """
    command = pick_python(python_candidates())
    if command is None:
        raise SetupError(
            f"llmrec needs Python 3.11 or newer; this is Python {platform.python_version()}, "
            f"and no newer one is on PATH (looked for {', '.join(PYTHON_NAMES)}).\n"
            "Install one (e.g. apt install python3.12 python3.12-venv), then: python3.12 scripts/run.py ..."
        )
    say("Python {} is too old; going on with {}".format(platform.python_version(), " ".join(command)))
    replace_process([*command, str(Path(__file__).resolve()), *sys.argv[1:]])


def replace_process(command: Sequence[str]) -> None:
    """Become `command`, so that its exit status and its signals are its own."""
    sys.stdout.flush()
    if os.name == "nt":  # exec on Windows returns to the shell before the new process ends
        raise SystemExit(subprocess.call(list(command)))
    os.execv(command[0], list(command))


def prepare(root: Path, options: Options) -> Path:
    """Make the environment of `root` ready for `options`, and return its Python.

    Raises:
        SetupError: it cannot be made ready; the message says why and what to do.
    """
    venv = Venv(root)
    if not options.remake and venv.is_ready(options.extras):
        if options.torch_index or options.allow_cuda:
            say("note: .venv is ready, so --torch-index and --allow-cuda change nothing; add --remake to start anew")
        return venv.python
    known = read_project(root)[0]
    unknown = sorted(set(options.extras) - set(known))
    if unknown:
        raise SetupError("no extra named {}; pyproject.toml has {}".format(", ".join(unknown), ", ".join(known)))
    free = shutil.disk_usage(str(root)).free
    if free < MIN_FREE_BYTES:
        raise SetupError(
            f"{free / 1e9:.1f} GB free at {root}, and a set-up needs {MIN_FREE_BYTES / 1e9:.0f} GB. "
            "Free some space, then run again."
        )
    with locked(root):
        if options.remake or not venv.is_ready(options.extras):
            have = [name for name in venv.read_stamp().get("extras", ()) if name in known]
            Setup(venv, options, sorted({*have, *options.extras})).run()
    return venv.python


EPILOG = """\
The first call sets up .venv (a minute or two, 1.5 GB); a later call starts at once, and installs again only when
pyproject.toml or constraints.txt change or another extra is asked for. pip's configuration and PIP_* variables
are honoured. On Linux and Windows without an NVIDIA GPU the CPU build of torch is installed, nothing of CUDA.
Exit status: that of the command that was run; 1 if the set-up failed; 2 for a wrong option; 130 after Ctrl-C.

The options of this script come right after the command name; from the first other argument on, everything goes to
the command that is run. `--` ends the script's options:  python3 scripts/run.py llmrec -- --help
"""
ABOUT = {
    "setup": ("make the environment, run nothing", ""),
    "demo": ("run the demo: train, evaluate and recommend on real data", "llmrec demo ARGS"),
    "test": ("run all the tests, end-to-end tests too", "pytest -q ARGS in the root of the repository"),
    "llmrec": ("run any llmrec command", "llmrec ARGS"),
}


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of this script's own options."""
    shape = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(
        prog="run.py", description="Set up llmrec in this clone and run it.", epilog=EPILOG, formatter_class=shape
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    for name, (summary, runs) in ABOUT.items():
        text = "{}.\nExtras installed: {}.".format(summary.capitalize(), ", ".join(EXTRAS[name]) or "none")
        text += f"\nThen runs, in the environment: {runs}" if runs else ""
        usage = "run.py {} [options]{}".format(name, " [ARGS ...]" if runs else "")
        sub = commands.add_parser(
            name, help=summary, description=text, epilog=EPILOG, usage=usage, formatter_class=shape, allow_abbrev=False
        )
        sub.add_argument(
            "--extra",
            action="append",
            default=[],
            metavar="NAME",
            help="install this extra of pyproject.toml as well; repeatable. Extras add up over calls",
        )
        sub.add_argument("--torch-index", metavar="URL", help="an index for torch, given to pip as --extra-index-url")
        sub.add_argument(
            "--allow-cuda",
            action="store_true",
            help="take the torch that pip would take, even a CUDA build on a machine without a GPU",
        )
        sub.add_argument("--remake", action="store_true", help="remove .venv, whoever made it, and start anew")
    return parser


def split_args(argv: Sequence[str]) -> tuple[list[str], list[str]]:
    """Split the arguments after a command name into this script's options and the ones passed on."""
    at = 0
    while at < len(argv):
        name, equals, _ = argv[at].partition("=")
        if argv[at] == "--":
            return list(argv[:at]), list(argv[at + 1 :])
        if name in ("--extra", "--torch-index"):
            at += 1 if equals else 2
        elif argv[at] in ("--allow-cuda", "--remake", "-h", "--help"):
            at += 1
        else:
            break
    return list(argv[:at]), list(argv[at:])


def parse(argv: Sequence[str]) -> Options:
    """Read the command line; exits with 0 for --help and 2 for a wrong one, like argparse."""
    parser = make_parser()
    own, rest = split_args(argv[1:])
    values = parser.parse_args([*argv[:1], *own])
    if values.command is None:
        parser.print_help(sys.stderr)
        raise SystemExit(2)
    if values.command == "setup" and rest:
        parser.error(f"setup takes no argument {rest[0]!r} (see: run.py setup --help)")
    extras = [part for text in values.extra for part in re.split(r"[,\s]+", text) if part]
    return Options(
        command=values.command,
        extras=sorted({*EXTRAS[values.command], *extras}),
        remake=values.remake,
        allow_cuda=values.allow_cuda,
        torch_index=values.torch_index,
        args=rest,
    )


def child_command(python: Path, options: Options) -> list[str]:
    """Return the command to run in the environment."""
    if options.command == "test":  # an empty -m selects every test, whatever the configuration says
        # all of them in a process a core, a file in one: what a file's tests share is made once
        spread = [] if options.args else ["-n", "auto", "--maxprocesses", "4", "--dist", "loadfile"]
        return [str(python), "-m", "pytest", "-q", "-m", "", *spread, *options.args]
    first = ["demo"] if options.command == "demo" else []
    return [str(python), "-m", "llmrec", *first, *options.args]


def main(argv: Sequence[str]) -> int:
    """Run the command line; return the exit status where no other process takes over."""
    try:
        if sys.version_info < MIN_PYTHON:
            use_newer_python()
        options = parse(argv)
        root = Path(__file__).resolve().parent.parent
        python = prepare(root, options)
        if options.command != "setup":
            if options.command == "test":
                os.chdir(str(root))
            replace_process(child_command(python, options))
        elif not options.remake:
            say(f".venv is ready: {python}")
    except SetupError as error:
        say(f"error: {error}")
        return 1
    except KeyboardInterrupt:
        say("\ninterrupted")
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
