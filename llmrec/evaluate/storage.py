"""Evaluations on disk: a folder that people can read and later comparisons can use.

::

    report.json       everything but the values of single users
    report.md         the same as tables
    values.parquet    test, method, user_id, user_row, metric, value: one row a user and metric
    *.png             plots, if wanted
"""

from __future__ import annotations

import json
import math
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from llmrec.errors import DataError, LlmrecError
from llmrec.evaluate.ceiling import CandidateRecall
from llmrec.evaluate.evaluation import Evaluation, evaluation_markdown
from llmrec.evaluate.metrics import Float64Array
from llmrec.evaluate.plots import check_plots, write_plots
from llmrec.evaluate.report import Comparison, Report

__all__ = ["check_report_place", "evaluations_to_dict", "is_report", "load_evaluations", "write_evaluations"]

FORMAT = 1
KIND = "llmrec-report"
_JSON, _MARKDOWN, _VALUES = "report.json", "report.md", "values.parquet"


def evaluations_to_dict(found: Mapping[str, Evaluation]) -> dict[str, Any]:
    """Return what `report.json` holds: plain values.

    Args:
        found: an evaluation per test of a split, by the test's name.
    """
    return {
        "kind": KIND,
        "format": FORMAT,
        "llmrec": version("llmrec"),
        "tests": {test: evaluation.to_dict() for test, evaluation in found.items()},
    }


def check_report_place(folder: Path, *, plots: bool) -> None:
    """Check, before minutes of work, that reports can be written here.

    Raises:
        DataError: something else is there.
        MissingExtraError: plots are wanted and matplotlib is not installed.
    """
    place = folder.expanduser().resolve()
    if place.exists() and not is_report(place) and not (place.is_dir() and not any(place.iterdir())):
        raise DataError(f"{folder} exists and is not a folder of reports; choose another path or remove it")
    if place.exists() and (foreign := sorted(path.name for path in place.iterdir() if not _is_ours(path))):
        raise DataError(
            f"{folder} holds reports, and also {', '.join(foreign[:5])}, which would be lost; move it elsewhere or "
            "choose another path"
        )
    above = next(parent for parent in place.parents if parent.exists())
    if not above.is_dir() or not os.access(above, os.W_OK):
        raise DataError(f"cannot write reports in {folder}: {above} is not a folder that can be written to")
    if plots:
        check_plots()


def _is_ours(path: Path) -> bool:
    return path.is_file() and (path.name in (_JSON, _MARKDOWN, _VALUES) or path.suffix == ".png")


def write_evaluations(folder: Path, found: Mapping[str, Evaluation], *, plots: bool = True) -> Path:
    """Write evaluations into a folder; reports that are there are replaced once the new ones are whole.

    Args:
        folder: a new or empty folder, or one of reports.
        found: an evaluation per test of a split, by the test's name.
        plots: whether to draw them too.

    Returns:
        The folder, absolute.

    Raises:
        DataError: something else is there.
        LlmrecError: it cannot be written.
        MissingExtraError: plots are wanted and matplotlib is not installed.
    """
    check_report_place(folder, plots=plots)
    place = folder.expanduser().resolve()
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(prefix=f".{place.name}.", dir=place.parent))
        try:
            _write(staging, found, plots=plots)
            staging.chmod(0o755)
            if place.exists():
                shutil.rmtree(place)
            staging.rename(place)
        finally:
            shutil.rmtree(staging, ignore_errors=True)
    except OSError as error:
        raise LlmrecError(f"cannot write the reports {folder}: {error.strerror or error}") from error
    return place


