"""What operations do beyond passing on."""

import time

import pytest

from llmrec.serve.asked import Asked

PROBLEM = "application/problem+json"


def test_a_list_asks_what_the_body_says(client, service):
    body = {
        "alias": "other", "k": 3, "user_id": "u", "history": ["i1"], "wish": "w", "profile": {"a": 1},
        "exclude": ["i2"], "allow": ["i3", "i4"], "filters": {"title": ["x"]}, "diversity": 0.5, "at": 12,
    }  # fmt: skip
    before = time.monotonic()
    answer = client.post("/v1/recommend", json=body, headers={"X-Deadline-Ms": "250"})
    asked = service.last_asked
    assert before + 0.25 <= asked.deadline <= time.monotonic() + 0.25
    assert asked == Asked(
        "recommend", "other", 3, "u", ("i1",), "w", {"a": 1}, ("i2",), ("i3", "i4"), {"title": ("x",)}, 0.5,
        at=12, deadline=asked.deadline,
    )  # fmt: skip
    assert [item["item_id"] for item in answer.json()["items"]] == ["i3", "i4"]
    assert answer.json()["timings_ms"] == {"queue": 1.0, "first stage": 2.0, "total": 3.0}
    assert answer.headers["server-timing"] == "queue;dur=1.00, first_stage;dur=2.00, total;dur=3.00"


def test_defaults_leave_the_service_its_own(client, service):
    client.post("/v1/recommend", json={})
    assert service.last_asked == Asked()


def test_search_and_similar_are_asked_as_such(client, service):
    client.post("/v1/search", json={"text": "night"})
    assert service.last_asked == Asked("search", text="night")
    client.post("/v1/similar", json={"item_id": "i1", "k": 2.0})
    assert service.last_asked == Asked("similar", item_id="i1", k=2)


def test_a_list_that_is_not_logged_has_no_impression(client):
    assert client.post("/v1/recommend", json={"log": False}).json()["impression_id"] is None
    impression = client.post("/v1/recommend", json={"k": 2}).json()["impression_id"]
    body = {"impression_id": impression, "item_id": "i1", "kind": "click"}
    assert client.post("/v1/feedback", json=body).status_code == 200


@pytest.mark.parametrize(
    ("path", "body", "pointer"),
    [
        ("/v1/recommend", {"k": 101}, "/k"),
        ("/v1/recommend", {"k": 10**4000}, "/k"),
        ("/v1/recommend", {"history": ["i1"] * 1001}, "/history"),
        ("/v1/recommend", {"exclude": ["i1"] * 10_001}, "/exclude"),
        ("/v1/recommend", {"allow": ["i1"] * 10_001}, "/allow"),
        ("/v1/recommend", {"filters": {"title": ["i1"] * 10_001}}, "/filters"),
        ("/v1/recommend", {"wish": "w" * 2001}, "/wish"),
        ("/v1/recommend", {"profile": {"a": "w" * 2001}}, "/profile"),
        ("/v1/search", {"text": "w" * 2001}, "/text"),
        ("/v1/explain", {"item_ids": ["i1"] * 101}, "/item_ids"),
        ("/v1/trace", {"candidates": 201}, "/candidates"),
        ("/v1/interactions", {"events": [{"user_id": "u", "item_id": "i1"}] * 1001}, "/events"),
        ("/v1/items", {"items": [{"item_id": "x", "fields": {"title": ["w" * 2001]}}]}, "/items/0/fields"),
    ],
)
def test_what_is_over_a_limit_is_refused_before_any_work(client, service, path, body, pointer):
    answer = client.post(path, json=body)
    assert (answer.status_code, answer.headers["content-type"]) == (413, PROBLEM)
    assert f"body {pointer}: " in answer.json()["detail"]
    assert service.asks == 0


def test_a_deadline_over_the_longest_is_refused(client):
    assert client.post("/v1/recommend", json={}, headers={"X-Deadline-Ms": "60000"}).status_code == 200
    assert client.post("/v1/recommend", json={}, headers={"X-Deadline-Ms": "60001"}).status_code == 422
    for odd in ("0", "-1", "x", "9" * 5000, "1e3"):
        assert client.post("/v1/recommend", json={}, headers={"X-Deadline-Ms": odd}).status_code == 422


