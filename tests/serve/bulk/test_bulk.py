"""The bulk addresses over HTTP: a line for a line, nothing stops the others, and nothing is read ahead."""

import json
import select
import socket
import threading
import time

import httpx2
import pytest

from llmrec.client import Client, Event, KeyRefusedError, Wanted
from llmrec.serve.problems import TooMany, Unavailable

NDJSON = {"Content-Type": "application/x-ndjson"}


def event(item="i1", **more):
    return {"user_id": "u1", "item_id": item, **more}


def body(*lines):
    return b"".join((line if isinstance(line, bytes) else json.dumps(line).encode()) + b"\n" for line in lines)


def post(served, what, content, headers=None, **params):
    url = f"{served.url}/v1/bulk/{what}"
    response = httpx2.post(url, content=content, params=params, headers={**NDJSON, **(headers or {})}, timeout=30)
    if response.status_code != 200:
        return response.status_code, response.json()
    assert response.headers["content-type"] == "application/x-ndjson"
    *lines, summary = [json.loads(line) for line in response.content.splitlines()]
    return lines, summary["summary"]


def test_every_line_is_answered_in_its_place(served, service):
    lines, summary = post(
        served,
        "interactions",
        body(
            event(), b"not json", event("nothing"), b"", event(colour="red"), event("i2", time=5), b"x" * 3_000, b"[]"
        ),
    )
    assert [(line["line"], line["status"]) for line in lines] == [
        (1, 200), (2, 400), (3, 422), (5, 422), (6, 200), (7, 413), (8, 422),
    ]  # fmt: skip
    assert summary == {"lines": 7, "done": 2, "failed": 5, "repeats": 0, "complete": True, "detail": ""}
    assert [(one.item_id, one.time) for one in service.events.values()] == [("i1", None), ("i2", 5)]
    assert lines[0]["event_id"] in service.events
    assert lines[2]["detail"] == "event 0: there is no such item."
    assert lines[3]["detail"] == "/colour: This field is not known; leave it out."
    assert lines[1]["type"] == "urn:llmrec:problem:bad-request"


def test_what_stands_in_a_bad_line_is_not_told(served):
    lines, _ = post(served, "interactions", body({"user_id": ["secret-1"], "item_id": "i1"}, b'{"secret-2'))
    assert "secret" not in json.dumps(lines)


def test_the_same_key_stores_the_same_lines_once(served, service):
    content = body(event(), event(), event("i2"))
    first, _ = post(served, "interactions", content, {"Idempotency-Key": "k"})
    second, summary = post(served, "interactions", content + body(event("i3")), {"Idempotency-Key": "k"})
    assert len(service.events) == 4  # the two equal lines are two events
    assert [line["repeat"] for line in second] == [True, True, True, False]
    assert [line["event_id"] for line in second[:3]] == [line["event_id"] for line in first]
    assert summary["repeats"] == 3
    post(served, "interactions", body(event("i9")), {"Idempotency-Key": "k"})  # another line at the same place
    post(served, "interactions", body(event()), {"Idempotency-Key": "other"})
    assert len(service.events) == 6
    rest, _ = post(served, "interactions", body(event(), event("i2")), {"Idempotency-Key": "k"}, first_line=2)
    assert [(line["line"], line["repeat"]) for line in rest] == [(2, True), (3, True)]


def test_events_that_name_themselves_twice_are_stored_one_after_the_other(served, service):
    lines, _ = post(served, "interactions", body(event(event_id="e"), event("i2"), event(event_id="e")))
    assert [line["repeat"] for line in lines] == [False, False, True]
    assert service.calls == [("events", 2), ("events", 1)]


def test_items_are_put_and_the_last_of_equal_ids_stays(served, service):
    entries = [{"item_id": "i/1", "fields": {"title": "a"}}, {"item_id": "x", "fields": {}}]
    entries += [
        {"item_id": "i/1", "fields": {"title": "b", "year": 1999}},
        {"item_id": "y", "fields": {"title": "t" * 9}},
    ]
    lines, summary = post(served, "items", body(*entries), replace="false")
    assert [(line["status"], line.get("item_id")) for line in lines] == [
        (200, "i/1"), (422, None), (200, "i/1"), (200, "y"),
    ]  # fmt: skip
    assert service.items == {"i/1": {"title": "b", "year": 1999}, "y": {"title": "t" * 9}}
    assert summary["failed"] == 1
    assert {call[2] for call in service.calls} == {False}


