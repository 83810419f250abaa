"""Plots of an evaluation as PNG files. Needs the `plots` extra; nothing here opens a window."""

from __future__ import annotations

import textwrap
import warnings
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from llmrec.errors import MissingExtraError
from llmrec.evaluate.evaluation import Evaluation, cutoffs_of, main_cutoff
from llmrec.evaluate.report import Report
from llmrec.evaluate.significance import Interval
from llmrec.evaluate.tables import by_strata

__all__ = ["check_plots", "plot_cutoffs", "plot_differences", "plot_metrics", "plot_strata", "write_plots"]

# Okabe and Ito's colours, which people with any colour vision tell apart; markers tell more methods apart.
_COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#000000")
_MARKERS = ("o", "s", "^", "D", "v", "P", "X")
_METRICS = ("NDCG", "Recall", "MRR")
_DOTS = 150
_TITLE = 11
_LONGEST = 40
_INTERVALS = "Bars and bands: 95% bootstrap intervals over users."
_GREY = "#555555"


def check_plots() -> None:
    """Check that plots can be drawn.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    if find_spec("matplotlib") is None:
        raise MissingExtraError("matplotlib", "plots")


def write_plots(folder: Path, found: Evaluation, prefix: str = "") -> list[tuple[str, str]]:
    """Draw everything there is to draw.

    A letter that the font of the plots lacks is drawn as a box; the tables have every name in full.

    Args:
        folder: where the files go.
        found: what was measured.
        prefix: of the files' names.

    Returns:
        Caption and file name of each plot.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    check_plots()
    cutoff, card = main_cutoff(found.reports), str(found.reports[found.main].card)
    drawn = {"metrics": (f"Metrics at {cutoff}", plot_metrics(found.reports, cutoff))}
    if len(cutoffs_of(found.reports)) > 1:
        drawn["cutoffs"] = ("Metrics by length of the list", plot_cutoffs(found.reports))
    for kind, shown in by_strata(found.reports).items():
        caption = f"NDCG@{cutoff} by {kind}"
        drawn[f"strata-{kind}"] = (caption, plot_strata(shown, kind, f"NDCG@{cutoff}"))
    if found.comparisons:
        drawn["differences"] = (f"Differences to {found.baseline}", plot_differences(found))
    pictures = []
    for name, (caption, figure) in drawn.items():
        _sign(figure, card)
        file = f"{prefix}{name}.png"
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Glyph .* missing from font", category=UserWarning)
            figure.savefig(folder / file, dpi=_DOTS)
        pictures.append((caption, file))
    return pictures


def plot_metrics(reports: Mapping[str, Report], k: int) -> Any:
    """Draw NDCG, recall and MRR at `k` of each method with intervals, one panel a metric.

    Args:
        reports: method name to report, all of one protocol and with this cut-off.
        k: the cut-off.

    Returns:
        A matplotlib Figure.
    """
    names = [f"{name}@{k}" for name in _METRICS]
    figure, axes = _figure(len(names), height=1.4 + 0.45 * len(reports))
    for axis, metric in zip(axes, names, strict=True):
        found = [report.metrics[metric] for report in reports.values()]
        _forest(axis, list(reports), found, list(range(len(found))))
        axis.set_xlim(left=0.0, right=1.28 * max(0.001, *(interval.high for interval in found)))
        axis.set_xlabel("mean over users")
        axis.set_title(metric, fontsize=_TITLE)
        for place, interval in enumerate(found):
            axis.annotate(
                f"{interval.mean:.4f}",
                (interval.high, place),
                (5, 0),
                textcoords="offset points",
                va="center",
                fontsize=8,
            )
    for axis in axes[1:]:
        axis.set_yticklabels([])
    return figure


def plot_cutoffs(reports: Mapping[str, Report]) -> Any:
    """Draw NDCG, recall and MRR of each method over the cut-offs all of them hold, with bands; see `plot_metrics`."""
    cutoffs = cutoffs_of(reports)
    figure, axes = _figure(len(_METRICS), height=3.6)
    for axis, name in zip(axes, _METRICS, strict=True):
        for place, (method, report) in enumerate(reports.items()):
            found = [report.metrics[f"{name}@{k}"] for k in cutoffs]
            colour, marker = _style(place)
            means = [i.mean for i in found]
            axis.plot(cutoffs, means, color=colour, marker=marker, markersize=5, label=_short(method))
            axis.fill_between(cutoffs, [i.low for i in found], [i.high for i in found], color=colour, alpha=0.15, lw=0)
        axis.set_xticks(cutoffs)
        axis.set_ylim(bottom=0.0)
        axis.set_xlabel("k (places of the list)")
        axis.set_ylabel(f"{name}@k (mean over users)")
        axis.set_title(name, fontsize=_TITLE)
    _legend(figure, axes[0])
    return figure


