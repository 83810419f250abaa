"""Compare: two pipelines for one request, and two templates on the same items."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from starlette.responses import Response
from starlette.routing import Router

from llmrec.serve.page.asking import Wanted
from llmrec.serve.page.drafts import all_templates, side_by_side
from llmrec.serve.page.front import Call, Front
from llmrec.serve.page.lists import ask_values, steer
from llmrec.serve.problems import NotFound
from llmrec.serve.views import Listed, ListedItem

if TYPE_CHECKING:
    from llmrec.serve.service import Service

__all__ = ["Compares", "Move", "moves"]


@dataclass(frozen=True, slots=True)
class Move:
    """An item of one list, and where the other list has it.

    Attributes:
        item: as listed.
        other: its rank there; None: it is not there.
    """

    item: ListedItem
    other: int | None

    @property
    def up(self) -> int:
        """How many places it is higher than in the other list; negative: lower."""
        return 0 if self.other is None else self.other - self.item.rank


def moves(listed: Listed, other: Listed) -> list[Move]:
    """The items of one list beside their places in another."""
    places = {item.item_id: item.rank for item in other.items}
    return [Move(item, places.get(item.item_id)) for item in listed.items]


@dataclass(frozen=True, slots=True)
class Compares:
    """Views of comparisons.

    Attributes:
        front: what views are made with.
    """

    front: Front

    @property
    def _service(self) -> Service:
        return self.front.service

    def add(self, routes: Router) -> None:
        """Add the views."""
        self.front.add(routes, "GET", "/compare", self._begin)
        self.front.add(routes, "POST", "/compare", self._ask)
        self.front.add(routes, "GET", "/compare/prompts", self._templates)

    async def _begin(self, call: Call) -> Response:
        return self.front.page(call, "compare", await self._values(call, Wanted.of(call.form, self._service)))

    async def _ask(self, call: Call) -> Response:
        wanted = Wanted.of(call.form, self._service)
        steered = await steer(self.front, wanted, call.form)
        if steered is not None:
            return self.front.page(call, "compare", await self._values(call, **steered))
        a, b = self._chosen(call)
        for alias in (a, b):
            if alias not in self._service.models.aliases():
                raise NotFound("one of the pipelines is not known; choose two of those in the form")
        asked = wanted.asked()
        both = await asyncio.gather(
            *(self._service.recommend(replace(asked, alias=name), log=False) for name in (a, b))
        )
        return self.front.page(call, "compare", await self._values(call, wanted, None, both))

    async def _templates(self, call: Call) -> Response:
        known = await all_templates(self._service)
        before, after = call.form.one("a"), call.form.one("b")
        people = call.visitor.may("admin")
        found = await side_by_side(self._service, before, after, people=people) if before and after else None
        shown = {"templates": known, "before": before, "after": after, "found": found}
        return self.front.page(call, "compare_prompts", shown)

    def _chosen(self, call: Call) -> tuple[str, str]:
        names = list(self._service.models.aliases())
        return call.form.one("a") or names[0], call.form.one("b") or names[min(1, len(names) - 1)]

    async def _values(
        self,
        call: Call,
        wanted: Wanted,
        found: list[dict[str, str]] | None = None,
        both: Sequence[Listed] | None = None,
    ) -> dict[str, Any]:
        a, b = self._chosen(call)
        sides: list[tuple[Listed, list[Move]]] = []
        if both is not None:
            first, second = both
            sides = [(first, moves(first, second)), (second, moves(second, first))]
        common = 0 if not sides else sum(move.other is not None for move in sides[0][1])
        return {
            **await ask_values(self.front, call.visitor, wanted, found),
            "a": a,
            "b": b,
            "sides": sides,
            "common": common,
        }
