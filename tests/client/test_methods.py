"""What each method sends, and what it makes of the answer."""

import dataclasses

import pytest

from llmrec.client import Candidate, Client, Event, ServiceError, Wanted

ITEM = {"item_id": "i1", "fields": {"title": "A"}, "state": "active", "texts": {"dense": "A"}, "trained": True}
ENTRY = {"item_id": "i2", "rank": 1, "score": 1.5, "propensity": None, "fields": {"title": "B"}}
LIST = {
    "items": [ENTRY],
    "impression_id": "imp",
    "alias": "default",
    "bundle": "9f86",
    "experiment": None,
    "variant": None,
    "degraded": False,
    "left_out": [],
    "timings_ms": {"total": 2.5},
    "of a newer service": 1,
}
ADDED = {"event_ids": ["e"], "repeats": [False], "last_seq": 4}
ALIAS = {
    "alias": "default", "bundle": "9f86", "version": 3, "loaded": 1.0, "fitted": None, "items": 9, "users": 2,
    "stages": ["hybrid"], "policies": [],
}  # fmt: skip
USER = {
    "user_id": "u/1", "known": True, "history": ["i1"], "profile": {"age": 3}, "dismissed": [],
    "events": [{"seq": 1, "event_id": "e", "user_id": "u/1", "item_id": "i1", "kind": "view", "time": 5}],
}  # fmt: skip
TRACE = {
    "alias": "default", "bundle": "9f86", "final": [ENTRY], "from_fallback": [], "excluded": 1, "history": ["i1"],
    "stages": [{"name": "hybrid", "found": 1, "kept": 1, "columns": ["ease", "rrf"], "candidates": [
        {"item_id": "i2", "title": "B", "rank": 1, "came_in": None, "columns": {"ease": None, "rrf": 1.0},
         "source_ranks": {"ease": 1}, "kept": True, "dropped_by": None}]}],
}  # fmt: skip
WHY = {
    "item": "i2", "rank": 1, "score": 1.0, "candidates": 9, "sentence": "Because.", "phrased": False,
    "reasons": [{"kind": "history", "item": "i1", "field": None, "rank_without": 4, "score_without": 0.1, "share": 1}],
}  # fmt: skip
JOB = {"id": "j", "kind": "refit", "state": "done", "asked": {}, "progress": 1.0, "message": "", "result": {"n": 1},
       "created": 1.0, "updated": 2.0}  # fmt: skip
TEST = {"name": "t", "variants": {"a": "default", "b": "new"}, "weights": {"a": 0.5, "b": 0.5}, "kind": "ab",
        "state": "running", "created": 1.0}  # fmt: skip
STATUS = {
    "ready": {"ok": True, "reasons": []}, "started": 1.0, "aliases": [ALIAS], "learner_lag": 0, "store_ok": True,
    "events": 4, "coverage": {"default": 0.5},
    "engine": {"waiting": 0, "working": 0, "queue": 256, "answered": 5, "refused": 0, "late": 0, "degraded": 0,
               "restarts": 0, "latency": {"p50": 3.0}, "stages": {"hybrid": 2.0}},
    "days": [{"day": "2026-01-01", "alias": "default", "bundle": "9f86", "impressions": 3, "clicks": 1, "likes": 0,
              "buys": 0, "dismissals": 0}],
    "drift": [{"name": "wishes", "before": {"no": 1.0}, "now": {"no": 1.0}, "index": 0.0}],
}  # fmt: skip