def test_an_idempotency_key_is_the_callers_own(fakes, make_client):
    service = fakes.FakeService()
    one, two = service.add_key("one", "feedback"), service.add_key("two", "feedback")
    client = make_client(service)

    def send(secret, item):
        headers = {"Authorization": f"Bearer {secret}", "Idempotency-Key": "same"}
        body = {"events": [{"user_id": "u", "item_id": item}]}
        return client.post("/v1/interactions", json=body, headers=headers)

    first = send(one, "i1").json()
    assert send(one, "i1").json() == first
    assert send(one, "i2").status_code == 409
    assert send(two, "i2").json()["event_ids"] != first["event_ids"]


def test_an_odd_idempotency_key_is_refused(client):
    body = {"events": [{"user_id": "u", "item_id": "i1"}]}
    for odd in ("", "a b", "x" * 201):
        assert client.post("/v1/interactions", json=body, headers={"Idempotency-Key": odd}).status_code == 422


def test_pages_follow_one_another(client):
    found, cursor = [], None
    while True:
        page = client.get("/v1/items", params={"limit": 5} | ({"cursor": cursor} if cursor else {})).json()
        found += [item["item_id"] for item in page["entries"]]
        cursor = page["next"]
        if cursor is None:
            break
    assert found == [f"i{n}" for n in range(1, 13)]


def test_a_cursor_opens_only_its_own_list(client):
    cursor = client.get("/v1/items", params={"limit": 5}).json()["next"]
    assert cursor != "5"
    for params in ({"find": "night"}, {"alias": "other"}):
        answer = client.get("/v1/items", params={"cursor": cursor, **params})
        assert (answer.status_code, answer.json()["title"]) == (400, "Bad request")
    for changed in (
        cursor[:-1],
        cursor + "A",
        cursor + "=",
        "",
        "5",
        "é",
        ("B" if cursor[0] == "A" else "A") + cursor[1:],
    ):
        assert client.get("/v1/items", params={"cursor": changed}).status_code == 400


def test_ids_may_hold_anything_that_can_be_written(client):
    for item_id, path in {"a/b": "a%2Fb", "a?b#c": "a%3Fb%23c", "ö 夜": "%C3%B6%20%E5%A4%9C", "..": "%2E%2E"}.items():
        assert client.put(f"/v1/items/{path}", json={"fields": {"title": "t"}}).json()["item_id"] == item_id
        assert client.get(f"/v1/items/{path}").json()["item_id"] == item_id
        assert client.delete(f"/v1/items/{path}").status_code == 204
        assert client.delete(f"/v1/items/{path}").status_code == 404


def test_ids_that_cannot_be_written_are_refused(client):
    assert client.get("/v1/items/a%0Ab").status_code == 404  # no route is of more than one line
    for path in ("a%00b", "a%09b", "a" * 257, "", "%C2%85"):
        assert client.get(f"/v1/items/{path}").status_code == 422, path
    assert client.get("/v1/items/%FF").status_code == 400
    for odd in ("", "a\nb", "a" * 257, "\x7f"):
        assert client.post("/v1/recommend", json={"user_id": odd}).status_code == 422


def test_put_replaces_and_patch_changes(client):
    client.put("/v1/items/new", json={"fields": {"title": "t", "year": 1}})
    assert client.patch("/v1/items/new", json={"fields": {"year": 2}}).json()["fields"] == {"title": "t", "year": 2}
    assert client.put("/v1/items/new", json={"fields": {"year": 3}}).json()["fields"] == {"year": 3}
    assert client.patch("/v1/items/none", json={"fields": {"year": 2}}).status_code == 404
    client.delete("/v1/items/new")
    assert client.patch("/v1/items/new", json={"fields": {"year": 2}}).status_code == 404


def test_an_item_may_stand_once_in_a_batch(client):
    item = {"item_id": "x", "fields": {"title": "t"}}
    assert client.post("/v1/items", json={"items": [item]}).json() == {"added": 1}
    assert client.post("/v1/items", json={"items": [item, item]}).status_code == 422


def test_an_experiments_salt_stays_here(client):
    assert "salt" not in client.get("/v1/admin/experiments").text
    body = {"name": "n", "variants": {"a": "default", "b": "other"}, "weights": {"a": 1.0}}
    assert client.post("/v1/admin/experiments", json=body).status_code == 422
    assert client.post("/v1/admin/experiments", json=body | {"weights": None}).status_code == 201
    assert client.get("/v1/admin/experiments/n").json()["experiment"] == "n"


def test_readiness_says_why_not(client, service):
    assert client.get("/readyz").json() == {"ok": True, "reasons": []}
    service.down = True
    answer = client.get("/readyz")
    assert (answer.status_code, answer.headers["content-type"]) == (503, PROBLEM)
    assert (answer.json()["ok"], answer.json()["reasons"]) == (False, ["store"])
    assert client.get("/livez").json() == {"ok": True}