def is_report(folder: Path) -> bool:
    """Say whether a folder holds reports written by `write_evaluations`, of whatever format."""
    try:
        found = json.loads((folder / _JSON).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(found, dict) and found.get("kind") == KIND


def load_evaluations(folder: Path) -> dict[str, Evaluation]:
    """Read what `write_evaluations` wrote, with the values of single users.

    Returns:
        An evaluation per test, by name. What items were shown is not stored; see `Report.from_dict`.

    Raises:
        DataError: the folder holds no reports, or newer or damaged ones.
    """
    if not is_report(folder):
        raise DataError(f"{folder} is not a folder of reports; make one with: llmrec evaluate --out FOLDER")
    found = json.loads((folder / _JSON).read_text(encoding="utf-8"))
    if found.get("format") != FORMAT:
        raise DataError(
            f"{folder} has report format {found.get('format')!r}, this llmrec reads {FORMAT}; evaluate again"
        )
    groups = _row_groups(folder / _VALUES)
    try:
        return {test: _evaluation(folder, test, stored, groups) for test, stored in found["tests"].items()}
    except (KeyError, TypeError, AttributeError) as error:
        raise DataError(f"the reports in {folder} are damaged: {error!r}; evaluate again") from error


def _write(folder: Path, found: Mapping[str, Evaluation], *, plots: bool) -> None:
    text = json.dumps(evaluations_to_dict(found), indent=2, ensure_ascii=False, allow_nan=False)
    (folder / _JSON).write_text(f"{text}\n", encoding="utf-8")
    _write_values(folder / _VALUES, found)
    pages = []
    for place, (test, evaluation) in enumerate(found.items()):
        # A split with one test needs no more words; of several, the files say which.
        prefix = "" if len(found) == 1 else f"test-{place + 1}-"
        title = "Evaluation" if len(found) == 1 else f"Evaluation: {test}"
        pictures = write_plots(folder, evaluation, prefix=prefix) if plots else []
        pages.append(evaluation_markdown(title, evaluation, pictures))
    (folder / _MARKDOWN).write_text("\n".join(pages), encoding="utf-8")


def _write_values(path: Path, found: Mapping[str, Evaluation]) -> None:
    """Write one row group per test, method and metric, so that memory stays bounded."""
    import pyarrow as pa
    from pyarrow import parquet

    name = pa.dictionary(pa.int32(), pa.string())
    fields = [("test", name), ("method", name), ("user_id", name), ("user_row", pa.int64()), ("metric", name)]
    schema = pa.schema([*fields, ("value", pa.float64())])

    def same(text: str, n: int) -> Any:
        return pa.DictionaryArray.from_arrays(pa.array(np.zeros(n, dtype=np.int32)), pa.array([text]))

    with parquet.ParquetWriter(path, schema) as writer:
        for test, evaluation in found.items():
            rows = evaluation.reports[evaluation.main].user_rows  # what is compared is of the same users
            ids, n = pa.array(evaluation.user_ids, pa.string()).dictionary_encode(), len(rows)
            for method, report in evaluation.reports.items():
                for metric, values in report.values.items():
                    columns = [same(test, n), same(method, n), ids, rows, same(metric, n), values]
                    table = pa.table(dict(zip(schema.names, columns, strict=True)), schema=schema)
                    writer.write_table(table, row_group_size=n)


def _evaluation(folder: Path, test: str, stored: Mapping[str, Any], groups: Iterator[Any]) -> Evaluation:
    """Rebuild one test from its part of the JSON and its row groups, which come in the same order."""
    reports, ids = {}, None
    for method, found in stored["reports"].items():
        values, rows = {}, None
        for metric, interval in found["metrics"].items():
            table: Any = next(groups, None)
            values[metric] = _checked_values(folder, table, (test, method, metric), interval["mean"])
            rows, ids = table.column("user_row").to_numpy(), table.column("user_id") if ids is None else ids
        reports[method] = Report.from_dict(found, values, rows)
    comparisons = tuple(Comparison.from_dict(found) for found in stored["differences"])
    user_ids = () if ids is None else tuple(ids.to_pylist())
    ceilings = tuple(CandidateRecall.from_dict(found) for found in stored.get("candidates", ()))  # older reports: none
    return Evaluation(reports, stored["main"], stored["baseline"], comparisons, user_ids, ceilings)


def _checked_values(folder: Path, table: Any, names: tuple[str, str, str], mean: float) -> Float64Array:
    """Return the values of a row group, after checking that they are those the report was made of."""
    if table is not None:
        found = [table.column(name).unique().to_pylist() for name in ("test", "method", "metric")]
        values: Float64Array = table.column("value").to_numpy()
        # The mean as it was computed: values of another run cannot pass for these.
        if found == [[name] for name in names] and math.isclose(math.fsum(values) / len(values), mean, abs_tol=1e-12):
            return values
    raise DataError(f"{folder / _VALUES} does not hold the values that {_JSON} was made of; evaluate again")


def _row_groups(path: Path) -> Iterator[Any]:
    """Yield each row group as a table."""
    import pyarrow as pa
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(path) as file:
            for group in range(file.num_row_groups):
                yield file.read_row_group(group)
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"the values of single users in {path} cannot be read: {error}; evaluate again") from error
