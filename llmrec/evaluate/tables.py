"""Plain tables of reports: rows of text, the header first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from llmrec.errors import ConfigError, DataError
from llmrec.evaluate.metrics import ACCURACY
from llmrec.evaluate.report import Comparison, Report, comparisons

__all__ = ["all_metrics", "by_strata", "compare", "comparison_rows", "differences", "strata_rows", "to_markdown"]

_WITH_INTERVAL = ("NDCG", "Recall")
_PLAIN = ("HitRate", "MRR")
_TOTALS = ("coverage", "gini", "novelty")


def compare(reports: Mapping[str, Report], *, k: int = 10) -> list[tuple[str, ...]]:
    """Lay reports side by side, one row a method.

    Args:
        reports: method name to report, all of one protocol; rows keep their order.
        k: the cut-off shown.

    Returns:
        Rows of equal length, the header first: method, NDCG and recall with 95% intervals, hit rate, MRR, the extra
        metrics of lists if any report has them, coverage, Gini, novelty in bits if any report has it ("-" where one
        has not), number of users.

    Raises:
        ConfigError: a report was not made with this `k`.
        DataError: there is no report, or two are of different protocols.
    """
    _check_comparable(reports)
    first, plain = [f"{name}@{k}" for name in _WITH_INTERVAL], [f"{name}@{k}" for name in _PLAIN]
    for name, report in reports.items():
        _check_has(report, name, [*first, *plain])
    held = _metrics_at(reports, k)
    extra = [metric for metric in held if metric.partition("@")[0] not in ACCURACY]
    totals = [
        total for total in (f"{name}@{k}" for name in _TOTALS) if any(total in r.totals for r in reports.values())
    ]
    rows: list[tuple[str, ...]] = [("method", *first, *plain, *extra, *totals, "users")]
    for name, report in reports.items():
        means = {metric: f"{found.mean:.4f}" for metric, found in report.metrics.items()}
        means |= {total: f"{value:.4f}" for total, value in report.totals.items()}
        intervals = (str(report.metrics[metric]) for metric in first)
        rest = (means.get(metric, "-") for metric in (*plain, *extra, *totals))
        rows.append((name, *intervals, *rest, f"{report.card.n_users:,}"))
    return rows


def all_metrics(reports: Mapping[str, Report], *, k: int = 10) -> list[tuple[str, ...]]:
    """Lay out everything that was measured at one cut-off, one row a metric, one column a method.

    Args:
        reports: method name to report, all of one protocol.
        k: the cut-off shown.

    Returns:
        Rows of equal length, the header first; metrics of users with their 95% intervals, "-" where a report has
        not got one.

    Raises:
        DataError: there is no report, or two are of different protocols.
    """
    _check_comparable(reports)
    rows: list[tuple[str, ...]] = [("metric", *reports)]
    for metric in _metrics_at(reports, k):
        found = (report.metrics.get(metric) for report in reports.values())
        rows.append((metric, *("-" if interval is None else str(interval) for interval in found)))
    for total in (f"{name}@{k}" for name in _TOTALS):
        values = [report.totals.get(total) for report in reports.values()]
        if any(value is not None for value in values):
            rows.append((total, *("-" if value is None else f"{value:.4f}" for value in values)))
    return rows


def by_strata(reports: Mapping[str, Report]) -> dict[str, dict[str, Report]]:
    """Return, by kind of grouping, the reports that have such strata; stored ones may have been made without."""
    kinds = dict.fromkeys(kind for report in reports.values() for kind in report.strata)
    return {kind: {name: report for name, report in reports.items() if kind in report.strata} for kind in kinds}


def strata_rows(reports: Mapping[str, Report], kind: str, *, metric: str = "NDCG@10") -> list[tuple[str, ...]]:
    """Lay out one metric by groups of users, one row a group, one column a method.

    Args:
        reports: method name to report, all of one holdout and with strata of this kind.
        kind: the grouping, "popularity" or "history".
        metric: name of the metric shown, with its 95% interval.

    Returns:
        Rows of equal length, the header first: group, users in it, a column per method.

    Raises:
        ConfigError: a report has no such strata, or they do not hold the metric.
        DataError: there is no report, or two are of different protocols or have different groups.
    """
    _check_comparable(reports)
    for name, report in reports.items():
        if kind not in report.strata:
            raise ConfigError(f"report {name!r} has no strata by {kind}; it has: {', '.join(report.strata) or 'none'}")
        _check_has(report, name, [metric])
    groups = {name: [(g.label, g.n_users) for g in report.strata[kind]] for name, report in reports.items()}
    labels = next(iter(groups.values()))
    if any(found != labels for found in groups.values()):
        raise DataError(f"the reports group their users by {kind} differently; evaluate them on one holdout")
    rows: list[tuple[str, ...]] = [(kind, "users", *(f"{metric} {name}" for name in reports))]
    for place, (label, n_users) in enumerate(labels):
        cells = (str(report.strata[kind][place].metrics[metric]) for report in reports.values())
        rows.append((label, f"{n_users:,}", *cells))
    return rows


def differences(reports: Mapping[str, Report], baseline: str, *, metric: str = "NDCG@10") -> list[tuple[str, ...]]:
    """Compare every report with one of them, over the same users.

    Args:
        reports: method name to report, all of one holdout.
        baseline: the name the others are compared with.
        metric: name of the metric compared.

    Returns:
        Rows of equal length, the header first: method, difference with its 95% interval, p-value, p-value corrected
        for the number of rows (Holm), users.

    Raises:
        ConfigError: there is no such baseline, or a report does not hold the metric.
        DataError: protocols or users differ.
    """
    return comparison_rows(comparisons(reports, baseline, [metric]), f"{metric} minus {baseline}")


def comparison_rows(found: Sequence[Comparison], heading: str) -> list[tuple[str, ...]]:
    """Lay out comparisons that differ in their method alone, as in `differences`.

    Args:
        found: the comparisons, one row each.
        heading: what the difference is of.
    """
    rows: list[tuple[str, ...]] = [("method", heading, "p", "p (Holm)", "users")]
    for one in found:
        shown = f"{one.result.difference:+.4f} [{one.result.low:+.4f}, {one.result.high:+.4f}]"
        rows.append((one.method, shown, f"{one.result.p_value:.4f}", f"{one.p_holm:.4f}", f"{one.result.n:,}"))
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


def _metrics_at(reports: Mapping[str, Report], k: int) -> list[str]:
    """Return the metrics at this cut-off that any report holds, in the order of the reports."""
    found = dict.fromkeys(metric for report in reports.values() for metric in report.metrics)
    return [metric for metric in found if metric.partition("@")[2] == str(k)]


def _check_comparable(reports: Mapping[str, Report]) -> None:
    if not reports:
        raise DataError("there is no report to compare")
    first, *others = reports.values()
    for other in others:
        first.card.check_comparable(other.card)


def _check_has(report: Report, name: str, metrics: Sequence[str]) -> None:
    if missing := [metric for metric in metrics if metric not in report.metrics]:
        raise ConfigError(
            f"report {name!r} does not hold {missing[0]}; it holds: {', '.join(report.metrics)}. "
            "Pass the cut-offs you need to evaluate(k=...)"
        )
