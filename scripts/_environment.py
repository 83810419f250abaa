"""The virtual environment of a clone: what is noted in it, and the steps that make it."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Iterator, Mapping, NamedTuple, Sequence  # noqa: UP035 - parses on 3.8

from _torch_build import has_nvidia_gpu, torch_build

# Loaded once at the end of a set-up: proves that the libraries work, and compiles exactly what is used.
WARM = ("llmrec", "torch", "transformers.trainer", "sentence_transformers", "datasets", "faiss", "pyarrow")
WARM_CODE = (
    "import importlib, importlib.util as u, sys\n"
    "for name in sys.argv[1:]:\n"
    "    if u.find_spec(name.split('.')[0]) is not None and u.find_spec(name) is not None:\n"
    "        importlib.import_module(name)\n"
)
PIP_FLAGS = ("--no-input", "--disable-pip-version-check", "--prefer-binary", "--no-compile", "--progress-bar=off")

CPU_TORCH_HELP = """\
Without an NVIDIA GPU the CPU build of torch is installed, and it could not be had. Either
  - give pip an index that has the CPU build:  --torch-index URL
    (the "CPU" address of the installation page of PyTorch), or
  - accept the CUDA build, several GB larger:  --allow-cuda"""
NO_VENV_HELP = """\
Install one of these, then run this command again:
  - Debian, Ubuntu:  apt install python3-venv
  - anywhere:        the Python package virtualenv, or uv"""
PIP_HELP = """\
Check the network and pip's own configuration (`python3 -m pip config list`), then run the command again:
what was downloaded is kept in pip's cache."""


class SetupError(Exception):
    """A set-up step failed; the message says which, and what to do."""


class Options(NamedTuple):
    """What the user asked of one run."""

    command: str
    extras: Sequence[str] = ()
    remake: bool = False
    allow_cuda: bool = False
    torch_index: Any = None
    args: Sequence[str] = ()


def say(text: str, end: str = "\n") -> None:
    """Write plain text to stderr at once: stdout belongs to the command that runs at the end."""
    sys.stderr.write(text + end)
    sys.stderr.flush()


def python_version(command: Sequence[str]) -> Any:
    """Return (major, minor) of the Python that `command` starts, or None if it does not run."""
    code = "import sys; print('%d %d' % sys.version_info[:2])"
    try:
        out = subprocess.run(
            [*command, "-I", "-S", "-c", code],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            stdin=subprocess.DEVNULL,
            timeout=30,
            check=True,
            env=clean_env(os.environ),
        )
        major, minor = out.stdout.split()
        return int(major), int(minor)
    except (OSError, ValueError, subprocess.SubprocessError):
        return None


