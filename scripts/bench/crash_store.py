"""Kill a process that writes to a store, again and again: is what was acknowledged there, once? Prints JSON.

A child writes events and lists from several threads, each under an idempotency key of its own, and says so before and
after each call. It is killed (SIGKILL) at a moment drawn by lot; the next child first asks again for what was under
way. At the end each acknowledged event must be in the store exactly once and under the id that was answered, each that
was asked for again exactly once, and a reader must have seen no event come in behind one with a greater number.

Killing a process does not try the disk: what was handed to the kernel survives. That the store waits for the disk at
every commit is a setting, which a test looks up.

Run: python scripts/bench/crash_store.py [--kills 100] [--url URL] [--threads 4] [--seed 0]
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from itertools import count, pairwise
from pathlib import Path
from typing import IO

from llmrec.serve.records import Impression, NewEvent
from llmrec.serve.store import Store, open_store


@dataclass(slots=True)
class Told:
    """What the children said: keys asked for, and the event ids that were answered."""

    asked: set[str] = field(default_factory=set)
    answered: dict[str, str] = field(default_factory=dict)
    under_way: int = 0


def main() -> None:
    """Run and print; exit code 1 where an event is missing or there twice."""
    parser = argparse.ArgumentParser(description="Kill a writing process again and again; count what was lost.")
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--url", default=None, help="of an empty store; a temporary SQLite file without it")
    parser.add_argument("--threads", type=int, default=4)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--child", default=None, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child is not None:
        write(given.child, given.threads)
        return
    with tempfile.TemporaryDirectory() as folder:
        found = crash(given.url or str(Path(folder) / "crash.sqlite"), given.kills, given.threads, given.seed)
    print(json.dumps(found, indent=2))
    raise SystemExit(0 if found["passed"] else 1)


def crash(url: str, kills: int, threads: int = 4, seed: int = 0) -> dict[str, object]:
    """Kill `kills` children, and compare what they said with what is there.

    Args:
        url: of an empty store.
        kills: children to kill.
        threads: that write at once in each.
        seed: of the moments of the kills.
    """
    chance, told, start = random.Random(seed), Told(), time.monotonic()
    open_store(url).close()
    watch = Watch(url)
    for _ in range(kills):
        _one_child(url, threads, told, chance.uniform(0.0, 0.3))
    order = watch.stop()
    return {
        "store": "postgresql" if url.startswith("postgres") else "sqlite",
        "kills": kills,
        "threads": threads,
        "seconds": round(time.monotonic() - start, 1),
        **_compare(url, told, order),
    }


class Watch:
    """Follows the store while it is written, as a learner does.

    Args:
        url: of the store.
    """

    def __init__(self, url: str) -> None:
        self._store = open_store(url)
        self._seen: list[int] = []
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._follow)
        self._thread.start()

    def stop(self) -> list[int]:
        """The numbers of all events, in the order in which they were seen."""
        self._end.set()
        self._thread.join()
        while self._step():
            pass
        self._store.close()
        return self._seen

    def _follow(self) -> None:
        while not self._end.wait(0.005):
            self._step()

    def _step(self) -> bool:
        events = self._store.events_after(self._seen[-1] if self._seen else 0)
        self._seen += [event.seq for event in events]
        return bool(events)


def write(url: str, threads: int) -> None:
    """The child: ask again for the keys of standard input, then write until killed."""
    store, prefix, numbers, voice = open_store(url), f"{time.time_ns():x}", count(), threading.Lock()
    for line in sys.stdin:
        _write_one(store, line.strip(), voice)
    with voice:
        print("ready", flush=True)

    def keep_on() -> None:
        while True:
            _write_one(store, f"{prefix}-{next(numbers)}", voice)

    for _ in range(threads):
        threading.Thread(target=keep_on).start()


def _write_one(store: Store, key: str, voice: threading.Lock) -> None:
    with voice:
        print("asked", key, flush=True)
    shown = Impression(key, "u", "default", "b", (key,), (1.0,), None, 1.0)
    store.add_impressions([shown])
    event = NewEvent("u", key, impression_id=key)
    added = store.add_events([event], now=1.0, idempotency_key=key, caller="crash")
    with voice:
        print("added", key, added.event_ids[0], flush=True)


def _one_child(url: str, threads: int, told: Told, wait: float) -> None:
    """Start a child, give it what was under way, and kill it `wait` seconds after it is ready."""
    again = sorted(told.asked - told.answered.keys())
    command = [sys.executable, __file__, "--child", url, "--threads", str(threads)]
    child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert child.stdin is not None
    assert child.stdout is not None
    listener = threading.Thread(target=_listen, args=(child.stdout, told, ready := threading.Event()))
    listener.start()
    child.stdin.write("".join(f"{key}\n" for key in again))
    child.stdin.close()
    ready.wait(120)
    time.sleep(wait)
    child.kill()
    child.wait()
    listener.join()
    child.stdout.close()
    told.under_way += len(told.asked - told.answered.keys())


def _listen(said: IO[str], told: Told, ready: threading.Event) -> None:
    for line in said:
        match line.split():
            case ["ready"]:
                ready.set()
            case ["asked", key] if line.endswith("\n"):
                told.asked.add(key)
            case ["added", key, event_id] if line.endswith("\n"):
                told.answered[key] = event_id
    ready.set()


def _compare(url: str, told: Told, order: list[int]) -> dict[str, object]:
    """What was said against what is there, after what the last child left under way was asked for again."""
    with open_store(url) as store:
        for key in sorted(told.asked - told.answered.keys()):
            event = NewEvent("u", key, impression_id=key)
            store.add_events([event], now=1.0, idempotency_key=key, caller="crash")
        events, page = [], store.events_after(0)
        while page:
            events += page
            page = store.events_after(events[-1].seq)
        lists = [store.impression(key) for key in told.answered]
    times = Counter(event.item_id for event in events)
    ids = {event.item_id: event.event_id for event in events}
    found: dict[str, int] = {
        "acknowledged": len(told.answered),
        "under_way_when_killed": told.under_way,
        "events": len(events),
        "missing": sum(times[key] == 0 for key in told.asked),
        "twice": sum(number > 1 for number in times.values()),
        "under_another_id": sum(ids.get(key) != event_id for key, event_id in told.answered.items()),
        "lists_missing": sum(one is None for one in lists),
        "seen_too_late": sum(later <= earlier for earlier, later in pairwise(order))
        + len({event.seq for event in events if event.seq <= max(order, default=0)} - set(order)),
    }
    wrong = ("missing", "twice", "under_another_id", "lists_missing", "seen_too_late")
    return {**found, "passed": not any(found[name] for name in wrong) and bool(told.answered)}


if __name__ == "__main__":
    main()
