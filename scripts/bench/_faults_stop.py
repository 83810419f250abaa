"""SIGTERM under load: what was accepted is answered, and the process says that all is well."""

from __future__ import annotations

import random
import signal
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
from _faults_process import PATIENCE_S, Served, make_bundle


@dataclass(slots=True)
class Seen:
    """What became of requests.

    Attributes:
        outcomes: how many were "answered", "refused" (429, 503), "not reached" (no connection), "cut" (a connection,
            but not a byte of an answer), "half" (an answer that breaks off), or "wrong" (any other status).
        cut: ids of the requests that were cut or of which half came.
        stored: ids of events that were acknowledged.
        wrong: what is none of all that.
    """

    outcomes: Counter[str] = field(default_factory=Counter)
    cut: list[str] = field(default_factory=list)
    stored: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def note(self, outcome: str, request: str, stored: list[str], wrong: str = "") -> None:
        """Note one; from any thread."""
        with self.lock:
            self.outcomes[outcome] += 1
            self.stored += stored
            if outcome in ("cut", "half"):
                self.cut.append(request)
            if wrong:
                self.wrong.append(wrong)


def stop(folder: Path, count: int, *, clients: int = 8, seed: int = 0, cold: bool = False) -> dict[str, Any]:
    """Stop the service `count` times under load.

    A request that was cut counts as lost if the service says in its log that it had read it: a connection that stood
    idle may be closed at the moment at which its client uses it again, and then nobody has accepted anything.

    Args:
        folder: an empty one.
        count: stops.
        clients: threads that ask at once; every other one opens a connection for each request.
        seed: of the moments of the stops.
        cold: see `Served`.
    """
    chance, seen, begun = random.Random(seed), Seen(), time.monotonic()
    codes: Counter[int] = Counter()
    took = []
    with Served(folder, make_bundle(folder / "bundle", "i"), cold=cold) as served:
        for turn in range(count):
            served.start()
            end = threading.Event()
            threads = [
                threading.Thread(target=_ask, args=(served.url, f"{turn}-{n}", seen, end)) for n in range(clients)
            ]
            for thread in threads:
                thread.start()
            _wait_for_load(seen, seen.outcomes["answered"] + clients)
            time.sleep(chance.uniform(0.0, 0.3))
            asked = time.monotonic()
            served.send(signal.SIGTERM)
            codes[served.wait()] += 1
            took.append(time.monotonic() - asked)
            end.set()
            for thread in threads:
                thread.join()
        read = {line.get("request_id") for line in served.logged() if line.get("logger") == "llmrec.serve.access"}
        missing = _missing(served.store, seen.stored)
    lost = [request for request in seen.cut if request in read]
    well = set(codes) == {0} and not lost and not missing and not seen.wrong and seen.outcomes["answered"] > count
    return {
        "stops": count,
        "clients": clients,
        "seconds": round(time.monotonic() - begun, 1),
        "exit_codes": {str(code): number for code, number in codes.items()},
        "longest_stop_s": round(max(took), 2),
        "requests": dict(sorted(seen.outcomes.items())),
        "accepted_and_lost": len(lost),
        "acknowledged_events": len(seen.stored),
        "acknowledged_and_missing": missing,
        "wrong_answers": seen.wrong[:5],
        "passed": well,
    }


def _wait_for_load(seen: Seen, answered: int) -> None:
    """Until so many requests were answered."""
    until = time.monotonic() + PATIENCE_S
    while seen.outcomes["answered"] < answered:
        if time.monotonic() > until:
            raise RuntimeError("too little is answered")
        time.sleep(0.005)


def _ask(url: str, name: str, seen: Seen, end: threading.Event) -> None:
    """A client that asks until nobody is there any more; also after a refusal, as a careless one would."""
    number, gone = 0, 0
    keeps = int(name.rpartition("-")[2]) % 2 == 0
    limits = httpx2.Limits(max_keepalive_connections=1 if keeps else 0)
    with httpx2.Client(base_url=url, timeout=60.0, limits=limits) as client:
        while gone < 3 and not end.is_set():
            number += 1
            outcome = _once(client, f"r{name}-{number}", number, seen)
            gone += outcome in ("not reached", "cut")


def _once(client: httpx2.Client, request: str, number: int, seen: Seen) -> str:
    path, body = _wanted(request, number)
    headers = {"X-Request-ID": request, "Idempotency-Key": request}
    stored: list[str] = []
    wrong, begun = "", False
    try:
        with client.stream("POST", path, json=body, headers=headers) as answer:
            begun = True
            answer.read()
        outcome = "answered" if answer.status_code < 500 and answer.status_code != 429 else "refused"
        if answer.status_code == 200:
            stored = answer.json().get("event_ids", [])
        elif answer.status_code not in (429, 503):
            outcome, wrong = "wrong", f"{path}: {answer.status_code} {answer.text[:200]}"
    except (httpx2.ConnectError, httpx2.ConnectTimeout):
        outcome = "not reached"
    except httpx2.TransportError:
        outcome = "half" if begun else "cut"
    seen.note(outcome, request, stored, wrong)
    return outcome


def _wanted(request: str, number: int) -> tuple[str, dict[str, Any]]:
    match number % 3:
        case 0:
            return "/v1/interactions", {"events": [{"user_id": request, "item_id": f"i{number % 12}"}]}
        case 1:
            return "/v1/recommend", {"user_id": f"u{number % 20}", "k": 5}
    return "/v1/recommend", {"history": [f"i{number % 12}"], "k": 5, "log": False}


def _missing(url: str, stored: list[str]) -> int:
    """Acknowledged events that the store does not have exactly once."""
    from llmrec.serve.store import open_store

    with open_store(url) as store:
        there: Counter[str] = Counter()
        page = store.events_after(0)
        while page:
            there.update(event.event_id for event in page)
            page = store.events_after(page[-1].seq)
    return sum(there[event_id] != 1 for event_id in stored)
