"""A real server that says what a test tells it to, and keeps what it was asked."""

from __future__ import annotations

import json
import threading
import time
from collections import deque
from dataclasses import dataclass, field
from typing import Any

import pytest
import uvicorn
from starlette.requests import Request
from starlette.responses import Response

from llmrec.client import Client


@dataclass
class Asked:
    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    raw: bytes

    @property
    def body(self) -> Any:
        return json.loads(self.raw)


@dataclass
class Scripted:
    """Answers with what stands next in `answers`, with 404 problems after that."""

    answers: deque = field(default_factory=deque)
    seen: list[Asked] = field(default_factory=list)
    url: str = ""

    def says(self, body: Any = None, status: int = 200, **headers: str) -> None:
        """Answer the next request like this; None for a body: none."""
        content = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        self.answers.append((status, {name.replace("_", "-"): value for name, value in headers.items()}, content))

    async def __call__(self, scope, receive, send):
        request = Request(scope, receive)
        path = scope["raw_path"].decode()
        self.seen.append(
            Asked(request.method, path, dict(request.query_params), dict(request.headers), await request.body())
        )
        status, headers, content = self.answers.popleft() if self.answers else (404, {}, b'{"title": "Not found"}')
        await Response(content, status, headers)(scope, receive, send)


@pytest.fixture(scope="session")
def _server():
    script = Scripted()
    server = uvicorn.Server(uvicorn.Config(script, port=0, log_level="critical", lifespan="off", ws="none"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    until = time.monotonic() + 20
    while not server.started and time.monotonic() < until:
        time.sleep(0.01)
    assert server.started
    script.url = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    yield script
    server.should_exit = server.force_exit = True
    thread.join(20)


@pytest.fixture
def server(_server):
    _server.answers.clear()
    _server.seen.clear()
    return _server


@pytest.fixture
def waits():
    """Seconds that the client would have waited."""
    return []


@pytest.fixture
def client(server, waits, monkeypatch):
    monkeypatch.setattr("llmrec.client._http.time.sleep", waits.append)
    with Client(server.url, key="llmrec_k1_secret") as found:
        yield found
