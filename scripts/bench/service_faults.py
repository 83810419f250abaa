"""The whole service as a process of its own, under faults. Prints JSON; exit code 1 where something was lost.

- `kill`: SIGKILL while clients post events and clicks, and a restart, `--count` times. Clients ask again, with the same
  idempotency key, until they are told. Every acknowledged event must be in the store, none twice.
- `stop`: SIGTERM under load, `--count` times. Every request must be answered, refused, or never have been read;
  the exit code must be 0.
- `swap`: another bundle of other items, rollbacks and new items under load, for `--seconds`. There must be no error,
  and bundle, items and texts of an answer must go together.
- `fresh`: `--count` items put while others ask, each timed until an answer holds it; dismissed items, looked for in
  `--further` answers; and both again after a stop and after a kill.

Processes are forked from one that has imported everything, which saves the seconds that Python needs for that;
`--cold` starts Python anew each time, as a supervisor does.

Run: python scripts/bench/service_faults.py kill|stop|swap|fresh [--count N] [--seconds S] [--cold] [--seed 0]
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

from _faults_fresh import fresh
from _faults_kill import kill
from _faults_stop import stop
from _faults_swap import swap

__all__ = ["fresh", "kill", "main", "stop", "swap"]

COUNTS = {"kill": 100, "stop": 30, "swap": 0, "fresh": 100}
CLIENTS = {"kill": 4, "stop": 8, "swap": 4, "fresh": 3}


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description="The whole service under faults; prints JSON.")
    parser.add_argument("fault", choices=sorted(COUNTS))
    parser.add_argument("--count", type=int, default=None, help="kills, stops, items, or reloads at least")
    parser.add_argument("--clients", type=int, default=None)
    parser.add_argument("--seconds", type=float, default=60.0, help="of swap")
    parser.add_argument("--further", type=int, default=1_000, help="lists after a dismissal, of fresh")
    parser.add_argument("--cold", action="store_true", help="start Python anew for each process")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    count = COUNTS[given.fault] if given.count is None else given.count
    clients = given.clients or CLIENTS[given.fault]
    with tempfile.TemporaryDirectory() as made:
        folder, seed, cold = Path(made), given.seed, given.cold
        match given.fault:
            case "kill":
                found = kill(folder, count, clients=clients, seed=seed, cold=cold)
            case "stop":
                found = stop(folder, count, clients=clients, seed=seed, cold=cold)
            case "swap":
                found = swap(folder, given.seconds, count=count, clients=clients, seed=seed, cold=cold)
            case _:
                found = fresh(folder, count, further=given.further, clients=clients, cold=cold)
    print(json.dumps({"fault": given.fault, "cold": given.cold, **found}, indent=2))
    raise SystemExit(0 if found["passed"] else 1)


if __name__ == "__main__":
    main()
