"""The script that puts the whole service under faults, as a module."""

import importlib
import sys
from pathlib import Path

import pytest

BENCH = Path(__file__).resolve().parents[3] / "scripts" / "bench"


@pytest.fixture(scope="session")
def faults():
    """`service_faults`, with its parts."""
    sys.path.insert(0, str(BENCH))
    try:
        yield importlib.import_module("service_faults")
    finally:
        sys.path.remove(str(BENCH))


@pytest.fixture(scope="session")
def processes(faults):
    """`Served` and `make_bundle`."""
    return sys.modules["_faults_process"]
