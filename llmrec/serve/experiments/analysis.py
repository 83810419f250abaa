"""From what people did to what it says."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np

from llmrec.evaluate.significance import holm
from llmrec.serve.experiments.experiment import Experiment
from llmrec.serve.experiments.moments import Moments
from llmrec.serve.experiments.report import LEVEL, Comparison, Rate, Report, SampleRatio, VariantReport, Verdict
from llmrec.serve.experiments.sample_ratio import ALARM, sample_ratio_p
from llmrec.serve.experiments.sequential import Estimate, difference, rate, share
from llmrec.serve.experiments.words import verdict_of, warnings_of

__all__ = ["Outcome", "analyse"]

Metric = Literal["clicks", "conversions", "preference"]


class Outcome(Protocol):
    """What a person did with the lists of one variant, as the store has it."""

    @property
    def user_id(self) -> str | None:
        """The person, or what tells one from another; None: not known."""

    @property
    def variant(self) -> str:
        """Of the lists; any where lists are interleaved."""

    @property
    def impressions(self) -> int:
        """Lists."""

    @property
    def clicks(self) -> int:
        """On items of these lists."""

    @property
    def conversions(self) -> int:
        """Of items of these lists."""

    @property
    def source_clicks(self) -> Mapping[str, int]:
        """Clicks on interleaved lists by the variant that the item came from."""


@dataclass(frozen=True, slots=True)
class _Tested:
    """A comparison before it is corrected for the others."""

    metric: Metric
    variant: str
    against: str
    estimate: Estimate
    truth: float = 0.0


@dataclass(frozen=True, slots=True)
class _Counts:
    """People who count, lists of nobody known, people with several variants, and the lists of these."""

    users: int
    unknown: int
    crossed: int = 0
    crossed_lists: int = 0


def analyse(experiment: Experiment, outcomes: Iterable[Outcome]) -> Report:
    """Say what an experiment says so far.

    Args:
        experiment: which.
        outcomes: at most one for each person and variant; several for nobody known.

    Returns:
        The report; valid at any moment, whether or not one has looked before.
    """
    known, unknown = [], 0
    for row in outcomes:
        if row.impressions < 1:
            continue
        if row.user_id is None or (experiment.kind == "ab" and row.variant not in experiment.variants):
            unknown += row.impressions
        else:
            known.append(row)
    if experiment.kind == "interleave":
        return _interleaved(experiment, known, unknown)
    return _divided(experiment, known, unknown)


def _divided(experiment: Experiment, rows: Sequence[Outcome], unknown: int) -> Report:
    """The report where each person has one variant."""
    had = Counter(row.user_id for row in rows)
    kept = [row for row in rows if had[row.user_id] == 1]
    of = {name: [row for row in kept if row.variant == name] for name in experiment.variants}
    clicks = {name: Moments.of([r.impressions for r in part], [r.clicks for r in part]) for name, part in of.items()}
    conversions = {
        name: Moments.of([r.impressions for r in part], [r.conversions for r in part]) for name, part in of.items()
    }
    variants = tuple(
        VariantReport(
            name,
            alias,
            experiment.weights[name],
            len(of[name]),
            sum(row.impressions for row in of[name]),
            sum(row.clicks for row in of[name]),
            sum(row.conversions for row in of[name]),
            _rate(rate(clicks[name])),
            _rate(rate(conversions[name])),
        )
        for name, alias in experiment.variants.items()
    )
    first, *others = experiment.variants
    named: tuple[tuple[Metric, dict[str, Moments]], ...] = (("clicks", clicks), ("conversions", conversions))
    tests = [
        _Tested(metric, name, first, difference(sums[first], sums[name])) for name in others for metric, sums in named
    ]
    p = float(sample_ratio_p([v.users for v in variants], [v.weight for v in variants]))
    crossed = [row for row in rows if had[row.user_id] > 1]
    counts = _Counts(len(kept), unknown, len({row.user_id for row in crossed}), sum(row.impressions for row in crossed))
    return _report(experiment, tests, variants, SampleRatio(p, p < ALARM), counts)


def _interleaved(experiment: Experiment, rows: Sequence[Outcome], unknown: int) -> Report:
    """The report where each list is drawn from both."""
    first, second = experiment.variants
    users = {row.user_id for row in rows}
    won: dict[str, Counter[str | None]] = {first: Counter(), second: Counter()}
    for row in rows:
        for name, clicks in row.source_clicks.items():
            if name in won:
                won[name][row.user_id] += clicks
    clicked = [user for user in users if won[first][user] + won[second][user] > 0]
    pairs = np.array([(won[first][user], won[second][user]) for user in clicked], dtype=np.float64).reshape(-1, 2)
    lists, nothing = sum(row.impressions for row in rows), Rate(None, None, None)
    variants = tuple(
        VariantReport(
            name, alias, experiment.weights[name], len(users), lists, sum(won[name].values()), 0, nothing, nothing
        )
        for name, alias in experiment.variants.items()
    )
    preference = share(Moments.of(pairs.sum(axis=1), pairs[:, 1]))
    tests = [_Tested("preference", second, first, preference, 0.5)]
    return _report(experiment, tests, variants, None, _Counts(len(users), unknown))


def _report(
    experiment: Experiment,
    tests: Sequence[_Tested],
    variants: tuple[VariantReport, ...],
    sample_ratio: SampleRatio | None,
    counts: _Counts,
) -> Report:
    comparisons = _corrected(tests)
    return Report(
        experiment=experiment.name,
        kind=experiment.kind,
        state=experiment.state,
        verdict=verdict_of(comparisons, sample_ratio),
        warnings=warnings_of(sample_ratio, variants, counts.unknown, counts.crossed),
        variants=variants,
        comparisons=comparisons,
        sample_ratio=sample_ratio,
        users=counts.users,
        left_out=counts.unknown + counts.crossed_lists,
    )


def _corrected(tests: Sequence[_Tested]) -> tuple[Comparison, ...]:
    """Correct for comparing more than one thing at once (Holm), which always-valid p-values allow at any moment.

    Each interval has the level at which Holm's procedure decided on its comparison, so it leaves out zero exactly
    where something is claimed; by itself it misses the truth, ever, with at most `LEVEL`.
    """
    raw = [float(test.estimate.p_value(test.truth)) for test in tests]
    corrected = holm(raw)
    order = sorted(range(len(tests)), key=lambda place: raw[place])
    claimed = sum(p <= LEVEL for p in corrected)
    steps = {place: min(step, claimed) for step, place in enumerate(order)}
    return tuple(
        _comparison(test, float(corrected[place]), LEVEL / (len(tests) - min(steps[place], len(tests) - 1)))
        for place, test in enumerate(tests)
    )


def _comparison(test: _Tested, p_value: float, level: float) -> Comparison:
    value = float(test.estimate.value) - test.truth
    reach = float(test.estimate.reach(level))
    low, high = (value - reach, value + reach) if np.isfinite(reach) else (None, None)
    if test.metric == "preference" and low is not None and high is not None:
        low, high = max(low, -0.5), min(high, 0.5)
    verdict: Verdict = "unknown" if p_value > LEVEL else "better" if value > 0 else "worse"
    shown = value if np.isfinite(value) else None
    return Comparison(test.metric, test.variant, test.against, shown, low, high, level, p_value, verdict)


def _rate(estimate: Estimate) -> Rate:
    value, reach = float(estimate.value), float(estimate.reach(LEVEL))
    if not np.isfinite(value):
        return Rate(None, None, None)
    return Rate(value, max(value - reach, 0.0), value + reach) if np.isfinite(reach) else Rate(value, None, None)
