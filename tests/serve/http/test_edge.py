"""What is around every request: ids, bounds, problems, safe headers, metrics, the log."""

import asyncio
import json
import logging

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from llmrec.serve.app import create_app
from llmrec.serve.http.logs import ACCESS, JsonLines
from llmrec.serve.http.problem import TooSlow
from llmrec.serve.http.trace import trace_of

PROBLEM = "application/problem+json"
TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def _problem(answer, status):
    assert (answer.status_code, answer.headers["content-type"]) == (status, PROBLEM), answer.text
    told = answer.json()
    assert told["status"] == status
    assert told["type"].startswith("urn:llmrec:problem:")
    assert told["request_id"] == answer.headers["x-request-id"]
    return told


def test_unknown_addresses_and_methods_are_problems(client):
    _problem(client.get("/nope"), 404)
    _problem(client.get("/v1/items/"), 422)
    answer = client.patch("/v1/items")
    assert "GET, POST" in _problem(answer, 405)["detail"]
    assert answer.headers["allow"] == "GET, POST"
    assert client.request("PROPFIND", "/v1/items/i1").headers["allow"] == "DELETE, GET, PATCH, PUT"


def test_what_fails_unexpectedly_says_nothing_of_it(client, service, caplog):
    service.broken = KeyError("user-17 wished for a secret")
    told = _problem(client.post("/v1/recommend", json={}), 500)
    assert "secret" not in json.dumps(told) + caplog.text
    record = next(record for record in caplog.records if record.levelno == logging.ERROR)
    assert record.fields["error"] == "KeyError"
    assert any("fakes.py" in frame for frame in record.fields["frames"])


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"{", 400),
        (b'{"k": NaN}', 400),
        (b'{"diversity": Infinity}', 400),
        (b'{"diversity": -Infinity}', 400),
        (b'{"wish": "\xff"}', 400),
        (b'{"wish": "\\ud800"}', 400),
        (b'{"wish": "\x01"}', 400),
        (b"\xef\xbb\xbf{}", 400),
        (b"\x00", 400),
        (b'{"k": ' + b"1" * 5000 + b"}", 400),
        (b"[" * 100_000, 400),
        (b'{"filters":' * 1000 + b"{}" + b"}" * 1000, 400),
        (b'{"diversity": 1e400}', 422),
        (b'{"k": 1e400}', 422),
        (b'{"k": ' + b"1" * 4000 + b"}", 413),
        (b'{"at": 99999999999999999999}', 422),
        (b'{"at": -1}', 422),
        (b'{"k": true}', 422),
        (b'{"k": 1.5}', 422),
        (b'{"k": "3"}', 422),
        (b'{"wish": "\\u0000"}', 422),
        (b'{"profile": {"a": 9007199254740993}}', 422),
        (b'{"profile": {"a": {"b": 1}}}', 422),
        (b'{"profile": {"\\n": 1}}', 422),
        (b"[]", 422),
        (b"null", 422),
        (b'"x"', 422),
        (b"", 422),
    ],
)
def test_odd_bodies_are_refused(client, service, body, status):
    answer = client.post("/v1/recommend", content=body, headers={"Content-Type": "application/json"})
    _problem(answer, status)
    assert service.asks == 0


def test_a_wrong_value_is_pointed_at_and_not_repeated(client):
    body = {"k": "my-password-1", "history": ["ok", 5], "my-password-2 is": 1, "my_field": 2}
    answer = client.post("/v1/recommend", json=body)
    told = _problem(answer, 422)
    assert "password" not in answer.text
    assert {error["pointer"] for error in told["errors"]} == {"/k", "/history/1", "/?", "/my_field"}
    assert client.get("/v1/items?limit=x").json()["errors"][0] | {"detail": ""} == {
        "in": "query",
        "pointer": "limit",
        "detail": "",
    }


def test_a_body_is_json_and_says_so(client):
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "application/xml", "json"):
        _problem(client.post("/v1/recommend", content=b"{}", headers={"Content-Type": kind}), 415)
    for kind in ("application/json", "Application/JSON; charset=utf-8", "application/x+json"):
        assert client.post("/v1/recommend", content=b"{}", headers={"Content-Type": kind}).status_code == 200
    _problem(client.post("/v1/recommend", content=b"{}"), 415)


