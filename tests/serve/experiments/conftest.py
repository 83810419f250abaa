"""A store that keeps experiments in memory."""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass, field

import pytest

from llmrec.serve.problems import Conflict, Unavailable


@dataclass(frozen=True)
class Outcome:
    """As the store has it."""

    user_id: str | None
    variant: str
    impressions: int
    clicks: int = 0
    conversions: int = 0
    source_clicks: dict[str, int] = field(default_factory=dict)


class MemoryStore:
    """What experiments need of a store; thread-safe, as the real one."""

    def __init__(self):
        self.kept, self.rows, self.reads, self.down = {}, {}, 0, False
        self.lock, self.gate = threading.Lock(), None

    def put_value(self, space, name, value, *, expect_absent=False):
        if self.gate is not None:
            self.gate.wait(timeout=30)
        with self.lock:
            if expect_absent and (space, name) in self.kept:
                raise Conflict("there is one")
            self.kept[space, name] = json.dumps(value)

    def values(self, space):
        if self.down:
            raise Unavailable("no")
        with self.lock:
            self.reads += 1
            return {name: json.loads(value) for (of, name), value in self.kept.items() if of == space}

    def outcomes(self, experiment, *, after_seq=0):
        return self.rows.get(experiment, [])

    def close(self):
        pass


@pytest.fixture
def store():
    return MemoryStore()


@pytest.fixture
def outcome():
    return Outcome
