"""What every view shares: who visits, what may be done, the form that came, and how a page or a problem is shown."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol, cast
from urllib.parse import quote

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Router

from llmrec.errors import ConfigError, DataError, LlmrecError, TemplateError, UnknownIdError
from llmrec.serve.http import check_local
from llmrec.serve.page.forms import Form, check_origin, read_form
from llmrec.serve.page.looks import environment
from llmrec.serve.page.sessions import Sessions
from llmrec.serve.problems import Broken, Forbidden, NotFound, Problem, Unauthorized, Unprocessable
from llmrec.serve.records import Key, Scope

if TYPE_CHECKING:
    from jinja2 import Environment

    from llmrec.serve.service import Service

__all__ = ["COOKIE", "Call", "Front", "Gate", "View", "Visitor", "gate_of"]

COOKIE = "llmrec_session"

Need = Scope | Literal["nothing"]


@dataclass(frozen=True, slots=True)
class Visitor:
    """Somebody at the page.

    Attributes:
        key: what they signed in with; None: nothing.
        open: whether the service has no keys, so that everybody who reaches it may do all.
        seal: what their forms must bring back (against forms of other sites).
        token: of their session; None: none.
    """

    key: Key | None
    open: bool
    seal: str
    token: str | None = None

    def may(self, need: Need) -> bool:
        """Whether they may do what needs this."""
        return need == "nothing" or self.open or (self.key is not None and self.key.may(need))


@dataclass(frozen=True, slots=True)
class Call:
    """A request, as views see it.

    Attributes:
        request: as it came.
        visitor: who asks.
        form: what was filled in.
    """

    request: Request
    visitor: Visitor
    form: Form

    @property
    def enhanced(self) -> bool:
        """Whether our script asks, which fetches what is slow later."""
        return self.request.headers.get("x-page") == "swap"


class Gate(Protocol):
    """What the HTTP layer knows of keys: `llmrec.serve.http.Gate`."""

    async def open(self) -> bool:
        """Whether no key is needed."""
        ...

    async def find(self, secret: str, request: Request) -> Key:
        """The key a secret is of; counts wrong ones."""
        ...

    def admit(self, key: Key, need: Scope) -> Any:
        """Refuse a key that asks too often."""
        ...


def gate_of(request: Request) -> Gate | None:
    """The gate of the app around; None: the page is served without one."""
    return cast("Gate | None", getattr(request.app.state, "gate", None))


View = Callable[[Call], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class Front:
    """What views are made with. Used on one event loop.

    Attributes:
        service: what answers.
        sessions: who is signed in.
        secret: forms are sealed with it; new with every start.
        looks: the templates.
    """

    service: Service
    sessions: Sessions = field(default_factory=Sessions)
    secret: bytes = field(default_factory=lambda: secrets.token_bytes(32))
    looks: Environment = field(default_factory=environment)

    def add(self, routes: Router, methods: str, path: str, view: View, need: Need = "read") -> None:
        """Add a view.

        Args:
            routes: where to.
            methods: such as "GET POST".
            path: its path.
            view: what answers.
            need: the scope without which it is refused.
        """

        async def endpoint(request: Request) -> Response:
            return await self._answer(request, view, need)

        routes.add_route(path, endpoint, methods=methods.split(), include_in_schema=False)

    async def _answer(self, request: Request, view: View, need: Need) -> Response:
        visitor = Visitor(None, open=False, seal="")
        try:
            visitor = await self._visitor(request)
            if not visitor.may(need):
                return self._refuse(request, visitor, need)
            form = await read_form(request, self.service.config.limits.body_bytes)
            if request.method == "POST":
                check_origin(request)
                self._check_seal(visitor, form)
            return await view(Call(request, visitor, form))
        except LlmrecError as error:
            return self._problem(Call(request, visitor, Form()), _as_problem(error))

    async def _visitor(self, request: Request) -> Visitor:
        gate = gate_of(request)
        if not await self.service.has_keys() if gate is None else await gate.open():
            check_local(request)
            return Visitor(None, open=True, seal=self._seal("open"))
        token = request.cookies.get(COOKIE, "")
        session = self.sessions.find(token) if token else None
        key = None if session is None else await self._key(session.key_id)
        if key is None:
            return Visitor(None, open=False, seal=self._seal("nobody"))
        if gate is not None:
            gate.admit(key, "read")  # a session asks as often as its key may, and not more
        return Visitor(key, open=False, seal=self._seal(token), token=token)

    async def _key(self, key_id: str) -> Key | None:
        known = await run_in_threadpool(self.service.store.keys)
        return next((key for key in known if key.id == key_id and not key.revoked), None)

    def _seal(self, of: str) -> str:
        return hmac.new(self.secret, of.encode(), hashlib.sha256).hexdigest()

    def _check_seal(self, visitor: Visitor, form: Form) -> None:
        if not hmac.compare_digest(form.one("seal").encode(), visitor.seal.encode()):
            raise Forbidden("this form is too old, or not of this page; load the page again and send it once more")

    def _refuse(self, request: Request, visitor: Visitor, need: Need) -> Response:
        if visitor.key is not None:
            raise Forbidden(f"the key {visitor.key.name!r} may not do this: it needs the scope {need!r}")
        if request.method == "GET":
            return RedirectResponse(f"/sign-in?next={quote(request.url.path)}", 303)
        raise Unauthorized("you are signed out; sign in and send it once more")

    def page(self, call: Call, name: str, values: Mapping[str, Any], status: int = 200) -> Response:
        """Show a page.

        Args:
            call: what asked for it.
            name: its template, without the ending; also which entry of the menu is marked.
            values: what the template reads.
            status: of the answer.
        """
        visitor = call.visitor
        shared = {
            "visitor": visitor,
            "seal": visitor.seal,
            "path": call.request.url.path,
            "may_feedback": visitor.may("feedback"),
            "may_admin": visitor.may("admin"),
        }
        text = self.looks.get_template(f"{name}.html").render({**shared, **values})
        return HTMLResponse(text, status, headers={"Cache-Control": "no-store"})

    def _problem(self, call: Call, problem: Problem) -> Response:
        response = self.page(call, "problem", {"problem": problem}, problem.status)
        if problem.retry_after is not None:
            response.headers["Retry-After"] = str(max(1, round(problem.retry_after)))
        return response


def _as_problem(error: LlmrecError) -> Problem:
    if isinstance(error, Problem):
        return error
    if isinstance(error, UnknownIdError):
        return NotFound(str(error))
    if isinstance(error, (ConfigError, DataError, TemplateError)):
        return Unprocessable(str(error))
    return Broken("something went wrong on our side; what happened is in the log of the service")
