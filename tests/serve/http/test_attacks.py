"""Requests that mean harm: what they cost, and what they learn."""

import asyncio
import json
import logging

import pytest
from pydantic import ValidationError
from pydantic_core import from_json
from uvicorn import Config
from uvicorn.server import ServerState

from llmrec.serve.api.inputs import EventsIn, RecommendIn
from llmrec.serve.http import prompt
from llmrec.serve.http.body import check_length
from llmrec.serve.http.logs import JsonLines
from llmrec.serve.http.route import MEMBERS, is_slim
from llmrec.serve.page.forms import Form
from llmrec.serve.problems import BadRequest

ONE = {"k": 1}


@pytest.mark.parametrize("name", ["Forwarded", "Via", "X-Forwarded-For", "X-Forwarded-Host", "X-Real-IP"])
def test_without_a_key_nobody_is_let_in_through_a_proxy(client, name):
    assert client.post("/v1/recommend", json=ONE).status_code == 200
    assert client.post("/v1/recommend", json=ONE, headers={name: "203.0.113.9"}).status_code == 403


@pytest.mark.parametrize("headers", [{"Host": "["}, {"Origin": "http://["}, {"Host": "[::1"}, {"Origin": "null"}])
def test_odd_hosts_and_origins_are_refused(client, headers):
    assert client.post("/v1/recommend", json=ONE, headers=headers).status_code == 403


def test_a_body_is_announced_in_one_way():
    headers = [(b"content-length", b"4"), (b"transfer-encoding", b"chunked")]
    with pytest.raises(BadRequest):
        check_length({"headers": headers}, 1_000)


def test_half_a_million_wrong_values_are_not_half_a_million_errors():
    for kind, body in (
        (RecommendIn, {"exclude": [0] * 9_000}),
        (RecommendIn, {"history": [0] * 9_000}),
        (RecommendIn, {"filters": {"title": [0] * 9_000}}),
        (RecommendIn, {"profile": {"a": [0] * 9_000}}),
        (EventsIn, {"events": [{}] * 9_000}),
    ):
        with pytest.raises(ValidationError) as caught:
            kind.model_validate(body)
        assert caught.value.error_count() < 10


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/recommend", {f"a{n}": 0 for n in range(MEMBERS + 1)}),
        ("/v1/recommend", {"profile": {f"a{n}": [] for n in range(MEMBERS + 1)}}),
    ],
)
def test_an_object_of_too_many_members_is_refused_as_a_whole(client, path, body):
    answer = client.post(path, json=body)
    assert answer.status_code == 413
    assert "errors" not in answer.json()


def test_objects_are_counted_however_deep_they_stand():
    wide = json.dumps({f"a{n}": 0 for n in range(MEMBERS + 1)})
    assert is_slim(from_json(b'{"a": [1, {"b": ["x"]}]}'))
    assert not is_slim(from_json(f'{{"a": [1, {{"b": [{wide}]}}]}}'))


def test_a_form_of_many_fields_is_read_once():
    passes = []

    class Counted(tuple):
        __slots__ = ()

        def __iter__(self):
            passes.append(1)
            return super().__iter__()

    pairs = Counted([*((f"field:{n}", "1") for n in range(100)), ("field:0", "a\r\nb")])
    found = Form(pairs).starting("field:")
    assert (len(found), found["0"], len(passes)) == (100, "a\nb", 1)


class Transport(asyncio.Transport):
    """Notes whether it was closed."""

    def __init__(self):
        super().__init__({"peername": ("127.0.0.1", 1), "sockname": ("127.0.0.1", 2)})
        self.closed = asyncio.Event()

    def close(self):
        self.closed.set()

    def is_closing(self):
        return self.closed.is_set()

    def write(self, data):
        pass


@pytest.mark.parametrize("sent", [b"", b"GET / HTTP/1.1\r\nHost: a\r\nX-Slow: "])
def test_who_does_not_finish_the_headers_makes_room(monkeypatch, sent):
    monkeypatch.setattr(prompt, "HEADERS_S", 0.05)

    async def work():
        config = Config(lambda *_: None, log_config=None, lifespan="off")
        config.load()
        protocol = prompt.PromptProtocol(config=config, server_state=ServerState(), app_state={})
        transport = Transport()
        protocol.connection_made(transport)
        if sent:
            protocol.data_received(sent)
        async with asyncio.timeout(30):
            await transport.closed.wait()
        protocol.connection_lost(None)

    asyncio.run(work())


def test_what_other_libraries_say_is_not_logged():
    record = logging.LogRecord("asyncio", logging.ERROR, "events.py", 7, "Task exception: %r", ("u-secret",), None)
    line = json.loads(JsonLines().format(record))
    assert "u-secret" not in json.dumps(line)
    assert line["logger"] == "asyncio"
