"""The async front of the engine: places in the line, deadlines, and a worker that is replaced when it dies."""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from llmrec.errors import LlmrecError
from llmrec.serve.asked import Asked
from llmrec.serve.config import ServeConfig
from llmrec.serve.engine.answer import Answer
from llmrec.serve.engine.breaker import Stages
from llmrec.serve.engine.cascade import Cascade, check_asked, common_k
from llmrec.serve.engine.filters import Masks
from llmrec.serve.engine.line import Line, Ticket, Wanted, settle
from llmrec.serve.engine.pace import Pace
from llmrec.serve.engine.reading import read_request
from llmrec.serve.engine.worker import Worker
from llmrec.serve.live import Models, Snapshot, told
from llmrec.serve.problems import Broken, Problem, TooLate, Unavailable
from llmrec.serve.views import EngineView

if TYPE_CHECKING:
    from llmrec.serve.store import Store

__all__ = ["Engine"]

LOG = logging.getLogger(__name__)

T = TypeVar("T")

READERS = 4
"""Threads that ask the store for pasts, and make do with fewer stages where a deadline is near."""

WATCH_S = 0.1
"""How often the worker is looked after."""

NEAR = 0.25
NEAR_S = 0.25
"""The last quarter of a deadline, a quarter of a second at most, is kept for a list without the later stages."""

SWITCH_S = 0.0005
"""Python threads take turns so often while the engine runs: at Python's own 5 ms, the worker and the event loop each
wait for the other's turn to end many times within one batch."""

AT_ONCE = 200
"""Ids that are looked up on the event loop; more are a thread's work."""


