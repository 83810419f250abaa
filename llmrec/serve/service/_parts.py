"""What the parts of the service share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from llmrec.serve.config import ServeConfig
from llmrec.serve.service._blocking import Blocking
from llmrec.serve.service._coverage import Coverage
from llmrec.serve.service._drift import Drift
from llmrec.serve.service._gate import Gate
from llmrec.serve.service.jobs import JobBook

if TYPE_CHECKING:
    from llmrec.serve.engine import Engine
    from llmrec.serve.experiments import Experiments
    from llmrec.serve.learn import Learner
    from llmrec.serve.live import Models
    from llmrec.serve.store import Store

__all__ = ["Parts"]

THREADS, WAITING = 16, 512
"""Of what waits for the database."""

SLOW_THREADS, SLOW_WAITING = 2, 32
"""Of what loads bundles and embeds items."""


@dataclass(frozen=True, slots=True, eq=False)
class Parts:
    """Everything the service is made of.

    Attributes:
        config: its settings.
        store: what is durable.
        models: the pipelines.
        engine: answers requests.
        learner: learns from events.
        experiments: assign variants.
        clock: seconds since the epoch.
        blocking: does what waits for the database.
        slow: does what takes long.
        gate: keeps requests of a user apart from the user's erasure.
        drift: of inputs.
        coverage: of catalogs.
        job_book: begins jobs, and buries those that nobody works on.
    """

    config: ServeConfig
    store: Store
    models: Models
    engine: Engine
    learner: Learner
    experiments: Experiments
    clock: Callable[[], float]
    blocking: Blocking
    slow: Blocking
    gate: Gate
    drift: Drift
    coverage: Coverage
    job_book: JobBook

    @classmethod
    def of(
        cls,
        config: ServeConfig,
        store: Store,
        models: Models,
        engine: Engine,
        learner: Learner,
        experiments: Experiments,
        clock: Callable[[], float],
    ) -> Parts:
        """Put parts together with what belongs to the service alone."""
        return cls(
            config=config,
            store=store,
            models=models,
            engine=engine,
            learner=learner,
            experiments=experiments,
            clock=clock,
            blocking=Blocking("llmrec-service", THREADS, WAITING),
            slow=Blocking("llmrec-slow", SLOW_THREADS, SLOW_WAITING),
            gate=Gate(),
            drift=Drift(clock),
            coverage=Coverage(),
            job_book=JobBook(store, clock),
        )
