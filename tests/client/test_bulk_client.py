"""Any number of lines, in requests of a bounded size."""

import json

import pytest

from llmrec.client import Client, Event, NotFoundError, Patience, ServiceError, UnreachableError, Wanted
from llmrec.client._bulk import BYTES


def answer(first, count, complete=True):
    lines = [{"line": first + n, "status": 200, "event_id": f"e{first + n}", "repeat": False} for n in range(count)]
    lines.append({"summary": {"lines": count, "complete": complete}})
    return b"".join(json.dumps(line).encode() + b"\n" for line in lines)


def test_parts_are_numbered_through_under_one_key(client, server):
    server.says(answer(1, 500))
    server.says(answer(501, 100))
    lines = list(client.bulk_interactions(Event("u", f"i{n}") for n in range(600)))
    assert [line.line for line in lines] == list(range(1, 601))
    assert [asked.query for asked in server.seen] == [{"first_line": "1"}, {"first_line": "501"}]
    assert len({asked.headers["idempotency-key"] for asked in server.seen}) == 1
    assert {asked.headers["content-type"] for asked in server.seen} == {"application/x-ndjson"}
    sent = [json.loads(line) for asked in server.seen for line in asked.raw.splitlines()]
    assert sent == [{"user_id": "u", "item_id": f"i{n}", "kind": "view"} for n in range(600)]


def test_large_lines_make_small_parts(client, server):
    large = [("i", {"title": "x" * (BYTES // 3)})] * 7
    for first in range(1, 8):
        server.says(answer(first, 1))
    list(client.bulk_items(large))
    assert [len(asked.raw.splitlines()) for asked in server.seen] == [2, 2, 2, 1]
    assert [asked.query["first_line"] for asked in server.seen] == ["1", "3", "5", "7"]


@pytest.mark.parametrize(
    "broken", [b"", answer(1, 1, complete=False), b'{"line": 1, "status": 200}\n', b'{"line": 1, "st']
)
def test_an_answer_that_breaks_off_is_asked_for_again(client, server, waits, broken):
    server.says(broken)
    server.says(answer(1, 1))
    (line,) = client.bulk_interactions([b'{"user_id": "u", "item_id": "i"}\r\n'])
    assert line.event_id == "e1"
    assert server.seen[0].raw == server.seen[1].raw == b'{"user_id": "u", "item_id": "i"}\n'
    assert len(waits) == 1


def test_lists_that_may_have_been_recorded_are_not_made_again(client, server):
    server.says(b"")
    with pytest.raises(UnreachableError, match="broke off"):
        list(client.bulk_recommend([Wanted(user_id="u")], log=True))
    assert server.seen[0].query == {"first_line": "1", "log": "true"}


def test_a_refusal_of_all_is_an_error_and_what_came_before_stays(client, server):
    server.says(answer(1, 500))
    lines = client.bulk_interactions([Event("u", "i")] * 501)
    for _ in range(500):
        next(lines)
    with pytest.raises(NotFoundError):
        next(lines)


def test_an_answer_that_cannot_be_read(server):
    server.says(b'{"line": "x"}\n{"summary": {"complete": true}}\n')
    with (
        Client(server.url, retries=Patience(0)) as client,
        pytest.raises(ServiceError, match="not what this client knows"),
    ):
        list(client.bulk_recommend([Wanted()]))


def test_nothing_is_sent_before_it_is_asked_for(client, server):
    client.bulk_interactions([Event("u", "i")])
    assert server.seen == []
    assert list(client.bulk_interactions([])) == []
