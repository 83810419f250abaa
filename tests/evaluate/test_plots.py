"""Plots: what is drawn is what was measured, and says how it was made."""

from __future__ import annotations

import sys
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("matplotlib")

from llmrec.evaluate import put_together, write_evaluations
from llmrec.evaluate.plots import plot_cutoffs, plot_differences, plot_metrics, plot_strata, write_plots

SIGNATURE = b"\x89PNG\r\n\x1a\n"


@pytest.fixture(scope="module")
def reports(make_report):
    return {name: make_report(seed, ks=(5, 10), strata=True) for seed, name in enumerate(["ease", "text", "both"])}


@pytest.fixture(scope="module")
def evaluation(reports, user_ids):
    return put_together(reports, user_ids, main="both", baseline="ease", metrics=["NDCG@10", "MRR@10"])


def labels(axis) -> list[str]:
    return [text.get_text() for text in axis.get_yticklabels()]


def test_metrics_with_intervals(reports):
    figure = plot_metrics(reports, 10)
    assert [axis.get_title() for axis in figure.axes] == ["NDCG@10", "Recall@10", "MRR@10"]
    for axis in figure.axes:
        metric = axis.get_title()
        found = [report.metrics[metric] for report in reports.values()]
        bars = list(axis.containers)
        assert [bar.lines[0].get_xdata()[0] for bar in bars] == [interval.mean for interval in found]
        for bar, interval in zip(bars, found, strict=True):
            (segment,) = bar.lines[2][0].get_segments()
            np.testing.assert_allclose(segment[:, 0], [interval.low, interval.high])
        assert axis.get_xlabel() == "mean over users"
        assert axis.get_xlim()[0] == 0.0
    assert labels(figure.axes[0]) == ["ease", "text", "both"]


def test_metrics_over_cut_offs(reports):
    figure = plot_cutoffs(reports)
    axis = figure.axes[1]
    assert axis.get_ylabel() == "Recall@k (mean over users)"
    for line, report in zip(axis.lines, reports.values(), strict=True):
        assert line.get_xdata().tolist() == [5, 10]
        assert line.get_ydata().tolist() == [report.metrics[f"Recall@{k}"].mean for k in (5, 10)]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == list(reports)
    assert len({line.get_color() for line in axis.lines}) == 3


def test_strata_say_how_many_users(reports):
    figure = plot_strata(reports, "popularity", "NDCG@10")
    (axis,) = figure.axes
    assert [t.get_text() for t in axis.get_xticklabels()] == ["head\nn = 80", "mid\nn = 90", "tail\nn = 30"]
    heights = [patch.get_height() for patch in axis.patches]
    expected = [group.metrics["NDCG@10"].mean for r in reports.values() for group in r.strata["popularity"]]
    assert heights == expected


def test_differences_with_corrected_p(evaluation):
    figure = plot_differences(evaluation)
    assert [axis.get_title() for axis in figure.axes] == ["NDCG@10", "MRR@10"]
    axis = figure.axes[0]
    assert axis.get_xlabel() == "difference to ease, n = 200"
    assert labels(axis) == ["text", "both"]
    first = evaluation.comparisons[0]
    assert axis.texts[0].get_text() == f"{first.result.difference:+.4f}, p (Holm) = {first.p_holm:.4f}"
    assert axis.containers[0].lines[0].get_xdata()[0] == first.result.difference


def test_files_say_their_protocol_and_open_no_window(evaluation, tmp_path, monkeypatch):
    signed = []
    monkeypatch.setattr("llmrec.evaluate.plots._sign", lambda figure, card: signed.append(card))
    found = write_plots(tmp_path, evaluation, prefix="test-1-")
    names = ["metrics", "cutoffs", "strata-popularity", "strata-history", "differences"]
    assert [file for _, file in found] == [f"test-1-{name}.png" for name in names]
    for _, file in found:
        assert (tmp_path / file).read_bytes().startswith(SIGNATURE)
    assert signed == [str(evaluation.reports["both"].card)] * 5
    assert "matplotlib.pyplot" not in sys.modules


def test_plots_of_one_method_at_one_cut_off(make_report, user_ids, tmp_path):
    alone = put_together({"a": make_report(0)}, user_ids, main="a", baseline="a")
    folder = write_evaluations(tmp_path / "r", {"last": alone})
    assert sorted(path.name for path in folder.glob("*.png")) == ["metrics.png"]
    assert "![Metrics at 10](metrics.png)" in (folder / "report.md").read_text()


def test_the_caption_holds_the_card(reports):
    from llmrec.evaluate.plots import _sign

    figure = plot_metrics(reports, 10)
    card = str(reports["ease"].card)
    _sign(figure, card)
    assert card in figure.get_supxlabel().replace("\n", " ")


def test_a_metric_of_zero_everywhere_can_be_drawn(make_report, user_ids, tmp_path):
    from llmrec.evaluate import Interval

    zero = make_report(0)
    nothing = replace(
        zero,
        metrics={name: Interval(0.0, 0.0, 0.0) for name in zero.metrics},
        values={name: np.zeros(200) for name in zero.values},
    )
    both = put_together({"a": nothing, "b": nothing}, user_ids, main="a", baseline="b")
    assert len(write_plots(tmp_path, both)) == 2


def test_many_long_names_leave_room(make_report, user_ids):
    names = [f"{'a very long name ' * 4}{place}" for place in range(9)]
    reports = {name: make_report(seed, ks=(5, 10), strata=True) for seed, name in enumerate(names)}
    for figure in (plot_cutoffs(reports), plot_strata(reports, "history", "NDCG@5")):
        figure.canvas.draw()
        box = figure.legends[0].get_window_extent()
        assert box.x0 >= 0
        assert box.x1 <= figure.bbox.x1
        assert figure.axes[0].get_window_extent().height > 0.3 * figure.bbox.height


@pytest.mark.parametrize("name", ["a$_{$", "$x$", "_mine", "日本語", " ", "two\nlines", "100%", "a|b*c"])
def test_any_name_can_be_drawn(make_report, user_ids, tmp_path, name):
    reports = {name: make_report(0, ks=(5, 10), strata=True), "_other": make_report(1, ks=(5, 10), strata=True)}
    card = replace(reports[name].card, note=f"lists from {name}.csv")
    reports = {method: replace(report, card=card) for method, report in reports.items()}
    found = put_together(reports, user_ids, main=name, baseline=name)
    assert len(write_plots(tmp_path, found)) == 5
    figure = plot_cutoffs(reports)
    drawn = [text.get_text().strip().replace(r"\$", "$") for text in figure.legends[0].get_texts()]
    assert drawn == [" ".join(name.split()) or "-", "_other"]