def test_a_body_over_the_limit_is_refused_with_and_without_a_length(fakes, make_client):
    service = fakes.FakeService(fakes.make_config(limits={"body_bytes": 1000}))
    client = make_client(service)
    kind = {"Content-Type": "application/json"}
    _problem(client.post("/v1/recommend", content=b" " * 999 + b"{}", headers=kind), 413)
    assert client.post("/v1/recommend", content=b" " * 998 + b"{}", headers=kind).status_code == 200
    read = []

    def pieces():
        for _ in range(100):
            read.append(1)
            yield b" " * 100

    _problem(client.post("/v1/recommend", content=pieces(), headers=kind), 413)
    _problem(client.post("/v1/recommend", content=b"{}", headers={**kind, "Content-Length": "9" * 30}), 400)


async def _all_of(receive):
    while (await receive())["more_body"]:
        pass


def test_a_body_that_trickles_is_given_up():
    from llmrec.serve.http.body import Bounded

    async def receive():
        await asyncio.sleep(0.02)
        return {"type": "http.request", "body": b"x", "more_body": True}

    async def read():
        bounded = Bounded(receive, 1000, within_s=0.05)
        with pytest.raises(TooSlow):
            await _all_of(bounded)

    asyncio.run(read())


@settings(
    max_examples=150, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.binary(max_size=200), st.sampled_from(["/v1/recommend", "/v1/interactions", "/v1/items", "/v1/search"]))
@example(b'{"a":' * 300, "/v1/recommend")
def test_no_body_breaks_it(client, body, path):
    answer = client.post(path, content=body, headers={"Content-Type": "application/json"})
    assert 400 <= answer.status_code < 500 or json.loads(body) is not None


_ODD = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
_NAMES = [
    "k",
    "alias",
    "user_id",
    "history",
    "wish",
    "profile",
    "exclude",
    "allow",
    "filters",
    "diversity",
    "at",
    "log",
    "zz",
]


@settings(
    max_examples=200, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.dictionaries(st.sampled_from(_NAMES), _ODD, max_size=4))
def test_no_json_breaks_it(client, body):
    answer = client.post("/v1/recommend", content=json.dumps(body), headers={"Content-Type": "application/json"})
    assert answer.status_code in {200, 400, 404, 413, 422}
    assert answer.headers["content-type"] in {"application/json", PROBLEM}
    json.loads(answer.content)


def test_a_sane_request_id_comes_back_and_an_odd_one_does_not(client):
    assert client.get("/livez", headers={"X-Request-ID": "order-17.a:b"}).headers["x-request-id"] == "order-17.a:b"
    for odd in ("", "a b c d", "x" * 65, "a\tb-c", "é-é-é-é".encode("latin-1"), "<script>", "abc"):
        found = client.get("/livez", headers={"X-Request-ID": odd}).headers["x-request-id"]
        assert found != odd
        assert len(found) == 32


@given(st.text(max_size=80), st.lists(st.text(max_size=80), max_size=2))
@example(TRACE, [TRACE])
def test_whatever_names_a_request_is_safe_in_a_header(request_id, parents):
    trace = trace_of(request_id, parents)
    for text in (trace.request_id, trace.parent):
        assert text.isascii()
        assert text.isprintable()
        assert " " not in text


def test_the_callers_trace_goes_on(client):
    parent = client.get("/livez", headers={"traceparent": TRACE}).headers["traceresponse"]
    version, trace_id, span_id, flags = parent.split("-")
    assert (version, trace_id, flags) == ("00", TRACE.split("-")[1], "01")
    assert span_id != TRACE.split("-")[2]


@pytest.mark.parametrize(
    "odd",
    [
        "",
        TRACE.upper(),
        TRACE.replace("00-", "ff-", 1),
        TRACE + "-more",
        "00-" + "0" * 32 + TRACE[35:],
        TRACE[:36] + "0" * 16 + "-01",
        TRACE[:-1],
    ],
)
def test_an_odd_trace_begins_anew(odd):
    assert trace_of(None, [odd]).parent_id is None
    assert trace_of(None, [odd]).trace_id != TRACE.split("-")[1]


def test_a_later_version_of_the_trace_may_say_more():
    assert trace_of(None, ["01" + TRACE[2:] + "-more"]).trace_id == TRACE.split("-")[1]
    assert trace_of(None, [TRACE, TRACE]).parent_id is None


def test_every_answer_is_safe_in_a_browser(client):
    for answer in (client.get("/livez"), client.get("/nope"), client.get("/v1/items"), client.post("/v1/recommend")):
        policy = answer.headers["content-security-policy"]
        assert policy.startswith("default-src 'none'")
        assert "unsafe" not in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cache-control"] == "no-store"
        assert "server" not in answer.headers


