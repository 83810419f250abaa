"""What came of a search: its trials, the best of them, and what mattered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from llmrec.config import Config
from llmrec.evaluate import Interval, ProtocolCard
from llmrec.tune.places import Place, locate

__all__ = ["Trial", "TuneResult", "best_of"]


@dataclass(frozen=True, slots=True)
class Trial:
    """One setting of the pipeline, fitted and measured, or failed.

    Attributes:
        number: 0 is the pipeline as it stands.
        values: what was set, by path; None where the pipeline as it stands says nothing.
        metrics: mean over users and 95% interval by name, such as "NDCG@10"; empty if it failed.
        seconds: how long fitting and measuring took.
        error: why it failed, or "".
    """

    number: int
    values: Mapping[str, Any]
    metrics: Mapping[str, Interval] = field(default_factory=dict)
    seconds: float = 0.0
    error: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "number": self.number,
            "values": dict(self.values),
            "metrics": {name: found.to_dict() for name, found in self.metrics.items()},
            "seconds": self.seconds,
            "error": self.error,
        }

    @classmethod
    def from_dict(cls, found: Mapping[str, Any]) -> Trial:
        """Rebuild what `to_dict` returned."""
        metrics = {name: Interval(**interval) for name, interval in found["metrics"].items()}
        return cls(found["number"], found["values"], metrics, found["seconds"], found["error"])


@dataclass(frozen=True, slots=True)
class TuneResult:
    """What a search found.

    Attributes:
        metric: what was searched for, such as "NDCG@10".
        trials: all of them, in order.
        best: the one with the largest metric, the first of them if equal.
        config: the pipeline with its values.
        importance: share of each setting in being among the best trials, summing to 1; empty with few trials.
        card: how trials were measured.
    """

    metric: str
    trials: tuple[Trial, ...]
    best: Trial
    config: Config
    importance: Mapping[str, float]
    card: ProtocolCard

    def best_values(self) -> dict[Place, Any]:
        """The best values by their places in a configuration file."""
        values = self.best.values.items()
        return {locate(self.config, path): value for path, value in values if value is not None}

    def ranked(self) -> list[Trial]:
        """The trials, best first; those that failed last."""
        done = sorted((t for t in self.trials if not t.error), key=lambda t: (-t.metrics[self.metric].mean, t.number))
        return [*done, *(trial for trial in self.trials if trial.error)]

    def rows(self, count: int | None = None) -> list[list[str]]:
        """A table of the best trials, and always of the pipeline as it stands (trial 0); the first row is the header.

        Args:
            count: at most so many, and trial 0; None: all.
        """
        paths = list(self.trials[0].values)
        table = [["rank", "trial", self.metric, "95% interval", "seconds", *paths]]
        for rank, trial in enumerate(self.ranked(), start=1):
            if count is None or rank <= count or trial.number == 0:
                table.append([*_cells(trial, rank, self.metric), *(_shown(trial.values[path]) for path in paths)])
        return table

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON, in a fixed order."""
        return {
            "metric": self.metric,
            "best": self.best.to_dict(),
            "trials": [trial.to_dict() for trial in self.trials],
            "importance": dict(self.importance),
            "protocol": self.card.to_dict(),
        }


def best_of(trials: Sequence[Trial], metric: str) -> Trial | None:
    """The trial with the largest metric, the first of them if equal; None: all failed."""
    done = [trial for trial in trials if not trial.error]
    return max(done, key=lambda trial: trial.metrics[metric].mean, default=None)


def _cells(trial: Trial, rank: int, metric: str) -> list[str]:
    if trial.error:
        return ["-", str(trial.number), "failed", "-", f"{trial.seconds:.1f}"]
    found = trial.metrics[metric]
    interval = f"{found.low:.4f} .. {found.high:.4f}"
    return [str(rank), str(trial.number), f"{found.mean:.4f}", interval, f"{trial.seconds:.1f}"]


def _shown(value: Any) -> str:
    return f"{value:.12g}" if isinstance(value, float) else "-" if value is None else str(value)
