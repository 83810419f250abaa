"""Templates beside each other: measured once, kept, and compared user by user."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from llmrec.component import silent
from llmrec.errors import ConfigError
from llmrec.evaluate import Comparison, Interval, ProtocolCard, Report, holm, paired_test
from llmrec.lab.ground import CUT, Float64Array, Ground, ranks_of, report_of
from llmrec.lab.judges import Judge
from llmrec.lab.store import Run, Store, new_run, run_key
from llmrec.text import Template

__all__ = ["METRICS", "Compared", "Judged", "Lab", "Spread", "compare_templates", "measure_template", "unique_names"]

METRICS = (f"NDCG@{CUT}", f"Recall@{CUT}")
MAIN = METRICS[0]


@dataclass(frozen=True, slots=True, eq=False)
class Lab:
    """Where templates are measured.

    Attributes:
        ground: the data.
        store: where results are kept and found again.
        name: of the data.
        seed: of samples, tuning and orders; told in reports.
        progress: told what is going on.
    """

    ground: Ground
    store: Store
    name: str = ""
    seed: int = 0
    progress: Callable[[str], None] = silent


@dataclass(frozen=True, slots=True)
class Spread:
    """How far templates that say the same lie apart.

    Attributes:
        names: the templates, the one they paraphrase first.
        metric: name of the metric.
        low: the lowest mean over users.
        high: the highest.
        deviation: standard deviation of the means.
    """

    names: tuple[str, ...]
    metric: str
    low: float
    high: float
    deviation: float

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "templates": list(self.names),
            "metric": self.metric,
            "low": self.low,
            "high": self.high,
            "deviation": self.deviation,
        }


@dataclass(frozen=True, slots=True, eq=False)
class Judged:
    """Templates under one judge.

    Attributes:
        judge: its name.
        note: what a reader must know of it.
        card: how the cases were made.
        runs: by template name, in the order asked for.
        reports: metrics of each, with what every user got.
        baseline: the template the others are compared with.
        comparisons: the others against it, corrected for all comparisons of all judges.
        spread: of the paraphrases, if any were given.
        ceiling: share of the targets among the candidates; None where the whole catalog is ranked.
        reference: what the first stage's own order has; None where there is none.
        first: the first stage, or "".
        fresh: names of the templates that were measured now; the others came from the store.
        together: whether several candidates are read at once, so that their order may matter.
        reference_ranks: Float64[n], the targets' places in the first stage's own order; None where there is none.
    """

    judge: str
    note: str
    card: ProtocolCard
    runs: Mapping[str, Run]
    reports: Mapping[str, Report]
    baseline: str
    comparisons: tuple[Comparison, ...]
    spread: Spread | None
    ceiling: float | None
    reference: Report | None
    first: str
    fresh: tuple[str, ...]
    together: bool = False
    reference_ranks: Float64Array | None = None

    def leaves_order(self, name: str) -> bool:
        """Whether a template's targets stand where the first stage has them, for every user."""
        places = self.reference_ranks
        return places is not None and np.array_equal(self.runs[name].measured.ranks, places)

    def agrees(self, name: str) -> bool:
        """Whether a template's targets stand where the baseline has them, for every user, however far down."""
        return np.array_equal(self.runs[name].measured.ranks, self.runs[self.baseline].measured.ranks)


@dataclass(frozen=True, slots=True, eq=False)
class Compared:
    """Templates under several judges.

    Attributes:
        judged: one entry a judge.
        data: name of the data.
        data_hash: of the data.
        seed: of samples, tuning and orders.
        count: comparisons that p-values were corrected for.
    """

    judged: tuple[Judged, ...]
    data: str
    data_hash: str
    seed: int
    count: int


def unique_names(templates: Sequence[Template]) -> list[Template]:
    """Templates whose names tell them apart: files of one name in two folders get a number.

    Raises:
        ConfigError: there are none, or two that write the same.
    """
    if not templates:
        raise ConfigError("name at least one template")
    seen: dict[str, str] = {}
    named: list[Template] = []
    for template in templates:
        if (same := seen.get(template.fingerprint)) is not None:
            raise ConfigError(f"{same} and {template.name} write the same: their fingerprints are equal; leave one out")
        names = {other.name for other in named}
        number = 2
        name = template.name
        while name in names:
            name, number = f"{template.name} ({number})", number + 1
        seen[template.fingerprint] = name
        named.append(replace(template, name=name))
    return named


