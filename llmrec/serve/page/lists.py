"""Try: a list for somebody, why each item is in it, and what is thought of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from starlette.responses import JSONResponse, Response
from starlette.routing import Router

from llmrec.errors import LlmrecError
from llmrec.serve.page.asking import Chosen, Wanted, chosen_items, some_users
from llmrec.serve.page.forms import Form
from llmrec.serve.page.front import Call, Front, Visitor
from llmrec.serve.page.looks import others, title_of
from llmrec.serve.problems import Problem, Unprocessable
from llmrec.serve.views import Listed

if TYPE_CHECKING:
    from llmrec.serve.service import Service

__all__ = ["Lists", "ask_values"]

FOUND = 8
SEARCHED = 200
PICKS = 6
NEWEST = 6
KINDS = ("like", "dismiss", "restore")


@dataclass(frozen=True, slots=True)
class Told:
    """What was just done.

    Attributes:
        kind: "like", "dismiss" or "restore".
        item: with which item.
        impression_id: of the list it was in.
    """

    kind: str
    item: Chosen
    impression_id: str


@dataclass(frozen=True, slots=True)
class Lists:
    """Views of lists.

    Attributes:
        front: what views are made with.
    """

    front: Front

    @property
    def _service(self) -> Service:
        return self.front.service

    def add(self, routes: Router) -> None:
        """Add the views."""
        self.front.add(routes, "GET", "/", self._begin)
        self.front.add(routes, "POST", "/", self._ask)
        self.front.add(routes, "POST", "/feedback", self._feedback, "feedback")
        self.front.add(routes, "POST", "/reasons", self._reasons)
        self.front.add(routes, "GET", "/find", self._find)

    async def _begin(self, call: Call) -> Response:
        wanted = Wanted.of(call.form, self._service)
        return self.front.page(call, "try", await _values(self.front, call.visitor, wanted))

    async def _ask(self, call: Call) -> Response:
        wanted = Wanted.of(call.form, self._service)
        steered = await steer(self.front, wanted, call.form)
        if steered is not None:
            return self.front.page(call, "try", await _values(self.front, call.visitor, **steered))
        return await _show(self.front, call, wanted)

    async def _feedback(self, call: Call) -> Response:
        kind, _, item_id = call.form.one("act").partition(" ")
        if kind not in KINDS:
            raise Unprocessable("the button pressed is none of this page; load the page again")
        impression = call.form.one("impression_id")
        key = call.visitor.key
        await self._service.feedback(impression, item_id, kind, caller="" if key is None else key.id)
        wanted = Wanted.of(call.form, self._service).after(kind, item_id)
        (item,) = await chosen_items(self._service, [item_id], wanted.alias)
        return await _show(self.front, call, wanted, Told(kind, item, impression))

    async def _reasons(self, call: Call) -> Response:
        found = await _reasons(self.front, Wanted.of(call.form, self._service), call.form.all("item"))
        return JSONResponse(found, headers={"Cache-Control": "no-store"})

    async def _find(self, call: Call) -> Response:
        found = await find_titles(self.front, call.form.one("q"), call.form.one("alias") or "default")
        return JSONResponse(found, headers={"Cache-Control": "no-store"})


async def find_titles(front: Front, text: str, alias: str) -> list[dict[str, str]]:
    """Items whose fields hold a text: id, title and some more to tell them apart."""
    if not text:
        return []
    page = await front.service.items(None, SEARCHED, text[: front.service.config.limits.text_chars], alias)
    words = text.strip().lower()
    named = [(title_of(item.item_id, item.fields), item) for item in page.entries if item.state == "active"]
    named.sort(key=lambda one: _distance(one[0].lower(), words))
    return [
        {
            "id": item.item_id,
            "title": title,
            "more": " · ".join(value for _, value in others(item.item_id, item.fields, 2)),
        }
        for title, item in named[:FOUND]
    ]


def _distance(title: str, words: str) -> tuple[int, int]:
    """How far a title is from what was typed: the same, begins so, has a word that does, holds it, has it elsewhere."""
    kinds = (title == words, title.startswith(words), f" {words}" in title, words in title, True)
    return kinds.index(True), len(title)


async def steer(front: Front, wanted: Wanted, form: Form) -> dict[str, Any] | None:
    """What the form's own buttons do where there is no script: search for titles, take a chosen item out.

    Returns:
        The state of the form, and what was found; None where a list is asked for.
    """
    do, _, item_id = form.one("do").partition(" ")
    if do == "find":
        return {"wanted": wanted, "found": await find_titles(front, form.one("find"), wanted.alias)}
    if do == "drop":
        return {"wanted": wanted.without(item_id)}
    return None


async def ask_values(
    front: Front, visitor: Visitor, wanted: Wanted, found: list[dict[str, str]] | None = None
) -> dict[str, Any]:
    """What the form is written with; ids of users only for those who may see users."""
    service = front.service
    users = await some_users(service) if visitor.may("admin") else []
    return {
        "wanted": wanted,
        "aliases": service.models.aliases(),
        "users": users,
        "picks": users[:PICKS],
        "chosen": await chosen_items(service, wanted.history, wanted.alias),
        "found": found,
    }


async def _values(
    front: Front,
    visitor: Visitor,
    wanted: Wanted,
    found: list[dict[str, str]] | None = None,
    listed: Listed | None = None,
    told: Told | None = None,
) -> dict[str, Any]:
    past: list[Chosen] = []
    known = True
    if listed is not None and wanted.mode == "user":
        view = await front.service.user(wanted.user_id)
        known = view.known
        if visitor.may("admin"):
            past = await chosen_items(front.service, view.history[: -NEWEST - 1 : -1], wanted.alias)
    more: dict[str, Any] = {"listed": listed, "past": past, "known": known, "reasons": {}, "told": told}
    return {**await ask_values(front, visitor, wanted, found), **more}


async def _show(front: Front, call: Call, wanted: Wanted, told: Told | None = None) -> Response:
    listed = await front.service.recommend(wanted.asked())
    values = await _values(front, call.visitor, wanted, None, listed, told)
    if not call.enhanced:  # a script fetches reasons later; without one they come with the list
        values["reasons"] = await _reasons(front, wanted, [item.item_id for item in listed.items])
    return front.page(call, "try", values)


async def _reasons(front: Front, wanted: Wanted, item_ids: list[str] | tuple[str, ...]) -> dict[str, str]:
    """Sentences by item; an item that came from elsewhere than the pipeline's stages has none."""
    if not item_ids:
        return {}
    asked = wanted.asked()
    try:
        told = await front.service.explain(asked, item_ids)
    except Problem:
        return {}
    except LlmrecError:  # one of them cannot be explained: the others can
        told = []
        for item_id in item_ids:
            try:
                told += await front.service.explain(asked, [item_id])
            except LlmrecError:
                continue
    return {one.item: one.sentence for one in told}
