"""The pictures of `quality.py`: quality against fit time, and by groups of users."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from _quality_tables import OURS, Result, main_reports

from llmrec.evaluate import Report
from llmrec.evaluate.plots import plot_strata

METRIC = "NDCG@10"
SHOWN = 6
"""Methods side by side in a plot of groups: ours and the best of the others."""
COLOURS = {"ours": "#D55E00", "peer": "#0072B2", "external": "#009E73"}
DOTS = 150


def write_pictures(folder: Path, stem: str, results: Sequence[Result]) -> list[tuple[str, str]]:
    """Draw what there is to draw.

    Returns:
        Caption and file name of each picture.
    """
    folder.mkdir(parents=True, exist_ok=True)
    main = [result for result in results if result.protocol == "last" and result.seed == 0]
    drawn = {"cost": (f"{METRIC} and seconds of fitting, with 95% intervals over users", plot_cost(main))}
    reports = {name: report for name, report in main_reports(results).items() if _stands_alone(name, main)}
    for kind in next(iter(reports.values())).strata:
        caption = f"{METRIC} by {kind}: ours and the best other methods and parts"
        drawn[kind] = (caption, plot_strata(best(reports, kind), kind, METRIC))
    pictures = []
    for name, (caption, figure) in drawn.items():
        figure.savefig(folder / f"{stem}-{name}.png", dpi=DOTS)
        pictures.append((caption, f"{stem}-{name}.png"))
    return pictures


def best(reports: Mapping[str, Report], kind: str) -> dict[str, Report]:
    """Ours, then the best of the others that have such groups, by their means."""
    others = [name for name, report in reports.items() if name != OURS and kind in report.strata]
    others.sort(key=lambda name: -reports[name].metrics[METRIC].mean)
    return {name: reports[name] for name in (OURS, *others[: SHOWN - 1])}


def plot_cost(results: Sequence[Result]) -> Any:
    """Draw quality against seconds of fitting, a point a method; ablations share trainings, so they are left out."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.0, 4.8), layout="constrained")
    axis = figure.subplots()
    for result in results:
        if result.kind == "ablation":
            continue
        found, seconds = result.report("last").metrics[METRIC], max(result.cost["fit_seconds"], 0.1)
        reach = [[max(0.0, found.mean - found.low)], [max(0.0, found.high - found.mean)]]
        axis.errorbar([seconds], [found.mean], yerr=reach, fmt="o", color=COLOURS[result.kind], capsize=3)
        axis.annotate(result.method, (seconds, found.mean), (6, 4), textcoords="offset points", fontsize=9)
    axis.set_xscale("log")
    axis.set_ylim(bottom=0.0)
    axis.margins(x=0.15)
    axis.set_xlabel("seconds of fitting")
    axis.set_ylabel(f"{METRIC} (mean over users)")
    axis.grid(visible=True, alpha=0.25)
    axis.spines[["top", "right"]].set_visible(False)
    return figure


def _stands_alone(name: str, results: Sequence[Result]) -> bool:
    """Whether a row is ours, a part of it, or a peer: ablations are too much alike for a plot."""
    return all(result.kind != "ablation" for result in results if result.method == name)
