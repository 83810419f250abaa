"""What a comparison found, in words and tables: which template is better, by how much, and whether that is real."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from llmrec.evaluate import Comparison, comparison_rows
from llmrec.lab.compare import METRICS, Compared, Judged

__all__ = ["compared_to_dict", "difference_rows", "remarks", "score_rows", "verdict", "verdict_of"]

LEVEL = 0.05
"""A corrected p-value below it counts as real."""


def verdict(found: Compared) -> str:
    """One line for all judges."""
    return " ".join(verdict_of(judged) for judged in found.judged)


def verdict_of(judged: Judged) -> str:
    """Say which template is better under one judge, by how much, and whether the difference is real."""
    users = f"{judged.judge}, {judged.card.n_users:,} users"
    main = [one for one in judged.comparisons if one.metric == METRICS[0]]
    if not main:
        return f"{users}: {judged.baseline} has nothing to be compared with."
    told = [
        *_real([one for one in main if one.result.difference > 0], "better"),
        *_real([one for one in main if one.result.difference < 0], "worse"),
    ]
    if told:
        rest = [one.method for one in main if one.p_holm >= LEVEL]
        told += [f"no difference to {judged.baseline} can be told from chance for {', '.join(rest)}"] if rest else []
        return f"{users}: {'; '.join(told)}."
    if all(one.result.low == one.result.high == 0.0 for one in main):
        same = "places" if all(judged.agrees(name) for name in judged.runs) else "first ten places"
        return (
            f"{users}: every template has the same {same} of what was taken as {judged.baseline}, so nothing can be "
            "said of them here."
        )
    largest = max(main, key=lambda one: abs(one.result.difference))
    reach = max((one.result.high - one.result.low) / 2 for one in main)
    return (
        f"{users}: none is better or worse than {judged.baseline} by more than chance; the largest difference is that "
        f"of {_shown(largest)}: not real as far as these users can tell, who would hardly show one below {reach:.3f}."
    )


def _real(candidates: Sequence[Comparison], word: str) -> list[str]:
    """Differences that stand after correction, the largest first."""
    real = sorted((one for one in candidates if one.p_holm < LEVEL), key=lambda one: -abs(one.result.difference))
    return [f"{one.method} is {word} than {one.baseline}, {_difference(one)}: the difference is real" for one in real]


def _shown(one: Comparison) -> str:
    return f"{one.method}, {_difference(one)}"


def _difference(one: Comparison) -> str:
    result = one.result
    return (
        f"{result.difference:+.4f} {one.metric} [{result.low:+.4f}, {result.high:+.4f}], p = {one.p_holm:.4f} after "
        "correction"
    )


def score_rows(judged: Judged) -> list[tuple[str, ...]]:
    """Metrics, tokens and time of each template, the header first."""
    rows: list[tuple[str, ...]] = [
        ("template", *(f"{metric} [95%]" for metric in METRICS), "tokens of an item", "of a user", "ms a user")
    ]
    for name, run in judged.runs.items():
        metrics = (str(judged.reports[name].metrics[metric]) for metric in METRICS)
        tokens = (_number(run.measured.tokens.get(part)) for part in ("item", "user"))
        rows.append((name, *metrics, *tokens, f"{run.measured.ms_per_user:.1f}"))
    if judged.reference is not None:
        metrics = (str(judged.reference.metrics[metric]) for metric in METRICS)
        rows.append((f"(order of {judged.first})", *metrics, "-", "-", "-"))
    return rows


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"


def difference_rows(judged: Judged, metric: str = METRICS[0]) -> list[tuple[str, ...]]:
    """Differences to the baseline, the header first."""
    found = [one for one in judged.comparisons if one.metric == metric]
    return comparison_rows(found, f"{metric} minus {judged.baseline}")


def remarks(judged: Judged) -> list[str]:
    """What else a reader must know of one judge's numbers."""
    told = [judged.note]
    if judged.ceiling is not None:
        told.append(
            f"ceiling: {judged.ceiling:.2f} of the targets are among the candidates; the others are misses, whatever "
            "the template"
        )
    told += _alike(judged)
    if judged.spread is not None:
        spread = judged.spread
        told.append(
            f"paraphrases: {spread.metric} of {len(spread.names)} wordings of the same lies between {spread.low:.4f} "
            f"and {spread.high:.4f} (standard deviation {spread.deviation:.4f})"
        )
    return told + _orders(judged)


def _alike(judged: Judged) -> list[str]:
    """Templates that change nothing."""
    idle = [name for name in judged.runs if judged.leaves_order(name)]
    if idle:
        return [f"the list of {judged.first} is left as it is, nothing was found to add to it: {', '.join(idle)}"]
    base = judged.reports[judged.baseline].values[METRICS[0]]
    near = [n for n, r in judged.reports.items() if n != judged.baseline and (r.values[METRICS[0]] == base).all()]
    same = [name for name in near if judged.agrees(name)]
    near = [name for name in near if name not in same]  # a metric of ten places does not see what is below
    told = [f"the same for every user as {judged.baseline}: {', '.join(same)}"] if same else []
    shown = f"the same first ten places of what was taken as {judged.baseline}, not the same below: {', '.join(near)}"
    return [*told, shown] if near else told


def _orders(judged: Judged) -> list[str]:
    """What the order of candidates changes."""
    if judged.ceiling is None:
        return []
    if not judged.together:
        return ["order of candidates: each is read without the others, so none can be favoured by its place"]
    tests = {name: run.measured.orders for name, run in judged.runs.items()}
    return [
        f"order of candidates, {name}: not tested"
        if test is None
        else f"order of candidates, {name}: in {test.orders} orders, lists agree by Kendall's tau {test.tau:.3f}; "
        f"{test.metric} between {test.low:.4f} and {test.high:.4f}"
        for name, test in tests.items()
    ]


def compared_to_dict(found: Compared) -> dict[str, Any]:
    """Plain values for JSON, in a fixed order; without the values of single users."""
    return {
        "data": {"name": found.data, "hash": found.data_hash},
        "seed": found.seed,
        "corrected_for": found.count,
        "judges": [_judged_to_dict(judged) for judged in found.judged],
        "verdict": verdict(found),
    }


def _judged_to_dict(judged: Judged) -> dict[str, Any]:
    runs = [
        {
            "template": name,
            "kind": run.template.kind,
            "version": run.template.version,
            "fingerprint": run.template.fingerprint,
            "key": run.key,
            "at": run.at,
            "from_store": name not in judged.fresh,
            "metrics": {metric: judged.reports[name].metrics[metric].to_dict() for metric in METRICS},
            "tokens": dict(run.measured.tokens),
            "ms_per_user": run.measured.ms_per_user,
            "seconds": run.measured.seconds,
            "orders": None if run.measured.orders is None else run.measured.orders.to_dict(),
        }
        for name, run in judged.runs.items()
    ]
    reference = judged.reference
    return {
        "judge": judged.judge,
        "note": judged.note,
        "protocol": judged.card.to_dict(),
        "baseline": judged.baseline,
        "templates": runs,
        "differences": [one.to_dict() for one in judged.comparisons],
        "paraphrases": None if judged.spread is None else judged.spread.to_dict(),
        "ceiling": judged.ceiling,
        "first": judged.first,
        "first_metrics": None if reference is None else {m: reference.metrics[m].to_dict() for m in METRICS},
        "verdict": verdict_of(judged),
    }
