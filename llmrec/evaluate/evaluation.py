"""Methods measured on the same cases, put together: reports, differences, and all of it as Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from llmrec.errors import ConfigError, DataError
from llmrec.evaluate.ceiling import CandidateRecall, ceiling_rows
from llmrec.evaluate.report import Comparison, Report, comparisons
from llmrec.evaluate.tables import all_metrics, by_strata, compare, comparison_rows, strata_rows, to_markdown

__all__ = ["Evaluation", "cutoffs_of", "evaluation_markdown", "main_cutoff", "put_together", "remarks"]


@dataclass(frozen=True, slots=True, eq=False)
class Evaluation:
    """Methods measured on the same cases.

    Attributes:
        reports: method name to report, all of one protocol.
        main: the method that the evaluation is about, and that stands for it in further comparisons.
        baseline: the method the others are compared with.
        comparisons: every other method against the baseline.
        user_ids: n ids, of the users whose values the reports hold, in their order.
        ceilings: of the main method, how many targets are among the candidates of each stage; empty if unknown.
    """

    reports: Mapping[str, Report]
    main: str
    baseline: str
    comparisons: tuple[Comparison, ...]
    user_ids: tuple[str, ...]
    ceilings: tuple[CandidateRecall, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON, in a fixed order; without the values of single users."""
        return {
            "main": self.main,
            "baseline": self.baseline,
            "reports": {name: report.to_dict() for name, report in self.reports.items()},
            "differences": [found.to_dict() for found in self.comparisons],
            "candidates": [found.to_dict() for found in self.ceilings],
        }


def put_together(
    reports: Mapping[str, Report],
    user_ids: Sequence[str],
    *,
    main: str,
    baseline: str,
    metrics: Sequence[str] | None = None,
    ceilings: Sequence[CandidateRecall] = (),
) -> Evaluation:
    """Compare every report with the baseline.

    Args:
        reports: method name to report, all of one holdout.
        user_ids: n ids, in the order of the reports' users.
        main: the method the evaluation is about.
        baseline: what the others are compared with.
        metrics: what is compared; none: NDCG at the main cut-off.
        ceilings: of the main method; see `candidate_recall`.

    Raises:
        ConfigError: a name is not among the reports, or a report does not hold a metric.
        DataError: there is no report, protocols or users differ, or there is not one id per user.
    """
    if not reports:
        raise DataError("there is no report to put together")
    if main not in reports:
        raise ConfigError(f"no report is named {main!r}; there are: {', '.join(reports)}")
    if len(user_ids) != len(reports[main].user_rows):
        raise DataError(f"need one id per user: {len(user_ids)} ids, {len(reports[main].user_rows)} users")
    wanted = [f"NDCG@{main_cutoff(reports)}"] if metrics is None else metrics
    compared = tuple(comparisons(reports, baseline, wanted))
    return Evaluation(dict(reports), main, baseline, compared, tuple(user_ids), tuple(ceilings))


def cutoffs_of(reports: Mapping[str, Report]) -> list[int]:
    """Return the cut-offs of NDCG that all reports hold, ascending.

    Raises:
        ConfigError: there is none.
    """
    held = [{metric for metric in report.metrics if metric.startswith("NDCG@")} for report in reports.values()]
    cutoffs = sorted(int(metric.partition("@")[2]) for metric in set.intersection(*held))
    if not cutoffs:
        raise ConfigError("the reports have no cut-off in common; evaluate all of them with the same k")
    return cutoffs


def main_cutoff(reports: Mapping[str, Report]) -> int:
    """Return the cut-off that headlines are made of: 10 if all reports hold it, else the largest they share.

    Raises:
        ConfigError: there is none.
    """
    cutoffs = cutoffs_of(reports)
    return 10 if 10 in cutoffs else cutoffs[-1]


def remarks(found: Evaluation) -> list[str]:
    """Return what must be said beside the figures, one line each.

    The protocol of the main method first; then, by name, what is particular to other methods; then whose lists are
    short.
    """
    main = found.reports[found.main].card
    others = {name: report.card.note for name, report in found.reports.items() if report.card.note != main.note}
    short = {name: report.n_short for name, report in found.reports.items() if report.n_short}
    lines = [str(main), *(f"{name}: {note}" for name, note in others.items() if note)]
    return lines + [f"{name}: {n:,} lists are short; missing places are misses" for name, n in short.items()]


def evaluation_markdown(title: str, found: Evaluation, pictures: Sequence[tuple[str, str]] = ()) -> str:
    """Write an evaluation as Markdown: protocol, tables, differences, groups of users, pictures.

    Args:
        title: the heading.
        found: what was measured.
        pictures: caption and relative path of each.
    """
    reports, cutoff = found.reports, main_cutoff(found.reports)
    protocol = " ".join(f"{line}." for line in remarks(found))
    blocks = [f"# {title}", f"Protocol: {protocol}", "Intervals are 95% percentile bootstrap intervals over users."]
    blocks += [to_markdown(compare(reports, k=k)) for k in cutoffs_of(reports)]
    if found.ceilings:
        blocks += [
            f"## Ceiling of {found.main}",
            "The share of targets that are among a stage's candidates at all; no ranking of them can find more.",
            to_markdown(ceiling_rows(found.ceilings)),
        ]
    for metric in dict.fromkeys(one.metric for one in found.comparisons):
        rows = [one for one in found.comparisons if one.metric == metric]
        blocks += [
            f"## {metric}: differences to {found.baseline}",
            "Paired over users; p: two-sided sign-flip permutation test; "
            f"p (Holm): corrected for all {len(found.comparisons)} comparisons of this report.",
            to_markdown(comparison_rows(rows, f"{metric} minus {found.baseline}")),
        ]
    for kind, shown in by_strata(reports).items():
        heading = _STRATA.get(kind, f"By {kind}")
        blocks += [f"## {heading}", to_markdown(strata_rows(shown, kind, metric=f"NDCG@{cutoff}"))]
    blocks += [f"## Every metric at {cutoff}", to_markdown(all_metrics(reports, k=cutoff))]
    blocks += [f"![{caption}]({path})" for caption, path in pictures]
    return "\n\n".join(blocks) + "\n"


_STRATA = {"popularity": "By popularity of the target", "history": "By length of the history"}
