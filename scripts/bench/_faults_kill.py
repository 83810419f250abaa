"""kill -9 while clients post: what was acknowledged is there, once."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
from _faults_process import PATIENCE_S, Served, make_bundle

AGAIN = frozenset({429, 503})
"""What a client asks again after."""


@dataclass(slots=True)
class Told:
    """What the service acknowledged, over all its processes.

    Attributes:
        events: user to the ids of the user's events, as answered. Every user does something in one request only.
        lists: ids of lists, as answered.
        again: requests that were made again, since the first try brought no answer.
        wrong: answers that are none of those a client may expect.
    """

    events: dict[str, list[str]] = field(default_factory=dict)
    lists: list[str] = field(default_factory=list)
    again: int = 0
    wrong: list[str] = field(default_factory=list)


def kill(folder: Path, count: int, *, clients: int = 4, seed: int = 0, cold: bool = False) -> dict[str, Any]:
    """Kill the service `count` times while clients post to it; each asks again, with the same key, until it is told.

    Args:
        folder: an empty one.
        count: kills.
        clients: threads that post at once.
        seed: of the moments of the kills.
        cold: see `Served`.
    """
    chance, told, end, begun = random.Random(seed), Told(), threading.Event(), time.monotonic()
    starts = []
    with Served(folder, make_bundle(folder / "bundle", "i"), cold=cold) as served:
        starts.append(served.start())
        threads = [threading.Thread(target=_post, args=(served.url, name, told, end)) for name in range(clients)]
        for thread in threads:
            thread.start()
        try:
            for _ in range(count):
                _wait_for_one(told, len(told.events), threads)
                time.sleep(chance.uniform(0.0, 0.3))
                served.kill()
                starts.append(served.start())
        finally:
            end.set()
            for thread in threads:
                thread.join()
        code = served.stop()
        found = _compare(served.store, told)
    return {
        "kills": count,
        "clients": clients,
        "seconds": round(time.monotonic() - begun, 1),
        "longest_start_s": round(max(starts), 2),
        "asked_again": told.again,
        **found,
        "exit_code": code,
        "passed": found["passed"] and code == 0,
    }


def _wait_for_one(told: Told, before: int, threads: list[threading.Thread]) -> None:
    """Until the process that runs now has acknowledged something."""
    until = time.monotonic() + PATIENCE_S
    while len(told.events) == before and any(thread.is_alive() for thread in threads):
        if time.monotonic() > until:
            raise RuntimeError("nothing is acknowledged any more")
        time.sleep(0.005)


def _post(url: str, name: int, told: Told, end: threading.Event) -> None:
    """A client: events, and clicks on lists, by turns; leaves only when all it asked for was acknowledged."""
    number = 0
    with httpx2.Client(base_url=url, timeout=60.0) as client:
        while not end.is_set() and not told.wrong:
            number += 1
            user = f"k{name}-{number}"
            (_click if number % 2 else _events)(client, user, number, told)


def _events(client: httpx2.Client, user: str, number: int, told: Told) -> None:
    events = [{"user_id": user, "item_id": f"i{(number + n) % 12}"} for n in range(1 + number % 3)]
    if number % 4 == 0:
        events[0]["event_id"] = f"own-{user}"
    if added := _until_told(client, "/v1/interactions", {"events": events}, user, told):
        told.events[user] = added["event_ids"]


def _click(client: httpx2.Client, user: str, number: int, told: Told) -> None:
    if not (listed := _until_told(client, "/v1/recommend", {"user_id": user, "k": 3}, None, told)):
        return
    told.lists.append(listed["impression_id"])
    item = listed["items"][number % 3]["item_id"]
    body = {"impression_id": listed["impression_id"], "item_id": item, "kind": "click"}
    if added := _until_told(client, "/v1/feedback", body, user, told):
        told.events[user] = added["event_ids"]


def _until_told(client: httpx2.Client, path: str, body: Any, key: str | None, told: Told) -> dict[str, Any] | None:
    """The answer, however often the service dies meanwhile; None: it is not one that is expected."""
    headers = {} if key is None else {"Idempotency-Key": key}
    until = time.monotonic() + PATIENCE_S
    while time.monotonic() < until:
        try:
            answer = client.post(path, json=body, headers=headers)
        except httpx2.TransportError:
            told.again += 1
            time.sleep(0.02)
            continue
        if answer.status_code == 200:
            found: dict[str, Any] = answer.json()
            return found
        if answer.status_code not in AGAIN:
            told.wrong.append(f"{path}: {answer.status_code} {answer.text[:200]}")
            return None
        time.sleep(0.02)
    told.wrong.append(f"{path}: no answer")
    return None


def _compare(url: str, told: Told) -> dict[str, Any]:
    """What was acknowledged against what is there."""
    from llmrec.serve.store import open_store

    with open_store(url) as store:
        events, page = [], store.events_after(0)
        while page:
            events += page
            page = store.events_after(events[-1].seq)
        lists = sum(store.impression(one) is None for one in told.lists)
    there = Counter(event.event_id for event in events)
    asked = {event_id for ids in told.events.values() for event_id in ids}
    counts = {
        "acknowledged": len(asked),
        "events": len(events),
        "missing": len(asked - there.keys()),
        "twice": len(events) - len(there) + len(there.keys() - asked),
        "lists": len(told.lists),
        "lists_missing": lists,
    }
    well = bool(asked) and not told.wrong and not any(counts[name] for name in ("missing", "twice", "lists_missing"))
    return {**counts, "wrong_answers": told.wrong, "passed": well}
