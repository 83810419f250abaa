"""``llmrec compare``: bundles, stored reports and lists of peers, side by side on the same users."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from llmrec.cli.evaluate import (
    CutoffsOption,
    FieldOption,
    OutOption,
    PlotsOption,
    SeparatorOption,
    SplitOption,
    StrataOption,
    UsersOption,
    read_wanted,
    show,
)
from llmrec.cli.output import progress
from llmrec.cli.source import (
    ConfigOption,
    DatasetOption,
    InteractionsOption,
    ItemsOption,
    JsonOption,
    SetOption,
    read_data,
)
from llmrec.errors import ConfigError, DataError

if TYPE_CHECKING:
    from llmrec.data import Catalog, Interactions
    from llmrec.evaluate import Benchmark, Evaluation, Report, Wanted
    from llmrec.pipeline import Recommender

__all__ = ["compare"]

LISTS = (".parquet", ".csv", ".tsv")


def compare(
    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="A B...",
            help="What to compare: bundles, folders written by `llmrec evaluate --out` (FOLDER:METHOD for one of its "
            "methods), or lists as `llmrec recommend --out` writes them. The others are compared with the first.",
        ),
    ],
    dataset: DatasetOption = None,
    items: ItemsOption = None,
    interactions: InteractionsOption = None,
    config: ConfigOption = None,
    sets: SetOption = None,
    metrics: Annotated[
        str | None,
        typer.Option("--metrics", metavar="NAMES", help="What is tested, such as NDCG@10,Recall@10; default: NDCG."),
    ] = None,
    k: CutoffsOption = None,
    users: UsersOption = None,
    strata: StrataOption = False,
    field: FieldOption = None,
    separator: SeparatorOption = None,
    holdout: SplitOption = None,
    out: OutOption = None,
    plots: PlotsOption = True,
    as_json: JsonOption = False,
) -> None:
    """Compare recommenders over the same users: metrics side by side, paired differences to the first, corrected p.

    Bundles and lists are measured now and need the data; stored reports need nothing. Reports of different
    protocols or users are refused.
    """
    from llmrec.evaluate import check_report_place, write_evaluations

    named = _named(sources)
    stored = {name: _stored(place) for name, place in named.items() if place.kind == "report"}
    if out is not None:
        check_report_place(out, plots=plots)
    with progress() as say:
        measured: dict[str, dict[str, Measured]] = {}
        if len(stored) < len(named):
            catalog, log = read_data(dataset, items, interactions, say, config=config, sets=sets)
            wanted = read_wanted(k or _cutoffs(stored), users, strata, field, separator, catalog)
            fresh = {name: place.path for name, place in named.items() if place.kind != "report"}
            measured = _measure(fresh, holdout, (catalog, log), wanted, say)
        found = _side_by_side({name: (stored | measured)[name] for name in named}, metrics)
        if out is not None:
            say(f"writing {out}")
            write_evaluations(out, found, plots=plots)
    show(found, as_json=as_json)


@dataclass(frozen=True, slots=True)
class Place:
    """One thing to compare: what it is, where it is, and which method of a folder of reports is meant."""

    kind: str
    path: Path
    method: str | None = None


@dataclass(frozen=True, slots=True)
class Measured:
    """A report and the ids of its users."""

    report: Report
    user_ids: Sequence[str]


def _named(sources: Sequence[str]) -> dict[str, Place]:
    """Name everything by the last part of its path where that tells it apart, else by all of it.

    Raises:
        ConfigError: there are fewer than two, or one is given twice.
        DataError: there is nothing of the kind at a path.
    """
    if len(sources) < 2:
        raise ConfigError("name at least two bundles, folders of reports or files of lists to compare")
    places = [_place(source) for source in sources]
    short = [place.path.stem if place.method is None else f"{place.path.name}:{place.method}" for place in places]
    names = [name if short.count(name) == 1 else source for name, source in zip(short, sources, strict=True)]
    if len(set(names)) < len(names):
        raise ConfigError("one of these is given twice; compare different ones")
    return dict(zip(names, places, strict=True))


def _place(source: str) -> Place:
    from llmrec.bundle import MANIFEST
    from llmrec.evaluate import is_report

    path, method = Path(source), None
    if not path.exists() and ":" in source:
        before, _, after = source.rpartition(":")
        path, method = Path(before), after
    if is_report(path):
        return Place("report", path, method)
    if method is None and (path / MANIFEST).is_file():
        return Place("bundle", path)
    if method is None and path.suffix in LISTS and path.is_file():
        return Place("lists", path)
    raise DataError(
        f"{source} is neither a bundle, nor a folder written by llmrec evaluate --out, nor a file of lists "
        f"({', '.join(LISTS)})"
    )


def _stored(place: Place) -> dict[str, Measured]:
    """Read one method's report per test of a folder of reports."""
    from llmrec.evaluate import load_evaluations

    found = {}
    for test, evaluation in load_evaluations(place.path).items():
        method = evaluation.main if place.method is None else place.method
        if method not in evaluation.reports:
            raise ConfigError(f"{place.path} has no method {method!r}; it has: {', '.join(evaluation.reports)}")
        found[test] = Measured(evaluation.reports[method], evaluation.user_ids)
    return found


