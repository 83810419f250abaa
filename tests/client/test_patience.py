"""What is asked again, when, and how often; what is not; and what the errors say."""

import email.utils
import json
import logging
import pickle
import socket
import subprocess
import sys
import threading
import time

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmrec.client import (
    BusyError,
    Client,
    ConflictError,
    DeadlineError,
    Event,
    InvalidRequestError,
    KeyRefusedError,
    NotFoundError,
    Patience,
    ServiceError,
    UnreachableError,
    Wanted,
)

LIST = {"items": [], "alias": "default", "bundle": "b"}
ADDED = {"event_ids": ["e"], "repeats": [False], "last_seq": 4}
ALIAS = {"alias": "default", "bundle": "b"}


def problem(status, **more):
    return {"type": "urn:llmrec:problem:x", "title": "T", "status": status, "detail": "D", "request_id": "r", **more}


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, InvalidRequestError), (401, KeyRefusedError), (403, KeyRefusedError), (404, NotFoundError),
        (409, ConflictError), (413, InvalidRequestError), (422, InvalidRequestError), (429, BusyError),
        (500, ServiceError), (502, ServiceError), (503, BusyError), (504, DeadlineError),
    ],
)  # fmt: skip
def test_each_status_has_its_error(server, status, kind):
    server.says(problem(status), status, X_Request_ID="r7", Retry_After="3")
    with Client(server.url, retries=0) as client, pytest.raises(ServiceError) as found:
        client.search("x")
    error = found.value
    assert type(error) is kind
    assert (error.status, error.title, error.detail, error.request_id) == (status, "T", "D", "r7")
    assert str(error) == f"{status} T: D (request r7)"
    assert error.retry_after == 3.0
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), str(again), again.retry_after) == (kind, str(error), 3.0)


def test_what_a_proxy_writes_is_an_error_too(server):
    server.says(b"<html>Bad gateway", 502)
    with Client(server.url) as client, pytest.raises(ServiceError, match="502 Bad Gateway: the service answered 502"):
        client.search("x")


@pytest.mark.parametrize("status", [429, 503])
def test_a_busy_service_is_asked_again_after_as_long_as_it_says(client, server, waits, status):
    server.says(problem(status), status, Retry_After="2")
    server.says(problem(status), status)
    server.says(LIST)
    assert client.recommend(Wanted()).alias == "default"
    assert 2.0 <= waits[0] <= 2.25
    assert 0.0 <= waits[1] <= 0.5
    assert len({asked.headers["x-request-id"] for asked in server.seen}) == 1


def test_a_date_to_come_back_at(client, server, waits):
    server.says(problem(503), 503, Retry_After=email.utils.formatdate(time.time() + 10, usegmt=True))
    server.says(LIST)
    client.search("x")
    assert 5.0 < waits[0] < 11.0


@pytest.mark.parametrize("header", ["soon", "nan", "inf", "-5", ""])
def test_a_date_that_is_none(client, server, waits, header):
    server.says(problem(503), 503, Retry_After=header)
    server.says(LIST)
    client.search("x")
    assert 0.0 <= waits[0] <= 0.25


def test_patience_ends(client, server, waits):
    for _ in range(4):
        server.says(problem(429), 429)
    with pytest.raises(BusyError):
        client.search("x")
    assert (len(server.seen), len(waits)) == (4, 3)
    server.says(problem(429), 429, Retry_After="3600")
    with pytest.raises(BusyError) as found:
        client.search("x")
    assert found.value.retry_after == 3600.0
    assert len(waits) == 3


@pytest.mark.parametrize("status", [400, 401, 404, 409, 422, 500, 502, 504])
def test_other_answers_stand(client, server, status):
    server.says(problem(status), status)
    with pytest.raises(ServiceError):
        client.add_interactions([Event("u", "i")])
    assert len(server.seen) == 1


@pytest.mark.parametrize("call", ["rollback", "reload", "refit"])
def test_what_may_not_be_done_twice_is_not_asked_twice(client, server, call):
    server.says(problem(503), 503)
    with pytest.raises(BusyError):
        getattr(client.admin, call)()
    assert len(server.seen) == 1
    server.says(problem(429), 429)
    server.says(problem(409), 409)
    with pytest.raises(ConflictError):  # it had not begun
        getattr(client.admin, call)()


def test_events_carry_the_same_key_in_every_try_and_another_in_every_call(client, server):
    for _ in range(2):
        server.says(problem(503), 503)
        server.says(ADDED)
        client.add_interactions([Event("u", "i")])
    keys = [asked.headers["idempotency-key"] for asked in server.seen]
    assert keys[0] == keys[1] != keys[2] == keys[3]
    server.says(problem(503), 503)
    server.says(ADDED)
    client.feedback("imp", "i", "like")
    assert server.seen[-1].body == server.seen[-2].body
    assert server.seen[-1].headers["idempotency-key"] == server.seen[-2].headers["idempotency-key"]
    server.says(ADDED)
    client.add_interactions([Event("u", "i")], idempotency_key="mine")
    assert server.seen[-1].headers["idempotency-key"] == "mine"


