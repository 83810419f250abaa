"""Signing in with a key, and out."""

from __future__ import annotations

from starlette.responses import RedirectResponse, Response
from starlette.routing import Router

from llmrec.serve.page.front import COOKIE, Call, Front, gate_of
from llmrec.serve.page.looks import MENU
from llmrec.serve.problems import Unauthorized
from llmrec.serve.records import Key

__all__ = ["signing"]

PLACES = frozenset(path for path, _ in MENU)
LONGEST_KEY = 500


def signing(front: Front, routes: Router) -> None:
    """Add the views."""

    def place(call: Call) -> str:
        asked = call.form.one("next")
        return asked if asked in PLACES else "/"  # only places of this page: a link cannot lead elsewhere

    async def begin(call: Call) -> Response:
        if call.visitor.may("read"):
            return RedirectResponse(place(call), 303)
        return front.page(call, "sign_in", {"next": place(call), "wrong": ""})

    async def enter(call: Call) -> Response:
        if call.visitor.open:
            return RedirectResponse(place(call), 303)
        secret = call.form.one("key")
        key = await _found(front, call, secret) if 0 < len(secret) <= LONGEST_KEY else None
        if key is None:
            wrong = "This key opens nothing: it is mistyped, or was revoked. Paste it whole, or ask for a new one."
            return front.page(call, "sign_in", {"next": place(call), "wrong": wrong}, 401)
        if call.visitor.token is not None:
            front.sessions.close(call.visitor.token)
        response = RedirectResponse(place(call), 303)
        secure = call.request.url.scheme == "https"
        response.set_cookie(
            COOKIE, front.sessions.open(key.id), httponly=True, samesite="strict", secure=secure, path="/"
        )
        return response

    async def leave(call: Call) -> Response:
        if call.visitor.token is not None:
            front.sessions.close(call.visitor.token)
        response = RedirectResponse("/sign-in", 303)
        response.delete_cookie(COOKIE, path="/", httponly=True, samesite="strict")
        return response

    front.add(routes, "GET", "/sign-in", begin, "nothing")
    front.add(routes, "POST", "/sign-in", enter, "nothing")
    front.add(routes, "POST", "/sign-out", leave, "nothing")


async def _found(front: Front, call: Call, secret: str) -> Key | None:
    gate = gate_of(call.request)
    if gate is None:
        return await front.service.find_key(secret)
    try:
        return await gate.find(secret, call.request)
    except Unauthorized:
        return None
