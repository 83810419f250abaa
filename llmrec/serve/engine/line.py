"""The line in which requests wait: bounded, first come first served, and those that go together go together."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from llmrec.serve.asked import Asked
from llmrec.serve.config import EngineConfig
from llmrec.serve.engine.pace import Pace
from llmrec.serve.engine.reading import QueryRow
from llmrec.serve.live import Snapshot
from llmrec.serve.problems import TooMany
from llmrec.types import BoolArray

if TYPE_CHECKING:
    from llmrec.serve.engine.cascade import Run

__all__ = ["Line", "Ticket", "Wanted", "settle"]

LOG = logging.getLogger(__name__)

LONGEST_RETRY_S = 30.0

SLACK = 1.1
"""A request is only turned away from the line when it would take so many times as long as one that is let in."""


@dataclass(frozen=True, slots=True, eq=False)
class Wanted:
    """A request that was read.

    Attributes:
        snapshot: the recommender that answers it.
        asked: what is wanted.
        row: the same in rows of the catalog.
        allow: Bool[n_items], or None.
        key: what it must have in common with others to be answered by the same call.
    """

    snapshot: Snapshot
    asked: Asked
    row: QueryRow
    allow: BoolArray | None
    key: Hashable


@dataclass(slots=True, eq=False)
class Ticket:
    """A place in the line.

    Attributes:
        lane: of `Pace`.
        deadline: in seconds of the clock.
        entered: when it came.
        future: what its owner waits for; belongs to the owner's event loop.
        alone: whether nobody was before it.
        wanted: the request; None while it is read, and for other work.
        work: other work.
        history_s: what it took to read it.
        taken: when the worker took it; 0: not yet.
        run: how far the worker is; None: it has not begun.
        place: its row there.
    """

    lane: str
    deadline: float
    entered: float
    future: asyncio.Future[Any]
    alone: bool
    wanted: Wanted | None = None
    work: Callable[[], Any] | None = None
    history_s: float = 0.0
    taken: float = 0.0
    run: Run | None = None
    place: int = 0

    @property
    def tokens(self) -> int:
        """About how many tokens of text it has."""
        return 1 if self.wanted is None else self.wanted.row.tokens


@dataclass(slots=True)
class _Counts:
    refused: int = 0
    late: int = 0
    inside: Counter[str] = field(default_factory=Counter)


class Line:
    """Tickets of requests; safe for threads, and nobody holds its lock for longer than it takes to look through it."""

    def __init__(self, config: EngineConfig, pace: Pace, clock: Callable[[], float] = time.monotonic) -> None:
        """Make an empty line.

        Args:
            config: how many may wait, and be answered together.
            pace: foretells waits.
            clock: seconds that only grow.
        """
        self._config, self._pace, self._clock = config, pace, clock
        self._changed = threading.Condition()
        self._waiting: OrderedDict[int, Ticket] = OrderedDict()
        self._inside: set[int] = set()
        self._counts = _Counts()
        self._working = 0
        self._closed = False

    def enter(self, lane: str, deadline: float, future: asyncio.Future[Any]) -> Ticket:
        """Give out a place.

        Raises:
            TooMany: there is none, or the answer would come too late; after how long to come again.
        """
        with self._changed:
            now = self._clock()
            self._pace.arrived(lane)
            waiting = len(self._inside)
            if waiting >= self._config.queue:
                raise self._refusal("all places are taken", 0.0)
            self._counts.inside[lane] += 1
            expected = self._pace.expected(self._counts.inside)
            self._counts.inside[lane] -= 1
            busy = waiting or self._working
            if busy and expected > min(deadline - now, self._patience(lane)):
                raise self._refusal("an answer would take too long", self._patience(lane))
            ticket = Ticket(lane, deadline, now, future, alone=not busy)
            self._inside.add(id(ticket))
            self._counts.inside[lane] += 1
            return ticket

    def put(self, ticket: Ticket) -> None:
        """Let a ticket wait for the worker, unless its owner has left meanwhile."""
        with self._changed:
            if id(ticket) in self._inside:
                self._waiting[id(ticket)] = ticket
                self._changed.notify()

    def leave(self, ticket: Ticket) -> None:
        """Free the place of a ticket whose owner has gone; nothing where it is free already."""
        with self._changed:
            self._free(ticket)

    def take(self, timeout: float) -> list[Ticket] | None:
        """Return tickets that are answered together, the oldest first; waits only while there is none.

        Returns:
            At least one ticket, all of one key; None after so many seconds, or when the line is closed.
        """
        with self._changed:
            if not self._waiting and not self._closed:
                self._changed.wait(timeout)
            self._turn_away()
            if not self._waiting:
                return None
            first = next(iter(self._waiting.values()))
            mates = [ticket for ticket in self._waiting.values() if ticket is not first and self._fits(first, ticket)]
            batch = self._batched(first, mates)
            now = self._clock()
            for ticket in batch:
                self._free(ticket)
                ticket.taken = now
            self._working = len(batch)
            self._pace.began(first.lane, len(batch), len(mates) + 1)
            return batch

    def done(self, lane: str, size: int, *, well: bool) -> None:
        """Say that the worker is done with what it took."""
        with self._changed:
            self._working = 0
            if well:
                self._pace.ended(lane, size)
            else:
                self._pace.dropped()

    def close(self) -> list[Ticket]:
        """Wake the worker for the last time, and return who still waits."""
        with self._changed:
            left = list(self._waiting.values())
            for ticket in left:
                self._free(ticket)
            self._closed = True
            self._changed.notify_all()
            return left

    @property
    def is_closed(self) -> bool:
        """Whether nothing comes any more."""
        return self._closed

    def sizes(self) -> tuple[int, int, int, int]:
        """How many wait, are worked on, were refused, and came too late."""
        with self._changed:
            return len(self._inside), self._working, self._counts.refused, self._counts.late

    def note_late(self) -> None:
        """Count one that came too late."""
        with self._changed:
            self._counts.late += 1

    def _patience(self, lane: str) -> float:
        return self._pace.patience([lane, *(one for one, count in self._counts.inside.items() if count)])

    def _longest_wait(self, lane: str) -> float:
        """How long one may have waited and still be begun: the work itself must fit, or about half the time is for it.

        Without that half, batches that took long once would keep every later one from showing that it does not.
        """
        patience = SLACK * self._patience(lane)
        return max(patience - self._pace.takes(lane, 1), 0.45 * patience)

    def _refusal(self, why: str, patience: float) -> TooMany:
        self._counts.refused += 1
        after = self._pace.expected(self._counts.inside)
        wait = after if patience == 0.0 or after <= patience else after - patience
        return TooMany(f"too many requests: {why}", min(LONGEST_RETRY_S, max(0.05, wait)))

    def _free(self, ticket: Ticket) -> None:
        self._waiting.pop(id(ticket), None)
        if id(ticket) in self._inside:
            self._inside.discard(id(ticket))
            self._counts.inside[ticket.lane] -= 1

    def _turn_away(self) -> None:
        """Drop who is too late, and in an overload who has waited longer than anybody should."""
        now, overloaded = self._clock(), self._pace.overloaded
        for ticket in list(self._waiting.values()):
            if ticket.deadline <= now:
                self._free(ticket)  # its owner knows, or will in a moment, by the clock
            elif overloaded and now - ticket.entered > self._longest_wait(ticket.lane):
                self._free(ticket)
                refusal = self._refusal("the line does not get shorter", 0.0)
                settle([ticket], [refusal])

    def _fits(self, first: Ticket, other: Ticket) -> bool:
        """Whether two are answered by one call: alike in kind, and in whether they have time for all stages."""
        if first.wanted is None or other.wanted is None or first.wanted.key != other.wanted.key:
            return False
        return self._in_a_hurry(first) == self._in_a_hurry(other)

    def _in_a_hurry(self, ticket: Ticket) -> bool:
        return ticket.deadline - self._clock() < 2 * self._pace.takes(ticket.lane, self._config.batch)

    def _batched(self, first: Ticket, mates: list[Ticket]) -> list[Ticket]:
        """The first, and those nearest to it in length, as many as the budget of padded tokens lets in."""
        batch, longest, most = [first], first.tokens, self._pace.most(first.lane)
        for ticket in sorted(mates, key=lambda one: abs(one.tokens - first.tokens)):
            longest = max(longest, ticket.tokens)
            if len(batch) >= most or longest * (len(batch) + 1) > self._config.batch_tokens:
                break
            batch.append(ticket)
        return batch


def settle(tickets: Sequence[Ticket], outcomes: Sequence[Any]) -> None:
    """Hand each ticket's owner a result, or an exception, on its own event loop; from any thread.

    Owners that have gone are passed over. Each event loop is woken once.
    """
    loops: dict[asyncio.AbstractEventLoop, list[tuple[asyncio.Future[Any], Any]]] = {}
    for ticket, outcome in zip(tickets, outcomes, strict=True):
        loops.setdefault(ticket.future.get_loop(), []).append((ticket.future, outcome))
    for loop, pairs in loops.items():
        try:
            loop.call_soon_threadsafe(_set, pairs)
        except RuntimeError:  # the loop was closed, and with it went who waited
            LOG.debug("%d answers came after the end", len(pairs))


def _set(pairs: Sequence[tuple[asyncio.Future[Any], Any]]) -> None:
    for future, outcome in pairs:
        if future.done():
            continue
        if isinstance(outcome, BaseException):
            future.set_exception(outcome)
        else:
            future.set_result(outcome)
