"""What an evaluation of one recommender found, and how several compare."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from llmrec.errors import ConfigError, DataError
from llmrec.evaluate.metrics import Float64Array, novelty_of
from llmrec.evaluate.protocol import ProtocolCard
from llmrec.evaluate.significance import Interval, PairedResult, holm, paired_test
from llmrec.evaluate.strata import Stratum
from llmrec.types import Int64Array

__all__ = ["Comparison", "Report", "compare_pairs", "comparisons"]


@dataclass(frozen=True, slots=True, eq=False)
class Report:
    """What an evaluation found.

    Attributes:
        card: how it was set up.
        metrics: mean over users and 95% interval by name, such as "NDCG@10".
        values: Float64[n] behind each of them, one per user, in the order of `user_rows`.
        totals: what describes all lists together: "coverage@10" and "gini@10" over the items ranked, "novelty@10".
        exposure: for each k, Int64[n_items]: in how many lists each item stood among the first k.
        user_rows: Int64[n], rows of the users in the log.
        n_short: users whose list had fewer items than the largest k.
        strata: groups of users by kind of grouping, "popularity" of the target and "history" length; see `add_strata`.
    """

    card: ProtocolCard
    metrics: Mapping[str, Interval]
    values: Mapping[str, Float64Array]
    totals: Mapping[str, float]
    exposure: Mapping[int, Int64Array]
    user_rows: Int64Array
    n_short: int
    strata: Mapping[str, tuple[Stratum, ...]] = field(default_factory=dict)

    def __str__(self) -> str:
        lines = [str(self.card)]
        lines += [f"{name}  {interval}" for name, interval in self.metrics.items()]
        lines += [f"{name}  {value:.4f}" for name, value in self.totals.items()]
        for kind, groups in self.strata.items():
            lines += [
                f"{name}, {kind} {group.label} ({group.n_users:,} users)  {interval}"
                for group in groups
                for name, interval in group.metrics.items()
            ]
        if self.n_short:
            lines.append(f"{self.n_short:,} lists are shorter than asked for; missing places are misses")
        return "\n".join(lines)

    def with_novelty(self, popularity: Int64Array) -> Report:
        """Return the report with "novelty@k" (bits) added to the totals.

        Args:
            popularity: Int64[n_items], training interactions of each item.

        Raises:
            DataError: there is not one count, 0 or more, per item.
        """
        novelty = {f"novelty@{k}": novelty_of(counts, popularity) for k, counts in self.exposure.items()}
        return replace(self, totals={**self.totals, **novelty})

    def with_strata(self, strata: Mapping[str, Sequence[Stratum]]) -> Report:
        """Return the report with these groups of users added, by kind of grouping."""
        return replace(self, strata={**self.strata, **{kind: tuple(groups) for kind, groups in strata.items()}})

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON, in a fixed order; without the values of single users."""
        return {
            "protocol": self.card.to_dict(),
            "metrics": {name: found.to_dict() for name, found in self.metrics.items()},
            "totals": dict(self.totals),
            "n_short": self.n_short,
            "strata": {kind: [group.to_dict() for group in groups] for kind, groups in self.strata.items()},
        }

    @classmethod
    def from_dict(
        cls,
        found: Mapping[str, Any],
        values: Mapping[str, Float64Array] | None = None,
        user_rows: Int64Array | None = None,
    ) -> Report:
        """Rebuild what `to_dict` returned.

        Args:
            found: plain values.
            values: Float64[n] per metric, to compare pairs with; without them only the means can be looked at.
            user_rows: Int64[n], whose values they are.

        Returns:
            The report; what items were shown (`exposure`) is not stored, so it is empty.

        Raises:
            DataError: something is missing, or not what it must be.
        """
        try:
            return cls(
                card=ProtocolCard(**found["protocol"]),
                metrics={name: Interval(**interval) for name, interval in found["metrics"].items()},
                values=dict(values or {}),
                totals=dict(found["totals"]),
                exposure={},
                user_rows=np.empty(0, dtype=np.int64) if user_rows is None else user_rows,
                n_short=found["n_short"],
                strata={kind: tuple(map(Stratum.from_dict, groups)) for kind, groups in found["strata"].items()},
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise DataError(f"this is not a stored report: {error}; evaluate again") from error


def compare_pairs(a: Report, b: Report, metric: str = "NDCG@10") -> PairedResult:
    """Test whether `a` is better than `b` over the same users; see `paired_test`.

    Args:
        a: a report.
        b: another, of the same protocol, users and order.
        metric: name of the metric compared.

    Raises:
        ConfigError: a report does not hold the metric.
        DataError: protocols or users differ.
    """
    a.card.check_comparable(b.card)
    if not np.array_equal(a.user_rows, b.user_rows):
        raise DataError("a paired test needs the same users in the same order; evaluate both on one holdout")
    _check_has(metric, {"a": a, "b": b})
    return paired_test(a.values[metric], b.values[metric])


def _check_has(metric: str, reports: Mapping[str, Report]) -> None:
    for name, report in reports.items():
        if metric not in report.values:
            raise ConfigError(
                f"report {name!r} does not hold {metric} of single users; it holds: {', '.join(report.values)}. "
                "Pass the cut-offs you need to evaluate(k=...)"
            )


@dataclass(frozen=True, slots=True)
class Comparison:
    """One method against the baseline, by one metric, over the same users.

    Attributes:
        method: the method.
        baseline: what it is compared with.
        metric: name of the metric, such as "NDCG@10".
        result: mean over users of method - baseline, with its interval and raw p-value.
        p_holm: the p-value corrected for all comparisons made together; see `holm`.
    """

    method: str
    baseline: str
    metric: str
    result: PairedResult
    p_holm: float

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "method": self.method,
            "baseline": self.baseline,
            "metric": self.metric,
            "difference": self.result.difference,
            "low": self.result.low,
            "high": self.result.high,
            "p": self.result.p_value,
            "p_holm": self.p_holm,
            "n": self.result.n,
        }

    @classmethod
    def from_dict(cls, found: Mapping[str, Any]) -> Comparison:
        """Rebuild what `to_dict` returned.

        Raises:
            DataError: something is missing.
        """
        try:
            result = PairedResult(found["difference"], found["low"], found["high"], found["p"], found["n"])
            return cls(found["method"], found["baseline"], found["metric"], result, found["p_holm"])
        except (KeyError, TypeError) as error:
            raise DataError(f"this is not a stored comparison: {error}; evaluate again") from error


def comparisons(
    reports: Mapping[str, Report], baseline: str, metrics: Sequence[str] = ("NDCG@10",)
) -> list[Comparison]:
    """Compare every report with one of them, over the same users.

    Args:
        reports: method name to report, all of one holdout.
        baseline: the name the others are compared with.
        metrics: names of the metrics compared.

    Returns:
        One comparison per metric and other report, in this order; the corrected p-values are over all of them.

    Raises:
        ConfigError: there is no such baseline, or a report does not hold a metric.
        DataError: protocols or users differ.
    """
    if baseline not in reports:
        raise ConfigError(f"no report is named {baseline!r}; there are: {', '.join(reports) or 'none'}")
    for metric in metrics:
        _check_has(metric, reports)
    pairs = [(metric, name) for metric in metrics for name in reports if name != baseline]
    results = [compare_pairs(reports[name], reports[baseline], metric) for metric, name in pairs]
    corrected = holm([result.p_value for result in results])
    return [
        Comparison(name, baseline, metric, result, float(p))
        for (metric, name), result, p in zip(pairs, results, corrected, strict=True)
    ]