def _cutoffs(stored: Mapping[str, Mapping[str, Measured]]) -> str:
    """The cut-offs that stored reports have in common, so that what is measured now can be compared with them."""
    from llmrec.evaluate import cutoffs_of

    reports = {f"{name} {test}": m.report for name, tests in stored.items() for test, m in tests.items()}
    return ",".join(map(str, cutoffs_of(reports))) if reports else "10"


def _measure(
    fresh: Mapping[str, Path],
    holdout: str | None,
    data: tuple[Catalog, Interactions],
    wanted: Wanted,
    say: Callable[[str], None],
) -> dict[str, dict[str, Measured]]:
    """Measure bundles and lists on the test cases of the first bundle, or without one of the split asked for."""
    from llmrec.pipeline import load

    recommenders = {name: load(path) for name, path in fresh.items() if path.is_dir()}
    benchmark = _benchmark(recommenders, holdout, data, wanted)
    found: dict[str, dict[str, Measured]] = {}
    for name, path in fresh.items():
        say(f"measuring {name}")
        reports = {
            test: benchmark.measure(recommenders[name], test)
            if name in recommenders
            else benchmark.measure_lists(path, test)
            for test in benchmark.trials
        }
        found[name] = {test: Measured(report, benchmark.user_ids(test)) for test, report in reports.items()}
    return found


def _benchmark(
    recommenders: Mapping[str, Recommender], holdout: str | None, data: tuple[Catalog, Interactions], wanted: Wanted
) -> Benchmark:
    from llmrec.evaluate import benchmark_of, benchmark_on

    catalog, log = data
    if not recommenders:
        return benchmark_on(holdout or "last", catalog, log, wanted)
    if holdout is not None:
        raise ConfigError("--holdout is for lists alone: a bundle says itself how the log was split for it")
    return benchmark_of(next(iter(recommenders.values())), log, wanted)


def _side_by_side(found: Mapping[str, Mapping[str, Measured]], metrics: str | None) -> dict[str, Evaluation]:
    """Put together what was measured on each test.

    Raises:
        DataError: not all of them were measured on the same tests, protocols or users.
    """
    from llmrec.evaluate import put_together

    first, *others = found
    tests = list(found[first])
    for other in others:
        if set(found[other]) != set(tests):
            raise DataError(
                f"{first} was measured on {', '.join(tests)} and {other} on {', '.join(found[other])}; results of "
                "different protocols must not be compared"
            )
        for test in tests:
            found[first][test].report.card.check_comparable(found[other][test].report.card)
            if list(found[other][test].user_ids) != list(found[first][test].user_ids):
                raise DataError(f"{first} and {other} were measured on different users; measure both on the same")
    wanted = None if metrics is None else [name.strip() for name in metrics.split(",")]
    return {
        test: put_together(
            {name: measured[test].report for name, measured in found.items()},
            found[first][test].user_ids,
            main=others[-1],
            baseline=first,
            metrics=wanted,
        )
        for test in tests
    }
