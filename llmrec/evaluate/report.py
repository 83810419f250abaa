"""What an evaluation found, and plain tables of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from llmrec.errors import ConfigError, DataError
from llmrec.evaluate.metrics import Float64Array, novelty_of
from llmrec.evaluate.protocol import ProtocolCard
from llmrec.evaluate.significance import Interval, PairedResult, paired_test
from llmrec.types import Int64Array

__all__ = ["Report", "compare", "compare_pairs", "differences", "to_markdown"]


@dataclass(frozen=True, slots=True, eq=False)
class Report:
    """What an evaluation found.

    Attributes:
        card: how it was set up.
        metrics: mean over users and 95% interval by name, such as "NDCG@10".
        values: Float64[n] behind each of them, one per user, in the order of `user_rows`.
        totals: what describes all lists together: "coverage@10", "gini@10", "novelty@10".
        exposure: for each k, Int64[n_items]: in how many lists each item stood among the first k.
        user_rows: Int64[n], rows of the users in the log.
        n_short: users whose list had fewer items than the largest k.
    """

    card: ProtocolCard
    metrics: Mapping[str, Interval]
    values: Mapping[str, Float64Array]
    totals: Mapping[str, float]
    exposure: Mapping[int, Int64Array]
    user_rows: Int64Array
    n_short: int

    def __str__(self) -> str:
        lines = [str(self.card)]
        lines += [f"{name}  {interval}" for name, interval in self.metrics.items()]
        lines += [f"{name}  {value:.4f}" for name, value in self.totals.items()]
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

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON, in a fixed order; without the values of single users."""
        return {
            "protocol": self.card.to_dict(),
            "metrics": {
                name: {"mean": found.mean, "low": found.low, "high": found.high} for name, found in self.metrics.items()
            },
            "totals": dict(self.totals),
            "n_short": self.n_short,
        }


def compare(reports: Mapping[str, Report], *, k: int = 10) -> list[tuple[str, ...]]:
    """Lay reports side by side, one row a method.

    Args:
        reports: method name to report, all of one protocol; rows keep their order.
        k: the cut-off shown.

    Returns:
        Rows of equal length, the header first: method, NDCG and recall with 95% intervals, hit rate, MRR,
        coverage, Gini, novelty in bits if any report has it ("-" where one has not), number of users.

    Raises:
        ConfigError: a report was not made with this `k`.
        DataError: there is no report, or two are of different protocols.
    """
    _check_comparable(reports)
    with_interval, plain, totals = (f"NDCG@{k}", f"Recall@{k}"), (f"HitRate@{k}", f"MRR@{k}"), _totals(reports, k)
    rows: list[tuple[str, ...]] = [("method", *with_interval, *plain, *totals, "users")]
    for name, report in reports.items():
        for metric in (*with_interval, *plain):
            _check_has(report, name, metric)
        intervals = (str(report.metrics[metric]) for metric in with_interval)
        means = (f"{report.metrics[metric].mean:.4f}" for metric in plain)
        spread = (f"{report.totals[total]:.4f}" if total in report.totals else "-" for total in totals)
        rows.append((name, *intervals, *means, *spread, f"{report.card.n_users:,}"))
    return rows


def _totals(reports: Mapping[str, Report], k: int) -> tuple[str, ...]:
    """What stands beside accuracy in a table: how widely items are shown, and how surprising they are."""
    novelty = f"novelty@{k}"
    return (f"coverage@{k}", f"gini@{k}", *([novelty] if any(novelty in r.totals for r in reports.values()) else []))


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
    for name, report in (("a", a), ("b", b)):
        _check_has(report, name, metric)
    return paired_test(a.values[metric], b.values[metric])


def differences(reports: Mapping[str, Report], baseline: str, *, metric: str = "NDCG@10") -> list[tuple[str, ...]]:
    """Compare every report with one of them, over the same users.

    Args:
        reports: method name to report, all of one holdout.
        baseline: the name the others are compared with.
        metric: name of the metric compared.

    Returns:
        Rows of equal length, the header first: method, difference with its 95% interval, p-value, users.

    Raises:
        ConfigError: there is no such baseline, or a report does not hold the metric.
        DataError: protocols or users differ.
    """
    if baseline not in reports:
        raise ConfigError(f"no report is named {baseline!r}; there are: {', '.join(reports) or 'none'}")
    rows: list[tuple[str, ...]] = [("method", f"{metric} minus {baseline}", "p", "users")]
    for name, report in reports.items():
        if name == baseline:
            continue
        found = compare_pairs(report, reports[baseline], metric)
        shown = f"{found.difference:+.4f} [{found.low:+.4f}, {found.high:+.4f}]"
        rows.append((name, shown, f"{found.p_value:.4f}", f"{found.n:,}"))
    return rows


def to_markdown(rows: Sequence[Sequence[str]]) -> str:
    """Write rows, the header first, as a padded Markdown table: first column left, the others right.

    Raises:
        DataError: there is no header, or a row has another number of cells than the header.
    """
    if not rows:
        raise DataError("a table needs at least a header row")
    if any(len(row) != len(rows[0]) for row in rows):
        raise DataError("every row of a table must have as many cells as its header")
    cells = [[" ".join(cell.replace("|", "\\|").split()) for cell in row] for row in rows]
    widths = [max(3, *(len(row[column]) for row in cells)) for column in range(len(cells[0]))]
    rule = [("-" * width if column == 0 else "-" * (width - 1) + ":") for column, width in enumerate(widths)]

    def line(row: Sequence[str]) -> str:
        padded = [
            cell.ljust(width) if column == 0 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        return f"| {' | '.join(padded)} |"

    return "\n".join([line(cells[0]), line(rule), *map(line, cells[1:])])


def _check_comparable(reports: Mapping[str, Report]) -> None:
    if not reports:
        raise DataError("there is no report to compare")
    first, *others = reports.values()
    for other in others:
        first.card.check_comparable(other.card)


def _check_has(report: Report, name: str, metric: str) -> None:
    if metric not in report.metrics:
        raise ConfigError(
            f"report {name!r} does not hold {metric}; it holds: {', '.join(report.metrics)}. "
            "Pass the cut-offs you need to evaluate(k=...)"
        )
