"""kill -9 in the middle of writing, and two processes at one store."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

from llmrec.serve.records import NewEvent
from llmrec.serve.store import open_store

SCRIPT = Path(__file__).resolve().parents[3] / "scripts" / "bench" / "crash_store.py"

WRITE = """
import sys
from llmrec.serve.records import NewEvent
from llmrec.serve.store import open_store
url, name = sys.argv[1:]
with open_store(url) as store:
    print("ready", flush=True)
    sys.stdin.readline()
    for number in range(50):
        store.add_events([NewEvent(name, str(number))], now=1.0)
        store.put_items([("shared", {name: number}, "active")])
"""


@pytest.fixture
def crash_store(monkeypatch):
    spec = importlib.util.spec_from_file_location("crash_store", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "crash_store", module)  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("kills", [10])
def test_what_was_acknowledged_survives_kill_9(crash_store, url, kills):
    found = crash_store.crash(url, kills, seed=1)
    assert found["passed"], found
    assert found["kills"] == kills
    assert found["acknowledged"] > kills


def test_two_processes_write_to_one_store(url):
    open_store(url).close()
    command = [sys.executable, "-c", WRITE, url]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    writers = [subprocess.Popen([*command, name], **pipes) for name in "ab"]
    for writer in writers:
        assert writer.stdout.readline() == "ready\n"
    seen = []
    with open_store(url) as store:
        for writer in writers:
            writer.stdin.write("go\n")
            writer.stdin.flush()
        while any(writer.poll() is None for writer in writers):
            seen += [event.seq for event in store.events_after(seen[-1] if seen else 0)]
        seen += [event.seq for event in store.events_after(seen[-1] if seen else 0)]
        for writer in writers:
            writer.communicate()
            assert writer.returncode == 0
        assert seen == list(range(1, 101))
        for name in "ab":
            assert [event.item_id for event in store.user_events(name)] == [str(number) for number in range(50)]
        assert store.item("shared").fields == {"a": 49, "b": 49}
        assert store.last_item_seq() == 100
        store.add_events([NewEvent("a", "x")], now=1.0)
