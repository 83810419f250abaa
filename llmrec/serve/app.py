"""The service as a web application, and the process that runs it."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI, Request, Response
from starlette.responses import JSONResponse

from llmrec import __version__
from llmrec.errors import LlmrecError
from llmrec.serve.api import document, routers
from llmrec.serve.config import ServeConfig
from llmrec.serve.http import Door, Edge, EdgeSettings, Gate, KeyCache, add_handlers
from llmrec.serve.http.cursor import Cursors
from llmrec.serve.http.logs import set_up_logs
from llmrec.serve.http.metrics import HttpMetrics
from llmrec.serve.http.server import listen, serve
from llmrec.serve.problems import Conflict

if TYPE_CHECKING:
    from llmrec.serve.service import Service
    from llmrec.serve.store import Store

__all__ = ["create_app", "run"]

BULK = "/v1/bulk/"
"""Below it bodies are streams; each line is bounded, the whole is not."""

_LOG = logging.getLogger("llmrec.serve")


def create_app(service: Service) -> FastAPI:
    """Put the web application together; its lifespan starts and stops the service.

    Args:
        service: opened, not started.
    """
    config = service.config
    app = FastAPI(
        title="llmrec",
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        lifespan=_lifespan,
    )
    door = Door()
    app.state.service = service
    app.state.door = door
    app.state.metrics = HttpMetrics(door)
    app.state.gate = Gate(KeyCache(service), config.host, config.limits.per_minute)
    app.state.cursors = Cursors(secrets.token_bytes(32))
    for router in routers():
        app.router.routes.extend(router.routes)
    _add_document(app, config)
    if config.page:
        _add_page(app, service)
    add_handlers(app)
    app.add_middleware(Edge, settings=EdgeSettings(door, app.state.metrics, config.limits.body_bytes, (BULK,)))
    return app


def run(config: ServeConfig, tell: Callable[[str], None]) -> None:
    """Serve until a signal stops the process; returns when what was accepted has been answered.

    Args:
        config: what to serve, and where.
        tell: called with the address, such as "http://127.0.0.1:8080", once requests are answered.

    Raises:
        LlmrecError: the service cannot start.
    """
    from llmrec.serve.service import Service

    set_up_logs()
    with listen(
        config.host, config.port
    ) as listener:  # an address that cannot be had is told before anything is loaded
        app = create_app(Service.open(config))
        started = serve(app, config, app.state.door, listener, tell)
    if not started:
        raise getattr(app.state, "failure", None) or LlmrecError("the service did not start; its log says why.")


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    service: Service = app.state.service
    try:
        await service.start()
        app.state.cursors = Cursors(await asyncio.to_thread(_cursor_secret, service.store))
        if await app.state.gate.open():
            _LOG.warning("no key was made: everybody on this machine may do everything (`llmrec key add` changes that)")
        yield
    except LlmrecError as error:
        app.state.failure = error
        raise
    finally:
        await service.stop()
        _LOG.info("stopped")


def _cursor_secret(store: Store) -> bytes:
    """The same for all processes of one store, made by the first one."""
    with suppress(Conflict):  # it is there
        store.put_value("http", "cursors", {"secret": secrets.token_hex(32)}, expect_absent=True)
    found = store.value("http", "cursors")
    return bytes.fromhex(found["secret"]) if found else secrets.token_bytes(32)


def _add_document(app: FastAPI, config: ServeConfig) -> None:
    """Serve the document to everybody: it says what the code says, and nothing of what is stored."""

    @cache
    def made() -> dict[str, Any]:
        return document(app, config, __version__)

    async def openapi(request: Request) -> Response:
        return JSONResponse(made())

    app.openapi = made  # type: ignore[method-assign]
    app.add_route("/openapi.json", openapi, include_in_schema=False)


def _add_page(app: FastAPI, service: Service) -> None:
    """The page brings its own routes, files and sign-in."""
    if find_spec("llmrec.serve.page") is None:
        return
    page = import_module("llmrec.serve.page")
    app.router.routes.extend(page.router(service).routes)
    page.mount(app, service)
