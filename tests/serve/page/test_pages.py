"""The page over HTTP: who may do what, what is refused, and what is written of what came."""

import re
import time
from dataclasses import replace

import pytest

from llmrec.errors import BundleError, DataError
from llmrec.serve.problems import Unavailable

READ = [
    "/",
    "/trace",
    "/compare",
    "/compare/prompts",
    "/find?q=map",
    "/prompts",
    "/prompts/one?name=item/title",
    "/catalog",
    "/catalog/item?id=a1",
    "/monitor",
    "/evaluation",
]
USER = {"mode": "user", "user_id": "u1"}
SENT = {
    "/": ("read", USER),
    "/trace": ("read", USER),
    "/compare": ("read", {**USER, "a": "default", "b": "challenger"}),
    "/reasons": ("read", {**USER, "item": "a1"}),
    "/feedback": ("feedback", {**USER, "act": "like a1"}),
    "/prompts/one": ("admin", {"name": "mine", "source": "x", "do": "render"}),
    "/prompts/compare": ("admin", {"template": ["item/title", "item/genres"]}),
    "/catalog/item": ("admin", {"id": "a1", "do": "hide"}),
    "/catalog/new": ("admin", {"id": "n1", "field:title": "N"}),
}
SOURCE = """kind = "item"
version = 1
description = "d"
[fields.title]
required = true
description = "t"
[parts]
text = "{{ title }}!"
"""
SCOPES = {"read": ["read"], "feedback": ["read", "feedback"], "admin": ["admin"]}


def seal_of(client, path="/"):
    return re.search(r'name="seal" value="(\w+)"', client.get(path).text)[1]


def send(client, path, data=None, seal=None):
    seal = seal_of(client) if seal is None else seal
    return client.post(path, data={"seal": seal, **(data or {})}, follow_redirects=False)


def sign_in(client, service, scope):
    secret = service.store.new_key(scope, SCOPES[scope])
    return send(client, "/sign-in", {"key": secret}, seal_of(client, "/sign-in"))


@pytest.mark.parametrize("path", READ)
def test_views_are_open_where_there_are_no_keys(client, path):
    response = client.get(path)
    assert response.status_code == 200
    assert response.headers["cache-control"] == "no-store"


@pytest.mark.parametrize("path", READ)
def test_views_lead_to_the_door_where_there_are_keys(client, service, path):
    service.store.new_key("x", ["admin"])
    response = client.get(path, follow_redirects=False)
    assert response.status_code == 303
    assert response.headers["location"].startswith("/sign-in?next=/")


@pytest.mark.parametrize("scope", SCOPES)
@pytest.mark.parametrize("path", SENT)
def test_each_change_needs_its_scope(client, service, path, scope):
    sign_in(client, service, scope)
    need, data = SENT[path]
    data = dict(data)
    if path == "/feedback":
        service.lists["list"] = ("u1", ["a1"])
        data["impression_id"] = "list"
    response = send(client, path, data)
    allowed = scope == "admin" or need == "read" or need == scope
    assert (response.status_code in {200, 303}) is allowed
    assert (response.status_code == 403) is not allowed


@pytest.mark.parametrize("path", SENT)
def test_each_change_needs_a_session_and_the_seal_of_it(client, service, path):
    _, data = SENT[path]
    service.store.new_key("x", ["admin"])
    assert client.post(path, data=data).status_code == 401
    sign_in(client, service, "admin")
    assert client.post(path, data=data).status_code == 403
    assert send(client, path, data, "0" * 64).status_code == 403
    assert service.asked == []


def test_another_site_is_refused_even_with_a_seal(client):
    seal = seal_of(client)
    for headers in ({"origin": "http://evil.example"}, {"sec-fetch-site": "cross-site"}, {"origin": "null"}):
        assert client.post("/", data={"seal": seal, **USER}, headers=headers).status_code == 403
    for headers in ({"origin": "http://127.0.0.1"}, {"sec-fetch-site": "same-origin"}):
        assert client.post("/", data={"seal": seal, **USER}, headers=headers).status_code == 200


def test_without_keys_only_names_of_this_machine_are_served(client):
    assert client.get("/", headers={"host": "rebound.example"}).status_code == 403
    for host in ("localhost:8080", "127.0.0.1", "[::1]:8080"):
        assert client.get("/", headers={"host": host}).status_code == 200


