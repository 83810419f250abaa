"""``llmrec evaluate``: a bundle and its parts, or lists of a peer, measured on interactions they have never seen."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from llmrec.cli.output import print_json, print_rows, printable, progress, results
from llmrec.cli.source import (
    ConfigOption,
    DatasetOption,
    InteractionsOption,
    ItemsOption,
    JsonOption,
    SetOption,
    read_data,
)
from llmrec.errors import ConfigError

if TYPE_CHECKING:
    from llmrec.data import Catalog, Interactions
    from llmrec.evaluate import Benchmark, Evaluation, ListMetric, Report, Wanted
    from llmrec.pipeline import Recommender

__all__ = [
    "CardOption",
    "CutoffsOption",
    "FieldOption",
    "OutOption",
    "PlotsOption",
    "SeparatorOption",
    "SplitOption",
    "StrataOption",
    "UsersOption",
    "benchmark_for",
    "check_holdout",
    "check_out",
    "evaluate",
    "read_wanted",
    "show",
    "write",
]

CutoffsOption = Annotated[
    str | None, typer.Option("--k", metavar="K,K,...", help="Cut-offs of the metrics; without it, 10.")
]
UsersOption = Annotated[
    int | None, typer.Option("--users", min=2, help="Measure on a fixed random sample of so many users.")
]
StrataOption = Annotated[
    bool, typer.Option("--strata", help="Also by popularity of the target and by length of the history.")
]
FieldOption = Annotated[
    str | None,
    typer.Option(
        "--field",
        metavar="FIELD",
        help="A field of the catalog with categories, such as genres: also measure how diverse the lists are, and how "
        "well they are calibrated to the histories.",
    ),
]
SeparatorOption = Annotated[
    str | None,
    typer.Option("--separator", help="What stands between the categories of --field; without it |, ; or , if used."),
]
SplitOption = Annotated[
    str | None,
    typer.Option(
        "--holdout",
        metavar="NAME",
        help="How the log is split where no bundle says so: last, time, cold-items or cold-users; without it, last.",
    ),
]
OutOption = Annotated[
    Path | None,
    typer.Option("--out", metavar="FOLDER", help="Write report.json, report.md, values.parquet and plots here."),
]
CardOption = Annotated[
    bool,
    typer.Option("--card", help="Also write the bundle's own figures and their protocol onto its model card."),
]
PlotsOption = Annotated[bool, typer.Option("--plots/--no-plots", help="Whether --out also draws plots.")]
MeasuredBundleOption = Annotated[
    Path | None,
    typer.Option(
        "--bundle", metavar="FOLDER", envvar="LLMREC_BUNDLE", help="A bundle saved by `llmrec fit --holdout ...`."
    ),
]
ListsOption = Annotated[
    list[Path] | None,
    typer.Option(
        "--lists",
        metavar="FILE",
        help="Lists of another recommender: user_id, rank, item_id (.parquet, .csv, .tsv); may be repeated.",
    ),
]


def evaluate(
    bundle: MeasuredBundleOption = None,
    lists: ListsOption = None,
    dataset: DatasetOption = None,
    items: ItemsOption = None,
    interactions: InteractionsOption = None,
    config: ConfigOption = None,
    sets: SetOption = None,
    k: CutoffsOption = None,
    users: UsersOption = None,
    strata: StrataOption = False,
    field: FieldOption = None,
    separator: SeparatorOption = None,
    holdout: SplitOption = None,
    out: OutOption = None,
    plots: PlotsOption = True,
    card: CardOption = False,
    as_json: JsonOption = False,
) -> None:
    """Measure a bundle fitted with --holdout, and each of its parts, or lists made elsewhere, on the same users.

    Every item of the catalog is ranked but the user's history; intervals are 95% bootstrap intervals over users;
    the differences to the best retriever are tested pairwise, and their p-values corrected (Holm).
    """
    _check_asked(bundle, lists, card=card)
    check_holdout(holdout, bundled=bundle is not None)
    check_out(out, plots=plots)
    recommender = _load(bundle)
    with progress() as say:
        catalog, log = read_data(dataset, items, interactions, say, config=config, sets=sets)
        known = catalog if recommender is None else recommender.catalog  # which may have grown since
        wanted = read_wanted(k or "10", users, strata, field, separator, known)
        benchmark = benchmark_for(recommender, holdout, catalog, log, wanted)
        found = {test: _measure(benchmark, test, recommender, lists or [], say) for test in benchmark.trials}
    show(found, as_json=as_json)
    write(out, found, plots=plots)
    if bundle is not None and card:
        _write_card(bundle, found)


def _check_asked(bundle: Path | None, lists: list[Path] | None, *, card: bool) -> None:
    """Raise ConfigError where there is nothing to measure, or no card to write."""
    if bundle is None and not lists:
        raise ConfigError("name what to measure with --bundle FOLDER or --lists FILE")
    if bundle is None and card:
        raise ConfigError("--card writes onto the model card of a bundle; name it with --bundle FOLDER")


def check_holdout(holdout: str | None, *, bundled: bool) -> None:
    """Raise ConfigError where a split is asked for, and a bundle has one of its own."""
    if bundled and holdout is not None:
        raise ConfigError("--holdout is for lists alone: a bundle says itself how the log was split for it")


def _load(bundle: Path | None) -> Recommender | None:
    from llmrec.opening import load

    return None if bundle is None else load(bundle)


def benchmark_for(
    recommender: Recommender | None, holdout: str | None, catalog: Catalog, log: Interactions, wanted: Wanted
) -> Benchmark:
    """The test cases of a bundle, or without one of the split asked for."""
    from llmrec.evaluate import benchmark_of, benchmark_on

    if recommender is None:
        return benchmark_on(holdout or "last", catalog, log, wanted)
    return benchmark_of(recommender, log, wanted)


def check_out(out: Path | None, *, plots: bool) -> None:
    """Check, before any work, that there is a place for reports, if they are wanted."""
    from llmrec.evaluate import check_report_place

    if out is not None:
        check_report_place(out, plots=plots)


def write(out: Path | None, found: Mapping[str, Evaluation], *, plots: bool) -> None:
    """Write reports, if they are wanted; last, so that what cannot be written has been shown."""
    from llmrec.evaluate import write_evaluations

    if out is not None:
        with progress() as say:
            say(f"writing {out}")
            write_evaluations(out, found, plots=plots)


def _write_card(bundle: Path, found: Mapping[str, Evaluation]) -> None:
    from llmrec.card import annotate

    with progress() as say:
        say(f"writing the model card of {bundle}")
        annotate(bundle, {"metrics": {test: one.reports[one.main].to_dict() for test, one in found.items()}})


def read_wanted(
    k: str, users: int | None, strata: bool, field: str | None, separator: str | None, catalog: Catalog
) -> Wanted:
    """Put together what is to be reported.

    Raises:
        ConfigError: a cut-off is not a whole number, there is no such field, or a separator without a field.
    """
    from llmrec.evaluate import FieldDiversity, Miscalibration, Wanted, categories_of

    parts = [part.strip() for part in k.split(",")]
    if not all(part.isdecimal() and len(part) < 10 and int(part) > 0 for part in parts):
        raise ConfigError(f"--k {k!r} must be whole numbers of at least 1, of up to 9 digits, with commas: 5,10,20")
    if field is None:
        if separator is not None:
            raise ConfigError("--separator says what stands between the categories of --field FIELD; name the field")
        return Wanted(tuple(map(int, parts)), {}, strata, users)
    categories = categories_of(catalog, field, separator)
    extra: dict[str, ListMetric] = {
        "Diversity": FieldDiversity(categories),
        "Miscalibration": Miscalibration(categories),
    }
    return Wanted(tuple(map(int, parts)), extra, strata, users)


def _measure(
    benchmark: Benchmark, test: str, recommender: Recommender | None, lists: list[Path], say: Callable[[str], None]
) -> Evaluation:
    """Measure every part, and every file of lists, on the same users."""
    from llmrec.evaluate import main_cutoff, parts, put_together

    n = len(benchmark.trials[test].holdout)
    methods = {} if recommender is None else parts(recommender)
    stages = [] if recommender is None else [stage.name for stage in recommender.stages]
    rivals = [name for name in methods if name not in stages]
    listed: dict[str, Report] = {}
    for path in lists:  # first: they are quickly judged, and may be wrong
        if path.stem in methods or path.stem in listed:
            raise ConfigError(f"two methods are called {path.stem!r}; rename {path}")
        say(f"judging {path.name} on {n:,} users")
        listed[path.stem] = benchmark.measure_lists(path, test)
    reports: dict[str, Report] = {}
    for name, part in methods.items():
        say(f"measuring {name} on {n:,} users")
        reports[name] = benchmark.measure(part, test)
    reports |= listed
    metric = f"NDCG@{main_cutoff(reports)}"
    best = max(rivals or list(reports), key=lambda name: reports[name].metrics[metric].mean)
    main = stages[-1] if stages else next(iter(reports))
    ceilings = () if recommender is None else benchmark.ceilings(recommender, test)
    return put_together(reports, benchmark.user_ids(test), main=main, baseline=best, ceilings=ceilings)


def show(found: Mapping[str, Evaluation], *, as_json: bool) -> None:
    """Print evaluations, by test: one JSON document, or tables and the protocol."""
    from llmrec.evaluate import (
        by_strata,
        ceiling_rows,
        compare,
        comparison_rows,
        cutoffs_of,
        evaluations_to_dict,
        main_cutoff,
        remarks,
        strata_rows,
    )

    if as_json:
        print_json(evaluations_to_dict(found))
        return
    console = results()
    for test, evaluation in found.items():
        reports = evaluation.reports
        cutoff, title = main_cutoff(reports), None if len(found) == 1 else test
        for k in cutoffs_of(reports):
            print_rows(console, compare(reports, k=k), title=title)
        if evaluation.ceilings:
            print_rows(console, ceiling_rows(evaluation.ceilings), title=title)
        for kind, grouped in by_strata(reports).items():
            print_rows(console, strata_rows(grouped, kind, metric=f"NDCG@{cutoff}"), title=title)
        for metric in dict.fromkeys(one.metric for one in evaluation.comparisons):
            rows = [one for one in evaluation.comparisons if one.metric == metric]
            print_rows(console, comparison_rows(rows, f"{metric} minus {evaluation.baseline}"), title=title)
        for line in remarks(evaluation):
            console.print(printable(line), soft_wrap=True)