def test_lists_come_in_order_and_no_more_at_once_than_the_engine_takes(served, service):
    asked = [{"user_id": f"u{n}", "k": 2} for n in range(30)]
    asked[3] = {"user_id": "u3", "k": 5_000}
    asked[4] = {"user_id": "u4", "k": 1, "log": True, "anonymous": "s"}
    lines, summary = post(served, "recommend", body(*asked), log="false")
    assert [line["line"] for line in lines] == list(range(1, 31))
    assert lines[0]["answer"]["items"][1] == {
        "item_id": "i1", "rank": 2, "score": 0.5, "propensity": None, "fields": {"title": "é"},
    }  # fmt: skip
    assert lines[0]["answer"]["timings_ms"] == {"total": 2.0}
    assert lines[3]["status"] == 413
    assert [line["answer"]["impression_id"] for line in (lines[0], lines[4])] == [None, "imp-u4"]
    assert ("list", "u4", True, "s") in service.calls
    assert summary["done"] == 29
    assert 1 < service.most <= service.config.engine.batch


def test_a_full_queue_is_waited_for(served, service):
    service.fails = [TooMany("full"), None, Unavailable("restarting")]
    lines, _ = post(served, "recommend", body(*[{"user_id": "u"}] * 3))
    assert [line["status"] for line in lines] == [200, 200, 200]
    assert len(service.calls) == 5


def test_what_breaks_in_us_breaks_one_line_and_says_nothing_of_it(served, service):
    service.fails = [None, RuntimeError("user u1 did something")]
    lines, summary = post(served, "recommend", body(*[{"user_id": "u1"}] * 3))
    assert [line["status"] for line in lines] == [200, 500, 200]
    assert "u1" not in lines[1]["detail"]
    assert summary["complete"]


def test_an_empty_file_is_answered(served):
    assert post(served, "items", b"") == (
        [],
        {"lines": 0, "done": 0, "failed": 0, "repeats": 0, "complete": True, "detail": ""},
    )


def test_it_must_be_lines(served):
    status, problem = post(served, "items", b"{}", {"Content-Type": "application/json"})
    assert (status, problem["type"]) == (415, "urn:llmrec:problem:unsupported-media-type")
    assert post(served, "items", b"", first_line=0)[0] == 422


def test_a_service_that_is_not_ready_takes_no_lines(served, service):
    service.ok = False
    assert post(served, "items", b"{}")[0] == 503
    assert service.calls == []


@pytest.mark.parametrize(
    ("what", "allowed"),
    [("interactions", {"feedback", "admin"}), ("items", {"admin"}), ("recommend", {"read", "feedback", "admin"})],
)
def test_each_needs_its_scope(served, service, secrets, what, allowed):
    service.keyed = True
    got = {None: post(served, what, b"")[0]}
    got |= {name: post(served, what, b"", {"Authorization": f"Bearer {key}"})[0] for name, key in secrets.items()}
    assert got.pop(None) == 401
    assert {name for name, status in got.items() if status == []} == allowed
    assert {status for status in got.values() if status != []} <= {403}


def connect(served, what):
    """A connection on which a body of chunks begins."""
    link = socket.create_connection(("127.0.0.1", served.port), timeout=20)
    head = f"POST /v1/bulk/{what} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-ndjson\r\n"
    link.sendall((head + "Transfer-Encoding: chunked\r\n\r\n").encode())
    return link


def chunk(content):
    return b"%x\r\n%s\r\n" % (len(content), content)


def read_until(link, mark):
    read = b""
    while mark not in read:
        piece = link.recv(65_536)
        assert piece, read
        read += piece
    return read


def test_answers_come_while_the_file_is_still_sent(served):
    with connect(served, "interactions") as link:
        link.sendall(chunk(body(event())))
        assert b'"line":1' in read_until(link, b'"repeat":false}')
        link.sendall(chunk(body(event("i2"))))
        assert b'"line":2' in read_until(link, b'"repeat":false}')
        link.sendall(b"0\r\n\r\n")
        assert b'"lines":2' in read_until(link, b"0\r\n\r\n")


