"""The service in memory, and the application over it, for the tests of HTTP."""

import importlib.util
import sys
from pathlib import Path

import pytest


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
