"""One visit to the page over the whole real service: every part of it as it is served, on a tiny bundle."""

import asyncio
import re
import threading
import time
from dataclasses import replace

import pytest

expect = pytest.importorskip("playwright.sync_api").expect


@pytest.fixture(scope="module")
def bundles(hybrid, tmp_path_factory):
    """Popularity, EASE and dense retrieval; and popularity alone."""
    folder = tmp_path_factory.mktemp("real")
    stage = hybrid.stages[0]
    plain = replace(hybrid, stages=(replace(stage, retrievers=stage.retrievers[:1]),))
    return {"default": hybrid.save(folder / "shop"), "plain": plain.save(folder / "plain")}


@pytest.fixture(scope="module")
def service(bundles, tmp_path_factory):
    from llmrec.serve.config import ServeConfig
    from llmrec.serve.service import Service

    store = str(tmp_path_factory.mktemp("store") / "store.sqlite")
    return Service.open(ServeConfig(bundles=bundles, store=store, engine={"deadline_ms": 30_000}))


@pytest.fixture(scope="module")
def url(service):
    """The application, served in a thread; its lifespan starts and stops the service."""
    import uvicorn

    from llmrec.serve.app import create_app

    server = uvicorn.Server(uvicorn.Config(create_app(service), host="127.0.0.1", port=0, log_level="error"))
    thread = threading.Thread(target=lambda: asyncio.run(server.serve()), daemon=True)
    thread.start()
    while not server.started and thread.is_alive():
        time.sleep(0.01)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    thread.join(20)


def titles(page):
    return page.locator(".item h3").all_inner_texts()


def test_a_visit_to_the_real_service(visit, service, interactions):
    user = str(interactions.users[0])
    one = visit()
    one.page.set_default_timeout(20_000)
    _try(one, service, user)
    added = _add_an_item(one, service)
    _trace_and_compare(one, user)
    _compare_prompts(one)
    page = one.go("/monitor")
    expect(page.locator("#monitor")).to_contain_text("Answering.")
    page = one.go("/evaluation?alias=plain")
    expect(page.get_by_text("Nothing was measured")).to_be_visible()
    assert added in service.models.snapshot("plain").recommender.catalog.items


def _try(one, service, user):
    page = one.go("/")
    page.get_by_label("User id").fill(user)
    page.keyboard.press("Enter")
    page.locator(".why:not([hidden])").first.wait_for()
    liked, unwanted = titles(page)[0], titles(page)[1]
    page.get_by_role("button", name=f"I like {liked}").click()
    page.locator(".note.good").wait_for()
    assert liked not in titles(page)  # it is in the history now
    expect(page.locator("#results")).to_contain_text("Newest first")
    page.get_by_role("button", name=f"{unwanted} is not for me").click()
    page.get_by_role("button", name="Undo").wait_for()
    assert unwanted not in titles(page)
    page.get_by_role("button", name="Undo").click()
    page.locator("#results").get_by_text("may come back").wait_for()
    assert unwanted in titles(page)
    page.get_by_role("button", name=f"{unwanted} is not for me").click()
    page.get_by_role("button", name="Undo").wait_for()
    assert [event.kind for event in service.store.user_events(user)] == ["like", "dismiss", "restore", "dismiss"]


def _add_an_item(one, service):
    page = one.go("/catalog/new")
    page.get_by_label("Id").fill("made-here")
    page.get_by_label("title").fill("A quiet red night")
    page.get_by_role("button", name="Add").click()
    page.get_by_text("Added.").wait_for()
    expect(page.get_by_role("region", name="Text as indexed")).to_contain_text("A quiet red night")
    page = one.go("/catalog?find=quiet+red")
    expect(page.locator(".tile .tag.good")).to_have_text("new")
    page = one.go("/")
    page.get_by_role("radio", name="A wish").check()
    page.get_by_role("textbox", name="Wish").fill("A quiet red night")
    page.get_by_role("button", name="Recommend").last.click()
    page.locator(".item").first.wait_for()
    assert "A quiet red night" in titles(page)
    return "made-here"


def _trace_and_compare(one, user):
    page = one.go(f"/?user_id={user}")
    page.get_by_role("button", name="Trace").click()
    page.get_by_role("heading", name="1. hybrid").wait_for()
    assert "popularity" in page.locator(".trace thead").inner_text()
    assert page.locator(".trace tbody tr").count() > 2
    page = one.go(f"/compare?user_id={user}&a=default&b=plain")
    page.get_by_role("button", name="Compare").last.click()
    page.locator(".moves").nth(1).wait_for()
    expect(page.locator("#results")).to_contain_text(re.compile(r"\d+ of \d+ items are in both lists"))
    page = one.go("/compare/prompts?a=item%2Ftitle&b=item%2Fgenres")
    assert page.locator(".texts tbody tr").count() > 1


def _compare_prompts(one):
    page = one.go("/prompts/one?name=item%2Ftitle")
    source = page.get_by_label("Source").input_value()
    page.get_by_label("Source").fill(source.replace("{{ title }}", "The item {{ title }}"))
    page.locator("#rendered .pre", has_text="The item ").first.wait_for()
    page.get_by_role("button", name="Save a version").click()
    page.get_by_text("Saved as item/title@1").wait_for()
    page = one.go("/prompts")
    page.get_by_label("Compare item/title@1").check()
    page.get_by_label("Compare item/title", exact=True).check()
    page.get_by_role("spinbutton", name="Users").fill("6")
    page.get_by_role("button", name="Compare").click()
    page.locator("#job table").first.wait_for(timeout=60_000)
    expect(page.locator("#job .note")).not_to_be_empty()
    expect(page.locator("#job table").first).to_contain_text("item/title@1")
