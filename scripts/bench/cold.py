"""What a recommender can say about users it has never seen, and about items nobody has ever taken.

    python scripts/bench/cold.py                      # ML-100K
    python scripts/bench/cold.py --dataset FOLDER
    python scripts/bench/cold.py --retrievers popularity,ease,dense,bm25

Cold users: one user in ten (by a hash of the id) is in no training; asked for the last item, given the 0, 1 or 2 items
right before it. Cold items: one item in ten is in no training and no history; asked are the users whose last item is
cold, ranked among all items and among the cold ones only. Text is used as it is: nothing here is trained on it. The
weights of the hybrid are tuned on validation cases, which for cold items have warm targets. Prints JSON, or with
--markdown tables.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from typing import Any

import llmrec
from llmrec.data import Dataset
from llmrec.evaluate import Report, cases_of, compare_pairs, judge, parts

HOLDOUTS = ("cold-users", "cold-items")
METRICS = ("NDCG@10", "Recall@10")
BASELINE = "popularity"


def main() -> None:
    """Fit once for each holdout, measure each part on each set of cases, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--dataset", default="ml-100k")
    parser.add_argument("--retrievers", default="popularity,ease,item_knn,dense,bm25")
    parser.add_argument("--markdown", action="store_true")
    args = parser.parse_args()
    data = llmrec.load_dataset(args.dataset)
    config = llmrec.Config.from_dict(
        {"stages": [{"name": "hybrid", "retrievers": {name: {} for name in args.retrievers.split(",")}}]}
    )
    found = [row for holdout in HOLDOUTS for row in _measure(config, data, holdout)]
    print(_markdown(found) if args.markdown else json.dumps(found, indent=1))


def _measure(config: llmrec.Config, data: Dataset, holdout: str) -> list[dict[str, Any]]:
    fitted = llmrec.fit(config, data.catalog, data.interactions, holdout=holdout)
    rows = []
    for tests, case in cases_of(fitted, data.interactions).items():
        judged = {name: replace(case, recommender=part) for name, part in parts(fitted).items()}
        reports = judge(data.interactions, judged)
        rows.append(
            {
                "holdout": holdout,
                "tests": tests,
                "protocol": str(reports[BASELINE].card),
                "weights": dict(getattr(fitted.stages[0].fusion, "weights", {})),
                "methods": {name: _row(report, reports[BASELINE]) for name, report in reports.items()},
            }
        )
    return rows


def _row(report: Report, baseline: Report) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name in METRICS:
        interval = report.metrics[name]
        values[name] = {"mean": interval.mean, "low": interval.low, "high": interval.high}
    against = compare_pairs(report, baseline)
    values["over popularity"] = {"mean": against.difference, "low": against.low, "high": against.high}
    return values


def _markdown(found: list[dict[str, Any]]) -> str:
    lines = []
    for row in found:
        lines += [f"**{row['holdout']}, {row['tests']}.** {row['protocol']}", ""]
        lines += [f"| | {' | '.join(METRICS)} | NDCG@10 over {BASELINE} |", "|---|---|---|---|"]
        for name, values in row["methods"].items():
            cells = [_cell(values[key]) for key in (*METRICS, "over popularity")]
            lines.append(f"| {name} | {' | '.join(cells)} |")
        lines.append("")
    return "\n".join(lines)


def _cell(value: dict[str, float]) -> str:
    return f"{value['mean']:.4f} [{value['low']:.4f}, {value['high']:.4f}]"


if __name__ == "__main__":
    main()
