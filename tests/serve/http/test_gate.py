"""Who may do what: every route against every kind of key, and what a key's life is like."""

import asyncio

import pytest

from llmrec.serve.app import create_app
from llmrec.serve.http import KeyCache, guarded_routes
from llmrec.serve.http.rate import Buckets
from llmrec.serve.problems import Unavailable

LEVELS = {"public": 0, "read": 1, "feedback": 2, "admin": 3}
KEYS = {"none": 0, "wrong": 0, "revoked": 0, "read": 1, "feedback": 2, "admin": 3}


def _bearer(secret):
    return {"Authorization": f"Bearer {secret}"}


@pytest.fixture
def keyed(fakes, make_client):
    """A service with keys, its client, and what each kind of caller sends."""
    service = fakes.FakeService()
    shown = {"none": {}, "wrong": _bearer("llmrec_wrong_" + "x" * 43)}
    shown["revoked"] = _bearer(service.add_key("revoked", "admin", revoked=True))
    for scope in ("read", "feedback", "admin"):
        shown[scope] = _bearer(service.add_key(scope, scope))
    return service, make_client(service), shown


def test_every_route_opens_to_the_keys_that_it_names_and_to_no_others(keyed, monkeypatch):
    monkeypatch.setattr("llmrec.serve.http.gate._FAILURES_A_MINUTE", 1e9)
    _service, client, shown = keyed
    routes = list(guarded_routes(client.app.routes))
    assert {route.need for route in routes} == set(LEVELS)
    for route in routes:
        for method in route.methods:
            address = route.path_format.replace("{item_id}", "i1")
            for kind, headers in shown.items():
                answer = client.request(method, address, headers=headers, content=b"no json")
                refused = answer.status_code in {401, 403}
                name = (method, route.path_format, kind, answer.status_code)
                assert refused == (KEYS[kind] < LEVELS[route.need]), name
                if refused:
                    assert answer.status_code == (401 if KEYS[kind] == 0 else 403), name
                    assert ("www-authenticate" in answer.headers) == (answer.status_code == 401), name


def test_only_the_probes_are_public(fakes):
    routes = guarded_routes(create_app(fakes.FakeService()).routes)
    assert {route.path_format for route in routes if route.need == "public"} == {"/livez", "/readyz"}


def test_a_body_is_not_read_for_somebody_who_may_not_ask(keyed):
    _, client, shown = keyed

    def never():
        raise AssertionError("it was read")
        yield b""

    assert client.post("/v1/items", content=never(), headers=shown["read"]).status_code == 403


def test_an_odd_header_is_no_key(keyed):
    _service, client, shown = keyed
    good = shown["admin"]["Authorization"]
    for odd in (
        "",
        "Bearer",
        "Bearer ",
        "Basic abc",
        good.removeprefix("Bearer "),
        good + "x",
        "Bearer é".encode("latin-1"),
    ):
        assert client.get("/v1/items", headers={"Authorization": odd}).status_code == 401, odd
    twice = [("Authorization", good), ("Authorization", good)]
    assert client.get("/v1/items", headers=twice).status_code == 401
    assert client.get("/v1/items", headers={"Authorization": good.replace("Bearer", "bearer")}).status_code == 200


def test_a_secret_never_comes_back(keyed, caplog):
    caplog.set_level("DEBUG")
    _, client, _ = keyed
    secret = "llmrec_mine_" + "s" * 43
    answer = client.get("/v1/items", headers=_bearer(secret))
    assert secret not in answer.text + str(answer.headers) + caplog.text


def test_a_revoked_key_stops_within_the_time_answers_are_kept(fakes):
    now = [0.0]
    service = fakes.FakeService()
    secret = service.add_key("one", "read")
    keys = KeyCache(service, keep_s=2.0, clock=lambda: now[0])

    async def steps():
        assert (await keys.find(secret)).id == "one"
        service.revoke(secret)
        now[0] = 1.9
        assert (await keys.find(secret)).id == "one"
        assert service.lookups == 1
        now[0] = 2.0
        assert await keys.find(secret) is None

    asyncio.run(steps())


def test_equal_keys_that_come_together_are_looked_up_once(fakes):
    service = fakes.FakeService()
    secret = service.add_key("one", "read")
    keys = KeyCache(service)

    async def together():
        return await asyncio.gather(*(keys.find(secret) for _ in range(50)))

    assert {key.id for key in asyncio.run(together())} == {"one"}
    assert service.lookups == 1