def test_a_caller_that_waits_to_be_told_to_go_on_is_told(served):
    with socket.create_connection(("127.0.0.1", served.port), timeout=20) as link:
        content = body(event())
        head = "POST /v1/bulk/interactions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-ndjson\r\n"
        link.sendall(f"{head}Content-Length: {len(content)}\r\nExpect: 100-continue\r\n\r\n".encode())
        assert read_until(link, b"\r\n\r\n").startswith(b"HTTP/1.1 100")
        link.sendall(content)
        assert b"HTTP/1.1 200" in read_until(link, b'"complete":true')


def test_who_sends_faster_than_it_is_stored_waits(served, service):
    service.hold.set()  # storing takes as long as we like
    piece = chunk(body(*[event()] * 200))
    with connect(served, "interactions") as link:
        link.setblocking(False)
        sent = 0
        while select.select([], [link], [], 1.0)[1]:
            sent += link.send(piece)
            assert sent < 64_000_000, "everything is taken in, whatever becomes of it"
        assert [call for call in service.calls if call[0] == "events"] == [("events", 8)]  # one group is worked on
    service.hold.clear()


def test_nothing_more_is_stored_for_a_caller_who_is_gone(served, service):
    service.hold.set()
    link = connect(served, "interactions")
    link.sendall(chunk(body(*[event()] * 100)))
    wait_for(lambda: service.calls)
    link.close()
    service.hold.clear()
    wait_for(lambda: served.app.state.door.inside == 0)
    assert len(service.events) <= 100


def test_a_service_that_stops_says_which_lines_are_not_done(served, service):
    with connect(served, "interactions") as link:
        link.sendall(chunk(body(event())))
        read_until(link, b'"repeat":false}')
        served.app.state.door.close()
        link.sendall(chunk(body(event("i2"), event("i3"))))
        end = read_until(link, b"0\r\n\r\n")
    assert b'"complete":false,"detail":"The service is about to stop' in end
    assert len(service.events) == 1


def wait_for(condition):
    until = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.01)


def test_the_client_sends_parts_and_numbers_them_through(served, service):
    pulled = []

    def many():
        for n in range(1_200):
            pulled.append(n)
            yield Event("u1", f"i{n}" if n != 700 else "nothing")

    with Client(served.url) as client:
        lines = client.bulk_interactions(many())
        first = next(lines)
        assert (first.line, first.ok, first.event_id in service.events) == (1, True, True)
        assert len(pulled) == 500
        rest = list(lines)
    assert [line.line for line in rest] == list(range(2, 1_201))
    assert [line.line for line in rest if not line.ok] == [701]
    assert len(service.events) == 1_199


def test_the_client_reads_lists_and_items(served, service):
    with Client(served.url) as client:
        lists = list(client.bulk_recommend([Wanted(user_id="u1", k=1), b"{", Wanted(k=2, wish="tea")]))
        items = list(client.bulk_items([("a", {"title": "A"}), ("b", {}), ("c", {"title": "C"})], replace=False))
    assert [(one.status, one.answer and one.answer.item_ids) for one in lists] == [
        (200, ("i0",)), (400, None), (200, ("i0", "i1")),
    ]  # fmt: skip
    assert lists[0].answer.impression_id is None
    assert [(one.ok, one.item_id) for one in items] == [(True, "a"), (False, None), (True, "c")]
    assert items[1].title == "A value does not fit"


def test_the_client_asks_again_from_where_it_broke_and_stores_nothing_twice(served, service):
    door = served.app.state.door
    events = [Event("u1", "i1") for _ in range(1_100)]

    def and_close():
        for place, one in enumerate(events):
            if place == 600:
                door.close()
                threading.Timer(1.0, lambda: setattr(door, "_closed", False)).start()
            yield one

    with Client(served.url, retries=10) as client:
        lines = list(client.bulk_interactions(and_close()))
    assert all(line.ok for line in lines)
    assert len(lines) == len(service.events) == 1_100


def test_a_wrong_key_stops_at_once(served, service):
    service.keyed = True
    with Client(served.url, key="llmrec_wrong_" + "y" * 43) as client, pytest.raises(KeyRefusedError):
        list(client.bulk_interactions([Event("u", "i")]))
