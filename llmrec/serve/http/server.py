"""The process that listens: it stops by answering what it accepted, and then says that all is well."""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import Callable
from types import FrameType

import uvicorn
from starlette.types import ASGIApp

from llmrec.errors import ConfigError
from llmrec.serve.config import ServeConfig
from llmrec.serve.http.drain import Door
from llmrec.serve.http.prompt import PromptProtocol

__all__ = ["listen", "serve"]

_LOG = logging.getLogger("llmrec.serve")
_MOST_CONNECTIONS = 4_096
_LAST_S = 5


class _Server(uvicorn.Server):
    """Uvicorn that, told to stop, first lets nobody in and waits for those inside; then exits with 0.

    Uvicorn alone closes its socket at once, so that nobody could still be told to go elsewhere, and ends by the signal
    itself. A second signal stops without waiting.
    """

    def __init__(self, config: uvicorn.Config, door: Door, drain_s: float, tell: Callable[[], None]) -> None:
        super().__init__(config)
        self._tell = tell
        self._door = door
        self._drain_s = drain_s
        self._until = float("inf")

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start the app, listen, and only then say so: whoever waits for the word may ask at once."""
        await super().startup(sockets)
        if self.started and not self.should_exit:
            self._tell()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Close the door; called by the signal."""
        if self._door.closed:
            self.force_exit = self.should_exit = True
        self._door.close()
        self._until = min(self._until, time.monotonic() + self._drain_s)

    async def on_tick(self, counter: int) -> bool:
        """Whether to stop now; asked ten times a second."""
        drained = self._door.closed and (self._door.inside == 0 or time.monotonic() > self._until)
        return await super().on_tick(counter) or drained


def listen(host: str, port: int) -> socket.socket:
    """Bind an address; the socket knows its port, also where any free one was asked for.

    Raises:
        ConfigError: the address cannot be had.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise ConfigError(f"cannot listen at {host}, port {port}: {error.strerror}; choose another.") from None
    return listener


def serve(app: ASGIApp, config: ServeConfig, door: Door, listener: socket.socket, tell: Callable[[str], None]) -> bool:
    """Answer requests until a signal stops it.

    Args:
        app: what answers.
        config: how long to drain.
        door: closed by the signal.
        listener: bound, as `listen` made it; closed at the end.
        tell: called with the address, such as "http://127.0.0.1:8080", once requests are answered.

    Returns:
        Whether it ever began to listen; False: the app did not start.
    """
    settings = uvicorn.Config(
        app,
        http=PromptProtocol,
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,  # whoever counts wrong keys must not believe what a caller says of its address
        ws="none",
        backlog=1_024,
        limit_concurrency=_MOST_CONNECTIONS,
        timeout_keep_alive=30,
        timeout_graceful_shutdown=_LAST_S,
    )
    address = _address(listener)

    def ready() -> None:
        _LOG.info("ready at %s", address)
        tell(address)

    server = _Server(settings, door, config.engine.drain_s, ready)
    try:
        server.run(sockets=[listener])
    except SystemExit:  # how uvicorn says that the app did not start
        return False
    finally:
        listener.close()
    return server.started


def _address(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
