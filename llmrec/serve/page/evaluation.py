"""Evaluation: what was measured of the bundles in use, their cards, and what experiments show."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from starlette.concurrency import run_in_threadpool
from starlette.responses import Response
from starlette.routing import Router

from llmrec.errors import LlmrecError
from llmrec.serve.page.cards import card_html
from llmrec.serve.page.charts import Ranges, ranges
from llmrec.serve.page.front import Call, Front
from llmrec.serve.problems import NotFound

if TYPE_CHECKING:
    from llmrec.serve.service import Service

__all__ = ["evaluation", "measured", "outline"]

CARD_BYTES = 500_000
INTERVAL = {"value", "low", "high"}
HIDDEN = {"salt"}
HOLDOUTS = frozenset({"last", "time", "cold-items", "cold-users"})
PLAIN = (str, int, float, bool, type(None))


def evaluation(front: Front, routes: Router) -> None:
    """Add the view."""
    service = front.service

    async def begin(call: Call) -> Response:
        aliases = list(service.models.aliases())
        alias = call.form.one("alias") or aliases[0]
        if alias not in aliases:
            raise NotFound("there is no such pipeline; choose one of those in the form")
        snapshot = service.models.snapshot(alias)
        about = dict(snapshot.recommender.about or {})
        card = await run_in_threadpool(_card, Path(snapshot.path))
        shown = {
            "alias": alias,
            "aliases": aliases,
            "bundle": snapshot.bundle,
            "cases": measured(about.get("metrics") or {}),
            "card": card,
            "experiments": await _experiments(service),
        }
        return front.page(call, "evaluation", shown)

    front.add(routes, "GET", "/evaluation", begin)


def measured(metrics: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What a bundle's note "metrics" says, case by case; what is of another shape is left out."""
    found = []
    for name, report in metrics.items():
        if not isinstance(report, Mapping) or not isinstance(report.get("metrics"), Mapping):
            continue
        strata = {
            kind: [(str(group.get("label")), group.get("n_users"), _ranges(group.get("metrics"))) for group in groups]
            for kind, groups in (report.get("strata") or {}).items()
        }
        protocol = {k: v for k, v in (report.get("protocol") or {}).items() if v not in ("", None, {})}
        totals = {key: float(value) for key, value in (report.get("totals") or {}).items()}
        found.append(
            {
                "name": name,
                "title": f"Holdout: {name}" if name in HOLDOUTS else name,
                "size": _size(protocol),
                "protocol": protocol,
                "ranges": _ranges(report["metrics"]),
                "totals": totals,
                "strata": strata,
            }
        )
    return found


def _size(protocol: Mapping[str, Any]) -> str:
    """Over what was measured, in a line."""
    users, items = protocol.get("n_users"), protocol.get("n_items")
    parts = [f"{count:,} {of}" for count, of in ((users, "users"), (items, "items ranked")) if isinstance(count, int)]
    return " · ".join([*parts, "95 % intervals over users"]) if parts else ""


def _ranges(metrics: Any) -> Ranges:
    wanted = ("mean", "low", "high")
    ends = {
        name: (float(one["mean"]), float(one["low"]), float(one["high"]))
        for name, one in (metrics or {}).items()
        if isinstance(one, Mapping) and all(isinstance(one.get(end), (int, float)) for end in wanted)
    }
    return ranges(ends)


def _card(folder: Path) -> str:
    try:
        with (folder / "README.md").open(encoding="utf-8", errors="replace") as file:
            return card_html(file.read(CARD_BYTES))
    except OSError:
        return ""


async def _experiments(service: Service) -> list[dict[str, Any]]:
    found = []
    for one in await service.list_experiments():
        try:
            report: Any = await service.report_experiment(one.name)
            wrong = ""
        except LlmrecError as error:
            report, wrong = None, str(error)
        found.append({"name": one.name, "about": outline(one), "report": outline(report), "wrong": wrong})
    return found


def outline(value: Any) -> dict[str, Any]:
    """A report of any shape as what a page can show: single values, and tables of what comes in rows.

    Args:
        value: a dataclass or mapping; None: nothing.

    Returns:
        "facts": name to value; "tables": name to rows, the header first.
    """
    plain = _plain(value)
    facts: dict[str, Any] = {}
    tables: dict[str, list[list[Any]]] = {}
    for name, inner in (plain if isinstance(plain, dict) else {}).items():
        if name in HIDDEN:
            continue
        if isinstance(inner, PLAIN):
            facts[name] = inner
        elif rows := _table(inner):
            tables[name] = rows
        elif isinstance(inner, dict):
            tables |= {name: [["", name], *([key, _short(part)] for key, part in inner.items())]} if inner else {}
        elif inner:
            facts[name] = ", ".join(str(_short(part)) for part in inner)
    return {"facts": facts, "tables": tables}


def _table(inner: Any) -> list[list[Any]]:
    """Rows of a list of mappings, or of a mapping of them; none where it is neither."""
    named = isinstance(inner, dict)
    rows = list(inner.values()) if isinstance(inner, dict) else inner
    if not isinstance(rows, list) or not rows or not all(isinstance(row, dict) for row in rows):
        return []
    columns = list(dict.fromkeys(name for row in rows for name in row))
    body = [[_short(row.get(column)) for column in columns] for row in rows]
    if not named:
        return [columns, *body]
    return [["", *columns], *([key, *cells] for key, cells in zip(inner, body, strict=True))]


def _short(value: Any) -> Any:
    if isinstance(value, dict) and set(value) == INTERVAL:
        ends = [_short(value[end]) for end in ("value", "low", "high")]
        middle, low, high = ("-" if end is None else end for end in ends)
        return f"{middle} [{low}, {high}]"
    if isinstance(value, dict):
        return ", ".join(f"{name} {_short(part)}" for name, part in value.items())
    if isinstance(value, list):
        return f"[{', '.join(str(_short(part)) for part in value)}]"
    return f"{value:.4g}" if isinstance(value, float) else value


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {one.name: _plain(getattr(value, one.name)) for one in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(name): _plain(part) for name, part in value.items()}
    if isinstance(value, (str, int, float, bool, type(None))):
        return value
    if isinstance(value, Sequence):
        return [_plain(part) for part in value]
    return _plain(value.tolist()) if hasattr(value, "tolist") else str(value)
