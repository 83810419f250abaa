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
    benchmark_for,
    check_holdout,
    check_out,
    read_wanted,
    show,
    write,
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
    named = _named(sources)
    check_out(out, plots=plots)
    check_holdout(holdout, bundled=any(place.kind == "bundle" for place in named.values()))
    found: dict[str, dict[str, Measured]] = {n: _stored(p) for n, p in named.items() if p.kind == "report"}
    fresh = {name: place.path for name, place in named.items() if place.kind != "report"}
    with progress() as say:
        if fresh:
            catalog, log = read_data(dataset, items, interactions, say, config=config, sets=sets)
            bundles = _load(fresh)
            first = next(iter(bundles.values()), None)
            known = catalog if first is None else first.catalog  # which may have grown since
            wanted = read_wanted(k or _cutoffs(found), users, strata, field, separator, known)
            tested = _tested(metrics, found, wanted)
            found |= _measure(fresh, bundles, benchmark_for(first, holdout, catalog, log, wanted), say)
        else:
            _refuse_options(k=k, users=users, strata=strata, field=field, separator=separator, holdout=holdout)
            tested = _tested(metrics, found, None)
        beside = _side_by_side({name: found[name] for name in named}, tested)
    show(beside, as_json=as_json)
    write(out, beside, plots=plots)


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
    short = [_short_name(place) for place in places]
    names = [name if short.count(name) == 1 else source for name, source in zip(short, sources, strict=True)]
    if len({(place.path.resolve(), place.method) for place in places}) < len(places) or len(set(names)) < len(names):
        raise ConfigError("one of these is given twice; compare different ones")
    return dict(zip(names, places, strict=True))


def _short_name(place: Place) -> str:
    path = place.path.resolve()  # "." has no name of its own
    name = path.name if path.is_dir() else path.stem
    return name if place.method is None else f"{name}:{place.method}"


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
    if not path.exists():
        raise DataError(f"there is no {source}; name a bundle, a folder written by llmrec evaluate --out, or lists")
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


def _refuse_options(**given: object) -> None:
    """Complain of options that have nothing to do."""
    if idle := [f"--{name}" for name, value in given.items() if value is not None and value is not False]:
        raise ConfigError(
            f"{', '.join(idle)} say what is to be measured, but stored reports are as they are; leave them out, or "
            "name a bundle or a file of lists"
        )


def _tested(
    metrics: str | None, stored: Mapping[str, Mapping[str, Measured]], wanted: Wanted | None
) -> list[str] | None:
    """Read what is to be tested, after checking, before any work, that everything compared has it.

    Raises:
        ConfigError: a metric is not known of all, or there is no cut-off in common.
    """
    from llmrec.evaluate import ACCURACY

    held = [list(one.report.metrics) for tests in stored.values() for one in tests.values()]
    if wanted is not None:
        held.append([f"{name}@{k}" for k in wanted.k for name in (*ACCURACY, *wanted.extra)])
    shared = [name for name in held[0] if all(name in others for others in held)]
    if not any(name.startswith("NDCG@") for name in shared):
        raise ConfigError("the reports have no cut-off in common; measure all of them with the same --k")
    if metrics is None:
        return None
    names = [name.strip() for name in metrics.split(",")]
    if unknown := [name for name in names if name not in shared]:
        raise ConfigError(f"--metrics: no {unknown[0]!r} of all that is compared; there are: {', '.join(shared)}")
    return list(dict.fromkeys(names))


def _load(fresh: Mapping[str, Path]) -> dict[str, Recommender]:
    """Load the bundles among what is to be measured."""
    from llmrec.opening import load

    return {name: load(path) for name, path in fresh.items() if path.is_dir()}


def _measure(
    fresh: Mapping[str, Path],
    recommenders: Mapping[str, Recommender],
    benchmark: Benchmark,
    say: Callable[[str], None],
) -> dict[str, dict[str, Measured]]:
    """Measure bundles and lists on the same test cases."""
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


def _side_by_side(found: Mapping[str, Mapping[str, Measured]], metrics: list[str] | None) -> dict[str, Evaluation]:
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
    return {
        test: put_together(
            {name: measured[test].report for name, measured in found.items()},
            found[first][test].user_ids,
            main=others[-1],
            baseline=first,
            metrics=metrics,
        )
        for test in tests
    }
