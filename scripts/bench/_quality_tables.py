"""The results of `quality.py` as one Markdown page and one JSON document."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from _quality_cases import WARM
from _quality_keys import libraries

from llmrec.evaluate import (
    Comparison,
    Evaluation,
    Report,
    ceiling_rows,
    comparison_rows,
    comparisons,
    strata_rows,
    to_markdown,
)

METRICS = ("NDCG@10", "Recall@10")
TOTALS = ("coverage@10", "novelty@10", "gini@10")
OURS = "ours"
TARGETS = {
    "test": "Test.",
    "validation": "Validation: every user's last interaction was put aside unseen before the split.",
}
TITLES = {
    "validation": "Validation, by users that nothing was tuned on",
    "seen": "History not excluded",
    "ties": "Ties shuffled",
    "time": "Global time",
    "cold-items": "Cold items",
    "cold-users": "Cold users",
}
RESAMPLES = 2000


@dataclass(frozen=True, slots=True)
class Result:
    """What a job found.

    Attributes:
        method: its row.
        kind: see `_quality_methods.Method`.
        seed: of everything random.
        protocol: see `_quality_cases`.
        tests: what was measured, by test.
        cost: "fit_seconds", "peak_gb", "measure_seconds", "reused".
        reach: by test and part, the share of targets among the part's first 200.
    """

    method: str
    kind: str
    seed: int
    protocol: str
    tests: Mapping[str, Evaluation]
    cost: Mapping[str, float]
    reach: Mapping[str, Mapping[str, float]]

    @property
    def is_main(self) -> bool:
        """Whether it is our pipeline, by the main protocol, with the first seed."""
        return (self.method, self.protocol, self.seed) == (OURS, "last", 0)

    def report(self, test: str) -> Report:
        """The report of the whole method on one test."""
        return self.tests[test].reports[self.tests[test].main]


def as_markdown(
    name: str,
    command: str,
    targets: str,
    results: Sequence[Result],
    pictures: Sequence[tuple[str, str]] = (),
) -> str:
    """Write everything as one page: methods, tests against ours, ceilings, groups of users, seeds, other protocols."""
    ours = next(result for result in results if result.is_main)
    reports = main_reports(results)
    blocks = [
        f"# Ranking quality on {name}, {targets}",
        f"From `{command}`.",
        f"{TARGETS[targets]} Protocol: {ours.report('last').card}.",
        "In brackets: 95% bootstrap intervals over users. Recall@200: the share of targets among the best 200 "
        "candidates of the stage that proposes, which no reranking can exceed.",
        to_markdown(_rows(results, reports)),
    ]
    if any(result.cost.get("reused") for result in results):
        blocks.append("*: without trainings that an earlier job on the same data had done.")
    blocks += [f"![{caption}]({file})" for caption, file in pictures]
    blocks += _tested(reports, "## Differences to ours")
    blocks += ["## Ceiling of ours", to_markdown(ceiling_rows(ours.tests["last"].ceilings))]
    for kind in ours.report("last").strata:
        shown = {n: r for n, r in ours.tests["last"].reports.items() if kind in r.strata}
        blocks += [f"## Ours and its parts, by {kind}", to_markdown(strata_rows(shown, kind))]
    seeds = [result for result in results if result.method == OURS and result.protocol == "last"]
    if len(seeds) > 1:
        blocks += ["## Seeds of ours", to_markdown(_seed_rows(seeds))]
    for protocol, title in TITLES.items():
        blocks += _protocol_blocks(title, [result for result in results if result.protocol == protocol])
    return "\n\n".join(blocks) + "\n"


def as_json(results: Sequence[Result]) -> dict[str, Any]:
    """Return the same as plain values."""
    found = []
    for one in results:
        tests = {test: evaluation.to_dict() for test, evaluation in one.tests.items()}
        about = {"method": one.method, "kind": one.kind, "seed": one.seed, "protocol": one.protocol}
        found.append({**about, "cost": dict(one.cost), "recall@200": dict(one.reach), "tests": tests})
    machine = {"python": platform.python_version(), "cpus": os.cpu_count(), "libraries": libraries()}
    return {
        "machine": machine,
        "results": found,
        "differences": [test.to_dict() for test in _tests(main_reports(results))],
    }


def main_reports(results: Sequence[Result]) -> dict[str, Report]:
    """One report per row of the main table: ours, its parts, then the other methods."""
    ours = next(result for result in results if result.is_main)
    parts = {n: r for n, r in ours.tests["last"].reports.items() if n != ours.tests["last"].main}
    others = {r.method: r.report("last") for r in results if r.protocol == "last" and r.method != OURS}
    return {OURS: ours.report("last"), **{f"part: {n}": r for n, r in parts.items()}, **others}


def _tests(reports: Mapping[str, Report]) -> list[Comparison]:
    return comparisons(reports, OURS) if OURS in reports and len(reports) > 1 else []


def _tested(reports: Mapping[str, Report], heading: str) -> list[str]:
    tests = _tests(reports)
    if not tests:
        return []
    said = (
        f"Paired over users; sign-flip permutation test; p (Holm) is corrected for all {len(tests)} comparisons here."
    )
    return [*([heading] if heading else []), said, to_markdown(comparison_rows(tests, "NDCG@10 minus ours"))]


def _rows(results: Sequence[Result], reports: Mapping[str, Report]) -> list[tuple[str, ...]]:
    found = {result.method: result for result in results if result.protocol == "last" and result.seed == 0}
    reach = dict(found[OURS].reach["last"])
    rows: list[tuple[str, ...]] = [("method", *METRICS, "Recall@200", *TOTALS, "fit, s", "peak, GB")]
    for name, report in reports.items():
        result = found.get(name)
        own = reach[name.removeprefix("part: ")] if result is None else _first(result.reach["last"], result)
        shown = [*(str(report.metrics[metric]) for metric in METRICS), f"{own:.4f}"]
        shown += [f"{report.totals[total]:.3f}" if total in report.totals else "" for total in TOTALS]
        rows.append((name, *shown, *_spent(result)))
    return rows


def _first(reach: Mapping[str, float], result: Result) -> float:
    return reach[result.tests["last"].main]


def _spent(result: Result | None) -> tuple[str, str]:
    if result is None:
        return "", ""
    cost = result.cost
    return f"{cost['fit_seconds']:.0f}{'*' if cost.get('reused') else ''}", f"{cost['peak_gb']:.1f}"


def _seed_rows(seeds: Sequence[Result]) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = [("seed", *METRICS)]
    values = np.array([[result.report("last").metrics[metric].mean for metric in METRICS] for result in seeds])
    rows += [(str(r.seed), *(f"{v:.4f}" for v in row)) for r, row in zip(seeds, values, strict=True)]
    pairs = zip(values.mean(axis=0), values.std(axis=0, ddof=1), strict=True)
    return [*rows, ("mean and spread", *(f"{mean:.4f} +- {spread:.4f}" for mean, spread in pairs))]


def _protocol_blocks(title: str, results: Sequence[Result]) -> list[str]:
    """One protocol beside the main one: a table a test, or, of several histories, one table of all of them."""
    if not results:
        return []
    blocks, tests = [f"## {title}"], list(results[0].tests)
    if title == TITLES["cold-users"]:
        return blocks + _length_blocks(results, tests)
    for test in tests:
        reports, rows = {}, [("method", *METRICS, "Recall@200")]
        for result in results:
            main = result.tests[test].main
            for part, report in result.tests[test].reports.items():
                name = result.method if part == main else f"part: {part}"
                reports[name] = report
                reach = f"{result.reach[test][part]:.4f}"
                rows.append((name, *(str(report.metrics[metric]) for metric in METRICS), reach))
        card = next(iter(reports.values())).card
        blocks += [*([f"### {test}"] if len(tests) > 1 else []), f"{card}.", to_markdown(rows), *_tested(reports, "")]
        if test == WARM:
            without = {result.method for result in results if result.kind == "ablation"}
            blocks += _kept_blocks({name: report for name, report in reports.items() if name in {OURS, *without}})
    return blocks


def _length_blocks(results: Sequence[Result], tests: Sequence[str]) -> list[str]:
    """NDCG of the same users by how much of their history is known."""
    said = (
        f"{results[0].report(tests[0]).card}. The same users in every row, in no training; their newest so many "
        "interactions are known. A method alone has no order for whom it knows nothing of. NDCG@10."
    )
    rows: list[tuple[str, ...]] = [("known", *(result.method for result in results))]
    rows += [
        (test.removeprefix("history "), *(str(r.report(test).metrics["NDCG@10"]) for r in results)) for test in tests
    ]
    return [said, to_markdown(rows)]


def _kept_blocks(reports: Mapping[str, Report]) -> list[str]:
    """How much of an ablation's NDCG ours keeps on warm targets, although it must also serve cold ones."""
    if OURS not in reports or len(reports) < 2:
        return []
    rows: list[tuple[str, ...]] = [("ours, as a share of the NDCG@10 of", "share")]
    rows += [(name, share) for name, share in _shares(reports)]
    return [to_markdown(rows)]


def _shares(reports: Mapping[str, Report]) -> Iterator[tuple[str, str]]:
    ours = reports[OURS].values["NDCG@10"]
    for name, report in reports.items():
        if name != OURS and (theirs := report.values["NDCG@10"]).any():
            low, high = share_interval(ours, theirs)
            yield name, f"{ours.mean() / theirs.mean():.3f} [{low:.3f}, {high:.3f}]"


def share_interval(ours: np.ndarray, theirs: np.ndarray, resamples: int = RESAMPLES) -> tuple[float, float]:
    """95% percentile bootstrap interval over users of the ratio of two means, Float64[n] each, of the same users."""
    rng = np.random.default_rng(0)
    found = np.full(resamples, np.nan)
    for place in range(resamples):
        rows = rng.integers(0, len(ours), len(ours))
        below = theirs[rows].sum()
        found[place] = ours[rows].sum() / below if below > 0 else np.nan
    low, high = np.nanquantile(found, [0.025, 0.975])
    return float(low), float(high)