CALLS = {
    "recommend": (
        lambda c: c.recommend(Wanted(user_id="u1", k=3, filters={"genre": ("x",)}), log=False, deadline=0.5),
        LIST, "POST", "/v1/recommend", {"user_id": "u1", "k": 3, "filters": {"genre": ["x"]}, "log": False},
        lambda r: (r.item_ids, r.items[0].fields, r.timings_ms) == (("i2",), {"title": "B"}, {"total": 2.5}),
    ),
    "similar": (
        lambda c: c.similar("i1", 2), LIST, "POST", "/v1/similar", {"item_id": "i1", "k": 2},
        lambda r: r.impression_id == "imp",
    ),
    "search": (
        lambda c: c.search("tea", alias="new"), LIST, "POST", "/v1/search", {"text": "tea", "k": 10, "alias": "new"},
        lambda r: r.bundle == "9f86",
    ),
    "explain": (
        lambda c: c.explain(Wanted(history=["i1"]), ["i2"]), {"explanations": [WHY]}, "POST", "/v1/explain",
        {"history": ["i1"], "k": 10, "item_ids": ["i2"], "reasons": 3},
        lambda r: (r[0].sentence, r[0].reasons[0].rank_without) == ("Because.", 4),
    ),
    "trace": (
        lambda c: c.trace(Wanted(wish="tea", exclude=["i3"])), TRACE, "POST", "/v1/trace",
        {"wish": "tea", "exclude": ["i3"], "k": 10, "candidates": 50},
        lambda r: r.stages[0].candidates == (Candidate("i2", "B", 1, None, {"ease": None, "rrf": 1}, {"ease": 1}, 1),),
    ),
    "add_interactions": (
        lambda c: c.add_interactions([Event("u1", "i1", time=5), {"user_id": "u2", "item_id": "i1", "rating": 3.0}]),
        ADDED, "POST", "/v1/interactions",
        {"events": [{"user_id": "u1", "item_id": "i1", "kind": "view", "time": 5},
                    {"user_id": "u2", "item_id": "i1", "rating": 3.0}]},
        lambda r: (r.event_ids, r.repeats, r.last_seq) == (("e",), (False,), 4),
    ),
    "feedback": (
        lambda c: c.feedback("imp", "i2", "click", event_id="e"), ADDED, "POST", "/v1/feedback",
        {"impression_id": "imp", "item_id": "i2", "kind": "click", "event_id": "e"}, lambda r: r.last_seq == 4,
    ),
    "item": (
        lambda c: c.item("a/b c?é%2F"), ITEM, "GET", "/v1/items/a%2Fb%20c%3F%C3%A9%252F", None,
        lambda r: r.texts == {"dense": "A"},
    ),
    "put_item": (
        lambda c: c.put_item("i1", {"title": "A"}), ITEM, "PUT", "/v1/items/i1", {"fields": {"title": "A"}},
        lambda r: r.fields["title"] == "A",
    ),
    "patch_item": (
        lambda c: c.patch_item("i1", {"year": None}), ITEM, "PATCH", "/v1/items/i1", {"fields": {"year": None}},
        lambda r: r.state == "active",
    ),
    "put_items": (
        lambda c: c.put_items({"i1": {"title": "A"}}, replace=False), {"added": 1}, "POST", "/v1/items",
        {"items": [{"item_id": "i1", "fields": {"title": "A"}}], "replace": False}, lambda r: r == 1,
    ),
    "delete_item": (lambda c: c.delete_item("i1"), None, "DELETE", "/v1/items/i1", None, lambda r: r is None),
    "user": (lambda c: c.user("u/1"), USER, "GET", "/v1/users/u%2F1", None, lambda r: r.events[0].time == 5),
    "put_user": (
        lambda c: c.put_user("u1", {"age": 3}), USER, "PUT", "/v1/users/u1", {"profile": {"age": 3}},
        lambda r: r.profile == {"age": 3},
    ),
    "erase_user": (
        lambda c: c.erase_user("u1"), {"events": 2, "impressions": 1, "profile": False, "models": ["9f86"]}, "DELETE",
        "/v1/users/u1", None, lambda r: r.models == ("9f86",),
    ),
    "aliases": (
        lambda c: c.aliases(), {"aliases": [ALIAS]}, "GET", "/v1/aliases", None, lambda r: r[0].stages == ("hybrid",)
    ),
    "ready": (lambda c: c.ready(), {"ok": True, "reasons": []}, "GET", "/readyz", None, lambda r: r.ok),
    "reload": (
        lambda c: c.admin.reload("new"), ALIAS, "POST", "/v1/admin/aliases/new/reload", None, lambda r: r.version == 3
    ),
    "rollback": (
        lambda c: c.admin.rollback(), ALIAS, "POST", "/v1/admin/aliases/default/rollback", None, lambda r: r.items == 9
    ),
    "refit": (
        lambda c: c.admin.refit(force=True), JOB, "POST", "/v1/admin/refit", {"alias": "default", "force": True},
        lambda r: r.state == "done",
    ),
    "job": (lambda c: c.admin.job("j"), JOB, "GET", "/v1/admin/jobs/j", None, lambda r: r.result == {"n": 1}),
    "jobs": (lambda c: c.admin.jobs("refit"), {"jobs": [JOB]}, "GET", "/v1/admin/jobs", None, lambda r: r[0].id == "j"),
    "deployments": (
        lambda c: c.admin.deployments(), {"deployments": [{"seq": 2, "alias": "default", "path": "p", "bundle": "9f86",
                                                          "time": 1.0, "why": "reload"}]},
        "GET", "/v1/admin/deployments", None, lambda r: r[0].why == "reload",
    ),
    "experiments": (
        lambda c: c.admin.experiments(), {"experiments": [TEST]}, "GET", "/v1/admin/experiments", None,
        lambda r: r[0].variants["b"] == "new",
    ),
    "create_experiment": (
        lambda c: c.admin.create_experiment("t", {"a": "default", "b": "new"}), TEST, "POST", "/v1/admin/experiments",
        {"name": "t", "variants": {"a": "default", "b": "new"}, "kind": "ab"}, lambda r: r.state == "running",
    ),
    "report": (
        lambda c: c.admin.report("t"), {"name": "t", "x": [1]}, "GET", "/v1/admin/experiments/t", None,
        lambda r: r["x"] == [1],
    ),
    "stop_experiment": (
        lambda c: c.admin.stop_experiment("t"), TEST | {"state": "stopped"}, "POST", "/v1/admin/experiments/t/stop",
        None, lambda r: r.state == "stopped",
    ),
    "status": (
        lambda c: c.admin.status(), STATUS, "GET", "/v1/admin/status", None,
        lambda r: (r.engine.latency, r.aliases[0].alias, r.days[0].clicks) == ({"p50": 3.0}, "default", 1),
    ),
}  # fmt: skip
"""Method: call, answer, method and path, body, what is true of the result."""


