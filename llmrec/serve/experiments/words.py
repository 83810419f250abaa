"""What an experiment says, in a sentence."""

from __future__ import annotations

from collections.abc import Sequence

from llmrec.serve.experiments.report import Comparison, SampleRatio, VariantReport
from llmrec.serve.experiments.sequential import ENOUGH_HITS, ENOUGH_UNITS

__all__ = ["verdict_of", "warnings_of"]

_SUCCESS = {"clicks": "clicks a list", "conversions": "conversions a list", "preference": "of the clicks"}


def verdict_of(comparisons: Sequence[Comparison], sample_ratio: SampleRatio | None) -> str:
    """Return the verdict of all comparisons, in one sentence."""
    told = [_claim(comparison) for comparison in comparisons if comparison.verdict != "unknown"]
    if sample_ratio is not None and sample_ratio.off:
        return "Nothing can be told: people are not divided as asked, so who has which variant is not chance alone."
    if told:
        return "; ".join(told) + "."
    if all(comparison.low is None for comparison in comparisons):
        needed = f"{ENOUGH_UNITS} people and {ENOUGH_HITS} clicks or conversions in each variant"
        if comparisons[0].metric == "preference":
            needed = f"{ENOUGH_UNITS} people and {2 * ENOUGH_HITS} clicks"
        return f"It cannot be told yet: that needs at least {needed}."
    shown = next(comparison for comparison in comparisons if comparison.low is not None)
    others = sorted({comparison.variant for comparison in comparisons})
    return (
        f"It cannot be told yet whether {' or '.join(others)} differs from {shown.against}: {shown.variant} has "
        f"{_amount(shown)}."
    )


def warnings_of(
    sample_ratio: SampleRatio | None, variants: Sequence[VariantReport], unknown: int, crossed: int
) -> tuple[str, ...]:
    """Return what speaks against a report.

    Args:
        sample_ratio: None: nobody is divided.
        variants: what is there and what was asked for.
        unknown: lists of nobody known.
        crossed: people who had more than one variant.
    """
    found = []
    if sample_ratio is not None and sample_ratio.off:
        users = sum(variant.users for variant in variants)
        shares = ", ".join(f"{v.variant} {v.users / users:.1%} instead of {v.weight:.1%}" for v in variants)
        found.append(
            f"The sample ratio is off (always-valid p = {sample_ratio.p_value:.2g}): {shares}. Something loses people "
            "of one variant, such as errors, time limits or lists that are not recorded; find it before you believe "
            "any difference."
        )
    if unknown:
        found.append(
            f"{_count(unknown, 'list', 'lists')} left out, shown to nobody known or without a variant: whether one "
            "person saw several cannot be told."
        )
    if crossed:
        found.append(
            f"{_count(crossed, 'person', 'people')} left out who had more than one variant; a person's variant should "
            "never change."
        )
    return tuple(found)


def _claim(comparison: Comparison) -> str:
    if comparison.metric == "preference":
        return f"{comparison.variant} is {comparison.verdict} than {comparison.against}: it wins {_amount(comparison)}"
    return f"{comparison.variant} is {comparison.verdict} than {comparison.against} by {_amount(comparison)}"


def _amount(comparison: Comparison) -> str:
    low, high, middle = comparison.low or 0.0, comparison.high or 0.0, comparison.difference or 0.0
    word = _SUCCESS[comparison.metric]
    if comparison.metric == "preference":
        return f"{0.5 + middle:.1%} {word} [{0.5 + low:.1%}, {0.5 + high:.1%}]"
    return f"{middle:+.4f} {word} [{low:+.4f}, {high:+.4f}]"


def _count(number: int, one: str, many: str) -> str:
    return f"{number:,} {one} is" if number == 1 else f"{number:,} {many} are"
