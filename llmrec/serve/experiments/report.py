"""What an experiment says, as values."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

__all__ = ["LEVEL", "Comparison", "Rate", "Report", "SampleRatio", "VariantReport", "Verdict"]

Verdict = Literal["better", "worse", "unknown"]

LEVEL = 0.05
"""Chance that anything at all is claimed of variants that do not differ, over all comparisons and all moments."""


@dataclass(frozen=True, slots=True)
class Rate:
    """A ratio over people with its always-valid 95% interval.

    Attributes:
        value: None: nothing was tried.
        low: lower end; None: too few people or successes for an interval.
        high: upper end; None as `low`.
    """

    value: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True, slots=True)
class VariantReport:
    """What the people of one variant did.

    Attributes:
        variant: its name.
        alias: of its pipeline.
        weight: share of people who should have it.
        users: people who had a list.
        impressions: lists.
        clicks: on items of these lists.
        conversions: of items of these lists.
        ctr: clicks a list.
        conversion: conversions a list.
    """

    variant: str
    alias: str
    weight: float
    users: int
    impressions: int
    clicks: int
    conversions: int
    ctr: Rate
    conversion: Rate


@dataclass(frozen=True, slots=True)
class Comparison:
    """How a variant does beside the first one.

    Attributes:
        metric: "clicks" or "conversions", each a list; "preference": the share of clicks on an interleaved list.
        variant: the one that is judged.
        against: the one it is compared with.
        difference: how much more it has; for a preference, its share above one half. None: nothing to compare.
        low: lower end of the always-valid interval of the difference; None: too little to tell.
        high: upper end.
        level: one less the interval's confidence; smaller where more is compared at once.
        p_value: always-valid, corrected for all comparisons of the report (Holm).
        verdict: "unknown": cannot be told yet.
    """

    metric: Literal["clicks", "conversions", "preference"]
    variant: str
    against: str
    difference: float | None
    low: float | None
    high: float | None
    level: float
    p_value: float
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class SampleRatio:
    """Whether people are divided as asked.

    Attributes:
        p_value: always-valid.
        off: whether they are surely not.
    """

    p_value: float
    off: bool


@dataclass(frozen=True, slots=True)
class Report:
    """What an experiment says now; it may be asked for at any time, as often as one likes.

    Attributes:
        experiment: its name.
        kind: "ab" or "interleave".
        state: "running" or "stopped".
        verdict: in one sentence.
        warnings: what speaks against it, a sentence each.
        variants: in their order; clicks of an interleaved list count for the variant that the item came from.
        comparisons: of every other variant with the first.
        sample_ratio: None where lists are interleaved: there is nobody to divide.
        users: people with a list.
        left_out: lists that count nowhere, since it is not known whose they are, or their person had two variants.
    """

    experiment: str
    kind: Literal["ab", "interleave"]
    state: Literal["running", "stopped"]
    verdict: str
    warnings: tuple[str, ...]
    variants: tuple[VariantReport, ...]
    comparisons: tuple[Comparison, ...]
    sample_ratio: SampleRatio | None
    users: int
    left_out: int

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self)