def test_a_session_is_a_strict_cookie_that_ends_with_sign_out_and_with_its_key(client, service):
    response = sign_in(client, service, "read")
    assert response.headers["location"] == "/"
    cookie = response.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert "secure" not in cookie
    assert client.get("/").status_code == 200
    token = client.cookies["llmrec_session"]
    send(client, "/sign-out")
    client.cookies.set("llmrec_session", token)
    assert client.get("/", follow_redirects=False).status_code == 303
    client.cookies.clear()
    sign_in(client, service, "feedback")
    assert client.get("/monitor").status_code == 200
    for name, key in service.store.made.items():
        service.store.made[name] = replace(key, revoked=True)
    assert client.get("/monitor", follow_redirects=False).status_code == 303


def test_over_https_the_cookie_is_secure(app, service):
    from starlette.testclient import TestClient

    client = TestClient(app, base_url="https://shop.example")
    assert "secure" in sign_in(client, service, "read").headers["set-cookie"].lower()


def test_a_wrong_key_opens_nothing_and_a_link_leads_nowhere_else(client, service):
    secret = service.store.new_key("x", ["read"])
    seal = seal_of(client, "/sign-in")
    wrong = send(client, "/sign-in", {"key": secret + "x"}, seal)
    assert wrong.status_code == 401
    assert secret not in wrong.text
    assert "llmrec_session" not in client.cookies
    for place in ("https://evil.example", "//evil.example", "/\\evil.example", "/catalog/item?id=a1"):
        client.cookies.clear()
        response = send(client, "/sign-in", {"key": secret, "next": place}, seal)
        assert response.headers["location"] == "/"
    client.cookies.clear()
    assert send(client, "/sign-in", {"key": secret, "next": "/monitor"}, seal).headers["location"] == "/monitor"


def test_a_reader_sees_no_buttons_that_change_anything(client, service):
    sign_in(client, service, "read")
    shown = send(client, "/", USER).text
    assert "/catalog/item?id=" in shown
    assert "/feedback" not in re.sub(r'action="/feedback"', "", shown)
    assert 'value="dismiss' not in shown
    for path in ("/catalog", "/catalog/item?id=a1", "/prompts", "/prompts/one?name=item/title"):
        text = client.get(path).text
        assert not re.search(r'name="do"|/catalog/new|type="checkbox"|<textarea', text), path
    assert client.get("/catalog/new").status_code == 403


def test_every_page_is_inside_the_strict_policy(client, service):
    pages = [client.get(path).text for path in READ] + [
        send(client, path, SENT[path][1]).text for path in ("/", "/trace")
    ]
    for text in pages:
        assert not re.search(r"\sstyle=|\son[a-z]+=\"|<style|javascript:alert\(1\)\"", text)
        assert all("src=" in one for one in re.findall(r"<script[^>]*>", text))
        assert not re.search(r"(?:src|href)=\"(?:https?:)?//", text)


def test_titles_and_wishes_are_text(client, service):
    wish = '"><script>alert(1)</script>'
    for path in ("/", "/trace", "/compare"):
        text = send(client, path, {"mode": "wish", "wish": wish}).text
        assert "<script>alert" not in text
        assert "<script>window" not in text
        assert "&lt;script&gt;window.broken" in text
    for path in ("/catalog", "/catalog/item?id=b%2F1%20%26x", "/evaluation", "/catalog?find=%3Cscript%3Ealert"):
        text = client.get(path).text
        assert "<script>window" not in text
        assert "<script>alert" not in text


def test_what_was_wanted_is_what_is_asked(client, service):
    send(client, "/", {"mode": "history", "history": ["a2", "a1"], "wish": "calm", "k": "3", "diversity": "0.4"})
    (asked,) = [one for one in service.asked if one.kind == "recommend"]
    assert (asked.user_id, asked.history, asked.wish, asked.k, asked.diversity) == (None, ("a2", "a1"), "calm", 3, 0.4)
    send(client, "/", {"mode": "user", "user_id": "u1", "pick": "u3", "history": "a1"})
    assert (service.asked[-1].user_id, service.asked[-1].history) == ("u3", None)
    send(client, "/", {"mode": "wish", "user_id": "u1", "wish": "calm"})
    assert (service.asked[-1].user_id, service.asked[-1].history) == (None, ())


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({"mode": "user"}, "no user is named"),
        ({"mode": "history"}, "no item is chosen"),
        ({"mode": "wish"}, "the wish is empty"),
        ({**USER, "k": "0"}, "from 1 to 50"),
        ({**USER, "k": "ten"}, "from 1 to 50"),
        ({**USER, "diversity": "nan"}, "from 0 to 1"),
    ],
)
def test_a_value_that_does_not_fit_is_refused_with_what_to_do(client, data, words):
    response = send(client, "/", data)
    assert response.status_code == 422
    assert words in response.text