def clean_env(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of set-up steps: the user's, less what cannot work in a virtual environment."""
    env = {key: value for key, value in environ.items() if key not in ("PYTHONDONTWRITEBYTECODE", "PYTHONHOME")}
    env["PIP_USER"] = "0"  # an install into a virtual environment is refused with --user
    return env


class Venv:
    """The virtual environment of one clone, and what this script noted in it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.path = root / ".venv"
        self.python = self.path / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
        self.log = self.path / "setup.log"
        self.marker = self.path / "made-by-run.py"
        self.stamp = self.path / "setup-stamp.json"

    def version(self) -> Any:
        """Return (major, minor) of a whole environment, None if it is missing or broken."""
        whole = self.python.exists() and (self.path / "pyvenv.cfg").exists()
        return python_version([str(self.python)]) if whole else None

    def key(self, extras: Sequence[str], version: Any) -> str:
        """Return the hash of everything that decides what is installed."""
        digest = hashlib.sha256()
        for name in ("pyproject.toml", "constraints.txt"):
            file = self.root / name
            digest.update(hashlib.sha256(file.read_bytes() if file.exists() else b"").digest())
        digest.update(json.dumps([str(self.root), list(version or ()), sorted(set(extras))]).encode())
        return digest.hexdigest()

    def read_stamp(self) -> dict[str, Any]:
        """Return the stamp, empty if there is none that can be read."""
        try:
            stamp = json.loads(self.stamp.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return stamp if isinstance(stamp, dict) else {}

    def write_stamp(self, **values: Any) -> None:
        """Write the stamp in one move: it is there whole or not at all."""
        part = self.stamp.with_suffix(".part")
        part.write_text(json.dumps(values, sort_keys=True), encoding="utf-8")
        part.replace(self.stamp)

    def is_ready(self, extras: Sequence[str]) -> bool:
        """Tell whether all of `extras` are installed here from the files as they are now."""
        stamp = self.read_stamp()
        have = stamp.get("extras", [])
        if stamp.get("state") != "ready" or not set(extras) <= set(have):
            return False
        version = self.version()
        return version is not None and stamp.get("key") == self.key(have, version)

    def site_packages(self) -> list[Path]:
        """Return the folders that hold the installed packages."""
        return [*self.path.glob("lib/python3*/site-packages"), *self.path.glob("Lib/site-packages")]


def read_project(root: Path) -> tuple[list[str], bool]:
    """Return the names of the extras in pyproject.toml and whether the project depends on torch."""
    import tomllib  # not there before 3.11

    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    needs_torch = any(re.match(r"torch(?![A-Za-z0-9._-])", text) for text in project.get("dependencies", ()))
    return sorted(project.get("optional-dependencies", {})), needs_torch


@contextlib.contextmanager
def locked(root: Path) -> Iterator[None]:
    """Let one set-up at a time work on a clone; the lock goes with the process, however that ends."""
    if os.name == "nt":
        yield
        return
    import fcntl

    folder = os.open(str(root), os.O_RDONLY)
    try:
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("another set-up of this clone is running; waiting for it")
            fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


class Setup:
    """One set-up of one environment, step by step."""

    def __init__(self, venv: Venv, options: Options, extras: Sequence[str]) -> None:
        self.venv, self.options, self.extras = venv, options, extras
        self.env = clean_env(os.environ)
        constraints = venv.root / "constraints.txt"
        self.constraints = ["-c", str(constraints)] if constraints.exists() else []
        self.allow_cuda = options.allow_cuda or bool(venv.read_stamp().get("allow_cuda"))
        self.cpu_only = not self.allow_cuda and sys.platform != "darwin" and not has_nvidia_gpu()

    def run(self) -> None:
        """Do the steps that are needed, with a line for each."""
        venv, started = self.venv, time.monotonic()
        needs_torch = read_project(venv.root)[1]
        steps = [("creating .venv", self.create)]
        if needs_torch and (self.cpu_only or self.options.torch_index):
            steps.append(("choosing the build of torch", self.choose_torch))
        extras = "[{}]".format(",".join(self.extras)) if self.extras else ""
        steps += [(f"installing llmrec{extras}", self.install), ("loading the libraries once", self.warm_up)]
        self.clear()
        say(f"setting up .venv (the first time: a minute or two, 1.5 GB); details in {venv.log}")
        for number, (title, step) in enumerate(steps, 1):
            say(f"[{number}/{len(steps)}] {title} ...", end="")
            begun = time.monotonic()
            try:
                step()
            except SetupError as error:
                say(" failed after %.1f s" % (time.monotonic() - begun))
                raise SetupError(f"set-up failed at: {title}\n{self.log_tail()}\n{error}") from None
            say(" %.1f s" % (time.monotonic() - begun))
        version = venv.version()
        venv.write_stamp(
            state="ready", key=venv.key(self.extras, version), extras=list(self.extras), allow_cuda=self.allow_cuda
        )
        say("ready in %.1f s" % (time.monotonic() - started))

    def clear(self) -> None:
        """Remove an environment that cannot be used; one made by someone else only when asked to.

        Raises:
            SetupError: the environment is someone else's and broken, or is a link.
        """
        venv, path = self.venv, self.venv.path
        if path.is_symlink() or (path.exists() and not path.is_dir()):
            raise SetupError(f"{path} is a link or a file, not a folder; remove it, then run again.")
        ours, whole = venv.marker.exists(), venv.version() is not None
        halfway = venv.read_stamp().get("state") == "installing"
        if path.exists() and any(path.iterdir()):
            if self.options.remake or (ours and (halfway or not whole)):
                why = "--remake" if self.options.remake else "a set-up was cut off" if whole else "it is broken"
                say(f"removing .venv ({why})")
                shutil.rmtree(str(path))
            elif not whole:
                raise SetupError(
                    f"{path} has no working Python and was not made by this script.\n"
                    "Remove it, or pass --remake to have it removed."
                )
            elif not ours:
                say(f"{path} was not made by this script; installing into it")
        if not path.exists():
            path.mkdir()
            venv.marker.write_text("scripts/run.py made this folder and may remove it\n", encoding="utf-8")
        venv.log.write_text("", encoding="utf-8")

    def execute(self, command: Sequence[str], **env: str) -> bool:
        """Run one command with its output in the log; tell whether it succeeded."""
        with self.venv.log.open("a", encoding="utf-8") as log:
            log.write("$ {}\n".format(re.sub(r"//[^/@\s]+@", "//***@", " ".join(command))))
            log.flush()
            try:
                done = subprocess.run(
                    list(command),
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    stdin=subprocess.DEVNULL,
                    check=False,
                    cwd=str(self.venv.root),
                    env=dict(self.env, **env),
                )
            except OSError as error:
                log.write(f"{error}\n")
                return False
        return done.returncode == 0

    def pip(self, *args: str) -> bool:
        """Run the environment's pip."""
        return self.execute([str(self.venv.python), "-m", "pip", *args])

    def log_tail(self, lines: int = 15) -> str:
        """Return the last lines of the log, with its path."""
        text = self.venv.log.read_text(encoding="utf-8", errors="replace") if self.venv.log.exists() else ""
        tail = "\n".join("  | " + line for line in text.splitlines()[-lines:])
        return f"{tail}\nthe whole log: {self.venv.log}" if tail else ""

    def create(self) -> None:
        """Make the environment and put pip in it, by the first way that works here.

        Raises:
            SetupError: this machine has no way to make one.
        """
        venv = self.venv
        python = getattr(sys, "_base_executable", None) or sys.executable  # not the one about to be made anew
        path, inside = str(venv.path), str(venv.python)
        has_pip = [inside, "-m", "pip", "--version"]
        if venv.version() is None:
            self.execute([python, "-m", "venv", "--without-pip", path])
        elif self.execute(has_pip):
            return
        # The newest pip reads a wheel's metadata without fetching the wheel, and works with less memory.
        if venv.version() and self.execute([python, "-m", "pip", "--python", inside, "install", *PIP_FLAGS, "pip"]):
            return
        tries = [[inside, "-m", "ensurepip"], [python, "-m", "virtualenv", path]]
        for name, args in (
            ("virtualenv", ["--python", python]),
            ("uv", ["venv", "--seed", "--allow-existing", "-p", python]),
        ):
            tool = shutil.which(name)
            tries += [[tool, *args, path]] if tool else []
        for command in tries:
            if self.execute(command) and venv.version() and self.execute(has_pip):
                self.pip("install", *PIP_FLAGS, "--upgrade", "pip")  # best effort: any pip will do
                return
        raise SetupError(f"No virtual environment with pip could be made by {python}.\n{NO_VENV_HELP}")

    def choose_torch(self) -> None:
        """See that torch is the build for this machine: ask pip what it would take, and step in if need be.

        Raises:
            SetupError: only a CUDA build is to be had, or pip finds none.
        """
        report_file = self.venv.path / "torch-report.json"
        extra = ["--extra-index-url", self.options.torch_index] if self.options.torch_index else []
        ask = ["--dry-run", "--no-deps", "--report", str(report_file), *self.constraints, *extra, "torch"]
        if not self.pip("install", *PIP_FLAGS, *ask):
            raise SetupError(f"pip finds no torch to install.\n{PIP_HELP}")
        build = torch_build(json.loads(report_file.read_text(encoding="utf-8")))
        if build == "gpu" and self.cpu_only:
            if extra:
                raise SetupError(f"The index given with --torch-index has no CPU build of torch.\n{CPU_TORCH_HELP}")
            self.install_cpu_torch()
        elif extra and build != "installed":
            self.note("installing")
            if not self.pip("install", *PIP_FLAGS, *self.constraints, *extra, "torch"):
                raise self.failed(f"pip could not install torch.\n{PIP_HELP}")

    def install_cpu_torch(self) -> None:
        """Install the CPU build with uv, which knows where PyTorch keeps it; pip then sees to the rest."""
        self.note("installing")
        uv = [str(self.venv.python), "-m", "uv", "pip", "install", "--python", str(self.venv.python), "--no-deps"]
        if not self.pip("install", *PIP_FLAGS, "uv"):
            raise self.failed(CPU_TORCH_HELP)
        if not self.execute([*uv, "--torch-backend=cpu", *self.constraints, "torch"]):
            raise self.failed(CPU_TORCH_HELP)

    def install(self) -> None:
        """Install the project, editable, with the extras.

        Raises:
            SetupError: pip failed, or CUDA packages came along on a machine without a GPU.
        """
        self.note("installing")
        target = ".[{}]".format(",".join(self.extras)) if self.extras else "."
        if not self.pip("install", *PIP_FLAGS, *self.constraints, "-e", target):
            raise self.failed(PIP_HELP)
        found = [path.name for site in self.venv.site_packages() for path in site.glob("nvidia[_-]*.dist-info")]
        if found and self.cpu_only:
            raise self.failed(
                "CUDA packages were installed on a machine without an NVIDIA GPU: {}.\n{}\n"
                "Add --remake to start from an empty .venv.".format(", ".join(found), CPU_TORCH_HELP)
            )
        self.note("installed")

    def note(self, state: str) -> None:
        """Note how far the set-up came; a .venv found "installing" was cut off and is made anew."""
        self.venv.write_stamp(state=state, extras=list(self.extras), allow_cuda=self.allow_cuda)

    def failed(self, text: str) -> SetupError:
        """Return the error to raise, after noting that the step ended by itself: what is installed is whole."""
        self.note("failed")
        return SetupError(text)

    def warm_up(self) -> None:
        """Import the large libraries once.

        Raises:
            SetupError: one of them does not load.
        """
        if not self.execute([str(self.venv.python), "-c", WARM_CODE, *WARM], HF_HUB_OFFLINE="1"):
            raise self.failed("An installed library does not load; if the log does not say why, try --remake.")
