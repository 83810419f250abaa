"""``llmrec evaluate``: a bundle and its parts, measured on interactions it has never seen."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from llmrec.cli.output import print_json, print_rows, printable, progress, results
from llmrec.cli.source import BundleOption, DatasetOption, InteractionsOption, ItemsOption, JsonOption, read_data

if TYPE_CHECKING:
    from llmrec.data import Interactions
    from llmrec.evaluate import Report
    from llmrec.pipeline import Recommender

__all__ = ["evaluate"]


def evaluate(
    bundle: BundleOption,
    dataset: DatasetOption = None,
    items: ItemsOption = None,
    interactions: InteractionsOption = None,
    users: Annotated[
        int | None, typer.Option("--users", min=2, help="Measure on a fixed random sample of so many users.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Measure a bundle fitted with --holdout last, and each of its parts, on the same users.

    Every item of the catalog is ranked but the user's history; intervals are 95% bootstrap intervals over users;
    the difference to the best retriever is tested pairwise.
    """
    from llmrec.evaluate import compare, differences
    from llmrec.pipeline import load

    recommender = load(bundle)
    with progress() as say:
        _, log = read_data(dataset, items, interactions, say)
        reports = _measure(recommender, log, users, say)
    retrievers = [r.name for stage in recommender.stages for r, _ in stage.retrievers]
    best = max(retrievers, key=lambda name: reports[name].metrics["NDCG@10"].mean)
    if as_json:
        print_json(_as_json(reports, best))
        return
    console = results()
    print_rows(console, compare(reports))
    print_rows(console, differences(reports, best))
    console.print(printable(next(iter(reports.values())).card), soft_wrap=True)


def _measure(
    recommender: Recommender, log: Interactions, users: int | None, say: Callable[[str], None]
) -> dict[str, Report]:
    """Measure every part on the same users: all of them, or a sample."""
    from llmrec.data import leave_last_out
    from llmrec.evaluate import Case, check_unseen, judge, parts, sample_cases

    check_unseen(recommender, log)
    holdout = leave_last_out(log, (recommender.about or {})["min_interactions"]).test
    chosen = holdout if users is None else sample_cases(holdout, users)
    note = "" if users is None else f"a fixed random {len(chosen.targets)} of {len(holdout.targets)} users"
    reports: dict[str, Report] = {}
    for name, part in parts(recommender).items():
        say(f"measuring {name} on {len(chosen.targets):,} users")
        reports |= judge(log, {name: Case(part, chosen, note)})
    return reports


def _as_json(reports: Mapping[str, Report], baseline: str) -> dict[str, Any]:
    from llmrec.evaluate import compare_pairs

    tests = {n: compare_pairs(r, reports[baseline]) for n, r in reports.items() if n != baseline}
    return {
        "reports": {name: report.to_dict() for name, report in reports.items()},
        "baseline": baseline,
        "differences": {
            n: {"ndcg": t.difference, "low": t.low, "high": t.high, "p": t.p_value} for n, t in tests.items()
        },
    }
