"""Evaluations on disk: JSON, Markdown, values of single users, and back."""

from __future__ import annotations

import importlib.util
import json
from dataclasses import replace

import numpy as np
import pytest
from pyarrow import parquet

from llmrec.errors import ConfigError, DataError, LlmrecError, MissingExtraError
from llmrec.evaluate import (
    CandidateRecall,
    check_report_place,
    compare_pairs,
    evaluation_markdown,
    evaluations_to_dict,
    is_report,
    load_evaluations,
    main_cutoff,
    put_together,
    remarks,
    write_evaluations,
)


@pytest.fixture(scope="module")
def evaluation(make_report, user_ids):
    reports = {name: make_report(seed, ks=(5, 20), strata=True) for seed, name in enumerate(["ease", "text", "both"])}
    ceilings = [CandidateRecall("hybrid", 40.5, 0.5, 200, 0.45, 0.2)]
    return put_together(reports, user_ids, main="both", baseline="ease", ceilings=ceilings)


@pytest.fixture(scope="module")
def folder(evaluation, tmp_path_factory):
    return write_evaluations(tmp_path_factory.mktemp("reports") / "new" / "r", {"last": evaluation}, plots=False)


def test_put_together_compares_with_the_baseline(evaluation, make_report, user_ids):
    assert [(one.method, one.metric) for one in evaluation.comparisons] == [("text", "NDCG@20"), ("both", "NDCG@20")]
    reports = {"a": make_report(0), "b": make_report(1)}
    assert [
        o.metric for o in put_together(reports, user_ids, main="a", baseline="b", metrics=["MRR@10"]).comparisons
    ] == ["MRR@10"]
    with pytest.raises(ConfigError, match="named 'x'"):
        put_together(reports, user_ids, main="x", baseline="b")
    with pytest.raises(DataError, match="3 ids, 200 users"):
        put_together(reports, user_ids[:3], main="a", baseline="b")
    with pytest.raises(DataError, match="no report"):
        put_together({}, [], main="a", baseline="b")


def test_the_main_cut_off_is_10_or_the_largest_shared(make_report):
    assert main_cutoff({"a": make_report(0, ks=(5, 10, 20))}) == 10
    assert main_cutoff({"a": make_report(0, ks=(5, 20)), "b": make_report(0, ks=(5, 10, 20))}) == 20
    with pytest.raises(ConfigError, match="no cut-off in common"):
        main_cutoff({"a": make_report(0, ks=(5,)), "b": make_report(0, ks=(10,))})


def test_everything_comes_back(evaluation, folder):
    assert sorted(path.name for path in folder.iterdir()) == ["report.json", "report.md", "values.parquet"]
    assert is_report(folder)
    (found,) = load_evaluations(folder).values()
    assert found.to_dict() == evaluation.to_dict()
    assert found.user_ids == evaluation.user_ids
    assert found.comparisons == evaluation.comparisons
    assert found.ceilings == evaluation.ceilings != ()
    for name, report in evaluation.reports.items():
        assert found.reports[name].strata == report.strata
        np.testing.assert_array_equal(found.reports[name].user_rows, report.user_rows)
        assert set(found.reports[name].values) == set(report.values)
        for metric, values in report.values.items():
            np.testing.assert_array_equal(found.reports[name].values[metric], values)
    again = compare_pairs(found.reports["both"], found.reports["ease"], "NDCG@20")
    assert again == evaluation.comparisons[1].result


def test_json_is_what_the_dict_says(evaluation, folder):
    stored = json.loads((folder / "report.json").read_text())
    assert stored == evaluations_to_dict({"last": evaluation})
    assert list(stored) == ["kind", "format", "llmrec", "tests"]
    assert list(stored["tests"]["last"]) == ["main", "baseline", "reports", "differences", "candidates"]


def test_values_are_one_row_a_user_and_metric(evaluation, folder):
    table = parquet.read_table(folder / "values.parquet")
    assert table.column_names == ["test", "method", "user_id", "user_row", "metric", "value"]
    assert len(table) == 3 * 16 * 200
    rows = table.to_pylist()
    chosen = {r["user_id"]: r["value"] for r in rows if (r["method"], r["metric"]) == ("text", "MRR@5")}
    assert chosen["u7"] == evaluation.reports["text"].values["MRR@5"][7]
    assert {r["test"] for r in rows} == {"last"}


def test_markdown_says_everything(evaluation, folder):
    text = (folder / "report.md").read_text()
    card = evaluation.reports["both"].card
    for part in ("# Evaluation\n", f"Protocol: {card}.", "By popularity of the target", "By length of the history"):
        assert part in text
    for part in ("NDCG@5", "Precision@20", "p (Holm)", "corrected for all 2 comparisons", "NDCG@20 minus ease"):
        assert part in text
    assert str(evaluation.reports["text"].strata["popularity"][1].metrics["NDCG@20"]) in text
    assert "## Ceiling of both" in text
    assert " 40.5 | " in text
    assert "png" not in text
    assert "short" not in text


def test_several_tests_are_told_apart(evaluation, tmp_path):
    short = replace(evaluation, reports={n: replace(r, n_short=2) for n, r in evaluation.reports.items()})
    folder = write_evaluations(tmp_path / "r", {"among all": evaluation, "among cold": short}, plots=False)
    found = load_evaluations(folder)
    assert list(found) == ["among all", "among cold"]
    assert found["among cold"].reports["ease"].n_short == 2
    text = (folder / "report.md").read_text()
    assert "# Evaluation: among all" in text
    assert "# Evaluation: among cold" in text
    assert "ease: 2 lists are short" in text


