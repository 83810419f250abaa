"""What was put is shown at once, what was dismissed never again; and both outlive the process."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from itertools import count as count_from
from pathlib import Path
from typing import Any

import httpx2
from _faults_process import PATIENCE_S, Served, make_bundle

N_ITEMS = 12
K = 100
MOST_PUT = 40
"""Items that are there at a time besides the bundle's: all of them fit into an answer."""

LATE_S = 1.0


@dataclass(slots=True)
class Found:
    """What was seen.

    Attributes:
        seconds: from sending an item to the answer that holds it, of each.
        problems: what should not be.
        returned: answers that hold an item their user had dismissed.
        asked: answers that were looked through for those.
        restarts: of the service.
        lock: of the numbers that several threads change.
    """

    seconds: list[float] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    returned: int = 0
    asked: int = 0
    restarts: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)


def fresh(folder: Path, count: int, *, further: int = 1_000, clients: int = 3, cold: bool = False) -> dict[str, Any]:
    """Put `count` items, dismiss some, and ask; then again after a stop, and after a kill.

    Args:
        folder: an empty one.
        count: items that are put, one after the other, while others ask.
        further: lists for those who have dismissed something, at least.
        clients: threads that ask at once.
        cold: see `Served`.
    """
    begun, found = time.monotonic(), Found()
    with Served(folder, make_bundle(folder / "bundle", "i", n_items=N_ITEMS), cold=cold) as served:
        served.start()
        dismissed = {f"u{n}": _dismissed(served.url, f"u{n}", found) for n in range(3)}
        dismissed["stranger"] = _dismissed(served.url, "stranger", found)
        end = threading.Event()
        numbers = count_from()
        asking = [
            threading.Thread(target=_look, args=(served.url, dismissed, numbers, found, end)) for _ in range(clients)
        ]
        for thread in asking:
            thread.start()
        try:
            there = _put(served.url, count, found)
            while found.asked < further and not found.problems:
                time.sleep(0.01)
        finally:
            end.set()
            for thread in asking:
                thread.join()
        for ending in (served.stop, served.kill):
            ending()
            served.start()
            found.restarts += 1
            _kept(served.url, there, dismissed, found)
        code = served.stop()
    late = sum(seconds > LATE_S for seconds in found.seconds)
    return {
        "items": count,
        "clients": clients,
        "seconds": round(time.monotonic() - begun, 1),
        "median_s": round(sorted(found.seconds)[len(found.seconds) // 2], 4),
        "longest_s": round(max(found.seconds), 4),
        "later_than_1_s": late,
        "lists_after_dismissal": found.asked,
        "dismissed_returned": found.returned,
        "restarts": found.restarts,
        "problems": found.problems[:5],
        "exit_code": code,
        "passed": not found.problems and not found.returned and found.asked >= further and code == 0,
    }


def _list(client: httpx2.Client, user: str, *, log: bool = False) -> dict[str, Any]:
    until = time.monotonic() + PATIENCE_S
    answer = client.post("/v1/recommend", json={"user_id": user, "k": K, "log": log})
    while answer.status_code == 429 and time.monotonic() < until:  # a machine with much else to do
        time.sleep(0.05)
        answer = client.post("/v1/recommend", json={"user_id": user, "k": K, "log": log})
    answer.raise_for_status()
    found: dict[str, Any] = answer.json()
    return found


def _ids(listed: dict[str, Any]) -> list[str]:
    return [item["item_id"] for item in listed["items"]]


def _dismissed(url: str, user: str, found: Found) -> set[str]:
    """Dismiss what a user is shown at the top, twice; what was dismissed and restored may come back."""
    with httpx2.Client(base_url=url, timeout=60.0) as client:
        gone: set[str] = set()
        for _ in range(2):
            listed = _list(client, user, log=True)
            item = _ids(listed)[0]
            _tell(client, listed, item, "dismiss")
            gone.add(item)
        listed = _list(client, user, log=True)
        item = _ids(listed)[0]
        _tell(client, listed, item, "dismiss")
        _tell(client, listed, item, "restore")
        if item not in _ids(_list(client, user)):
            found.problems.append("what was restored does not come back")
    return gone


def _tell(client: httpx2.Client, listed: dict[str, Any], item: str, kind: str) -> None:
    body = {"impression_id": listed["impression_id"], "item_id": item, "kind": kind}
    client.post("/v1/feedback", json=body).raise_for_status()


def _put(url: str, count: int, found: Found) -> list[str]:
    """Put items and wait for each to be shown, to somebody known and to nobody known; returns those that are there."""
    there: list[str] = []
    with httpx2.Client(base_url=url, timeout=60.0) as client:
        for number in range(count):
            item = f"new{number}"
            begun = time.monotonic()
            client.put(f"/v1/items/{item}", json={"fields": {"title": f"new title {number}"}}).raise_for_status()
            for user in ("u5", f"nobody{number}"):
                while item not in _ids(_list(client, user)):
                    if time.monotonic() - begun > 30.0:
                        found.problems.append("an item that was put is not shown")
                        return there
            found.seconds.append(time.monotonic() - begun)
            there.append(item)
            if len(there) > MOST_PUT:
                gone = there.pop(0)
                client.delete(f"/v1/items/{gone}").raise_for_status()
                if gone in _ids(_list(client, "u5")):
                    found.problems.append("an item that was removed is shown")
    return there


def _look(
    url: str, dismissed: dict[str, set[str]], numbers: count_from[int], found: Found, end: threading.Event
) -> None:
    """Ask for those who have dismissed something; they also do other things meanwhile."""
    users = sorted(dismissed)
    with httpx2.Client(base_url=url, timeout=60.0) as client:
        while not end.is_set() and not found.problems:
            number = next(numbers)
            user = users[number % len(users)]
            try:
                if number % 7 == 0:
                    event = {"user_id": user, "item_id": f"i{number % N_ITEMS}", "kind": "view"}
                    client.post("/v1/interactions", json={"events": [event]}).raise_for_status()
                returned = dismissed[user] & set(_ids(_list(client, user)))
            except httpx2.HTTPError as error:
                found.problems.append(f"a client's request: {error}")
                return
            with found.lock:
                found.asked += 1
                found.returned += bool(returned)


def _kept(url: str, there: list[str], dismissed: dict[str, set[str]], found: Found) -> None:
    """After a restart."""
    with httpx2.Client(base_url=url, timeout=60.0) as client:
        if lacking := set(there) - set(_ids(_list(client, "u5"))):
            found.problems.append(f"{len(lacking)} items that were put are gone after restart {found.restarts}")
        for user, items in dismissed.items():
            if items & set(_ids(_list(client, user))):
                found.problems.append(f"a dismissed item returned after restart {found.restarts}")