def test_metrics_name_routes_and_no_ids(fakes, make_client):
    client = make_client(fakes.FakeService())
    client.get("/v1/items/secret-item")
    client.post("/v1/recommend", json={"user_id": "secret-user", "wish": "secret wish"})
    client.get("/secret/address")
    client.request("SECRET", "/v1/items")
    text = client.get("/metrics").text
    assert 'llmrec_http_requests_total{method="GET",route="/v1/items/{item_id}",status="404"} 1.0' in text
    assert 'llmrec_http_requests_total{method="GET",route="none",status="404"} 1.0' in text
    assert 'method="other"' in text
    assert "secret" not in text.lower()
    for name in ("queue_waiting 1", "queue_working 2", "refused_total 3", "late_total 4", "degraded_total 5",
                 "worker_restarts_total 6", "learner_lag_events 7", 'index_age_seconds{alias="default"}'):  # fmt: skip
        assert f"llmrec_{name}" in text, name


def test_metrics_come_also_without_a_status(client, service):
    service.down = True
    assert "llmrec_status_up 0.0" in client.get("/metrics").text


def test_the_log_has_routes_and_no_ids(client, caplog):
    caplog.set_level(logging.INFO, logger=ACCESS)
    client.put("/v1/users/secret-user", json={"profile": {"a": "secret"}}, headers={"X-Request-ID": "req-1"})
    record = next(record for record in caplog.records if record.name == ACCESS)
    assert record.fields | {"ms": 0} == {
        "method": "PUT", "route": "/v1/users/{user_id}", "status": 200, "ms": 0, "bytes_in": 26,
        "bytes_out": record.fields["bytes_out"],
    }  # fmt: skip
    assert "secret" not in JsonLines().format(record)


def test_a_log_line_is_json_without_the_text_of_errors():
    try:
        raise ValueError("user-17")
    except ValueError:
        record = logging.getLogger("llmrec.x").makeRecord(
            "llmrec.x", 40, "f", 1, "failed", (), __import__("sys").exc_info()
        )
    line = json.loads(JsonLines().format(record))
    assert (line["error"], line["message"]) == ("ValueError", "failed")
    assert "user-17" not in str(line)


def test_work_is_cancelled_when_the_client_goes(fakes):
    service = fakes.FakeService(delay=30.0)
    app = create_app(service)
    body = b'{"k": 1}'
    sent, asked = [], []

    async def receive():
        asked.append(1)
        if len(asked) == 1:
            return {"type": "http.request", "body": body, "more_body": False}
        while not service.begun:
            await asyncio.sleep(0.001)
        return {"type": "http.disconnect"}

    async def send(message):
        sent.append(message)

    headers = [(b"host", b"127.0.0.1"), (b"content-type", b"application/json")]
    scope = {
        "type": "http", "method": "POST", "path": "/v1/recommend", "raw_path": b"/v1/recommend", "query_string": b"",
        "headers": headers, "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 80), "scheme": "http", "root_path": "",
        "http_version": "1.1", "asgi": {"version": "3.0"},
    }  # fmt: skip
    asyncio.run(asyncio.wait_for(app(scope, receive, send), 10))
    assert service.cancelled == 1
    assert sent[0]["status"] == 499


def test_when_the_door_is_closed_only_probes_are_answered(client):
    client.app.state.door.close()
    told = _problem(client.get("/readyz"), 503)
    assert told["reasons"] == ["draining"]
    assert client.get("/livez").status_code == 200
    assert client.get("/metrics").status_code == 200
    answer = client.post("/v1/recommend", json={})
    _problem(answer, 503)
    assert (answer.headers["retry-after"], answer.headers["connection"]) == ("1", "close")


@pytest.mark.parametrize(
    ("headers", "comes", "unread"),
    [([], True, 0), ([], False, 1), ([(b"expect", b"100-continue")], True, 2)],
    ids=["comes", "stalls", "waits to be asked for"],
)
def test_who_is_refused_is_read_first(fakes, monkeypatch, headers, comes, unread):
    # a connection that is closed with something unread is reset, and the client never sees the 503
    monkeypatch.setattr("llmrec.serve.http.body.REST_S", 0.05)
    app = create_app(fakes.FakeService())
    app.state.door.close()
    pieces = [{"type": "http.request", "body": b"{}", "more_body": True}, {"type": "http.request", "body": b" "}]
    sent, unread_when_answered = [], []

    async def receive():
        if not comes and len(pieces) == 1:
            await asyncio.Event().wait()
        return pieces.pop(0)

    async def send(message):
        unread_when_answered.append(len(pieces))
        sent.append(message)

    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": "/v1/recommend",
        "raw_path": b"/v1/recommend",
        "query_string": b"",
        "headers": [(b"host", b"127.0.0.1"), (b"content-length", b"3"), *headers],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 8080),
    }
    asyncio.run(app(scope, receive, send))
    assert sent[0]["status"] == 503
    assert unread_when_answered[0] == unread