def test_old_reports_are_replaced_and_other_folders_are_not(evaluation, tmp_path):
    place = tmp_path / "r"
    write_evaluations(place, {"first": evaluation}, plots=False)
    write_evaluations(place, {"second": evaluation}, plots=False)
    assert list(load_evaluations(place)) == ["second"]
    assert [path.name for path in tmp_path.iterdir()] == ["r"]
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "letter.txt").write_text("dear")
    with pytest.raises(DataError, match="not a folder of reports"):
        write_evaluations(mine, {"first": evaluation}, plots=False)
    assert (mine / "letter.txt").read_text() == "dear"
    with pytest.raises(DataError, match="not a folder of reports"):
        check_report_place(mine / "letter.txt", plots=False)
    with pytest.raises(DataError, match="not a folder that can be written to"):
        check_report_place(mine / "letter.txt" / "below", plots=False)


def test_a_failed_write_leaves_what_was_there(evaluation, tmp_path, monkeypatch):
    place = tmp_path / "r"
    write_evaluations(place, {"first": evaluation}, plots=False)

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("llmrec.evaluate.storage._write_values", full)
    with pytest.raises(LlmrecError, match=r"cannot write the reports .*: No space left"):
        write_evaluations(place, {"second": evaluation}, plots=False)
    assert list(load_evaluations(place)) == ["first"]
    assert [path.name for path in tmp_path.iterdir()] == ["r"]


def test_damaged_folders_are_refused(evaluation, tmp_path):
    with pytest.raises(DataError, match="is not a folder of reports; make one with: llmrec evaluate --out"):
        load_evaluations(tmp_path)

    def fresh(name: str):
        return write_evaluations(tmp_path / name, {"last": evaluation}, plots=False)

    folder = fresh("newer")
    text = (folder / "report.json").read_text()
    (folder / "report.json").write_text(text.replace('"format": 1', '"format": 2'))
    with pytest.raises(DataError, match="report format 2, this llmrec reads 1"):
        load_evaluations(folder)
    (folder / "report.json").write_text(text.replace('"reports"', '"rapports"'))
    with pytest.raises(DataError, match="are damaged"):
        load_evaluations(folder)
    folder = fresh("no-values")
    (folder / "values.parquet").write_text("nothing")
    with pytest.raises(DataError, match="cannot be read"):
        load_evaluations(folder)
    (folder / "values.parquet").unlink()
    with pytest.raises(DataError, match="cannot be read"):
        load_evaluations(folder)


def test_values_of_another_run_are_refused(evaluation, make_report, user_ids, tmp_path):
    ease, text, both = evaluation.reports.values()
    renamed = {"ease": ease, "texts": text, "both": both}  # the same numbers under another name
    other = {name: make_report(seed + 9, ks=(5, 20), strata=True) for seed, name in enumerate(evaluation.reports)}
    folder = write_evaluations(tmp_path / "a", {"last": evaluation}, plots=False)
    for place, run in (
        ("b", put_together(other, user_ids, main="both", baseline="ease")),
        ("d", replace(evaluation, reports=renamed)),
        ("c", replace(evaluation, reports={"ease": evaluation.reports["ease"], **other, "x": other["text"]})),
    ):
        another = write_evaluations(tmp_path / place, {"last": run}, plots=False)
        (folder / "values.parquet").write_bytes((another / "values.parquet").read_bytes())
        with pytest.raises(DataError, match=r"does not hold the values that report\.json was made of"):
            load_evaluations(folder)


def test_plots_without_matplotlib_are_refused_before_any_work(evaluation, tmp_path, monkeypatch):
    real = importlib.util.find_spec
    monkeypatch.setattr("llmrec.evaluate.plots.find_spec", lambda name: None if name == "matplotlib" else real(name))
    with pytest.raises(MissingExtraError, match=r"pip install 'llmrec\[plots\]'"):
        check_report_place(tmp_path / "r", plots=True)
    with pytest.raises(MissingExtraError):
        write_evaluations(tmp_path / "r", {"last": evaluation}, plots=True)
    assert not (tmp_path / "r").exists()
    check_report_place(tmp_path / "r", plots=False)


def test_a_folder_with_anything_else_in_it_is_left_alone(evaluation, tmp_path):
    folder = write_evaluations(tmp_path / "r", {"last": evaluation}, plots=False)
    (folder / "old.png").write_bytes(b"")
    write_evaluations(folder, {"last": evaluation}, plots=False)
    (folder / "notes.txt").write_text("dear")
    (folder / "drafts.png").mkdir()
    with pytest.raises(DataError, match=r"also drafts\.png, notes\.txt, which would be lost"):
        write_evaluations(folder, {"last": evaluation}, plots=False)
    assert (folder / "notes.txt").read_text() == "dear"


def test_what_is_particular_to_a_method_is_said_everywhere(make_report, user_ids):
    mine, peer = make_report(0), make_report(1)
    peer = replace(peer, card=replace(peer.card, note="lists from peer.csv; 3 users without a list"), n_short=7)
    found = put_together({"mine": mine, "peer": peer}, user_ids, main="mine", baseline="peer")
    assert remarks(found) == [
        str(mine.card),
        "peer: lists from peer.csv; 3 users without a list",
        "peer: 7 lists are short; missing places are misses",
    ]
    text = evaluation_markdown("Title", found)
    assert all(f"{line}." in text for line in remarks(found))


def test_strata_of_some_methods_are_shown_for_those(make_report, user_ids, tmp_path):
    """Stored reports may have been made without; which of them is the main one does not matter."""
    with_, without = make_report(0, strata=True), make_report(1)
    for main in ("a", "b"):
        found = put_together({"a": without, "b": with_}, user_ids, main=main, baseline="a")
        text = evaluation_markdown("Title", found)
        assert "NDCG@10 b |" in text
        assert "NDCG@10 a |" not in text.partition("By popularity")[2].partition("Every metric")[0]
