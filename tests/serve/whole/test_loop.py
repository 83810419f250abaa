"""What people do comes back to them: in the next list, in what is learned, in the next bundle, in an experiment."""

import json
import time

import httpx2
import pytest

from llmrec.cli import main

PATIENCE_S = 120.0


@pytest.fixture
def served(processes, tmp_path):
    """A running service, and a client of it."""
    bundle = processes.make_bundle(tmp_path / "bundle", "i")
    with processes.Served(tmp_path, bundle) as served:
        served.start()
        with httpx2.Client(base_url=served.url, timeout=PATIENCE_S) as client:
            yield served, client, bundle
        assert served.stop() == 0


def ask(client, path, body=None, method="POST"):
    answer = client.request(method, path, json=body)
    assert answer.is_success, answer.text
    return answer.json()


def ids(client, **asked):
    return [one["item_id"] for one in ask(client, "/v1/recommend", {"k": 12, **asked})["items"]]


def did(client, user, *items):
    ask(client, "/v1/interactions", {"events": [{"user_id": user, "item_id": item} for item in items]})


def llmrec(capsys, *words):
    with pytest.raises(SystemExit) as stop:
        main([str(word) for word in words])
    out, err = capsys.readouterr()
    assert not stop.value.code, err
    return json.loads(out)


def _wait_until(holds):
    until = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < until
        time.sleep(0.02)


def test_the_whole_loop(served, capsys, tmp_path):
    served, client, bundle = served
    # the next list reads what was just done
    cold = ids(client, user_id="new")
    did(client, "new", cold[0], cold[1])
    assert not {cold[0], cold[1]} & set(ids(client, user_id="new"))
    # what many do is learned, without anything being fitted
    last = cold[-1]
    assert ids(client, user_id="somebody") == cold
    for start in range(0, 200, 50):
        events = [{"user_id": f"c{start + n}", "item_id": last} for n in range(50)]
        events += [{"user_id": f"c{start + n}", "item_id": cold[n % 11]} for n in range(50)]
        ask(client, "/v1/interactions", {"events": events})
    _wait_until(lambda: ask(client, "/v1/admin/status", method="GET")["learner_lag"] == 0)
    assert ids(client, user_id="nobody")[0] == last
    # a refit learns all of it, and the running service takes it at the next reload
    old = ask(client, "/v1/recommend", {"user_id": "nobody"})["bundle"]
    out = tmp_path / "refitted"
    words = ("refit", bundle, "--store", served.store, "--out", out, "--deploy", "default", "--force", "--json")
    refitted = llmrec(capsys, *words)
    assert (refitted["events"], refitted["deployed"]) == (402, "default")
    assert ask(client, "/v1/admin/aliases/default/reload")["bundle"] == refitted["bundle"] != old
    listed = ask(client, "/v1/recommend", {"user_id": "nobody", "k": 12})
    assert listed["bundle"] == refitted["bundle"]
    assert listed["items"][0]["item_id"] == last
    assert not {cold[0], cold[1]} & set(ids(client, user_id="new"))
    # an experiment counts what people make of the lists
    experiment = {"name": "first", "variants": {"one": "default", "two": "default"}}
    ask(client, "/v1/admin/experiments", experiment)
    seen = []
    for n in range(30):
        listed = ask(client, "/v1/recommend", {"user_id": f"e{n}", "k": 3})
        seen.append(listed["variant"])
        click = {"impression_id": listed["impression_id"], "item_id": listed["items"][0]["item_id"], "kind": "click"}
        if n % 2:
            ask(client, "/v1/feedback", click)
    report = llmrec(capsys, "experiment", "report", "first", "--store", served.store, "--json")
    assert {one["variant"]: one["impressions"] for one in report["variants"]} == {
        name: seen.count(name) for name in ("one", "two")
    }
    assert sum(one["clicks"] for one in report["variants"]) == 15
    # and a restart changes none of it
    served.kill()
    served.start()
    listed = ask(client, "/v1/recommend", {"user_id": "nobody", "k": 12})
    assert (listed["bundle"], listed["items"][0]["item_id"]) == (refitted["bundle"], last)