def measure_template(lab: Lab, judge: Judge, template: Template, about: Mapping[str, Any]) -> tuple[Run, bool]:
    """Measure a template, or read what was measured before.

    Args:
        lab: the data, and where results are kept.
        judge: who measures.
        template: the template.
        about: what the judge says of itself; see `Judge.about`.

    Returns:
        The result, and whether it was measured now.
    """
    told = {**about, "data": lab.ground.data_hash}
    key = run_key(judge.prompts(template), told)
    known = lab.store.get(key)
    if known is not None:
        return replace(known, template=template), False
    found = judge.measure(template)
    run = new_run(key, judge.name, judge.note, template, lab.ground.data_hash, judge.cases, found)
    lab.store.add(run, told)
    return run, True


def compare_templates(
    lab: Lab, judges: Sequence[Judge], templates: Sequence[Template], paraphrases: Sequence[Template] = ()
) -> Compared:
    """Measure templates with every judge, and compare them with the first one over the same users.

    Args:
        lab: the data, and where results are kept and found again.
        judges: who measures.
        templates: the templates, the baseline first; with other names where two have one name.
        paraphrases: templates that say the same as the first in other words; their spread is told beside the
            differences, and they are compared like the others.

    Raises:
        ConfigError: two templates write the same, or a judge does not read a kind.
    """
    named = unique_names([*templates, *paraphrases])
    for judge in judges:  # before minutes of work
        for template in named:
            judge.prompts(template)
    alike = tuple(template.name for template in [named[0], *named[len(templates) :]])
    judged = [_judged(lab, judge, named, alike) for judge in judges]
    corrected = iter(holm([one.result.p_value for each in judged for one in each.comparisons]))
    judged = [
        replace(each, comparisons=tuple(replace(one, p_holm=float(next(corrected))) for one in each.comparisons))
        for each in judged
    ]
    count = sum(len(each.comparisons) for each in judged)
    return Compared(tuple(judged), lab.name, lab.ground.data_hash, lab.seed, count)


def _judged(lab: Lab, judge: Judge, templates: Sequence[Template], alike: tuple[str, ...]) -> Judged:
    about, runs, fresh = judge.about(), {}, []
    for place, template in enumerate(templates, start=1):
        lab.progress(f"{judge.name}: {template.name} ({place} of {len(templates)})")
        runs[template.name], computed = measure_template(lab, judge, template, about)
        fresh += [template.name] if computed else []
    sampled = len(judge.cases) < len(lab.ground.cases)
    card = lab.ground.card(judge.cases, "a random sample of the users" if sampled else "")
    reports = {name: report_of(card, judge.cases, run.measured.ranks) for name, run in runs.items()}
    lists = getattr(judge, "lists", None)
    places = None if lists is None else ranks_of(lists.items, lists.cases.targets)
    return Judged(
        judge=judge.name,
        note=judge.note,
        card=card,
        runs=runs,
        reports=reports,
        baseline=templates[0].name,
        comparisons=_paired(reports, templates[0].name),
        spread=spread_of({name: reports[name] for name in alike}) if len(alike) > 1 else None,
        ceiling=None if lists is None else lists.ceiling,
        reference=None if places is None else report_of(card, judge.cases, places),
        first="" if lists is None else lists.first,
        fresh=tuple(fresh),
        together=judge.reads_together,
        reference_ranks=places,
    )


def _paired(reports: Mapping[str, Report], baseline: str) -> tuple[Comparison, ...]:
    """Every other template against the baseline, p-values not corrected yet."""
    found = []
    for metric in METRICS:
        for name, report in reports.items():
            if name != baseline:
                result = paired_test(report.values[metric], reports[baseline].values[metric])
                found.append(Comparison(name, baseline, metric, result, result.p_value))
    return tuple(found)


def spread_of(reports: Mapping[str, Report], metric: str = MAIN) -> Spread:
    """How far reports lie apart."""
    means = np.array([report.metrics[metric].mean for report in reports.values()])
    return Spread(tuple(reports), metric, float(means.min()), float(means.max()), float(means.std(ddof=0)))


def interval_of(one: Comparison) -> Interval:
    """The interval of a difference."""
    return Interval(one.result.difference, one.result.low, one.result.high)
