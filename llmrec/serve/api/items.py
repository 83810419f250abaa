"""The catalog as it is now, and changes of it."""

from __future__ import annotations

from typing import Annotated

from fastapi import Path, Query, Request, Response

from llmrec.serve.api import examples
from llmrec.serve.api.convert import check_fields, check_items
from llmrec.serve.api.fields import Alias, Id, limited
from llmrec.serve.api.inputs import FieldsIn, ItemsIn
from llmrec.serve.api.operation import ALWAYS, BODY, guarded_router, operation, reply, service_of
from llmrec.serve.api.outputs import AddedItems, ItemsOut
from llmrec.serve.http.cursor import Cursors
from llmrec.serve.problems import NotFound, TooLarge
from llmrec.serve.views import ItemView
from llmrec.types import Item

__all__ = ["router"]

router = guarded_router("items")

ItemId = Annotated[Id, Path(examples=["i1"], description="The item's id.")]
OfAlias = Annotated[Alias, Query(description="Whose catalog.", examples=["default"])]
Cursor = Annotated[str | None, Query(max_length=2_000, description="`next` of the page before; none: the first page.")]
Find = Annotated[
    str | None,
    Query(
        min_length=1,
        pattern=r"^[^\x00]+$",
        description="Only items of which the id or a field holds this, whatever its case.",
        json_schema_extra=limited("maxLength", "text_chars"),
    ),
]
_CHANGES = (*ALWAYS, *BODY, 404, 409)


@operation(
    router,
    "GET /items",
    need="read",
    out=ItemsOut,
    example={"entries": [examples.ITEM | {"texts": {}}], "next": None},
    refuses=(*ALWAYS, 404),
)
async def list_items(
    request: Request,
    alias: OfAlias = "default",
    cursor: Cursor = None,
    limit: Annotated[int, Query(ge=1, le=200, description="Items of the page at most.")] = 50,
    find: Find = None,
) -> Response:
    """List the catalog, page by page, without the texts that retrievers index."""
    service = service_of(request)
    if find is not None and len(find) > service.config.limits.text_chars:
        raise TooLarge(f"query find: at most {service.config.limits.text_chars:,} characters.")
    cursors: Cursors = request.app.state.cursors
    purpose = f"items\n{alias}\n{find or ''}"
    page = await service.items(cursors.open(cursor, purpose), limit, find, alias)
    after = None if page.next is None else cursors.seal(page.next, purpose)
    return reply(ItemsOut(page.entries, after), ItemsOut)


@operation(router, "POST /items", need="admin", out=AddedItems, example={"added": 1}, refuses=_CHANGES)
async def put_items(request: Request, body: ItemsIn) -> Response:
    """Add or change items together; they are recommended when this answers."""
    service = service_of(request)
    check_items(body, service.config.limits)
    items = [Item(item.item_id, item.fields) for item in body.items]
    return reply(AddedItems(await service.put_items(items, replace=body.replace)), AddedItems)


@operation(
    router, "GET /items/{item_id:path}", need="read", out=ItemView, example=examples.ITEM, refuses=(*ALWAYS, 404)
)
async def get_item(request: Request, item_id: ItemId, alias: OfAlias = "default") -> Response:
    """Show an item, with its text as each retriever indexes it."""
    return reply(await service_of(request).item(item_id, alias), ItemView)


@operation(router, "PUT /items/{item_id:path}", need="admin", out=ItemView, example=examples.ITEM, refuses=_CHANGES)
async def put_item(request: Request, item_id: ItemId, body: FieldsIn) -> Response:
    """Add an item, or put another in its place; it is recommended when this answers."""
    return await _put(request, item_id, body, replace=True)


@operation(router, "PATCH /items/{item_id:path}", need="admin", out=ItemView, example=examples.ITEM, refuses=_CHANGES)
async def patch_item(request: Request, item_id: ItemId, body: FieldsIn) -> Response:
    """Change fields of an item; the others stay."""
    if (await service_of(request).item(item_id)).state == "removed":
        raise NotFound("The item was removed; PUT it to bring it back.")
    return await _put(request, item_id, body, replace=False)


@operation(router, "DELETE /items/{item_id:path}", need="admin", out=None, status=204, refuses=(*ALWAYS, 404, 409))
async def delete_item(request: Request, item_id: ItemId) -> Response:
    """Take an item out; it is recommended no more when this answers."""
    await service_of(request).remove_items([item_id])
    return Response(status_code=204)


async def _put(request: Request, item_id: str, body: FieldsIn, *, replace: bool) -> Response:
    service = service_of(request)
    check_fields("/fields", body.fields, service.config.limits)
    await service.put_items([Item(item_id, body.fields)], replace=replace)
    return reply(await service.item(item_id), ItemView)
