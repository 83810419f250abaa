""".ci/run: it installs what the tests of the service need, and lets none of them be skipped."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TOOLS = ("bash", "dirname", "env", "grep", "mktemp", "rm", "tee", "true")
SKIPPED = "SKIPPED [3] tests/serve/conftest.py:20: PostgreSQL is not here: install the Debian package `postgresql`"

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="CI runs bash")


class Machine:
    """A repository, and a machine that has only what it is given; every stub writes down how it was called."""

    def __init__(self, folder):
        self.root, self.bin, self.calls = folder / "repo", folder / "bin", folder / "calls"
        for each in (self.root / ".ci", self.root / "scripts", self.bin):
            each.mkdir(parents=True)
        shutil.copy(ROOT / ".ci" / "run", self.root / ".ci" / "run")
        for tool in TOOLS:
            (self.bin / tool).symlink_to(shutil.which(tool))
        self.stub(self.root / "scripts" / "check")
        self.has(python3="echo passed", id="echo 0")

    def stub(self, path, body="true"):
        path.write_text(
            f'#!{shutil.which("bash")}\necho "${{0##*/}} $* ${{LLMREC_CI_COMPLETE-}}" >> {self.calls}\n{body}\n'
        )
        path.chmod(0o755)

    def has(self, *names, **bodies):
        for name, body in {**dict.fromkeys(names, "true"), **bodies}.items():
            self.stub(self.bin / name, body)

    def run(self):
        done = subprocess.run(
            [shutil.which("bash"), self.root / ".ci" / "run"],
            env={"PATH": str(self.bin)}, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        called = self.calls.read_text().splitlines() if self.calls.exists() else []
        return done, [line.strip() for line in called if not line.startswith("id ")]


@pytest.fixture
def machine(tmp_path):
    return Machine(tmp_path)


def test_all_tests_then_all_checks(machine):
    machine.has("initdb", "chromium", "apt-get")
    done, called = machine.run()
    assert done.returncode == 0, done.stderr
    assert called == ["python3 scripts/run.py test 1", "check"]
    assert "passed" in done.stdout


def test_what_is_missing_is_installed(machine):
    machine.has("initdb", "apt-get")
    done, called = machine.run()
    assert done.returncode == 0, done.stderr
    assert called[:2] == ["apt-get update -q", "apt-get install -q -y --no-install-recommends chromium"]
    assert called[2:] == ["python3 scripts/run.py test 1", "check"]


@pytest.mark.parametrize("sudo", [None, "exit 1"])
def test_who_may_not_install_is_told_what_is_missing(machine, sudo):
    machine.has("initdb", "apt-get", id="echo 1000")
    if sudo is not None:
        machine.has(sudo=sudo)
    done, called = machine.run()
    assert done.returncode == 1
    assert "chromium" in done.stderr
    assert not any(line.startswith(("apt-get", "python3")) for line in called)


def test_with_sudo_it_is_installed(machine):
    machine.has("initdb", "apt-get", id="echo 1000", sudo='shift; exec "$@"')
    done, called = machine.run()
    assert done.returncode == 0, done.stderr
    assert "apt-get install -q -y --no-install-recommends chromium" in called


def test_a_failed_test_stops_it(machine):
    machine.has("initdb", "chromium", python3="exit 3")
    done, called = machine.run()
    assert done.returncode == 3
    assert "check" not in called


def test_a_skipped_test_of_the_service_is_a_failure(machine):
    machine.has("initdb", "chromium", python3=f"cat <<'END'\n{SKIPPED}\nEND")
    (machine.bin / "cat").symlink_to(shutil.which("cat"))
    done, called = machine.run()
    assert done.returncode == 1
    assert SKIPPED in done.stderr
    assert "check" not in called


def test_other_skips_are_none_of_its_business(machine):
    machine.has("initdb", "chromium", python3='echo "SKIPPED [1] tests/a.py:3: no GPU here"')
    assert machine.run()[0].returncode == 0
