"""The learner: a thread that brings the recommenders in use up to date with what users do."""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from llmrec.pipeline import Recommender
from llmrec.serve.config import ServeConfig
from llmrec.serve.learn.increment import Increment, fitted_seq, learned_seq, learners, prepared
from llmrec.serve.learn.logs import positives
from llmrec.serve.problems import NotFound

if TYPE_CHECKING:
    from llmrec.serve.live import Models
    from llmrec.serve.store import Store

__all__ = ["Learner"]

BATCH = 5_000
"""Events learned at once: what a step costs goes with the items they touch more than with their number."""

MOST_EVENTS = 10_000
"""Events of one user that are read: who does more is hardly a person, and is learned as if the oldest were not."""

REST = 4.0
"""Rest after a step, in times of its length: learning takes a fifth of one core at most."""

LONGEST_REST = 60.0
"""Seconds between tries after failures."""


class Learner:
    """Keeps popularity and item neighbours of every alias up to date with the store's events.

    A thread of its own works a step at a time and rests longer than it worked. A step that fails is logged, without
    what it was about, and tried again later; requests go on with what was learned before. All methods may be called
    from any thread.

    Args:
        store: where events come from.
        models: the recommenders in use; what a step learned is put there through `change`.
        config: its `learn` says which kinds count, and how often to look.
    """

    def __init__(self, store: Store, models: Models, config: ServeConfig) -> None:
        self._store, self._models, self._config = store, models, config.learn
        self._one_step = threading.Lock()
        self._wake, self._stop = threading.Event(), threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin to learn, if the settings say so; nothing if it runs."""
        if not self._config.incremental or (self._thread is not None and self._thread.is_alive()):
            return
        self._stop.clear()
        self._thread = threading.Thread(target=self._run, name="llmrec-learner", daemon=True)
        self._thread.start()

    def stop(self, timeout: float = 10.0) -> None:
        """Stop after the step that is under way; waits for it at most so many seconds."""
        self._stop.set()
        self._wake.set()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(timeout)

    def wake(self) -> None:
        """Say that there are events, so that it does not wait until it would look for them."""
        self._wake.set()

    def step(self) -> int:
        """Learn what came next, a batch for each alias.

        Returns:
            How many events were looked at, over all aliases; 0: everything is learned.

        Raises:
            Exception: whatever went wrong with an alias, after all others had their turn.
        """
        if not self._config.incremental:
            return 0
        with self._one_step:
            learned, failed = 0, None
            for alias in self._models.aliases():
                try:
                    learned += self._step_of(alias)
                except NotFound:  # taken away meanwhile
                    continue
                except Exception as error:  # noqa: BLE001 - one alias must not keep the others from learning
                    failed = error
            if failed is not None:
                raise failed
            return learned

    def lag(self) -> int:
        """How many events the alias that is furthest behind has not learned yet; 0 where nothing learns."""
        if not self._config.incremental:
            return 0
        last = self._store.last_seq()
        return max(
            (last - seq for alias in self._models.aliases() if (seq := self._seq_of(alias)) is not None), default=0
        )

    def _seq_of(self, alias: str) -> int | None:
        try:
            recommender = self._models.snapshot(alias).recommender
        except NotFound:
            return None
        if not learners(recommender):
            return None
        seq = learned_seq(recommender)
        return fitted_seq(recommender) if seq is None else seq

    def _step_of(self, alias: str) -> int:
        """Learn a batch; all of the work is done before `change`, unless the recommender was changed meanwhile."""
        recommender = self._models.snapshot(alias).recommender
        if not learners(recommender):
            return 0
        if learned_seq(recommender) is None:
            self._models.change(alias, _Swap(recommender, prepared(recommender)).change)
            recommender = self._models.snapshot(alias).recommender
            if learned_seq(recommender) is None:  # it was changed meanwhile
                return 0
        found = self._increment(recommender)
        if found is None:
            return 0
        increment, count = found
        learned = _Swap(recommender, increment.learned_by(recommender), increment)
        self._models.change(alias, learned.change)
        return count

    def _increment(self, recommender: Recommender) -> tuple[Increment, int] | None:
        """Read what comes next from the store, and what its users did before."""
        start, fitted, kinds = learned_seq(recommender) or 0, fitted_seq(recommender), self._config.kinds
        events = self._store.events_after(start, BATCH)
        if not events:
            return None
        end = events[-1].seq
        users = sorted({event.user_id for event in positives(events, kinds) if event.user_id is not None})
        theirs = [event for user in users for event in self._store.user_events(user, after=fitted, limit=MOST_EVENTS)]
        known = sorted((event for event in positives(theirs, kinds) if event.seq <= end), key=lambda event: event.seq)
        erased = [self._store.erased_at_seq(user) for user in users]
        own = np.array([at is None or at < fitted for at in erased], dtype=np.bool_)
        return Increment(start, end, fitted, users, own, known, kinds), len(events)

    def _run(self) -> None:
        failures = 0
        while not self._stop.is_set():
            began = time.monotonic()
            self._wake.clear()
            try:
                learned = self.step()
                failures = 0
            except Exception as error:  # noqa: BLE001 - it must survive whatever happens
                learned, failures = 0, failures + 1
                # its text may hold ids; the class of the error does not
                _log().warning("learning failed (%s); try %d, it goes on later", type(error).__name__, failures)
            self._rest(time.monotonic() - began, learned, failures)

    def _rest(self, worked: float, learned: int, failures: int) -> None:
        every = self._config.every_s
        if failures:
            self._stop.wait(min(LONGEST_REST, every * 2.0 ** min(failures, 16)))
            return
        self._stop.wait(REST * worked)
        if not learned and not self._stop.is_set():
            self._wake.wait(every)
        elif not self._stop.is_set():
            self._stop.wait(every if learned < BATCH else 0.0)


@dataclass(frozen=True, slots=True, eq=False)
class _Swap:
    """A recommender, and what it is after some work.

    Attributes:
        before: it was made of this one.
        after: what is put in its place.
        increment: what was learned; None: it was made ready to learn.
    """

    before: Recommender
    after: Recommender
    increment: Increment | None = None

    def change(self, current: Recommender) -> Recommender:
        """Put `after` in the place of `before`; let another one learn the same, if it is its turn."""
        if current is self.before:
            return self.after
        if self.increment is None or not self.increment.fits(current):
            return current
        return self.increment.learned_by(current)


def _log() -> logging.Logger:
    return logging.getLogger("llmrec.serve.learn")