def test_what_is_too_long_is_refused(client, service):
    assert send(client, "/", {"mode": "wish", "wish": "x" * 2_001}).status_code == 413
    assert send(client, "/", {"mode": "wish", "wish": "x" * 1_000_001}).status_code == 413
    assert send(client, "/", {"mode": "history", "history": [f"i{n}" for n in range(1_001)]}).status_code == 413


def test_what_is_no_form_is_refused(client):
    seal = seal_of(client)
    kind = {"content-type": "application/x-www-form-urlencoded"}
    assert client.post("/", json={"seal": seal}).status_code == 400
    assert client.post("/", content=b"seal=%ff", headers=kind).status_code == 400
    assert client.post("/", content=b"seal=\xff", headers=kind).status_code == 400
    assert client.post("/", content=f"seal={seal}&mode=wish&wish=a%00b", headers=kind).status_code == 400
    assert client.post("/", content="x=1&" * 5_001, headers=kind).status_code == 400


def test_errors_are_pages_that_say_no_more_than_they_may(client, service):
    service.fails = Unavailable("it is starting", retry_after=3.2)
    response = send(client, "/", USER)
    assert response.status_code == 503
    assert response.headers["retry-after"] == "3"
    assert "it is starting" in response.text
    service.fails = DataError("a value does not fit")
    assert send(client, "/", USER).status_code == 422
    service.fails = BundleError("/secret/place is damaged")
    response = send(client, "/", USER)
    assert response.status_code == 500
    assert "secret" not in response.text
    assert client.get("/catalog/item?id=nope").status_code == 404
    assert client.get("/prompts/job?id=nope").status_code == 404


def test_feedback_of_a_typed_history_changes_the_form(client, service):
    data = {"mode": "history", "history": "a1"}
    impression = re.search(r'name="impression_id" value="(\w+)"', send(client, "/", data).text)[1]
    shown = send(client, "/feedback", {**data, "impression_id": impression, "act": "dismiss b/1 &x"}).text
    assert service.asked[-1].exclude == ("b/1 &x",)
    assert 'value="restore b/1 &amp;x"' in shown
    liked = send(client, "/feedback", {**data, "impression_id": impression, "act": "like a2"}).text
    assert service.asked[-1].history == ("a1", "a2")
    assert "Salt and Thunder" in liked
    assert send(client, "/feedback", {**data, "impression_id": "none", "act": "like a2"}).status_code == 404
    assert send(client, "/feedback", {**data, "impression_id": impression, "act": "buy a2"}).status_code == 422


def test_reasons_come_with_the_list_or_after_it(client, service):
    assert "Because “" in send(client, "/", USER).text
    seal = seal_of(client)
    plain = client.post("/", data={"seal": seal, **USER}, headers={"x-page": "swap"}).text
    assert "Because “" not in plain
    told = client.post("/reasons", data={"seal": seal, **USER, "item": ["a1", "a2"]}).json()
    assert set(told) == {"a1", "a2"}


def test_one_item_without_a_reason_leaves_the_others_theirs(client, service, monkeypatch):
    usual = service.explain

    async def explain(asked, item_ids=None, reasons=3):
        if "a2" in item_ids:
            raise DataError("a2 cannot be explained")
        return await usual(asked, item_ids, reasons)

    monkeypatch.setattr(service, "explain", explain)
    told = send(client, "/reasons", {**USER, "item": ["a1", "a2"]}).json()
    assert set(told) == {"a1"}


def test_compare_marks_moves_and_records_nothing(client, service):
    text = send(client, "/compare", {**USER, "a": "default", "b": "challenger", "k": "5"}).text
    assert {one.alias for one in service.asked} == {"default", "challenger"}
    assert set(service.lists) == {None}
    assert "only here" in text
    assert "places higher" in text
    assert send(client, "/compare", {**USER, "a": "default", "b": "nope"}).status_code == 404


