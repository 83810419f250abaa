"""``llmrec experiment``: compare pipelines on the people of a service, without a service that runs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from llmrec.cli.output import print_json, print_rows, printable, results
from llmrec.cli.source import JsonOption
from llmrec.errors import ConfigError

if TYPE_CHECKING:
    from llmrec.serve.experiments import Comparison, Experiment, Experiments, Report
    from llmrec.serve.experiments.report import Rate

__all__ = ["create", "list_experiments", "report", "stop"]

StoreOption = Annotated[
    str, typer.Option("--store", metavar="URL", help="Database of the service: a URL, or the path of an SQLite file.")
]
NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="The experiment.", show_default=False)]


def create(
    name: NameArgument,
    variant: Annotated[
        list[str],
        typer.Option(
            "--variant", metavar="NAME=ALIAS", help="A variant and its pipeline; the first is what others are beside."
        ),
    ],
    store: StoreOption,
    weight: Annotated[
        list[str] | None,
        typer.Option("--weight", metavar="NAME=NUMBER", help="Share of people of a variant; without it, equal ones."),
    ] = None,
    interleave: Annotated[
        bool, typer.Option("--interleave", help="Draw each list from both variants, in place of dividing people.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Start an experiment; a running service takes it up within a second."""
    variants = dict(_pair("--variant", text) for text in variant)
    if len(variants) < len(variant):
        raise ConfigError("--variant: a name stands there twice")
    weights = {name: _number(text) for name, text in (_pair("--weight", text) for text in weight or ())}
    with _experiments(store) as experiments:
        made = experiments.create(name, variants, weights=weights or None, kind="interleave" if interleave else "ab")
    if as_json:
        print_json(made.to_dict())
    else:
        results().print(printable(f"{made.name} runs: {_variants(made)}"))


def list_experiments(store: StoreOption, as_json: JsonOption = False) -> None:
    """List experiments, newest first."""
    with _experiments(store) as experiments:
        found = experiments.list()[::-1]
    if as_json:
        print_json([experiment.to_dict() for experiment in found])
        return
    if not found:
        results().print("There is no experiment.")
        return
    rows = [("experiment", "state", "kind", "since", "variants")]
    rows += [(one.name, one.state, one.kind, _day(one.created), _variants(one)) for one in found]
    print_rows(results(), rows, left=5)


def stop(name: NameArgument, store: StoreOption, as_json: JsonOption = False) -> None:
    """End an experiment for good: everybody gets the default pipeline again."""
    with _experiments(store) as experiments:
        stopped = experiments.stop(name)
    if as_json:
        print_json(stopped.to_dict())
    else:
        results().print(printable(f"{stopped.name} is stopped"))


def report(name: NameArgument, store: StoreOption, as_json: JsonOption = False) -> None:
    """Say which variant is better, by how much, and whether that can be told; at any time, as often as you like."""
    with _experiments(store) as experiments:
        found = experiments.report(name)
    if as_json:
        print_json(found.to_dict())
    else:
        _print(found)


def _print(report: Report) -> None:
    console = results()
    console.print(printable(f"{report.experiment} ({report.kind}, {report.state})"))
    console.print(printable(report.verdict), style="bold")
    for warning in report.warnings:
        console.print(printable(f"Warning: {warning}"), style="yellow")
    console.print()
    if report.kind == "interleave":
        rows: list[tuple[str, ...]] = [("variant", "alias", "people", "lists", "clicks won")]
        rows += [(v.variant, v.alias, f"{v.users:,}", f"{v.impressions:,}", f"{v.clicks:,}") for v in report.variants]
    else:
        rows = [("variant", "alias", "people", "share", "lists", "clicks a list", "conversions a list")]
        people = max(1, report.users)
        rows += [
            (
                v.variant,
                v.alias,
                f"{v.users:,}",
                f"{v.users / people:.1%} of {v.weight:.1%}",
                f"{v.impressions:,}",
                _rate(v.ctr),
                _rate(v.conversion),
            )
            for v in report.variants
        ]
    print_rows(console, rows, left=2)
    print_rows(console, [("comparison", "of", "difference", "p", "verdict"), *_compared(report.comparisons)], left=2)
    console.print("Intervals hold at every moment at once; p is corrected for all comparisons. Looking early is safe.")


def _compared(comparisons: Sequence[Comparison]) -> Iterator[tuple[str, ...]]:
    for one in comparisons:
        shown = "-" if one.difference is None else f"{one.difference:+.4f}"
        if one.low is not None and one.high is not None:
            shown += f" [{one.low:+.4f}, {one.high:+.4f}]"
        verdict = "cannot be told" if one.verdict == "unknown" else f"{one.variant} is {one.verdict}"
        what = "share of clicks above 50%" if one.metric == "preference" else f"{one.metric} a list"
        yield (f"{one.variant} - {one.against}", what, shown, _p(one.p_value), verdict)


def _rate(rate: Rate) -> str:
    if rate.value is None:
        return "-"
    ends = "" if rate.low is None or rate.high is None else f" [{rate.low:.4f}, {rate.high:.4f}]"
    return f"{rate.value:.4f}{ends}"


def _p(value: float) -> str:
    return "< 0.0001" if value < 0.0001 else f"{value:.4f}"


def _variants(experiment: Experiment) -> str:
    return ", ".join(
        f"{name} = {alias} ({experiment.weights[name]:.0%})" for name, alias in experiment.variants.items()
    )


def _day(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M")


def _pair(option: str, text: str) -> tuple[str, str]:
    name, sign, value = text.partition("=")
    if not (sign and name.strip() and value.strip()):
        raise ConfigError(f"{option}: expected NAME=VALUE, got {text!r}")
    return name.strip(), value.strip()


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ConfigError(f"--weight: {text!r} is not a number") from None


@contextmanager
def _experiments(url: str) -> Iterator[Experiments]:
    from llmrec.cli.key import opened_store

    with opened_store(url) as store:
        from llmrec.serve.experiments import Experiments

        yield Experiments(store)
