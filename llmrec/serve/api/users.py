"""What is known of people, and forgetting it."""

from __future__ import annotations

from typing import Annotated

from fastapi import Path, Request, Response

from llmrec.serve.api import examples
from llmrec.serve.api.convert import check_fields
from llmrec.serve.api.fields import Id
from llmrec.serve.api.inputs import UserIn
from llmrec.serve.api.operation import ALWAYS, BODY, guarded_router, operation, reply, service_of
from llmrec.serve.records import Erased
from llmrec.serve.views import UserView

__all__ = ["router"]

router = guarded_router("users")

UserId = Annotated[Id, Path(examples=["u1"], description="The user's id.")]


@operation(router, "GET /users/{user_id:path}", need="admin", out=UserView, example=examples.USER, refuses=ALWAYS)
async def get_user(request: Request, user_id: UserId) -> Response:
    """Show what is known of a user; of one of whom nothing is known, `known` is false."""
    return reply(await service_of(request).user(user_id), UserView)


@operation(
    router, "PUT /users/{user_id:path}", need="admin", out=UserView, example=examples.USER, refuses=(*ALWAYS, *BODY)
)
async def put_user(request: Request, user_id: UserId, body: UserIn) -> Response:
    """Store a user's profile in the place of the one before; the next request reads it."""
    service = service_of(request)
    check_fields("/profile", body.profile, service.config.limits)
    await service.put_user(user_id, body.profile)
    return reply(await service.user(user_id), UserView)


@operation(
    router,
    "DELETE /users/{user_id:path}",
    need="admin",
    out=Erased,
    example={"events": 12, "impressions": 3, "profile": True, "models": ["9f86d081884c7d65"]},
    refuses=ALWAYS,
)
async def erase_user(request: Request, user_id: UserId) -> Response:
    """Erase everything that is known of a user.

    `models` names the bundles that were fitted with the user's interactions; these forget when they are fitted anew.
    """
    return reply(await service_of(request).erase_user(user_id), Erased)