@pytest.mark.parametrize("name", CALLS)
def test_a_method_sends_and_reads(client, server, name):
    call, answer, method, path, body, holds = CALLS[name]
    server.says(answer, 204 if answer is None else 200)
    result = call(client)
    (asked,) = server.seen
    assert (asked.method, asked.path) == (method, path)
    assert (asked.body if asked.raw else None) == body
    assert asked.headers["authorization"] == "Bearer llmrec_k1_secret"
    assert len(asked.headers["x-request-id"]) == 32
    assert holds(result), result


def test_every_method_is_tried():
    own = {name for name in vars(Client) if not name.startswith("_")} | {
        name for name in dir(_admin()) if name[0] != "_"
    }
    assert own - {"close", "items", "bulk_interactions", "bulk_items", "bulk_recommend"} == set(CALLS)


def _admin():
    from llmrec.client import Admin

    return Admin


def test_what_is_not_said_is_not_sent(client, server):
    server.says(LIST)
    client.recommend(Wanted())
    assert server.seen[0].body == {"k": 10, "log": True}
    assert "x-deadline-ms" not in server.seen[0].headers
    server.says(LIST)
    client.recommend(Wanted(), deadline=0.25)
    assert server.seen[1].headers["x-deadline-ms"] == "250"


def test_pages_are_turned_as_they_are_read(client, server):
    server.says({"entries": [ITEM, ITEM], "next": "c/1"})
    items = client.items(find="tea", limit=2)
    assert server.seen == []
    next(items)
    assert server.seen[0].query == {"find": "tea", "limit": "2"}
    server.says({"entries": [ITEM], "next": None})
    assert len(list(items)) == 2
    assert server.seen[1].query == {"find": "tea", "limit": "2", "cursor": "c/1"}


def test_a_service_that_is_not_ready_says_why_and_is_asked_once(client, server, waits):
    server.says({"ok": False, "reasons": ["starting"], "status": 503, "title": "x"}, 503, Retry_After="1")
    assert client.ready().reasons == ("starting",)
    assert (len(server.seen), waits) == (1, [])


def test_results_do_not_change(client, server):
    server.says(LIST)
    listed = client.search("x")
    with pytest.raises(dataclasses.FrozenInstanceError):
        listed.alias = "other"


@pytest.mark.parametrize("answer", [b"<html>", b'{"items": 3}', b"[]", b"\xff"])
def test_an_answer_of_something_else_is_an_error_that_tells_nothing_of_it(client, server, answer):
    server.says(answer)
    with pytest.raises(ServiceError, match="not what this client knows") as found:
        client.search("x")
    assert "html" not in str(found.value)


@pytest.mark.parametrize("item_id", ["", ".", ".."])
def test_ids_that_a_path_cannot_hold(client, server, item_id):
    with pytest.raises(ValueError, match="by its path"):
        client.delete_item(item_id)
    assert server.seen == []


def test_a_service_behind_a_path(server):
    server.says(LIST)
    with Client(server.url + "/shop/") as client:
        client.search("x")
    assert server.seen[0].path == "/shop/v1/search"
    assert "authorization" not in server.seen[0].headers
