"""The results of `quality.py` as one Markdown page and one JSON document."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

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

METRICS = ("NDCG@10", "Recall@10", "Recall@20")
OURS = "ours"
PROTOCOLS = {
    "test": "Test.",
    "validation": "Validation: every user's last interaction was put aside unseen before the split.",
}


@dataclass(frozen=True, slots=True)
class Result:
    """What a job found.

    Attributes:
        method: its row.
        kind: see `_quality_methods.Method`.
        seed: of everything random.
        evaluation: what was measured.
        cost: "fit_seconds", "peak_gb", "measure_seconds".
    """

    method: str
    kind: str
    seed: int
    evaluation: Evaluation
    cost: Mapping[str, float]

    @property
    def report(self) -> Report:
        """The report of the whole method."""
        return self.evaluation.reports[self.evaluation.main]


def as_markdown(name: str, protocol: str, results: Sequence[Result]) -> str:
    """Write everything as one page: protocol, methods, tests against ours, ceilings, seeds."""
    ours = _ours(results)
    reports, tests = _reports(results), _tests(results)
    blocks = [
        f"# Ranking quality on {name}",
        f"{PROTOCOLS[protocol]} Protocol: {ours.report.card}.",
        "95% bootstrap intervals over users.",
        to_markdown(_rows(results, reports)),
        "## Differences to ours",
        f"Paired over users; sign-flip permutation test; p (Holm) is corrected for all {len(tests)} comparisons.",
        to_markdown(comparison_rows(tests, "NDCG@10 minus ours")) if tests else "None.",
        "## Ceiling of ours",
        to_markdown(ceiling_rows(ours.evaluation.ceilings)),
    ]
    for kind in ours.report.strata:
        shown = {n: r for n, r in ours.evaluation.reports.items() if kind in r.strata}
        blocks += [f"## Ours and its parts, by {kind}", to_markdown(strata_rows(shown, kind))]
    seeds = [result for result in results if result.method == OURS]
    if len(seeds) > 1:
        blocks += ["## Seeds of ours", to_markdown(_seed_rows(seeds))]
    return "\n\n".join(blocks) + "\n"


def as_json(results: Sequence[Result]) -> dict[str, Any]:
    """Return the same as plain values."""
    rows = [
        {"method": r.method, "kind": r.kind, "seed": r.seed, "cost": dict(r.cost), **r.evaluation.to_dict()}
        for r in results
    ]
    return {"results": rows, "differences": [test.to_dict() for test in _tests(results)]}


def _ours(results: Sequence[Result]) -> Result:
    return next(result for result in results if result.method == OURS and result.seed == 0)


def _reports(results: Sequence[Result]) -> dict[str, Report]:
    """One report per row of the table: ours, its parts, then the other methods."""
    ours = _ours(results)
    found = {OURS: ours.report}
    found |= {f"part: {n}": r for n, r in ours.evaluation.reports.items() if n != ours.evaluation.main}
    return found | {r.method: r.report for r in results if r.method != OURS}


def _tests(results: Sequence[Result]) -> list[Comparison]:
    return comparisons(_reports(results), OURS) if len(_reports(results)) > 1 else []


def _rows(results: Sequence[Result], reports: Mapping[str, Report]) -> list[tuple[str, ...]]:
    costs = {result.method: result.cost for result in results if result.seed == 0}
    rows: list[tuple[str, ...]] = [("method", *METRICS, "coverage@10", "fit, s", "peak, GB", "users")]
    for name, report in reports.items():
        cost = costs.get(name)
        spent = ("", "") if cost is None else (f"{cost['fit_seconds']:.0f}", f"{cost['peak_gb']:.1f}")
        shown = (str(report.metrics[metric]) for metric in METRICS)
        rows.append((name, *shown, f"{report.totals['coverage@10']:.3f}", *spent, f"{report.card.n_users:,}"))
    return rows


def _seed_rows(seeds: Sequence[Result]) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = [("seed", *METRICS)]
    values = np.array([[result.report.metrics[metric].mean for metric in METRICS] for result in seeds])
    rows += [(str(r.seed), *(f"{v:.4f}" for v in row)) for r, row in zip(seeds, values, strict=True)]
    pairs = zip(values.mean(axis=0), values.std(axis=0, ddof=1), strict=True)
    return [*rows, ("mean and spread", *(f"{mean:.4f} +- {spread:.4f}" for mean, spread in pairs))]
