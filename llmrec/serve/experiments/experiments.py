"""The experiments of a service: which runs, who is in which variant, what it says."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol

from llmrec.serve.experiments.analysis import Outcome, analyse
from llmrec.serve.experiments.assign import variant_of
from llmrec.serve.experiments.experiment import Assignment, Experiment, Kind
from llmrec.serve.experiments.interleave import team_draft
from llmrec.serve.experiments.report import Report
from llmrec.serve.problems import Conflict, NotFound, Unavailable, Unprocessable

__all__ = ["ExperimentStore", "Experiments"]

SPACE = "experiments"


class ExperimentStore(Protocol):
    """What is needed of the store."""

    def put_value(self, space: str, name: str, value: Mapping[str, Any], *, expect_absent: bool = False) -> None:
        """Keep a value; with `expect_absent`, atomically, or raise `Conflict` where there is one."""

    def values(self, space: str) -> dict[str, Mapping[str, Any]]:
        """All values of a space by name."""

    def outcomes(self, experiment: str, *, after_seq: int = 0) -> Sequence[Outcome]:
        """What became of the lists of an experiment."""


class Experiments:
    """Experiments of a store. At most one runs at a time. Thread-safe, also between processes of one store.

    Experiments are numbered, and a new one takes the next number only where nobody else has: of two that are
    created at once, one is refused, without a lock.
    """

    def __init__(
        self,
        store: ExperimentStore,
        models_aliases: Callable[[], Collection[str]] | None = None,
        *,
        refresh_s: float = 1.0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Make it.

        Args:
            store: where experiments are kept.
            models_aliases: gives the aliases that are served now; None: not known, and not checked.
            refresh_s: `assign` reads the store anew where it was read longer ago, in seconds; that is how an
                experiment of another process is noticed. Infinite: only `refresh` reads.
            clock: seconds since the epoch.
        """
        self._store = store
        self._aliases = models_aliases
        self._refresh_s = refresh_s
        self._clock = clock
        self._reading = threading.Lock()  # held by the one thread that reads; others go on with what is known
        self._read = -float("inf")
        self._running: Experiment | None = None

    def create(
        self, name: str, variants: Mapping[str, str], *, weights: Mapping[str, float] | None = None, kind: Kind = "ab"
    ) -> Experiment:
        """Start an experiment.

        Args:
            name: never used before.
            variants: a name to the alias of its pipeline; the others are compared with the first.
            weights: a name to its share of people, in any unit; None: the same for all.
            kind: "ab" or "interleave".

        Raises:
            Conflict: the name was used, another experiment runs, or somebody created one at the same moment.
            Unprocessable: a name, alias, kind or weight does not fit.
        """
        experiment = Experiment(
            name, dict(variants), _shares(variants, weights), secrets.token_hex(8), kind, created=self._clock()
        )
        served = self._aliases() if self._aliases is not None else variants.values()
        if missing := sorted(set(variants.values()) - set(served)):
            raise Unprocessable(f"no alias {missing[0]!r} is served; there are: {', '.join(sorted(served))}")
        there = self.list()
        if any(other.name == name for other in there):
            raise Conflict(f"there is an experiment {name!r} already, running or stopped; choose another name")
        if running := next((other for other in there if other.state == "running"), None):
            raise Conflict(f"experiment {running.name!r} is running, and only one runs at a time; stop it first")
        # Who read the same list takes the same number, and the store gives it to one of them.
        self._store.put_value(SPACE, _number(len(there)), experiment.to_dict(), expect_absent=True)
        self.refresh()
        return experiment

    def stop(self, name: str) -> Experiment:
        """End an experiment for good; one that has ended stays as it is.

        Raises:
            NotFound: there is none of this name.
        """
        number, experiment = self._find(name)
        if experiment.state == "stopped":
            return experiment
        stopped = replace(experiment, state="stopped", stopped=self._clock())
        self._store.put_value(SPACE, _number(number), stopped.to_dict())
        self.refresh()
        return stopped

    def list(self) -> list[Experiment]:
        """Return all experiments, oldest first."""
        return [Experiment.from_dict(value) for _, value in sorted(self._store.values(SPACE).items())]

    def get(self, name: str) -> Experiment:
        """Return an experiment.

        Raises:
            NotFound: there is none of this name.
        """
        return self._find(name)[1]

    def refresh(self) -> None:
        """Read which experiment runs; blocks for the store.

        Raises:
            Unavailable: the store does not answer.
        """
        running = next((one for one in self.list() if one.state == "running"), None)
        self._running, self._read = running, time.monotonic()

    def assign(self, unit: str | None) -> Assignment | None:
        """Return what a request is given; the same unit is given the same variant for as long as it runs.

        May read the store (see `refresh_s`), and then blocks for it. Where the store does not answer, what was read
        last still holds.

        Args:
            unit: the user's id, or the key of an anonymous visitor; None: nobody to tell from others.

        Returns:
            None where nothing runs, there is no unit, or an alias of the experiment is not served here. In the last
            case nobody is in it, since a share that is missing would bias it.
        """
        experiment = self._current()
        if experiment is None or not unit:
            return None
        if self._aliases is not None and not set(experiment.variants.values()) <= set(self._aliases()):
            return None
        if experiment.kind == "interleave":
            both, aliases = tuple(experiment.variants), tuple(experiment.variants.values())
            return Assignment(experiment.name, "interleave", None, both, aliases)
        variant = variant_of(experiment.weights, experiment.salt, unit)
        return Assignment(experiment.name, "ab", variant, (variant,), (experiment.variants[variant],))

    def interleave(
        self, a: Sequence[str], b: Sequence[str], k: int, seed: int, names: tuple[str, ...] | None = None
    ) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Draw a list from two, and say of each item for whom it counts; see `team_draft`.

        Args:
            a: item ids of the first variant, best first.
            b: of the second.
            k: items wanted.
            seed: of the draw; one of its own for each list.
            names: `Assignment.variants`; None: of the experiment that is known to run.
        """
        running = self._running
        if names is None:
            names = tuple(running.variants) if running is not None and running.kind == "interleave" else ("a", "b")
        first, second = names
        return team_draft(a, b, k, seed, (first, second))

    def report(self, name: str) -> Report:
        """Say what an experiment says so far; see `analyse`.

        Raises:
            NotFound: there is none of this name.
        """
        experiment = self.get(name)
        return analyse(experiment, self._store.outcomes(name))

    def _find(self, name: str) -> tuple[int, Experiment]:
        """An experiment and its number."""
        for number, experiment in enumerate(self.list()):
            if experiment.name == name:
                return number, experiment
        raise NotFound(f"there is no experiment {name!r}")

    def _current(self) -> Experiment | None:
        if time.monotonic() - self._read >= self._refresh_s and self._reading.acquire(blocking=False):
            try:
                self.refresh()
            except Unavailable:
                self._read = time.monotonic()
            finally:
                self._reading.release()
        return self._running


def _shares(variants: Iterable[str], weights: Mapping[str, float] | None) -> dict[str, float]:
    """Weights that add up to 1, in the order of the variants; wrong ones are left to the experiment to refuse."""
    given = dict.fromkeys(variants, 1.0) if weights is None else dict(weights)
    total = sum(given.values())
    if total > 0:
        given = {name: weight / total for name, weight in given.items()}
    return {name: given.pop(name) for name in variants if name in given} | given


def _number(count: int) -> str:
    return f"{count:08d}"
