"""Trace: how a list came about, stage by stage."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from starlette.responses import Response
from starlette.routing import Router

from llmrec.serve.page.asking import Wanted, chosen_items
from llmrec.serve.page.front import Call, Front
from llmrec.serve.page.lists import ask_values, steer
from llmrec.serve.views import CandidateView, StageView, Traced

if TYPE_CHECKING:
    from llmrec.serve.service import Service

__all__ = ["StageTable", "Traces", "stage_table"]

SHOWN = 30
NEWEST = 8


@dataclass(frozen=True, slots=True)
class StageTable:
    """A stage, its scores as shares of each column's spread.

    Attributes:
        stage: as the service tells it.
        sources: names of the retrievers that proposed something here.
        apart: those of them that have no column of their own.
        shares: by place of the candidate: share by column, 0 to 1; None: no evidence.
        dropped: how many of the candidates shown did not go on.
    """

    stage: StageView
    sources: tuple[str, ...]
    apart: tuple[str, ...]
    shares: tuple[Mapping[str, float | None], ...]
    dropped: int


def stage_table(stage: StageView) -> StageTable:
    """Bring the scores of each column to shares of what the column spans among the candidates shown."""
    spans = {name: _span(stage.candidates, name) for name in stage.columns}
    shares = tuple(
        {name: _share(one.columns.get(name), spans[name]) for name in stage.columns} for one in stage.candidates
    )
    sources = dict.fromkeys(name for one in stage.candidates for name in one.source_ranks)
    apart = tuple(name for name in sources if name not in stage.columns)
    return StageTable(stage, tuple(sources), apart, shares, sum(not one.kept for one in stage.candidates))


def _span(candidates: Sequence[CandidateView], column: str) -> tuple[float, float]:
    known = [value for one in candidates if (value := one.columns.get(column)) is not None]
    return (min(known), max(known)) if known else (0.0, 0.0)


def _share(value: float | None, span: tuple[float, float]) -> float | None:
    if value is None:
        return None
    low, high = span
    return 1.0 if high <= low else (value - low) / (high - low)


@dataclass(frozen=True, slots=True)
class Traces:
    """The view of a trace.

    Attributes:
        front: what views are made with.
    """

    front: Front

    @property
    def _service(self) -> Service:
        return self.front.service

    def add(self, routes: Router) -> None:
        """Add the views."""
        self.front.add(routes, "GET", "/trace", self._begin)
        self.front.add(routes, "POST", "/trace", self._ask)

    async def _begin(self, call: Call) -> Response:
        return self.front.page(call, "trace", await self._values(call, Wanted.of(call.form, self._service)))

    async def _ask(self, call: Call) -> Response:
        wanted = Wanted.of(call.form, self._service)
        steered = await steer(self.front, wanted, call.form)
        if steered is not None:
            return self.front.page(call, "trace", await self._values(call, **steered))
        traced = await self._service.trace(wanted.asked(), min(SHOWN, self._service.config.limits.candidates))
        return self.front.page(call, "trace", await self._values(call, wanted, None, traced))

    async def _values(
        self, call: Call, wanted: Wanted, found: list[dict[str, str]] | None = None, traced: Traced | None = None
    ) -> dict[str, Any]:
        shown = await ask_values(self.front, call.visitor, wanted, found)
        tables = [] if traced is None else [stage_table(stage) for stage in traced.stages]
        hidden = wanted.mode == "user" and not call.visitor.may("admin")
        read = () if traced is None or hidden else traced.history[: -NEWEST - 1 : -1]
        return {
            **shown,
            "traced": traced,
            "tables": tables,
            "read": await chosen_items(self._service, read, wanted.alias),
        }