class Engine:
    """Answers requests: an async front, and one worker thread. All methods belong to one event loop."""

    def __init__(self, models: Models, store: Store, config: ServeConfig) -> None:
        """Make one; `start` starts it.

        Args:
            models: the recommenders.
            store: what the models read from; the engine itself asks it for nothing.
            config: places, batches and deadlines.
        """
        self._models, self._config = models, config.engine
        self._pace = Pace(config.engine.batch, time.monotonic)
        self._line = Line(config.engine, self._pace)
        self._stages = Stages(time.monotonic)
        self._cascade = Cascade(self._stages, degrade=config.engine.degrade)
        self._masks = Masks()
        self._latencies: deque[float] = deque(maxlen=1000)
        self._answered = self._degraded = self._restarts = 0
        self._open = False
        self._switch_s = sys.getswitchinterval()
        self._worker: Worker | None = None
        self._replacing = threading.Lock()
        self._watch: asyncio.Task[None] | None = None
        self._readers: ThreadPoolExecutor | None = None

    async def start(self) -> None:
        """Begin to answer."""
        self._readers = ThreadPoolExecutor(READERS, "llmrec-reader")
        self._switch_s = sys.getswitchinterval()
        sys.setswitchinterval(min(SWITCH_S, self._switch_s))
        self._new_worker()
        self._watch = asyncio.create_task(self._watched())
        self._open = True

    async def stop(self) -> None:
        """Take no more requests, answer those that were accepted as long as `drain_s` allows, and end."""
        self._open = False
        until = time.monotonic() + self._config.drain_s
        while any(self._line.sizes()[:2]) and time.monotonic() < until:
            await asyncio.sleep(0.01)
        if self._watch is not None:
            self._watch.cancel()
            await asyncio.gather(self._watch, return_exceptions=True)
        left = [*self._line.close(), *(self._worker.give_up() if self._worker is not None else ())]
        settle(left, [Unavailable("the service stops", 1.0)] * len(left))
        if self._worker is not None:
            await asyncio.to_thread(self._worker.join, 1.0)
        if self._readers is not None:
            self._readers.shutdown(wait=False, cancel_futures=True)
            self._readers = None
            sys.setswitchinterval(self._switch_s)

    async def ask(self, asked: Asked) -> Answer:
        """Answer a request; cancelling frees its place at once.

        Raises:
            NotFound: there is no such alias, or no item whose like is wanted.
            Unprocessable: the recommender cannot do what is asked, or does not know an item.
            TooMany: the line is full, or too long for the deadline; says when to come again.
            TooLate: the deadline passed.
            Unavailable: the engine stops, or what worked on it died.
            Broken: it is our fault.
        """
        snapshot = self._models.snapshot(asked.alias)
        check_asked(snapshot, asked)
        ticket = self._ticket(f"{asked.alias}/{asked.kind}", asked.deadline)
        try:
            ticket.wanted = await self._read(ticket, snapshot, asked)
            ticket.history_s = time.monotonic() - ticket.entered
            self._line.put(ticket)
            answer = await self._outcome(ticket, asked.k)
        finally:
            self._line.leave(ticket)
            ticket.future.cancel()
        return self._counted(ticket, answer)

    async def run(self, work: Callable[[], T], *, deadline: float = 0.0) -> T:
        """Do other work on the worker, in its turn: an explanation, a trace.

        Args:
            work: called once on the worker's thread, with nothing else beside it; must end by itself.
            deadline: in seconds of `time.monotonic`; 0: as configured.

        Raises:
            Exception: whatever of llmrec's own errors the work raises; and as `ask` does.
        """
        ticket = self._ticket("work", deadline)
        ticket.work = work
        try:
            self._line.put(ticket)
            done: T = await self._by_deadline(ticket, ticket.future)
            return done
        finally:
            self._line.leave(ticket)
            ticket.future.cancel()

    def state(self) -> EngineView:
        """Say how it does."""
        waiting, working, refused, late = self._line.sizes()
        seen = np.array(self._latencies or [0.0])
        return EngineView(
            waiting=waiting,
            working=working,
            queue=self._config.queue,
            answered=self._answered,
            refused=refused,
            late=late,
            degraded=self._degraded,
            restarts=self._restarts,
            latency={f"p{share}": 1000 * float(np.percentile(seen, share)) for share in (50, 95, 99)},
            stages=self._stages.milliseconds(),
        )

    def _ticket(self, lane: str, deadline: float) -> Ticket:
        if not self._open:
            raise Unavailable("the service does not take requests now", 1.0)
        now = time.monotonic()
        until = min(deadline or now + self._config.deadline_ms / 1000, now + self._config.longest_deadline_ms / 1000)
        if until <= now:
            self._line.note_late()
            raise TooLate("the deadline had passed when the request came")
        return self._line.enter(lane, until, asyncio.get_running_loop().create_future())

    async def _read(self, ticket: Ticket, snapshot: Snapshot, asked: Asked) -> Wanted:
        """Turn ids into rows; on another thread where that takes the store, or long."""
        at_hand = asked.user_id is None or self._models.past_at_hand(snapshot, asked.user_id) is not None
        short = len(asked.history or ()) + len(asked.exclude) <= AT_ONCE
        if at_hand and short and asked.allow is None and not asked.filters:
            return self._wanted(snapshot, asked)
        reading = asyncio.get_running_loop().run_in_executor(self._readers, self._wanted, snapshot, asked)
        wanted: Wanted = await self._by_deadline(ticket, reading)
        return wanted

    def _wanted(self, snapshot: Snapshot, asked: Asked) -> Wanted:
        past = None if asked.user_id is None else self._models.past(snapshot, asked.user_id)
        row = read_request(snapshot, asked, past)
        mask_key, allow = self._masks.get(snapshot, asked)
        k = common_k(snapshot.recommender, asked)
        key = (snapshot.alias, snapshot.version, asked.kind, k, asked.diversity, mask_key, row.shape)
        return Wanted(snapshot, asked, row, allow, key)

    async def _outcome(self, ticket: Ticket, k: int) -> Answer:
        """The answer; near the deadline one without the stages that are not done."""
        left = ticket.deadline - time.monotonic()
        if self._config.degrade:
            await asyncio.wait([ticket.future], timeout=max(0.0, left - min(NEAR_S, NEAR * left)))
            run = ticket.run
            if not ticket.future.done() and run is not None and 0 < len(run.traces) < len(run.names):
                self._stages.failed(run.snapshot.alias, run.names[len(run.traces)])
                rescued = await self._rescued(ticket, k)
                if rescued is not None:
                    return rescued
        answer: Answer = await self._by_deadline(ticket, ticket.future)
        return answer

    async def _rescued(self, ticket: Ticket, k: int) -> Answer | None:
        """The list of the stages that are done; None where that is not to be had, or the whole one came meanwhile."""
        run = ticket.run
        if run is None:
            return None
        rescue = asyncio.get_running_loop().run_in_executor(self._readers, run.rescued, ticket, k)
        left = ticket.deadline - time.monotonic()
        await asyncio.wait([ticket.future, rescue], timeout=max(0.0, left), return_when=asyncio.FIRST_COMPLETED)
        if rescue.done() and rescue.exception() is None:
            return rescue.result()
        rescue.add_done_callback(lambda done: done.cancelled() or done.exception())
        return None

    async def _by_deadline(self, ticket: Ticket, future: asyncio.Future[Any]) -> Any:
        """What a future brings, if it does so in time."""
        left = ticket.deadline - time.monotonic()
        done, _ = await asyncio.wait([future], timeout=max(0.0, left))
        if not done:
            future.cancel()
            self._line.note_late()
            raise TooLate("the deadline passed before there was an answer")
        if future.cancelled():
            raise Unavailable("the service stops", 1.0)
        error = future.exception()
        if error is None or isinstance(error, Problem) or (ticket.work is not None and isinstance(error, LlmrecError)):
            return future.result()
        LOG.error("a request failed: %s", told(error))
        raise Broken("something went wrong here; the log says what") from error

    def _counted(self, ticket: Ticket, answer: Answer) -> Answer:
        total = time.monotonic() - ticket.entered
        self._latencies.append(total)
        self._answered += 1
        self._degraded += answer.degraded
        if ticket.alone and not answer.degraded:
            self._pace.alone(ticket.lane, total)
        return replace(answer, timings={**answer.timings, "total": total})

    def _new_worker(self) -> None:
        self._worker = Worker(self._line, self._cascade, settle, self._replaced)
        self._worker.start()

    def _replaced(self, worker: Worker) -> None:
        """Start another worker in the place of one that is lost; what that one worked on is lost too."""
        with self._replacing:
            if worker is not self._worker:
                return
            lost = worker.give_up()
            if lost:
                self._line.done(lost[0].lane, len(lost), well=False)
            self._restarts += 1
            self._new_worker()
        settle(lost, [Unavailable("what worked on it was lost; ask again", 1.0)] * len(lost))

    async def _watched(self) -> None:
        """Look after the worker for ever."""
        while True:
            await asyncio.sleep(WATCH_S)
            worker = self._worker
            if worker is not None and (not worker.is_alive() or worker.is_stuck(self._config.stuck_s)):
                LOG.critical("the worker %s; another is started", "is stuck" if worker.is_alive() else "is dead")
                self._replaced(worker)