class Breaking:
    """Reads requests, and closes the connection without an answer so many times; then answers."""

    def __init__(self, times, answer):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        self.times, self.answer, self.read = times, answer, []
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        while True:
            try:
                link, _ = self.listener.accept()
            except OSError:
                return
            with link:
                link.settimeout(20)
                content = b""
                while b"\r\n\r\n" not in content:
                    content += link.recv(65_536)
                head, _, rest = content.partition(b"\r\n\r\n")
                length = int(dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:])[b"content-length"])
                while len(rest) < length:
                    rest += link.recv(65_536)
                self.read.append(head)
                if len(self.read) > self.times:
                    answer = json.dumps(self.answer).encode()
                    link.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(answer))
                    link.sendall(answer)

    def close(self):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.thread.join(20)


@pytest.fixture
def breaking():
    made = []

    def make(times, answer):
        made.append(Breaking(times, answer))
        return made[-1]

    yield make
    for one in made:
        one.close()


def test_a_connection_that_breaks_stores_nothing_twice(breaking):
    server = breaking(2, ADDED)
    with Client(server.url, retries=Patience(3, 0.01)) as client:
        assert client.add_interactions([Event("u", "i")]).last_seq == 4
    keys = {line for head in server.read for line in head.split(b"\r\n") if line.lower().startswith(b"idempotency-key")}
    assert (len(server.read), len(keys)) == (3, 1)


def test_a_list_that_may_have_been_recorded_is_not_asked_for_again(breaking):
    server = breaking(1, LIST)
    with Client(server.url, retries=Patience(3, 0.01)) as client:
        with pytest.raises(UnreachableError) as found:
            client.recommend(Wanted())
        assert found.value.sent
        assert found.value.request_id
        assert client.recommend(Wanted()).bundle == "b"
    server = breaking(1, LIST)
    with Client(server.url, retries=Patience(3, 0.01)) as client:
        assert client.recommend(Wanted(), log=False).bundle == "b"


def test_nobody_there(waits, monkeypatch):
    monkeypatch.setattr("llmrec.client._http.time.sleep", waits.append)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with Client(f"http://127.0.0.1:{port}") as client, pytest.raises(UnreachableError) as found:
        client.admin.rollback()
    assert (found.value.status, found.value.sent, len(waits)) == (0, False, 3)


def test_no_answer_in_time():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        with Client(url, timeout=0.05, retries=0) as client, pytest.raises(UnreachableError, match="in time"):
            client.search("x")


@given(st.integers(0, 40), st.one_of(st.none(), st.floats(0, 1e6)), st.floats(0, 1), st.integers(0, 9))
def test_waits_are_bounded(repeat, asked_for, share, retries):
    patience = Patience(retries, 0.5, 8.0)
    wait = patience.wait(repeat, asked_for, share)
    if repeat >= retries or (asked_for or 0.0) > 8.0:
        assert wait is None
    else:
        assert (asked_for or 0.0) <= wait <= 8.5


def test_the_key_stands_nowhere(client, server, caplog):
    caplog.set_level(logging.DEBUG)
    server.says(problem(403), 403)
    with pytest.raises(KeyRefusedError) as found:
        client.search("x")
    shown = [repr(client), str(client), repr(found.value), str(vars(found.value)), caplog.text]
    assert not [text for text in shown if "secret" in text]


@pytest.mark.parametrize("key", ["", "llmrec_k1_secret\n", "llmrec_k1 secret", "llmrec_k1_secrét"])
def test_what_is_no_key_is_not_told(key):
    with pytest.raises(ValueError, match="signs that no key has") as found:
        Client("http://localhost", key=key)
    assert "llmrec_k1" not in str(found.value)


@pytest.mark.parametrize(
    "url", ["localhost:8080", "ftp://localhost", "http://", "http://u:secret@localhost", "http://a:b"]
)
def test_what_is_no_url(url):
    with pytest.raises(ValueError, match="URL") as found:
        Client(url)
    assert "secret" not in str(found.value)


def test_the_key_goes_nowhere_else(client, server):
    server.says(None, 307, Location="http://127.0.0.1:1/v1/search")
    with pytest.raises(ServiceError, match="307"):
        client.search("x")
    assert len(server.seen) == 1


def test_a_transport_of_ones_own():
    def answer(request):
        return httpx2.Response(200, json=LIST)

    with Client("http://nowhere", transport=httpx2.MockTransport(answer)) as client:
        assert client.search("x").bundle == "b"


def test_threads_share_a_client(server):
    for _ in range(40):
        server.says(LIST)
    found = []
    with Client(server.url) as client:
        threads = [threading.Thread(target=lambda: found.append(client.search("x").bundle)) for _ in range(40)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
    assert found == ["b"] * 40


def test_it_loads_nothing_heavy():
    code = "import sys, llmrec.client; print(*sorted(name for name in sys.modules if '.' not in name))"
    code += "; print(*sorted(name for name in sys.modules if name.startswith('llmrec')))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    loaded, own = (set(line.split()) for line in done.stdout.splitlines())
    assert not loaded & {
        "torch",
        "numpy",
        "scipy",
        "fastapi",
        "starlette",
        "sqlalchemy",
        "pyarrow",
        "transformers",
        "rich",
    }
    assert {name for name in own if name != "llmrec" and not name.startswith("llmrec.client")} == set()