def test_what_cannot_be_a_key_is_not_looked_up(fakes):
    service = fakes.FakeService()
    keys = KeyCache(service)
    for odd in ("", "x", "llmrec_a_b", "llmrec_a_" + "é" * 43, "llmrec_a_" + "x" * 10_000, "\ud800" * 60):
        assert asyncio.run(keys.find(odd)) is None
    assert service.lookups == 0


def test_a_store_that_does_not_answer_lets_nobody_in(keyed):
    service, client, shown = keyed
    service.down = True
    assert client.get("/v1/items", headers=shown["read"]).status_code == 503


def test_a_look_up_that_hangs_is_given_up(fakes):
    class Hanging:
        async def find_key(self, secret):
            await asyncio.sleep(60)

        async def has_keys(self):
            await asyncio.sleep(60)

    async def find():
        keys = KeyCache(Hanging(), wait_s=0.01)
        with pytest.raises(Unavailable):
            await keys.find("llmrec_a_" + "x" * 43)
        with pytest.raises(Unavailable):
            await keys.any()

    asyncio.run(find())


def test_a_keys_rate_is_its_own(fakes, make_client):
    service = fakes.FakeService()
    slow, fast = _bearer(service.add_key("slow", "read", per_minute=2)), _bearer(service.add_key("fast", "read"))
    client = make_client(service)
    assert [client.get("/v1/items", headers=slow).status_code for _ in range(3)] == [200, 200, 429]
    answer = client.get("/v1/items", headers=slow)
    assert 1 <= int(answer.headers["retry-after"]) <= 30
    assert client.get("/v1/items", headers=fast).status_code == 200


def test_many_wrong_keys_are_not_looked_up_and_do_not_shut_out_good_ones(fakes, make_client):
    service = fakes.FakeService()
    good = _bearer(service.add_key("good", "read"))
    client = make_client(service)
    assert client.get("/v1/items", headers=good).status_code == 200
    codes = [client.get("/v1/items", headers=_bearer(f"llmrec_w{n}_" + "x" * 43)).status_code for n in range(40)]
    assert codes[:30] == [401] * 30
    assert codes[-5:] == [429] * 5
    assert service.lookups < 40
    assert client.get("/v1/items", headers=good).status_code == 200


def test_without_keys_this_machine_may_do_everything(client):
    assert client.get("/v1/admin/status").status_code == 200


def test_the_first_key_shuts_the_open_door(fakes, make_client):
    service = fakes.FakeService()
    client = make_client(service)
    assert client.get("/v1/items").status_code == 200
    service.add_key("one", "read", revoked=True)
    client.app.state.gate._keys._open = (float("-inf"), False)  # as after two seconds
    assert client.get("/v1/items").status_code == 401


def test_the_open_door_is_not_for_pages_of_other_sites(client):
    foreign = [
        {"Host": "evil.example"},
        {"Host": "127.0.0.1.evil.example:8080"},
        {"Host": ""},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ]
    for headers in foreign:
        assert client.post("/v1/recommend", json={}, headers=headers).status_code == 403, headers
    own = [
        {"Host": "localhost:8080"},
        {"Host": "[::1]:8080"},
        {"Origin": "http://127.0.0.1:8080", "Sec-Fetch-Site": "same-origin"},
        {"Origin": "null", "Sec-Fetch-Site": "same-origin"},  # a form of our own page
    ]
    for headers in own:
        assert client.post("/v1/recommend", json={}, headers=headers).status_code == 200, headers


def test_a_service_that_others_reach_is_never_open(fakes, make_client):
    client = make_client(fakes.FakeService(fakes.make_config(host="0.0.0.0")))
    assert client.get("/v1/items").status_code == 401


def test_a_bucket_fills_again():
    now = [0.0]
    buckets = Buckets(clock=lambda: now[0])
    assert [buckets.take("a", 60.0, burst=2.0) for _ in range(3)] == [0.0, 0.0, 1.0]
    now[0] = 0.5
    assert buckets.take("a", 60.0, burst=2.0) == 0.5
    now[0] = 1.0
    assert buckets.take("a", 60.0, burst=2.0, cost=0.0) == 0.0
    assert buckets.take("a", 60.0, burst=2.0) == 0.0
    now[0] = 1e6
    assert [buckets.take("a", 60.0, burst=2.0) for _ in range(3)] == [0.0, 0.0, 1.0]


def test_buckets_are_not_remembered_without_end():
    buckets = Buckets(most=3)
    for n in range(100):
        buckets.take(str(n), 60.0)
    assert len(buckets._buckets) == 3
