"""The thread that does the work: one batch after the other, until it is told to stop, dies, or is given up."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from llmrec.serve.engine.cascade import Cascade
from llmrec.serve.engine.line import Line, Ticket
from llmrec.serve.live import told

__all__ = ["Worker"]

LOG = logging.getLogger(__name__)

BEAT_S = 0.5
"""An idle worker shows that it lives so often."""


class Worker:
    """One thread; torch and numpy let others run while it computes.

    Attributes:
        batch: what it works on; empty: it waits for work.
        beat: when it last began or ended something, in seconds of `time.monotonic`.
    """

    def __init__(
        self,
        line: Line,
        cascade: Cascade,
        settle: Callable[[Sequence[Ticket], Sequence[Any]], None],
        died: Callable[[Worker], None],
    ) -> None:
        """Make one; `start` starts it.

        Args:
            line: where work comes from.
            cascade: answers requests.
            settle: hands out results, or exceptions, one for each ticket.
            died: called from the dying thread when something escapes that no request may raise.
        """
        self._line, self._cascade, self._settle, self._died = line, cascade, settle, died
        self._given_up = False
        self._thread = threading.Thread(target=self._live, name="llmrec-worker", daemon=True)
        self.batch: Sequence[Ticket] = ()
        self.beat = time.monotonic()

    def start(self) -> None:
        """Begin to work."""
        self._thread.start()

    def is_stuck(self, stuck_s: float) -> bool:
        """Whether it has shown no sign of life for too long."""
        return time.monotonic() - self.beat > stuck_s

    def is_alive(self) -> bool:
        """Whether its thread runs."""
        return self._thread.is_alive()

    def give_up(self) -> Sequence[Ticket]:
        """Let it end when it can, and care no more for what it works on; returns that."""
        self._given_up = True
        return self.batch

    def join(self, timeout: float) -> None:
        """Wait for its end, so many seconds at most."""
        self._thread.join(timeout)

    def _live(self) -> None:
        try:
            while not self._given_up:
                self.beat = time.monotonic()
                batch = self._line.take(BEAT_S)
                if batch is not None:
                    self._work(batch)
                elif self._line.is_closed:
                    return
        except BaseException as error:  # noqa: BLE001 - a thread has nobody to raise to
            LOG.critical("the worker died of %s", told(error))
            if not self._given_up:
                self._died(self)

    def _work(self, batch: Sequence[Ticket]) -> None:
        self.batch, self.beat = batch, time.monotonic()
        outcomes = [_done(batch[0].work)] if batch[0].work is not None else self._cascade.answers(batch)
        if self._given_up:
            return
        self.batch, self.beat = (), time.monotonic()
        self._line.done(batch[0].lane, len(batch), well=True)
        self._settle(batch, outcomes)


def _done(work: Callable[[], Any]) -> Any:
    """The result of some work, or what it raised."""
    try:
        return work()
    except Exception as error:  # noqa: BLE001 - handed to whoever waits for it
        return error
