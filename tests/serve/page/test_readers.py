"""What the page shows of users, and to whom."""

import re

import pytest

USER = {"mode": "user", "user_id": "u1"}


def _seal(client, path):
    return re.search(r'name="seal" value="(\w+)"', client.get(path).text)[1]


@pytest.mark.parametrize("scope", ["read", "feedback", "admin"])
def test_only_admins_see_who_the_users_are_and_what_they_did(client, service, scope):
    secret = service.store.new_key(scope, [scope])
    client.post("/sign-in", data={"seal": _seal(client, "/sign-in"), "key": secret})
    shown = client.get("/").text + client.post("/", data={"seal": _seal(client, "/"), **USER}).text
    names = re.findall(r"/prompts/one\?name=(user[^\"&]+)", client.get("/prompts").text)
    assert names
    shown += "".join(client.get(f"/prompts/one?name={one}").text for one in names[:2])
    for words in ('value="u2"', "they chose", "text of user u"):
        assert (words in shown) == (scope == "admin"), words
