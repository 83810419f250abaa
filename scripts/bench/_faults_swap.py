"""Reloads, rollbacks and new items under load: no error, and no answer of which parts are of two bundles."""

from __future__ import annotations

import random
import shutil
import threading
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
from _faults_process import Served, make_bundle

PUT = "put"
"""What ids and titles of items begin with that are put meanwhile, into both bundles."""


@dataclass(slots=True)
class Found:
    """What came back.

    Attributes:
        answers: by the prefix of the bundle they are of.
        feedback: clicks that were taken, also on lists of a bundle that was replaced meanwhile.
        changes: reloads, rollbacks and items.
        errors: answers other than 200, and connections that broke.
        mixed: answers whose bundle, items and texts do not go together.
    """

    answers: Counter[str] = field(default_factory=Counter)
    feedback: int = 0
    changes: Counter[str] = field(default_factory=Counter)
    errors: list[str] = field(default_factory=list)
    mixed: list[str] = field(default_factory=list)


def swap(
    folder: Path, seconds: float, *, count: int = 0, clients: int = 4, seed: int = 0, cold: bool = False
) -> dict[str, Any]:
    """Reload another bundle, roll back and put items again and again, while clients ask.

    Args:
        folder: an empty one.
        seconds: how long.
        count: or until there were so many reloads, if that takes longer.
        clients: threads that ask at once.
        seed: of the moments of the changes.
        cold: see `Served`.
    """
    from llmrec.serve.live.snapshot import bundle_version

    begun, found, end = time.monotonic(), Found(), threading.Event()
    bundles = {prefix: make_bundle(folder / prefix, prefix, seed=n) for n, prefix in enumerate(("a", "b"))}
    prefixes = {bundle_version(path): prefix for prefix, path in bundles.items()}
    live = folder / "live"
    shutil.copytree(bundles["a"], live)
    with Served(folder, live, cold=cold) as served:
        served.start()
        threads = [threading.Thread(target=_ask, args=(served.url, n, prefixes, found, end)) for n in range(clients)]
        for thread in threads:
            thread.start()
        try:
            _change(served.url, (live, bundles), (seconds, count), found, random.Random(seed))
        finally:
            end.set()
            for thread in threads:
                thread.join()
        code = served.stop()
    well = not found.errors and not found.mixed and code == 0
    return {
        "seconds": round(time.monotonic() - begun, 1),
        "clients": clients,
        "changes": dict(sorted(found.changes.items())),
        "answers": dict(sorted(found.answers.items())),
        "feedback": found.feedback,
        "errors": len(found.errors),
        "mixed": len(found.mixed),
        "examples": [*found.errors[:5], *found.mixed[:5]],
        "exit_code": code,
        "passed": well and min(found.answers["a"], found.answers["b"]) > 0,
    }


def _change(
    url: str, places: tuple[Path, Mapping[str, Path]], until: tuple[float, int], found: Found, chance: random.Random
) -> None:
    """Change what is served, by all the ways there are, in turns: the other bundle, back, and again as it was."""
    live, bundles = places
    seconds, count = until
    begun, on_disk, put = time.monotonic(), "a", 0
    with httpx2.Client(base_url=url, timeout=120.0) as client:
        while time.monotonic() - begun < seconds or found.changes["reload"] < count:
            if found.errors:
                return
            on_disk = "b" if on_disk == "a" else "a"
            _replace(live, bundles[on_disk])
            _done(client.post("/v1/admin/aliases/default/reload"), "reload", found)
            put += 1
            item = f"{PUT}{put}"
            fields = {"title": f"{PUT} title {put}"}
            _done(client.put(f"/v1/items/{item}", json={"fields": fields}), "item", found)
            _answers_it(client, item, found)
            time.sleep(chance.uniform(0.0, 0.1))
            _done(client.post("/v1/admin/aliases/default/rollback"), "rollback", found)
            _answers_it(client, item, found)
            _done(client.post("/v1/admin/aliases/default/reload"), "reload", found)
            _answers_it(client, item, found)
            if put > 20:
                _done(client.delete(f"/v1/items/{PUT}{put - 20}"), "removal", found)
            time.sleep(chance.uniform(0.0, 0.1))


def _replace(live: Path, bundle: Path) -> None:
    """Put a bundle in the place of another one, as a deployment does: whole, beside it, then by its name."""
    fresh, old = live.with_name("live-new"), live.with_name("live-old")
    shutil.copytree(bundle, fresh)
    live.rename(old)
    fresh.rename(live)
    shutil.rmtree(old)


def _done(answer: httpx2.Response, what: str, found: Found) -> None:
    found.changes[what] += 1
    if not answer.is_success:
        found.errors.append(f"{what}: {answer.status_code} {answer.text[:300]}")


def _answers_it(client: httpx2.Client, item: str, found: Found) -> None:
    """An item that was put is there, whatever was swapped since."""
    answer = client.post("/v1/recommend", json={"user_id": "u1", "allow": [item], "k": 3, "log": False})
    ids = [one["item_id"] for one in answer.json()["items"]] if answer.status_code == 200 else answer.text[:300]
    if ids != [item]:
        found.errors.append(f"an item that was put: {answer.status_code} {ids}")


def _ask(url: str, name: int, prefixes: Mapping[str, str], found: Found, end: threading.Event) -> None:
    number = name
    with httpx2.Client(base_url=url, timeout=60.0) as client:
        while not end.is_set():
            number += 1
            try:
                _one(client, number, prefixes, found)
            except httpx2.TransportError as error:
                found.errors.append(f"recommend: {type(error).__name__}")


def _one(client: httpx2.Client, number: int, prefixes: Mapping[str, str], found: Found) -> None:
    log = number % 3 == 0
    answer = client.post("/v1/recommend", json={"user_id": f"u{number % 25}", "k": 12, "log": log})
    if answer.status_code != 200:
        found.errors.append(f"recommend: {answer.status_code} {answer.text[:300]}")
        return
    body = answer.json()
    prefix = prefixes.get(body["bundle"])
    if prefix is None or not _of_one(body["items"], prefix):
        found.mixed.append(f"bundle {body['bundle']} ({prefix}): {[one['item_id'] for one in body['items']]}")
        return
    found.answers[prefix] += 1
    if log:
        click = {"impression_id": body["impression_id"], "item_id": body["items"][0]["item_id"], "kind": "click"}
        answer = client.post("/v1/feedback", json=click)
        if answer.status_code == 200:
            found.feedback += 1
        else:
            found.errors.append(f"feedback: {answer.status_code} {answer.text[:300]}")


def _of_one(items: list[dict[str, Any]], prefix: str) -> bool:
    """Whether all items, and what is said of them, are of the bundle, or were put."""
    for item in items:
        mine = next((one for one in (prefix, PUT) if item["item_id"].removeprefix(one).isdigit()), None)
        if mine is None or item["fields"]["title"] != f"{mine} title {item['item_id'].removeprefix(mine)}":
            return False
    return bool(items)