def plot_strata(reports: Mapping[str, Report], kind: str, metric: str) -> Any:
    """Draw one metric by groups of users, a bar a method, with intervals.

    Args:
        reports: method name to report, of one holdout and with strata of this kind.
        kind: the grouping.
        metric: the metric.

    Returns:
        A matplotlib Figure.
    """
    groups = next(iter(reports.values())).strata[kind]
    figure, (axis,) = _figure(1, height=4.0)
    width = 0.8 / len(reports)
    for place, (method, report) in enumerate(reports.items()):
        found = [stratum.metrics[metric] for stratum in report.strata[kind]]
        at = [x + (place - (len(reports) - 1) / 2) * width for x in range(len(found))]
        colour, _ = _style(place)
        axis.bar(at, [i.mean for i in found], 0.92 * width, color=colour, label=_short(method))
        axis.errorbar(
            at, [i.mean for i in found], yerr=_errors(found), fmt="none", ecolor="black", elinewidth=1, capsize=2
        )
    axis.set_xticks(range(len(groups)), [f"{_short(group.label)}\nn = {group.n_users:,}" for group in groups])
    axis.set_ylim(bottom=0.0)
    axis.set_xlabel(_KINDS.get(kind, kind))
    axis.set_ylabel(f"{metric} (mean over users)")
    axis.set_title(f"{metric} by {kind}", fontsize=_TITLE)
    _legend(figure, axis)
    return figure


def plot_differences(found: Evaluation) -> Any:
    """Draw every comparison's difference with its interval and corrected p-value, a panel a metric.

    Args:
        found: an evaluation with at least one comparison.

    Returns:
        A matplotlib Figure.
    """
    metrics = list(dict.fromkeys(one.metric for one in found.comparisons))
    methods = list(found.reports)
    figure, axes = _figure(len(metrics), height=1.4 + 0.5 * (len(methods) - 1))
    for axis, metric in zip(axes, metrics, strict=True):
        rows = [one for one in found.comparisons if one.metric == metric]
        intervals = [Interval(one.result.difference, one.result.low, one.result.high) for one in rows]
        _forest(axis, [one.method for one in rows], intervals, [methods.index(one.method) for one in rows])
        axis.axvline(0.0, color=_GREY, lw=1, ls="--")
        reach = 1.25 * max(1e-4, *(max(abs(i.low), abs(i.high)) for i in intervals))
        axis.set_xlim(-reach, reach)
        for place, one in enumerate(rows):
            at, side = one.result.difference, "center"
            if abs(at) > reach / 4:  # towards the middle, so that it stays inside
                at, side = (one.result.low, "left") if at < 0 else (one.result.high, "right")
            text = f"{one.result.difference:+.4f}, p (Holm) = {one.p_holm:.4f}"
            note = axis.annotate(text, (at, place), (0, 7), textcoords="offset points", ha=side, fontsize=8)
            note.set_bbox({"facecolor": "white", "edgecolor": "none", "pad": 0.5})  # over the line at 0
        axis.set_xlabel(f"difference to {_short(found.baseline)}, n = {rows[0].result.n:,}")
        axis.set_title(metric, fontsize=_TITLE)
    for axis in axes[1:]:
        axis.set_yticklabels([])
    return figure


_KINDS = {
    "popularity": "popularity of the target (head, mid, tail: a third of the known interactions each; cold: none)",
    "history": "interactions in the history",
}


def _figure(panels: int, height: float) -> tuple[Any, Sequence[Any]]:
    """Return a Figure and its panels, side by side; outside pyplot, which would keep every figure alive."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.0 if panels == 1 else 4.2 * panels, max(height, 2.4)), layout="constrained")
    axes = figure.subplots(1, panels, squeeze=False)[0]
    for axis in axes:
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(visible=True, alpha=0.25)
        axis.set_axisbelow(True)
    return figure, list(axes)


def _style(place: int) -> tuple[str, str]:
    return _COLOURS[place % len(_COLOURS)], _MARKERS[(place + place // len(_COLOURS)) % len(_MARKERS)]


def _forest(axis: Any, labels: Sequence[str], intervals: Sequence[Interval], styles: Sequence[int]) -> None:
    """Draw a mean and its interval per line, the first on top."""
    for place, (interval, style) in enumerate(zip(intervals, styles, strict=True)):
        colour, marker = _style(style)
        axis.errorbar(
            [interval.mean], [place], xerr=_errors([interval]), color=colour, marker=marker, markersize=6, capsize=3
        )
    axis.set_yticks(range(len(labels)), [_short(label) for label in labels])
    axis.set_ylim(len(labels) - 0.4, -0.6)


def _errors(intervals: Sequence[Interval]) -> list[list[float]]:
    """How far the interval reaches below and above the mean, which rounding must not make negative."""
    below = [max(0.0, interval.mean - interval.low) for interval in intervals]
    return [below, [max(0.0, interval.high - interval.mean) for interval in intervals]]


def _legend(figure: Any, axis: Any) -> None:
    handles, labels = axis.get_legend_handles_labels()
    inches = 0.8 + 0.085 * max(map(len, labels))  # of one entry at this size of type
    columns = max(1, min(len(labels), int(figure.get_figwidth() / inches)))
    figure.legend(handles, labels, loc="outside upper center", ncols=columns, frameon=False, fontsize=9)


def _short(name: str) -> str:
    """Cut a name that would leave no room for the plot, and keep matplotlib from reading it as anything but text."""
    cut = name if len(name) <= _LONGEST else f"{name[: _LONGEST - 3]}..."
    # a label that is empty or has a leading underscore is hidden
    return f" {_literal(cut)}" if cut.startswith("_") else _literal(cut) or "-"


def _literal(text: str) -> str:
    """Text on one line, whose dollars begin no formula."""
    return " ".join(text.split()).replace("$", r"\$")


def _sign(figure: Any, card: str) -> None:
    """Say under the plot how the numbers were made."""
    width = int(15 * figure.get_figwidth())
    text = "\n".join(textwrap.wrap(_literal(f"{card} · {_INTERVALS}"), width))
    figure.supxlabel(text, fontsize=7, color=_GREY, ha="center")
