"""The page and the pictures of `growth.py`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

DOTS = 150
COLUMNS = {
    "items": "items",
    "name": "kind",
    "kind": "searched by",
    "effort": "effort",
    "build_s": "build s",
    "build_cpu_s": "of processor",
    "build_peak_mb": "build peak MB",
    "index_bytes": "index B/item",
    "vector_bytes": "vectors B/item",
    "resident_bytes": "resident B/item",
    "serve_peak_mb": "serve peak MB",
    "load_s": "load s",
    "recall": "recall@100",
    "recall_histories": "of histories",
    "recall_texts": "of texts",
    "p50_ms": "p50 ms",
    "p95_ms": "p95 ms",
    "batch_ms": "batch ms/query",
    "auto": "auto takes",
}
USER_COLUMNS = {
    "users": "users",
    "interactions": "interactions",
    "hold_s": "make s",
    "bundle_bytes": "bundle B/user",
    "asked": "lists made",
    "users_per_s": "lists/s",
    "peak_mb": "peak MB",
}
GROWING = {"p50_ms": "latency p50", "build_s": "build time", "serve_peak_mb": "peak memory"}
"""What is drawn and given a slope."""

LEAST = 0.02
"""Seconds, milliseconds or megabytes below which nothing is said of how a cost grows."""

Rows = Sequence[Mapping[str, Any]]


def slopes(rows: Rows) -> dict[str, dict[str, float]]:
    """By kind: the slope of a least-squares line through the logarithms of a cost against those of the items.

    A cost that is hardly there, as the building of exact search, has none.
    """
    found: dict[str, dict[str, float]] = {}
    for name, group in _by_name(rows).items():
        sizes = np.log([row["items"] for row in group])
        if len(group) > 1:
            costs = {cost: [row[cost] for row in group] for cost in GROWING}
            found[name] = {
                cost: round(float(np.polyfit(sizes, np.log(values), 1)[0]), 3)
                for cost, values in costs.items()
                if min(values) >= LEAST
            }
    return found


def write_page(found: Mapping[str, Any], pictures: Sequence[tuple[str, str]]) -> str:
    """The results in Markdown."""
    source, first = found["source"], found["items"][0]
    lines = [
        "# How dense retrieval grows",
        "",
        "Written by `python scripts/bench/growth.py --data FOLDER --out docs/benchmarks`, which says what is measured.",
        "",
        f"Built by {first['build_threads']} threads, asked by {first['serve_threads']}. Vectors are drawn from "
        f"{source['distinct']:,} real ones ({source['encoder']}, {source['template']}); cosine to the neighbour of "
        f"rank 1, 10, 100: real {_ranks(source['real'])}, as many made-up ones {_ranks(source['made_up'])}.",
        "",
        *_table(found["items"], COLUMNS),
        "",
        "Slopes of costs against items, both in logarithms:",
        "",
        *_table([{"name": name, **by} for name, by in found["slopes"].items()], {"name": "kind", **GROWING}),
    ]
    if found["users"]:
        lines += ["", "Users, over the smallest catalog, popularity and exact dense retrieval, k = 100:", ""]
        lines += _table(found["users"], USER_COLUMNS)
    for caption, file in pictures:
        lines += ["", f"![{caption}]({file})"]
    return "\n".join(lines) + "\n"


def write_pictures(folder: Path, found: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Draw every cost against the items. Returns caption and file name of each picture."""
    from matplotlib.figure import Figure

    pictures = []
    for cost, caption in {**GROWING, "resident_bytes": "resident bytes an item"}.items():
        figure = Figure(figsize=(7.0, 4.5), layout="constrained")
        axis = figure.subplots()
        for name, group in _by_name(found["items"]).items():
            label = name
            if cost in found["slopes"].get(name, {}):
                label = f"{name} (slope {found['slopes'][name][cost]:.2f})"
            axis.plot([row["items"] for row in group], [max(row[cost], LEAST / 2) for row in group], "o-", label=label)
        axis.set(xscale="log", yscale="log", xlabel="items", ylabel=COLUMNS[cost], title=caption)
        axis.grid(alpha=0.3, which="both")
        axis.legend()
        file = f"growth-{cost.split('_')[0]}.png"
        figure.savefig(folder / file, dpi=DOTS)
        pictures.append((caption, file))
    return pictures


def _by_name(rows: Rows) -> dict[str, list[Mapping[str, Any]]]:
    return {name: [row for row in rows if row["name"] == name] for name in dict.fromkeys(row["name"] for row in rows)}


def _table(rows: Rows, columns: Mapping[str, str]) -> list[str]:
    lines = [f"| {' | '.join(columns.values())} |", f"|{'---|' * len(columns)}"]
    return [*lines, *(f"| {' | '.join(_cell(row.get(key)) for key in columns)} |" for row in rows)]


def _cell(value: Any) -> str:
    return "" if value is None else f"{value:,}" if isinstance(value, int | float) else str(value)


def _ranks(likeness: Mapping[str, float]) -> str:
    return ", ".join(f"{value:.3f}" for value in likeness.values())
