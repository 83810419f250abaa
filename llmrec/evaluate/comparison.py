"""Several methods against one of them: paired differences, corrected for how many there are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from llmrec.errors import ConfigError, DataError
from llmrec.evaluate.report import Report, compare_pairs
from llmrec.evaluate.significance import PairedResult, holm

__all__ = ["Comparison", "comparisons"]


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
    pairs = [(metric, name) for metric in metrics for name in reports if name != baseline]
    results = [compare_pairs(reports[name], reports[baseline], metric) for metric, name in pairs]
    corrected = holm([result.p_value for result in results])
    return [
        Comparison(name, baseline, metric, result, float(p))
        for (metric, name), result, p in zip(pairs, results, corrected, strict=True)
    ]
