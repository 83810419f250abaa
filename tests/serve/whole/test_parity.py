"""Asked over HTTP, a pipeline gives the lists it gives offline: the same ids, for whoever and whatever is asked."""

from dataclasses import replace

import numpy as np
import pytest
from starlette.testclient import TestClient

from llmrec.serve.app import create_app
from llmrec.serve.config import ServeConfig
from llmrec.serve.service import Service

HISTORIES = [[], ["i1"], ["i2", "i0", "i7"], ["i3", "i3", "i5"], [f"i{n}" for n in range(8)]]
WISHES = [None, "red night", "Misérables, [SEP] 007"]
EXCLUDES = [[], ["i0", "i4"], [f"i{n}" for n in range(11)]]


@pytest.fixture(scope="module", params=["hybrid", "cascade"])
def both(request, tmp_path_factory):
    """A recommender, and a client of a service of the same bundle."""
    from llmrec.opening import load

    folder = tmp_path_factory.mktemp("parity")
    path = request.getfixturevalue(request.param).save(folder / "bundle")
    config = ServeConfig(bundles={"default": path}, store=str(folder / "store.sqlite"), page=False)
    with TestClient(create_app(Service.open(config)), base_url="http://127.0.0.1:8080") as client:
        yield load(path), client


def offline(recommender, queries, k):
    return [[one.item_id for one in ranked] for ranked in recommender.decode(recommender.recommend(queries, k))]


def online(client, **asked):
    answer = client.post("/v1/recommend", json=asked)
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert not body["degraded"]
    return [one["item_id"] for one in body["items"]]


def test_users(both):
    recommender, client = both
    users = [f"u{n}" for n in range(20)]
    expected = offline(recommender, recommender.queries(users=users), 6)
    assert [online(client, user_id=user, k=6) for user in users] == expected
    assert len({tuple(one) for one in expected}) > 5


def test_a_user_with_a_wish(both):
    recommender, client = both
    expected = offline(recommender, recommender.queries(users=["u3", "u7"], wishes=WISHES[1:]), 5)
    asked = zip(["u3", "u7"], WISHES[1:], strict=True)
    assert [online(client, user_id=user, wish=wish, k=5) for user, wish in asked] == expected


@pytest.mark.parametrize("wish", WISHES)
@pytest.mark.parametrize(("exclude", "k"), list(zip(EXCLUDES, (12, 7, 1), strict=True)), ids=["none", "two", "most"])
def test_histories_wishes_and_excludes(both, wish, exclude, k):
    recommender, client = both
    for history in HISTORIES:
        queries = recommender.queries(histories=[history], wishes=[wish], exclude=[exclude])
        asked = {"history": history, "wish": wish, "exclude": exclude, "k": k}
        given = {name: value for name, value in asked.items() if value is not None}
        assert [online(client, **given)] == offline(recommender, queries, k), asked


def test_only_what_is_allowed(both):
    recommender, client = both
    allow = ["i2", "i9", "i4", "i11"]
    mask = np.zeros(len(recommender.catalog), dtype=np.bool_)
    mask[recommender.catalog.items.get(allow)] = True
    for user in ("u1", "u4"):
        queries = replace(recommender.queries(users=[user]), allow=mask)
        assert [online(client, user_id=user, allow=allow, k=4)] == offline(recommender, queries, 4)
