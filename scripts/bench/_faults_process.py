"""Processes of `llmrec serve` that can be killed, stopped and started again, and tiny bundles for them to serve."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

import numpy as np

PATIENCE_S = 300.0
"""A machine that does much else at once may need long to start a process."""

N_USERS = 20

IMPORTED = (
    "alembic.command",
    "alembic.ddl",
    "llmrec.build",
    "llmrec.cli.app",
    "llmrec.cli.serve",
    "llmrec.opening",
    "llmrec.pipeline",
    "llmrec.serve.app",
    "llmrec.serve.engine",
    "llmrec.serve.experiments",
    "llmrec.serve.learn",
    "llmrec.serve.live",
    "llmrec.serve.service",
    "llmrec.serve.store",
    "mako.ext.pygmentplugin",
    "mako.template",
    "sqlalchemy.dialects.sqlite",
    "sqlalchemy.ext.compiler",
    "uvicorn.lifespan.on",
    "uvicorn.loops.auto",
    "uvicorn.protocols.http.auto",
)
"""What takes long to import, of all that the command needs; none of it starts a thread, which a fork would lose."""


def make_bundle(folder: Path, prefix: str, seed: int = 0, n_items: int = 12) -> Path:
    """Fit and save a pipeline of counting components over items "{prefix}0", "{prefix}1", ... and users "u0" ...

    Args:
        folder: of the bundle.
        prefix: of all ids and titles, so that an answer shows which bundle it is of.
        seed: of who did what.
        n_items: of the catalog.
    """
    from llmrec.build import fit
    from llmrec.config import Config
    from llmrec.data import Catalog, Interactions

    rng, ids = np.random.default_rng(seed), [f"{prefix}{n}" for n in range(n_items)]
    catalog = Catalog.from_table({"item_id": ids, "title": [f"{prefix} title {n}" for n in range(n_items)]})
    table: dict[str, list[Any]] = {"user_id": [], "item_id": [], "timestamp": []}
    for user in range(N_USERS):
        rows = rng.permutation(n_items)[: rng.integers(2, 6)]
        table["user_id"] += [f"u{user}"] * len(rows)
        table["item_id"] += [ids[row] for row in rows]
        table["timestamp"] += [1_600_000_000 + 100 * user + place for place in range(len(rows))]
    retrievers = {"popularity": {}, "item_knn": {"neighbours": 4}, "transition": {"neighbours": 4}, "ease": {"l2": 5.0}}
    config = Config.from_dict({"stages": [{"name": "one", "retrievers": retrievers}]})
    return fit(config, catalog, Interactions.from_table(table, catalog)).save(folder)


class Host(Protocol):
    """Starts processes of the command, and says how they end."""

    def begin(self, words: list[str], out: Path, err: Path) -> int:
        """Start `llmrec WORDS`; returns its process id."""

    def ended(self, pid: int) -> int | None:
        """The exit code (negative: the signal) of one that has ended; None: it runs."""

    def close(self) -> None:
        """End what is left."""


class Cold:
    """Starts Python anew each time, as a supervisor does."""

    def __init__(self) -> None:
        self._children: dict[int, subprocess.Popen[bytes]] = {}

    def begin(self, words: list[str], out: Path, err: Path) -> int:
        """See `Host`."""
        command = [sys.executable, "-m", "llmrec", *words]
        with out.open("wb") as first, err.open("ab") as second:
            child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=first, stderr=second)
        self._children[child.pid] = child
        return child.pid

    def ended(self, pid: int) -> int | None:
        """See `Host`."""
        return self._children[pid].poll()

    def close(self) -> None:
        """See `Host`."""
        for child in self._children.values():
            child.kill()
            child.wait()


class Warm:
    """Has a process that imported everything and forks: the same processes, without seconds of imports for each."""

    def __init__(self) -> None:
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        self._nursery = subprocess.Popen([sys.executable, __file__], **pipes, text=True)  # type: ignore[call-overload]

    def begin(self, words: list[str], out: Path, err: Path) -> int:
        """See `Host`."""
        return int(self._asked({"words": words, "out": str(out), "err": str(err)})["pid"])

    def ended(self, pid: int) -> int | None:
        """See `Host`."""
        code: int | None = self._asked({"pid": pid})["code"]
        return code

    def close(self) -> None:
        """See `Host`."""
        self._nursery.stdin.close()
        self._nursery.wait(PATIENCE_S)
        self._nursery.stdout.close()

    def _asked(self, what: Mapping[str, Any]) -> dict[str, Any]:
        self._nursery.stdin.write(json.dumps(what) + "\n")
        self._nursery.stdin.flush()
        found: dict[str, Any] = json.loads(self._nursery.stdout.readline())
        return found


class Served:
    """A service that may be down: one address, one store, one process after the other.

    Args:
        folder: of its store and its logs.
        bundle: what it serves.
        cold: whether each process is a Python of its own; else they are forked.
    """

    def __init__(self, folder: Path, bundle: Path, *, cold: bool = False) -> None:
        self.store = str(folder / "store.sqlite")
        self.log = folder / "served.log"
        self.pid = 0
        self._bundle, self._out = bundle, folder / "served.json"
        self._host: Host = Cold() if cold else Warm()
        self._port = _free_port()
        self.url = f"http://127.0.0.1:{self._port}"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._host.close()

    def start(self) -> float:
        """Start it, wait until it says that it answers; returns the seconds that took."""
        begun = time.monotonic()
        words = ["serve", str(self._bundle), "--store", self.store, "--port", str(self._port), "--no-page", "--json"]
        self._out.unlink(missing_ok=True)
        self.pid = self._host.begin(words, self._out, self.log)
        while not self._announced():
            code = self._host.ended(self.pid)
            if code is not None or time.monotonic() - begun > PATIENCE_S:
                raise RuntimeError(f"the service did not start (exit code {code}); its log: {self.log}")
            time.sleep(0.01)
        return time.monotonic() - begun

    def send(self, number: int) -> None:
        """Send it a signal."""
        os.kill(self.pid, number)

    def wait(self) -> int:
        """Wait for its end; returns its exit code, negative: the signal that ended it."""
        until = time.monotonic() + PATIENCE_S
        while (code := self._host.ended(self.pid)) is None:
            if time.monotonic() > until:
                raise RuntimeError(f"the service does not end; its log: {self.log}")
            time.sleep(0.01)
        return code

    def stop(self) -> int:
        """Ask it to stop, and wait for that; returns its exit code."""
        self.send(signal.SIGTERM)
        return self.wait()

    def kill(self) -> None:
        """End it as a power cut would, but for the disk."""
        self.send(signal.SIGKILL)
        self.wait()

    def logged(self) -> list[dict[str, Any]]:
        """The lines of its log so far that are JSON, over all its processes."""
        lines = self.log.read_text(encoding="utf-8").splitlines()
        found = []
        for line in lines:
            with suppress(ValueError):
                found.append(json.loads(line))
        return [line for line in found if isinstance(line, dict)]

    def _announced(self) -> bool:
        try:
            return bool(json.loads(self._out.read_text(encoding="utf-8"))["url"])
        except (OSError, ValueError):
            return False


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def nursery() -> None:
    """Import what the command imports, then fork whatever standard input asks for, until it ends."""
    for name in IMPORTED:
        import_module(name)
    codes: dict[int, int | None] = {}
    for line in sys.stdin:
        asked = json.loads(line)
        if "words" in asked:
            sys.stdout.flush()
            pid = os.fork()
            if pid == 0:
                _be(asked)
            codes[pid] = None
            print(json.dumps({"pid": pid}), flush=True)
            continue
        pid = asked["pid"]
        if codes[pid] is None and (found := os.waitpid(pid, os.WNOHANG))[0]:
            codes[pid] = os.waitstatus_to_exitcode(found[1])
        print(json.dumps({"code": codes[pid]}), flush=True)
    for pid in [pid for pid, code in codes.items() if code is None]:
        with suppress(OSError):
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


def _be(asked: Mapping[str, Any]) -> None:
    """Become the command, in a forked process; never returns."""
    from llmrec.cli import main

    code = 70
    try:
        flags = os.O_WRONLY | os.O_CREAT
        files = [
            os.open(os.devnull, os.O_RDONLY),
            os.open(asked["out"], flags),
            os.open(asked["err"], flags | os.O_APPEND),
        ]
        for number, file in enumerate(files):
            os.dup2(file, number)
        sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115 - of the process, not of this function
        main(asked["words"])
        code = 0
    except SystemExit as end:
        code = int(end.code or 0)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    nursery()
