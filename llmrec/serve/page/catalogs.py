"""Catalog: what there is to recommend, as it is indexed, and what is like it; items are added, changed, hidden."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from starlette.responses import RedirectResponse, Response
from starlette.routing import Router

from llmrec.errors import LlmrecError
from llmrec.serve.asked import Asked
from llmrec.serve.page.front import Call, Front
from llmrec.serve.page.looks import as_text
from llmrec.serve.problems import Conflict, NotFound, Problem, TooLarge, Unprocessable
from llmrec.serve.views import ListedItem
from llmrec.types import Item

if TYPE_CHECKING:
    from llmrec.serve.service import Service

__all__ = ["Catalogs", "read_field"]

PER_PAGE = 24
NEAR = 8


@dataclass(frozen=True, slots=True)
class Catalogs:
    """Views of the catalog.

    Attributes:
        front: what views are made with.
    """

    front: Front

    @property
    def _service(self) -> Service:
        return self.front.service

    def add(self, routes: Router) -> None:
        """Add the views."""
        self.front.add(routes, "GET", "/catalog", self._listed)
        self.front.add(routes, "GET", "/catalog/item", self._one)
        self.front.add(routes, "POST", "/catalog/item", self._change, "admin")
        self.front.add(routes, "GET", "/catalog/new", self._new, "admin")
        self.front.add(routes, "POST", "/catalog/new", self._add, "admin")

    async def _listed(self, call: Call) -> Response:
        find, cursor = call.form.one("find"), call.form.one("cursor")
        page = await self._service.items(cursor or None, PER_PAGE, find or None)
        shown = {"page": page, "find": find, "cursor": cursor, "did": call.form.one("did")}
        return self.front.page(call, "catalog", shown)

    async def _one(self, call: Call) -> Response:
        return await self._item_page(call, call.form.one("id"))

    async def _item_page(
        self, call: Call, item_id: str, wrong: str = "", typed: Mapping[str, str] | None = None
    ) -> Response:
        item = await self._service.item(item_id)
        near: tuple[ListedItem, ...] = ()
        why = ""
        try:
            near = (await self._service.similar(Asked(kind="similar", item_id=item_id, k=NEAR))).items
        except Problem as problem:
            why = problem.detail
        except LlmrecError as error:
            why = str(error)
        fields = {name: as_text(item.fields.get(name)) for name in _columns(self._service)}
        shown = {"item": item, "near": near, "why": why, "wrong": wrong, "did": call.form.one("did")}
        return self.front.page(call, "item", {**shown, "fields": {**fields, **(typed or {})}}, 422 if wrong else 200)

    async def _change(self, call: Call) -> Response:
        item_id, do = call.form.one("id"), call.form.one("do")
        if do == "hide":
            await self._service.remove_items([item_id])
        elif do == "show":
            await self._service.put_items([Item(item_id, {})], replace=False)
        elif do == "save":
            return await self._save(call, item_id)
        else:
            raise Unprocessable("the button pressed is none of this page; load the page again")
        return RedirectResponse(f"/catalog/item?id={quote(item_id, safe='')}&did={do}", 303)

    async def _save(self, call: Call, item_id: str) -> Response:
        item, typed = await self._service.item(item_id), call.form.starting("field:")
        before = {name: as_text(item.fields.get(name)) for name in _columns(self._service)}
        try:
            changed = {name: text for name, text in typed.items() if text.strip() != before.get(name, "").strip()}
            fields = _read(self._service, changed)
            if fields:
                await self._service.put_items([Item(item_id, fields)], replace=False)
        except LlmrecError as error:
            return await self._item_page(call, item_id, str(error), typed)
        return RedirectResponse(f"/catalog/item?id={quote(item_id, safe='')}&did=save", 303)

    async def _new(self, call: Call) -> Response:
        return self.front.page(
            call, "item_new", {"id": "", "fields": dict.fromkeys(_columns(self._service), ""), "wrong": ""}
        )

    async def _add(self, call: Call) -> Response:
        item_id, typed = call.form.one("id"), call.form.starting("field:")
        try:
            await self._free(item_id)
            fields = {name: value for name, value in _read(self._service, typed).items() if value is not None}
            await self._service.put_items([Item(item_id, fields)], replace=False)
        except LlmrecError as error:
            shown = {
                "id": item_id,
                "fields": {**dict.fromkeys(_columns(self._service), ""), **typed},
                "wrong": str(error),
            }
            return self.front.page(call, "item_new", shown, 422)
        return RedirectResponse(f"/catalog/item?id={quote(item_id, safe='')}&did=add", 303)

    async def _free(self, item_id: str) -> None:
        if not item_id:
            raise Unprocessable("the item has no id; give it one that no other item has")
        try:
            await self._service.item(item_id)
        except NotFound:
            return
        raise Conflict("an item of this id is there already; open it in the catalog to change it")


def _columns(service: Service) -> list[str]:
    return [name for name in service.models.snapshot("default").recommender.catalog.columns if name != "item_id"]


def _read(service: Service, typed: Mapping[str, str]) -> dict[str, Any]:
    """Typed texts as values of the catalog's types; fields that it has not are left to the service to refuse."""
    schema = service.models.snapshot("default").recommender.catalog.table.schema
    limit = service.config.limits.text_chars
    found = {}
    for name, text in typed.items():
        if len(text) > limit:
            raise TooLarge(f"the field {name!r} is longer than {limit:,} signs; shorten it")
        place = schema.get_field_index(name)
        found[name] = text.strip() or None if place < 0 else read_field(name, schema.field(place).type, text)
    return found


def read_field(name: str, kind: Any, text: str) -> Any:
    """A typed text as a value of an Arrow type; None for an empty one.

    Raises:
        Unprocessable: it is none of that type.
    """
    import pyarrow as pa

    text = text.strip()
    if not text:
        return None
    try:
        if pa.types.is_boolean(kind):
            return {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}[text.lower()]
        if pa.types.is_integer(kind):
            return int(text)
        if pa.types.is_floating(kind):
            return float(text)
        if pa.types.is_list(kind) or pa.types.is_large_list(kind):
            return [read_field(name, kind.value_type, part) for part in text.split(",") if part.strip()]
    except (ValueError, KeyError):
        raise Unprocessable(f"the field {name!r} holds values of the type {kind}; what was typed is none") from None
    return text
