"""Monitor: how the service is, at once."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from starlette.responses import Response
from starlette.routing import Router

from llmrec.serve.page.charts import Lines, bars, lines
from llmrec.serve.page.front import Call, Front
from llmrec.serve.views import DayCounts, Status

__all__ = ["monitor", "rates", "values_of"]

MOVED, OTHER = 0.1, 0.25
"""Population stability: below the first the inputs are the same, above the second they are others."""


def monitor(front: Front, routes: Router) -> None:
    """Add the view."""

    async def begin(call: Call) -> Response:
        status = await front.service.status()
        deployments = (await front.service.deployments())[:10]
        shown = {**values_of(status), "now": time.time(), "deployments": deployments}
        return front.page(call, "monitor", shown)

    front.add(routes, "GET", "/monitor", begin)


def values_of(status: Status) -> dict[str, Any]:
    """What the page shows of a status."""
    engine, latency = status.engine, dict(status.engine.latency)
    drift = [
        {
            "name": one.name,
            "index": one.index,
            "level": "calm" if one.index < MOVED else "moved" if one.index < OTHER else "other",
            "buckets": [
                (name, one.before.get(name, 0.0), one.now.get(name, 0.0))
                for name in dict.fromkeys([*one.before, *one.now])
            ],
        }
        for one in status.drift
    ]
    return {
        "status": status,
        "latency": bars(latency),
        "stages": bars(dict(engine.stages)),
        "queue": bars({"waiting": engine.waiting, "working": engine.working}, engine.queue),
        "coverage": bars(dict(status.coverage), 1.0),
        "drift": drift,
        "ctr": rates(status.days),
        "days": sorted(status.days, key=lambda one: (one.day, one.alias), reverse=True),
    }


def rates(days: Sequence[DayCounts]) -> Lines | None:
    """Clicks a list by day and alias; None where no list was shown."""
    shown: dict[tuple[str, str], int] = defaultdict(int)
    clicked: dict[tuple[str, str], int] = defaultdict(int)
    for one in days:
        shown[one.alias, one.day] += one.impressions
        clicked[one.alias, one.day] += one.clicks
    if not any(shown.values()):
        return None
    names = sorted({alias for alias, _ in shown}, key=lambda name: (name != "default", name))
    labels = sorted({day for _, day in shown})
    series = {
        name: [clicked[name, day] / shown[name, day] if shown.get((name, day)) else None for day in labels]
        for name in names
    }
    return lines(series, [label[5:] for label in labels])
