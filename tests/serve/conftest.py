"""Stores: one in SQLite for each test, a PostgreSQL server for the run; and the service in memory for tests of HTTP."""

import importlib.util
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from itertools import count
from pathlib import Path

import pytest

DATABASES = count(1)


def _lacking(reason):
    """Skip the test, or fail it where everything must be there."""
    (pytest.fail if os.environ.get("LLMREC_CI_COMPLETE") else pytest.skip)(reason)


def _postgres_tool(name):
    """The newest that Debian installed, or the one on the path; None: there is none."""
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda folder: float(folder.parent.name))
    return next((str(f / name) for f in reversed(folders) if (f / name).exists()), shutil.which(name))


def _free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


@pytest.fixture(scope="session")
def postgres_server():
    """The URL of a PostgreSQL server of this run, without a database's name; it is gone after the run."""
    initdb, pg_ctl = _postgres_tool("initdb"), _postgres_tool("pg_ctl")
    if initdb is None or pg_ctl is None:
        _lacking("PostgreSQL is not here: install the Debian package `postgresql`")
    folder = Path(tempfile.mkdtemp(prefix="llmrec-postgres-"))  # pytest's own folders are closed to other users
    as_user = {}
    if hasattr(os, "geteuid") and os.geteuid() == 0:  # the server refuses to run as root
        as_user = {"user": "nobody", "group": "nogroup", "extra_groups": []}
        shutil.chown(folder, "nobody", "nogroup")
    quiet = {"stdout": subprocess.DEVNULL, "cwd": folder, "timeout": 120, **as_user}
    data, port = folder / "data", _free_port()
    asked = f"-c listen_addresses=127.0.0.1 -c port={port} -c unix_socket_directories={folder} -c fsync=off"
    try:
        subprocess.run(
            [initdb, "-D", data, "-U", "llmrec", "-A", "trust", "-E", "UTF8", "--no-sync"], check=True, **quiet
        )
        subprocess.run([pg_ctl, "-D", data, "-l", folder / "log", "-w", "-o", asked, "start"], check=True, **quiet)
        yield f"postgresql://llmrec@127.0.0.1:{port}"
    finally:
        if (data / "postmaster.pid").exists():
            subprocess.run([pg_ctl, "-D", data, "-m", "immediate", "-w", "stop"], check=True, **quiet)
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def postgres_url(postgres_server):
    """The URL of an empty database."""
    import psycopg

    name = f"test_{next(DATABASES)}"
    with psycopg.connect(f"{postgres_server}/postgres", autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    yield f"{postgres_server}/{name}"
    with psycopg.connect(f"{postgres_server}/postgres", autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def store(tmp_path):
    """An empty store in SQLite."""
    from llmrec.serve.store import open_store

    with open_store(str(tmp_path / "store.sqlite")) as opened:
        yield opened


def _load_fakes():
    spec = importlib.util.spec_from_file_location("llmrec_serve_fakes", Path(__file__).with_name("fakes.py"))
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def fakes():
    return _load_fakes()


@pytest.fixture
def service(fakes):
    """An open service: no key was ever made."""
    return fakes.FakeService()


@pytest.fixture
def make_client():
    """A function from a service to a client of its application, by this machine's own name."""
    from starlette.testclient import TestClient

    from llmrec.serve.app import create_app

    opened = []

    def make(service, **headers):
        client = TestClient(create_app(service), base_url="http://127.0.0.1:8080", headers=headers)
        opened.append(client.__enter__())
        return opened[-1]

    yield make
    for client in opened:
        client.__exit__(None, None, None)


@pytest.fixture
def client(make_client, service):
    return make_client(service)