def test_versions_of_a_template_are_numbered_and_kept(client, service):
    source = SOURCE
    for number in (1, 2):
        response = send(
            client, "/prompts/one", {"name": "mine/short@1", "source": source.replace("\n", "\r\n"), "do": "save"}
        )
        assert response.status_code == 303
        assert f"%40{number}" in response.headers["location"]
    assert service.store.spaces["prompts"]["mine/short@2"]["source"] == source
    assert "The Orchard Problem!" in send(client, "/prompts/one", {"name": "x", "source": source}).text
    assert "mine/short@2" in client.get("/prompts").text
    assert send(client, "/prompts/one", {"name": "no good!", "source": source, "do": "save"}).status_code == 422
    assert send(client, "/prompts/one", {"name": "ok", "source": "kind=", "do": "save"}).status_code == 422
    outside = source.replace("{{ title }}", "{{ title.__class__.__mro__ }}")
    assert "cannot be rendered" in send(client, "/prompts/one", {"name": "x", "source": outside}).text


def test_a_comparison_is_a_job_one_at_a_time(client, service):
    chosen = {"template": ["item/title", "item/genres"], "users": "5"}
    service.go_on.clear()
    first = send(client, "/prompts/compare", chosen)
    assert first.status_code == 303
    assert send(client, "/prompts/compare", chosen).status_code == 409
    place = first.headers["location"]
    assert "<progress" in client.get(place).text
    service.go_on.set()
    for _ in range(100):
        if "no difference can be told" in client.get(place).text:
            break
        time.sleep(0.05)
    else:
        pytest.fail("the comparison did not end")
    assert send(client, "/prompts/compare", {"template": ["item/title"]}).status_code == 422
    assert send(client, "/prompts/compare", {"template": ["item/title", "user/recent"]}).status_code == 422


def test_an_item_takes_values_of_the_catalogs_types(client, service):
    assert send(client, "/catalog/new", {"id": "n1", "field:title": "New", "field:year": " 2024 "}).status_code == 303
    assert service.items_now["n1"].fields == {"title": "New", "genre": None, "year": 2024, "plot": None}
    assert send(client, "/catalog/new", {"id": "n1", "field:title": "New"}).status_code == 422
    assert send(client, "/catalog/new", {"id": "", "field:title": "New"}).status_code == 422
    assert send(client, "/catalog/new", {"id": "n2", "field:colour": "red"}).status_code == 422
    assert send(client, "/catalog/item", {"id": "n1", "do": "save", "field:year": "old"}).status_code == 422
    assert (
        send(client, "/catalog/item", {"id": "n1", "do": "save", "field:year": "", "field:title": "New"}).status_code
        == 303
    )
    assert service.items_now["n1"].fields["year"] is None
    assert send(client, "/catalog/item", {"id": "n1", "do": "burn"}).status_code == 422


def test_empty_states_say_what_to_do(client, service, monkeypatch):
    bare = replace(service.models.snapshot().recommender, about=None)
    monkeypatch.setattr(service.models.snapshot(), "recommender", bare)

    async def none():
        return []

    monkeypatch.setattr(service, "list_experiments", none)
    text = client.get("/evaluation").text
    assert "Nothing was measured" in text
    assert "llmrec experiment create" in text
    assert "No list yet" in client.get("/").text


def test_files_are_checked_for_newer_ones_each_time(client):
    response = client.get("/static/page.css")
    assert response.headers["cache-control"] == "no-cache"
    assert client.get("/static/page.css", headers={"if-none-match": response.headers["etag"]}).status_code == 304
    assert client.get("/static/../router.py").status_code == 404


def test_the_gate_of_the_app_counts_wrong_keys_and_requests(app, client, service, monkeypatch):
    from llmrec.serve.problems import TooMany, Unauthorized

    class Gate:
        tried, admitted = [], []

        async def open(self):
            return False

        async def find(self, secret, request):
            self.tried.append(secret)
            found = await service.find_key(secret)
            if found is None:
                raise Unauthorized("none")
            return found

        def admit(self, key, need):
            self.admitted.append(need)
            if len(self.admitted) > 2:
                raise TooMany("used up", retry_after=1)

    gate = Gate()
    app.state.gate = gate
    try:
        assert client.get("/", follow_redirects=False).status_code == 303
        assert send(client, "/sign-in", {"key": "wrong"}, seal_of(client, "/sign-in")).status_code == 401
        sign_in(client, service, "read")
        assert [client.get("/catalog").status_code for _ in range(3)] == [200, 200, 429]
        assert gate.tried[0] == "wrong"
    finally:
        del app.state.gate
